"""Our own layouts, for configs that no published family has a word for: our names, our dataclass as JSON."""

from formers.models.causal import CausalConfig, CausalLM
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.family import Family
from formers.pretrained.fields import Native

SAME_NAMES = [("{name*}", "{name*}")]
TRANSFORMER = Family(
    model_type="formers-transformer",
    model=Transformer,
    config=Native(TransformerConfig),
    weights=SAME_NAMES,
)
CAUSAL = Family(model_type="formers-causal", model=CausalLM, config=Native(CausalConfig), weights=SAME_NAMES)
