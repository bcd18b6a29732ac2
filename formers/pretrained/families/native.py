"""Our own layouts, for configs that no published family has a word for: our names, our dataclass as JSON."""

from collections.abc import Mapping

from torch import nn

from formers.models.autoencoder import Autoencoder, AutoencoderConfig
from formers.models.causal import CausalConfig, CausalLM
from formers.models.clip import CLIP, CLIPConfig, PictureTower, PictureTowerConfig, TextTower, TextTowerConfig
from formers.models.conformer import Conformer, ConformerConfig, ConformerEncoder, ConformerEncoderConfig
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.heads import HEADS, HeadConfig
from formers.models.hybrid import HybridConfig, HybridConformer
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNet, ResNetConfig
from formers.models.spectrogram import SpectrogramConfig, SpectrogramTransformer
from formers.models.transformer import Transformer, TransformerConfig
from formers.models.unet import UNet, UNetConfig
from formers.models.vae import VAE, TinyVAE, TinyVAEConfig, VAEConfig
from formers.models.vit import ViT, ViTConfig
from formers.pretrained.config_map import Native
from formers.pretrained.family import Family

SAME_NAMES = [("{name*}", "{name*}")]
TRANSFORMER = Family(
    model_type="formers-transformer", model=Transformer, config=Native(TransformerConfig), weights=SAME_NAMES
)
CAUSAL = Family(model_type="formers-causal", model=CausalLM, config=Native(CausalConfig), weights=SAME_NAMES)


def native(model_type: str, models: Mapping[type[nn.Module], type]) -> list[Family]:
    """One family for each class of model, with its config; `architectures` tells them apart."""
    return [
        Family(
            model_type=model_type,
            model=model,
            config=Native(config),
            weights=SAME_NAMES,
            architectures=(model.__name__,),
        )
        for model, config in models.items()
    ]


ENCODERS = native("formers-encoder", {Encoder: EncoderConfig, **dict.fromkeys(HEADS, HeadConfig)})
VISION = native("formers-vision", {ViT: ViTConfig, ResNet: ResNetConfig, PictureClassifier: PictureHeadConfig})
CLIPS = native("formers-clip", {CLIP: CLIPConfig, TextTower: TextTowerConfig, PictureTower: PictureTowerConfig})
AUTOENCODERS = native("formers-autoencoder", {Autoencoder: AutoencoderConfig})
SOUND = native(
    "formers-sound",
    {
        SpectrogramTransformer: SpectrogramConfig,
        Conformer: ConformerConfig,
        ConformerEncoder: ConformerEncoderConfig,
        HybridConformer: HybridConfig,
    },
)
DIFFUSION = native("formers-diffusion", {UNet: UNetConfig, VAE: VAEConfig, TinyVAE: TinyVAEConfig})
