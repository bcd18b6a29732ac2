"""The keys of config.json and generation_config.json: what kind of value each has, and which say nothing of a network.

A file is checked against these shapes before anything of it is used; null stands for an absent key, and keys that are
not named here may hold anything. A new family names its keys here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypedDict

from formers.fields import Between, Count
from formers.shapes import Sized

Raw = Mapping[str, Any]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def pairs(text: str) -> dict[str, str]:
    """A table of names, "theirs=ours theirs=ours"."""
    return {theirs: ours for theirs, _, ours in (pair.partition("=") for pair in text.split())}


def shape(name: str, *kinds: tuple[Any, Iterable[str]]) -> Any:
    """The shape of an object whose keys may be absent, or null; kinds: a hint and the keys that have it."""
    hints: dict[str, Any] = {key: hint | None for hint, keys in kinds for key in keys}
    return TypedDict(name, hints, total=False)  # type: ignore[operator]


MOST_LAYERS = 1000
Size = Annotated[int, Between(1, 2**28)]
Layers = Annotated[int, Between(1, MOST_LAYERS)]
Share = Annotated[float, Between(0, 1)]
Positive = Annotated[float, Between(above=0)]
NotNegative = Annotated[float, Between(0)]
Kinds = Annotated[list[str], Sized(0, MOST_LAYERS)]
Ids = Annotated[list[int], Sized(0, 2**20)]
Label = str | int | float | bool

# How texts are written: in generation_config.json, and where that is silent in config.json.
_GENERATION = (
    (int | Ids, words("eos_token_id forced_eos_token_id")),
    (
        int,
        words("""
            bos_token_id decoder_start_token_id forced_bos_token_id pad_token_id sep_token_id
        """),
    ),
    (
        Count,
        words("""
            assistant_early_exit assistant_lookbehind encoder_no_repeat_ngram_size max_length max_new_tokens min_length
            min_new_tokens no_repeat_ngram_size num_assistant_tokens num_beam_groups num_return_sequences
            prompt_lookup_num_tokens target_lookbehind top_k
        """),
    ),
    (Annotated[int, Between(1, 1024)], words("num_beams")),
    (Positive, words("encoder_repetition_penalty repetition_penalty")),
    (NotNegative, words("assistant_confidence_threshold diversity_penalty max_time penalty_alpha temperature")),
    (Share, words("epsilon_cutoff eta_cutoff min_p top_p typical_p")),
    (float, words("guidance_scale length_penalty")),
    (
        bool,
        words("""
            do_sample force_bos_token_to_be_generated low_memory output_logits output_scores remove_invalid_values
            renormalize_logits return_dict_in_generate use_cache
        """),
    ),
    (bool | str, words("early_stopping")),
    (Ids, words("begin_suppress_tokens suppress_tokens")),
    (list[Ids], words("bad_words_ids")),
    (list[Annotated[list[Count], Sized(2, 2)]], words("alignment_heads")),
    (list[Annotated[list[int | None], Sized(2, 2)]], words("forced_decoder_ids")),
    (list[Any] | dict[str, Any], words("exponential_decay_length_penalty sequence_bias")),
    (str, words("cache_implementation num_assistant_tokens_schedule prefix")),
)
GENERATION = frozenset(key for _, keys in _GENERATION for key in keys)
GenerationShape = shape("GenerationShape", *_GENERATION)

_STRETCHED = (
    (str, words("rope_type type")),
    (
        Positive,
        words("""
            attention_factor beta_fast beta_slow factor high_freq_factor low_freq_factor partial_rotary_factor
            rope_theta
        """),
    ),
    (float, words("mscale mscale_all_dim")),
    (Size, words("original_max_position_embeddings")),
    (bool, words("truncate")),
)
Rope = shape("Rope", *_STRETCHED, (shape("RopeOfKind", *_STRETCHED), words("full_attention sliding_attention")))
_KEYS = (
    *_GENERATION,
    (str, words("model_type problem_type sbert_ce_default_activation_function")),
    (Kinds, words("architectures")),
    (dict[str, Label | None], words("id2label label2id")),
    (Annotated[int, Between(1, 2**24)], words("num_labels _num_labels")),
    (dict[str, Any], words("sentence_transformers task_specific_params")),
    # sound
    (Size, words("max_source_positions max_target_positions num_mel_bins")),
    # pictures
    (Size | Annotated[list[Size], Sized(2, 2)], words("image_size patch_size")),
    (Size, words("num_channels")),
    (Count, words("num_register_tokens")),
    (Positive, words("mlp_ratio")),
    (NotNegative, words("layerscale_value")),
    (Annotated[list[Size], Sized(1, 64)], words("depths hidden_sizes")),
    (
        bool,
        words("""
            downsample_in_bottleneck downsample_in_first_stage key_bias position_antialias proj_bias qkv_bias query_bias
            use_gated_mlp use_swiglu_ffn value_bias vision_use_head
        """),
    ),
    (str, words("architecture global_pool layer_type pooler_act")),
    (dict[str, Any], words("label_descriptions model_args pretrained_cfg")),
    (dict[str, str] | Annotated[list[str], Sized(0, 2**20)], words("label_names")),
    # sounds
    (
        Size,
        words("""
            conv_depthwise_kernel_size frequency_stride num_conv_pos_embedding_groups num_conv_pos_embeddings
            num_mel_bins subsampling_conv_channels subsampling_conv_kernel_size subsampling_conv_stride
            subsampling_factor time_stride
        """),
    ),
    (Annotated[list[Size], Sized(1, 64)], words("conv_dim conv_kernel conv_stride")),
    (Positive, words("rotary_embedding_base")),
    (bool, words("add_adapter conv_bias convolution_bias scale_input")),
    (str, words("feat_extract_activation feat_extract_norm position_embeddings_type")),
    (Share, words("hidden_dropout")),
    # diffusion
    (
        Size,
        words("""
            addition_embed_type_num_heads conv_in_kernel conv_out_kernel encoder_hid_dim in_channels latent_channels
            norm_num_groups num_class_embeds out_channels projection_class_embeddings_input_dim time_cond_proj_dim
            time_embedding_dim upsampling_scaling_factor
        """),
    ),
    (Count, words("downsample_padding freq_shift")),
    (Size | Annotated[list[Size], Sized(1, 16)], words("attention_head_dim cross_attention_dim sample_size")),
    (Layers | Annotated[list[Any], Sized(1, 16)], words("layers_per_block transformer_layers_per_block")),
    (
        Annotated[list[Size], Sized(1, 16)],
        words("block_out_channels decoder_block_out_channels encoder_block_out_channels"),
    ),
    (
        Annotated[list[Annotated[int, Between(0, MOST_LAYERS)]], Sized(1, 16)],
        words("num_decoder_blocks num_encoder_blocks"),
    ),
    (Annotated[list[str], Sized(1, 16)], words("down_block_types up_block_types")),
    (Annotated[list[float], Sized(0, 1024)], words("latents_mean latents_std")),
    (Positive, words("mid_block_scale_factor norm_eps resnet_out_scale_factor scaling_factor")),
    (float, words("shift_factor")),
    (
        bool,
        words("""
            center_input_sample class_embeddings_concat dual_cross_attention flip_sin_to_cos
            mid_block_add_attention mid_block_only_cross_attention resnet_skip_time_act use_linear_projection
            use_post_quant_conv use_quant_conv
        """),
    ),
    (bool | list[bool], words("only_cross_attention")),
    (
        str,
        words("""
            _class_name act_fn addition_embed_type attention_type class_embed_type cross_attention_norm
            encoder_hid_dim_type mid_block_type resnet_time_scale_shift time_embedding_act_fn time_embedding_type
            timestep_post_act upsample_fn
        """),
    ),
    # sizes
    (Layers, words("decoder_layers encoder_layers n_layer n_layers num_decoder_layers num_hidden_layers num_layers")),
    (
        Size,
        words("""
            attention_head_size conv_groups d_ff d_kv d_model decoder_attention_heads decoder_ffn_dim decoder_vocab_size
            dim embedding_size encoder_attention_heads encoder_ffn_dim head_dim hidden_dim hidden_size inner_group_num
            intermediate_size max_position_embeddings n_embd n_head n_heads n_inner n_positions num_attention_heads
            num_heads num_hidden_groups num_key_value_heads pooler_hidden_size projection_dim projection_size
            relative_attention_max_distance relative_attention_num_buckets sliding_window_pattern
            _sliding_window_pattern vocab_size
        """),
    ),
    (
        Annotated[int, Between(0, 2**28)],
        words("""
            conv_kernel_size gap_size max_window_layers net_structure_type num_memory_blocks sliding_window
            type_vocab_size window_size
        """),
    ),
    (Annotated[int, Between(-(2**28), 2**28)], words("max_relative_positions position_buckets")),
    # numbers
    (
        Positive,
        words("""
            attn_logit_softcapping down_scale_factor final_logit_softcapping layer_norm_eps layer_norm_epsilon
            partial_rotary_factor query_pre_attn_scalar rms_norm_eps rope_local_base_freq rope_theta
        """),
    ),
    (Share, words("dropout dropout_rate hidden_dropout_prob resid_dropout resid_pdrop")),
    # switches
    (
        bool,
        words("""
            add_bias_logits add_cross_attention add_final_layer_norm attention_bias do_blenderbot_90_layernorm
            is_decoder is_encoder_decoder is_gated_act mlp_bias normalize_before normalize_embedding
            position_biased_input relative_attention rope_interleaved rotary_value scale_attn_by_inverse_layer_idx
            scale_attn_weights scale_decoder_outputs scale_embedding share_att_key share_encoder_decoder_embeddings
            static_position_embeddings summary_use_proj talking_head tie_word_embeddings use_bidirectional_attention
            use_sliding_window
        """),
    ),
    # names
    (
        str,
        words("""
            activation activation_function afn conv_act dense_act_fn feed_forward_proj hidden_act hidden_activation
            norm_rel_ebd pooler_hidden_act position_embedding_type summary_activation summary_type
        """),
    ),
    (Kinds, words("attention_layers layer_types")),
    (
        Annotated[
            list[tuple[Annotated[list[str], Sized(0, 100)], Annotated[int, Between(0, MOST_LAYERS)]]], Sized(0, 100)
        ],
        words("attention_types"),
    ),
    (str | Annotated[list[str], Sized(0, 100)], words("pos_att_type")),
    (Rope, words("rope_parameters rope_scaling")),
)
INNER = words("encoder_config text_config text_config_dict vision_config vision_config_dict")
ConfigShape = shape("ConfigShape", *_KEYS, (shape("InnerConfigShape", *_KEYS), INNER))

BOOKKEEPING = words("""
    _attn_implementation_autoset _class_name _commit_hash _diffusers_version _name_or_path _num_labels
    add_cross_attention architectures chunk_size_feed_forward cross_attention_hidden_size dtype finetuning_task
    gradient_checkpointing id2label is_decoder label2id model_type name_or_path num_labels output_attentions
    output_hidden_states output_past problem_type return_dict task_specific_params tf_legacy_loss
    tie_encoder_decoder tokenizer_class torch_dtype torchscript transformers_version use_bfloat16 xla_device
""")
# Would change the computation, so they must be empty or off.
MUST_BE_OFF = ("pruned_heads", "quantization_config", "per_layer_config", "auto_map")
