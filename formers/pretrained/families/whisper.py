"""Whisper (Radford et al. 2022): `openai/whisper-tiny` to `-large-v3-turbo`, English ones, `distil-whisper`.

What is particular: the head is not stored; what decoding needs (suppressed tokens, languages, which heads of
cross-attention follow the sound) stands in generation_config.json.
"""

from __future__ import annotations

from formers.models.whisper import Whisper, WhisperConfig
from formers.pretrained.config_map import ConfigMap, words
from formers.pretrained.families import bart
from formers.pretrained.family import Family
from formers.pretrained.mapping import tied

NOT_SHARED = {"max_position_embeddings", "scale_embedding"}
FAMILY = Family(
    model_type="whisper",
    model=Whisper,
    config=ConfigMap(
        config=WhisperConfig,
        names={
            **{theirs: ours for theirs, ours in bart.SIZES.items() if theirs not in NOT_SHARED},
            "num_mel_bins": "bands",
            "max_source_positions": "frames",
            "max_target_positions": "length",
        },
        fixed={"encoder.bias": "qvo", "decoder.bias": "qvo"},
        defaults={
            "dropout": 0.0,
            "activation_function": "gelu",
            "vocab_size": 51865,
            "num_mel_bins": 80,
            "max_source_positions": 1500,
            "max_target_positions": 448,
        },
        aliases=bart.ALIASES,
        checked={"is_encoder_decoder": True, "scale_embedding": False, "tie_word_embeddings": True},
        written=lambda config: {
            "is_encoder_decoder": True,
            "scale_embedding": False,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "num_hidden_layers": config.encoder.layers,
        },
        # training only, of a classifier, or of what aligns words elsewhere
        ignored=words("""
            activation_dropout apply_spec_augment attention_dropout classifier_proj_size decoder_layerdrop
            encoder_layerdrop init_std mask_feature_length mask_feature_min_masks mask_feature_prob mask_time_length
            mask_time_min_masks mask_time_prob median_filter_width use_weighted_layer_sum
        """),
    ),
    weights=[
        tied("embedding.weight", "model.decoder.embed_tokens.weight", "proj_out.weight"),
        ("model.encoder.conv1.{p}", "convolutions.0.{p}"),
        ("model.encoder.conv2.{p}", "convolutions.1.{p}"),
        ("model.encoder.embed_positions.weight", "source_positions.weight"),
        ("model.decoder.embed_positions.weight", "target_positions.weight"),
        ("model.{side}.layer_norm.{p}", "{side}.norm.{p}"),
        *bart.LAYERS,
    ],
    prefixes=("+model.",),
    architectures=("WhisperForConditionalGeneration",),
    also=("WhisperModel",),
    generation={"decoder_start_token_id": 50258, "pad_token_id": 50257, "eos_token_id": 50257},
)
