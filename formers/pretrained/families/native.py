"""Our own layout, for configs that no published family has a word for: our names, our dataclass as JSON."""

from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.family import Family
from formers.pretrained.fields import Native

FAMILY = Family(
    model_type="formers-transformer",
    model=Transformer,
    config=Native(TransformerConfig),
    weights=[("{name*}", "{name*}")],
)
