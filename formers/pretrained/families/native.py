"""Our own layouts, for configs that no published family has a word for: our names, our dataclass as JSON."""

from formers.models.causal import CausalConfig, CausalLM
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.heads import HEADS, HeadConfig
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.config_map import Native
from formers.pretrained.family import Family

SAME_NAMES = [("{name*}", "{name*}")]
TRANSFORMER = Family(
    model_type="formers-transformer", model=Transformer, config=Native(TransformerConfig), weights=SAME_NAMES
)
CAUSAL = Family(model_type="formers-causal", model=CausalLM, config=Native(CausalConfig), weights=SAME_NAMES)
# the body, and one for each head; `architectures` tells them apart
ENCODERS = [
    Family(
        model_type="formers-encoder",
        model=model,
        config=Native(config),
        weights=SAME_NAMES,
        architectures=(model.__name__,),
    )
    for model, config in ((Encoder, EncoderConfig), *((head, HeadConfig) for head in HEADS))
]
