"""What every system with an encoder begins with: the body and tokenizer of a checkpoint, or new ones of given sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import nn

from formers.errors import ConfigError
from formers.models.causal import CausalLM
from formers.models.encoder import Encoder
from formers.models.heads import (
    HeadConfig,
    MultipleChoice,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
    body,
    network_of,
)
from formers.systems.begin import Beginning, on_device
from formers.systems.memory import new_model
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer
from formers.text.training import train_word_pieces

Head = TypeVar("Head", SequenceClassifier, TokenClassifier, SpanFinder, MultipleChoice)
# The dense layer in front of a label, by the model_type (or form): where it is not BERT's.
POOLERS = {"distilbert": "relu", "electra": "gelu", "roformer": "gelu", "deberta-v2": "gelu", "deberta": "gelu"}


@dataclass(frozen=True)
class Begun:
    """An encoder to fine-tune or to train."""

    encoder: Any
    """An `Encoder`; where a decoder serves as well, also a `CausalLM` without its output head."""
    tokenizer: Tokenizer
    family: str
    """The model_type that it was read from, or the form that it was made of."""
    model: nn.Module | None
    """The whole model of the checkpoint, head included; None for a new one."""

    def headed(
        self,
        network: Callable[[HeadConfig], Head],
        /,
        *,
        keep: Callable[[Head], bool] = lambda model: True,
        **config: Any,
    ) -> Head:
        """Such a model on the encoder; its last map is the checkpoint's where that is such a one, and `keep`
        says so, else a new one. config: of the head.
        """
        model = on_device(network(HeadConfig(encoder=self.encoder.config, **config)))
        model.encoder = self.encoder
        if type(self.model) is type(model) and keep(self.model):
            model.out.load_state_dict(self.model.out.state_dict())
        return model

    def reader(self, length: int = 0) -> Reader:
        """Reads texts for this encoder, at most `length` tokens (0: all that it sees). Raises ConfigError if less."""
        longest = self.encoder.config.length
        if not 0 <= length <= longest:
            raise ConfigError(f"rows.length ({length}) must be from 1 to the model's length ({longest}), or 0 for that")
        return Reader(self.tokenizer, length or longest, segments=self.encoder.config.segments)


def begin(
    beginning: Beginning, texts: Iterable[str], *, pooler: bool, lowercase: bool = True, decoders: bool = False
) -> Begun:
    """The encoder of the model folder to start from, else a new one with word pieces trained on `texts`.

    pooler: whether the body needs the dense layer in front of a label; one that a checkpoint lacks is made anew, one
    that is not needed is left out. lowercase: of word pieces trained now; decoders: whether a causal language model
    will do as well. [rows] says `tokenizer` and `vocab`.
    """
    start = beginning.start
    if start is None:
        vocab = beginning.rows.vocab
        tokenizer = beginning.tokenizer(
            lambda: train_word_pieces(texts, vocab, lowercase=lowercase), files="tokenizer.json or vocab.txt"
        )
        config = beginning.sizes.config(tokenizer.vocab)
        if config.position_offset:  # counted from the padding token on, as readers of its files do
            config = replace(config, position_offset=(tokenizer.pad or 0) + 1)
        form = beginning.sizes.form
        encoder = new_model(Encoder, replace(config, pooler=wanted(form, config.pooler, pooler)))
        return Begun(on_device(encoder), tokenizer, form, None)
    loaded = beginning.loaded()
    trained, network = body(loaded.model), network_of(loaded.model)
    causal = decoders and isinstance(network, CausalLM)
    if trained is None and not causal:
        raise ConfigError(
            f"{start} is a {type(loaded.model).__name__} (model_type {loaded.family}), expected an "
            f"encoder such as bert, roberta or mpnet{', or a decoder such as gpt2 or llama' if decoders else ''}"
        )
    if loaded.tokenizer is None:
        raise ConfigError(f"{start} has no tokenizer files; put tokenizer.json or vocab.txt beside its config.json")
    if isinstance(network, CausalLM):
        network.head, network.config = None, replace(network.config, tied=True)
        return Begun(on_device(network), loaded.tokenizer, loaded.family, loaded.model)
    assert trained is not None
    encoder = with_pooler(trained, wanted(loaded.family, trained.config.pooler, pooler))
    return Begun(on_device(encoder), loaded.tokenizer, loaded.family, loaded.model)


def wanted(family: str, given: str, pooler: bool) -> Any:
    """The activation of the pooler, "" for none."""
    return (given or POOLERS.get(family, "tanh")) if pooler else ""


def with_pooler(encoder: Encoder, pooler: Any) -> Encoder:
    """The same encoder with a pooler of this activation ("": none): its own where it has one, else a new one."""
    if encoder.config.pooler == pooler:
        return encoder
    pooled = Encoder(replace(encoder.config, pooler=pooler))
    state = {name: tensor for name, tensor in encoder.state_dict().items() if pooler or not name.startswith("pooler.")}
    pooled.load_state_dict(state, strict=False)
    return pooled.train(encoder.training)


def recompute(task: Any) -> None:
    """`set_recompute` of a task whose model has one encoder."""
    task.model.encoder.stack.recompute = True


def freeze(encoder: Encoder | CausalLM, layers: int) -> list[str]:
    """Keep the embeddings and the lowest `layers` blocks as they are; gives the line of the report, none for 0.

    Raises ConfigError for more layers than there are; layers that are one and the same block (ALBERT) count once.
    """
    blocks = list(encoder.stack.blocks)
    if not 0 <= layers <= len(blocks):
        what = " of its own" if isinstance(encoder, Encoder) and encoder.config.repeat > 1 else ""
        raise ConfigError(
            f"task.freeze ({layers}) must be from 0 to {len(blocks)}: the model has {len(blocks)} layer(s){what}"
        )
    if not layers:
        return []
    below = [encoder.embedding, encoder.positions, *blocks[:layers]]
    if isinstance(encoder, Encoder):
        below += [encoder.segments, encoder.norm, encoder.project]
    for part in below:
        if part is not None:
            part.requires_grad_(False)
    learning = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in encoder.parameters())
    return [
        f"frozen: the embeddings and the lowest {layers} of {len(blocks)} layers; "
        f"{learning / total:.1%} of the body learns"
    ]
