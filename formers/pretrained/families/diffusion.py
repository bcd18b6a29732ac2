"""The parts of Stable Diffusion as diffusers files them: UNet2DConditionModel, AutoencoderKL, AutoencoderTiny.

What is particular: `attention_head_dim` is the number of heads, by a fault of its first version that is kept; GEGLU's
matrix holds values first, then gates; what comes into a transformer and out of it are convolutions of size 1 in 1.x,
which compute what the matrices of 2.x do; the attention of published autoencoders has the names of an older version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from formers.models.unet import UNet, UNetConfig
from formers.models.vae import VAE, TinyVAE, TinyVAEConfig, VAEConfig
from formers.pretrained.config_map import ConfigMap, Raw, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.mapping import CONVOLUTION, ROW, SAME, Row, Rows, tied

RESIDUAL = pairs("""
    norm1=norm_in conv1=convolution_in time_emb_proj=time norm2=norm_out conv2=convolution_out conv_shortcut=shortcut
""")
BLOCK = pairs("""
    norm1=norm_attention norm2=norm_cross norm3=norm_feed_forward ff.net.2=feed_forward.down
    attn1.to_q=attention.q attn1.to_k=attention.k attn1.to_v=attention.v attn1.to_out.0=attention.o
    attn2.to_q=cross_attention.q attn2.to_k=cross_attention.k attn2.to_v=cross_attention.v
    attn2.to_out.0=cross_attention.o ff.net.0.proj=feed_forward.[up,gate]
""")
POOLED = pairs("""
    norm1=norm pool.q_proj=attention.q pool.k_proj=attention.k pool.v_proj=attention.v proj=attention.o norm2=norm_out
""")
ENDS = pairs("conv_in=convolution_in conv_norm_out=norm_out conv_out=convolution_out")


def level_rows(theirs: str, ours: str) -> list[Row]:
    """Residual convolutions and the change of size."""
    rows: list[Row] = [
        (f"{theirs}.resnets.{{i}}.{old}.{{p}}", f"{ours}.residuals.{{i}}.{new}.{{p}}") for old, new in RESIDUAL.items()
    ]
    kind = "upsamplers" if "up" in theirs else "downsamplers"
    return rows if "mid" in theirs else [*rows, (f"{theirs}.{kind}.0.conv.{{p}}", f"{ours}.resample.convolution.{{p}}")]


def transformer_rows(theirs: str, ours: str, linear: bool) -> list[Row]:
    theirs, ours = f"{theirs}.attentions.{{i}}", f"{ours}.attentions.{{i}}"
    op = SAME if linear else CONVOLUTION
    return [
        (f"{theirs}.norm.{{p}}", f"{ours}.norm.{{p}}"),
        (f"{theirs}.proj_in.{{p}}", f"{ours}.project_in.{{p}}", op),
        (f"{theirs}.proj_out.{{p}}", f"{ours}.project_out.{{p}}", op),
        *((f"{theirs}.transformer_blocks.0.{old}.{{p}}", f"{ours}.block.{new}.{{p}}") for old, new in BLOCK.items()),
    ]


def unet_rows(config: UNetConfig) -> Rows:
    rows: list[Row] = []
    for theirs, ours in (("down_blocks.{s}", "down.{s}"), ("mid_block", "middle"), ("up_blocks.{s}", "up.{s}")):
        rows += [*level_rows(theirs, ours), *transformer_rows(theirs, ours, config.linear)]
    return [
        *rows,
        *((f"{theirs}.{{p}}", f"{ours}.{{p}}") for theirs, ours in ENDS.items()),
        ("time_embedding.linear_1.{p}", "time.0.{p}"),
        ("time_embedding.linear_2.{p}", "time.2.{p}"),
        ("time_embedding.cond_proj.weight", "guidance.weight"),
        ("class_embedding.weight", "classes.weight"),
        *((f"add_embedding.{theirs}.{{p}}", f"pooled.{ours}.{{p}}") for theirs, ours in POOLED.items()),
        ("add_embedding.pool.positional_embedding", "pooled.query", ROW),
    ]


def cross(raw: Raw, kind: str) -> list[bool]:
    """Which levels attend. Raises ValueError for a level of another kind."""
    names = [f"{kind}Block2D", f"CrossAttn{kind}Block2D"]
    types = raw[f"{kind.lower()}_block_types"]
    if strange := [name for name in types if name not in names]:
        raise ValueError(f"{kind.lower()}_block_types: {strange[0]!r:.80} is not computed here; known: {names}")
    return [name == names[1] for name in types]


def about_unet(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    down, up = cross(raw, "Down"), cross(raw, "Up")
    if up != down[::-1]:
        raise ValueError("up_block_types are not down_block_types from the last to the first, which is computed here")
    heads, size = raw["attention_head_dim"], raw.get("sample_size")
    if {*listed(raw["transformer_layers_per_block"])} != {1}:
        raise ValueError(
            f"transformer_layers_per_block = {raw['transformer_layers_per_block']}, but 1 is computed here"
        )
    pooled = raw.get("addition_embed_type")
    if pooled not in (None, "text"):
        raise ValueError(f"addition_embed_type = {pooled!r:.80}, but none or text is computed here")
    return {
        "attention": down,
        "heads": [heads] * len(down) if isinstance(heads, int) else heads,
        "classes": raw.get("num_class_embeds") or 0,
        "guidance_dim": raw.get("time_cond_proj_dim") or 0,
        "pooled_heads": raw["addition_embed_type_num_heads"] if pooled else 0,
        "size": size if isinstance(size, int) else None,
    }


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def written_unet(config: UNetConfig) -> dict[str, Any]:
    def kinds(name: str) -> list[str]:
        return [f"{'CrossAttn' * attends}{name}Block2D" for attends in config.attention]

    return {
        "down_block_types": kinds("Down"),
        "up_block_types": kinds("Up")[::-1],
        "attention_head_dim": config.heads[0] if len({*config.heads}) == 1 else list(config.heads),
        "num_class_embeds": config.classes or None,
        "time_cond_proj_dim": config.guidance_dim or None,
        "addition_embed_type": "text" if config.pooled_heads else None,
        **({"addition_embed_type_num_heads": config.pooled_heads} if config.pooled_heads else {}),
        "sample_size": config.size,
    }


UNET = Family(
    model_type="UNet2DConditionModel",
    model=UNet,
    diffusers=True,
    config=ConfigMap(
        config=UNetConfig,
        names=pairs("""
            in_channels=channels out_channels=out_channels block_out_channels=widths layers_per_block=depth
            cross_attention_dim=memory_dim norm_num_groups=groups use_linear_projection=linear
        """),
        defaults={
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "cross_attention_dim": 1280,
            "norm_num_groups": 32,
            "use_linear_projection": False,
            "attention_head_dim": 8,
            "transformer_layers_per_block": 1,
            "addition_embed_type_num_heads": 64,
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        },
        checked={
            **dict.fromkeys(
                words("""
                    class_embed_type cross_attention_norm encoder_hid_dim encoder_hid_dim_type
                    num_attention_heads projection_class_embeddings_input_dim time_embedding_act_fn
                    time_embedding_dim timestep_post_act
                """)
            ),
            **dict.fromkeys(
                words("""
                    center_input_sample class_embeddings_concat dual_cross_attention mid_block_only_cross_attention
                    only_cross_attention resnet_skip_time_act
                """),
                False,
            ),
            "act_fn": "silu",
            "attention_type": "default",
            "conv_in_kernel": 3,
            "conv_out_kernel": 3,
            "downsample_padding": 1,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "norm_eps": 1e-5,
            "resnet_out_scale_factor": 1,
            "resnet_time_scale_shift": "default",
            "time_embedding_type": "positional",
        },
        derived=about_unet,
        reads=("num_class_embeds", "time_cond_proj_dim", "addition_embed_type", "sample_size"),
        written=written_unet,
        # of training, of what is not there, and of fp16 alone, where scores of attention are reckoned wider
        ignored=words("""
            addition_time_embed_dim dropout reverse_transformer_layers_per_block
            upcast_attention
        """),
    ),
    weights=unet_rows,
)


def coder_rows(theirs: str, ours: str) -> list[Row]:
    """An encoder or decoder, whose attention was a `query`, `key`, `value` and `proj_attn` once."""
    level = f"{'up' if theirs == 'decoder' else 'down'}_blocks.{{s}}"
    attention = f"{theirs}.mid_block.attentions.0"
    old = {"to_q": "query=q", "to_k": "key=k", "to_v": "value=v", "to_out.0": "proj_attn=o"}
    names = {new: pair.split("=") for new, pair in old.items()}
    return [
        *level_rows(f"{theirs}.{level}", f"{ours}.levels.{{s}}"),
        *level_rows(f"{theirs}.mid_block", f"{ours}.middle"),
        (f"{attention}.group_norm.{{p}}", f"{ours}.middle.attentions.0.norm.{{p}}"),
        *(
            tied(
                f"{ours}.middle.attentions.0.attention.{own}.{{p}}", *(f"{attention}.{n}.{{p}}" for n in (new, before))
            )
            for new, (before, own) in names.items()
        ),
        *((f"{theirs}.{old}.{{p}}", f"{ours}.{new}.{{p}}") for old, new in ENDS.items()),
    ]


AUTOENCODER = Family(
    model_type="AutoencoderKL",
    model=VAE,
    diffusers=True,
    config=ConfigMap(
        config=VAEConfig,
        names=pairs("""
            in_channels=channels latent_channels=latent_channels block_out_channels=widths layers_per_block=depth
            norm_num_groups=groups scaling_factor=scale
        """),
        defaults={
            "in_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [64],
            "layers_per_block": 1,
            "norm_num_groups": 32,
            "scaling_factor": 0.18215,
        },
        checked={
            "act_fn": "silu",
            "down_block_types": lambda raw: ["DownEncoderBlock2D"] * len(raw["block_out_channels"]),
            "up_block_types": lambda raw: ["UpDecoderBlock2D"] * len(raw["block_out_channels"]),
            "out_channels": lambda raw: raw["in_channels"],
            "latents_mean": None,
            "latents_std": None,
            "mid_block_add_attention": True,
            "shift_factor": 0,
            "use_post_quant_conv": True,
            "use_quant_conv": True,
        },
        written=lambda config: {
            "down_block_types": ["DownEncoderBlock2D"] * len(config.widths),
            "up_block_types": ["UpDecoderBlock2D"] * len(config.widths),
            "out_channels": config.channels,
        },
        ignored=words("force_upcast sample_size"),
    ),
    weights=[
        *coder_rows("encoder", "encoder"),
        *coder_rows("decoder", "decoder"),
        ("quant_conv.{p}", "quantise.{p}"),
        ("post_quant_conv.{p}", "dequantise.{p}"),
    ],
)


def about_tiny(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    widths = {*raw["encoder_block_out_channels"], *raw["decoder_block_out_channels"]}
    if len(widths) != 1:
        raise ValueError(f"levels of several widths ({sorted(widths)}) are not computed here")
    return {"width": widths.pop()}


TINY_ROWS: Rows = [
    (f"{coder}.layers.{{n}}.{theirs}{{p}}", f"{coder}.{{n}}.{ours}{{p}}")
    for coder in ("encoder", "decoder")
    for theirs, ours in (("", ""), ("conv.{k}.", "layers.{k}."))
]
TINY = Family(
    model_type="AutoencoderTiny",
    model=TinyVAE,
    diffusers=True,
    config=ConfigMap(
        config=TinyVAEConfig,
        names=pairs("""
            in_channels=channels latent_channels=latent_channels num_encoder_blocks=encoder_depths
            num_decoder_blocks=decoder_depths scaling_factor=scale
        """),
        defaults={
            "in_channels": 3,
            "latent_channels": 4,
            "num_encoder_blocks": [1, 3, 3, 3],
            "num_decoder_blocks": [3, 3, 3, 1],
            "encoder_block_out_channels": [64] * 4,
            "decoder_block_out_channels": [64] * 4,
            "scaling_factor": 1.0,
        },
        checked={
            "act_fn": "relu",
            "out_channels": lambda raw: raw["in_channels"],
            "shift_factor": 0,
            "upsample_fn": "nearest",
            "upsampling_scaling_factor": 2,
        },
        derived=about_tiny,
        written=lambda config: {
            "encoder_block_out_channels": [config.width] * len(config.encoder_depths),
            "decoder_block_out_channels": [config.width] * len(config.decoder_depths),
            "out_channels": config.channels,
        },
        ignored=words("block_out_channels force_upcast latent_magnitude latent_shift"),
    ),
    weights=TINY_ROWS,
)
