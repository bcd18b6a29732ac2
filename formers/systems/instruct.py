"""Instruction tuning: a language model learns the answers of conversations, and nothing else of them.

messages -> chat template -> tokens, counted where an assistant speaks -> packed rows -> cross-entropy of these
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from formers.data.conversations import ConversationData, Talks, check_least, texts_of
from formers.data.language import Packed, TextBatch
from formers.decoding.log_probabilities import in_pieces
from formers.decoding.options import DecodingOptions
from formers.errors import CheckpointError, ConfigError
from formers.models.causal import CausalLM
from formers.pretrained.load import load_model
from formers.systems.language import LanguageModel, open_language
from formers.systems.language_tasks import learned, new_language, obtain_tokenizer, row_length
from formers.systems.report import memory_line, parameters_of
from formers.systems.sizes import CausalSizes
from formers.text.chat import ChatEncoder, ChatTemplate, Message, load_template, plain_template, special_names
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class InstructConfig:
    """How the model is judged while it learns."""

    evaluated: int = 0
    """Validation conversations read at each evaluation (0: all)."""
    answered: int = 0
    """Validation conversations whose last answer is also given by the model and compared, word for word (0: none)."""
    samples: tuple[str, ...] = ()
    """Questions to answer now and then while training; empty: two of the validation conversations."""
    sample_tokens: int = 100
    """Most tokens of an answer."""

    def __post_init__(self) -> None:
        check_least("task", self, {"evaluated": 0, "answered": 0, "sample_tokens": 1})


class InstructTask:
    """What the trainer sees: the cross-entropy of what assistants say, the end of the turn included."""

    def __init__(
        self, language: LanguageModel, encoder: ChatEncoder, validation: Packed[Talks], config: InstructConfig
    ) -> None:
        self.language, self.encoder, self.validation, self.config = language, encoder, validation, config
        self.model: CausalLM = language.model

    def loss(self, batch: TextBatch) -> Loss:
        """Summed cross-entropy over the tokens of answers; parts["tokens"] counts all that were read."""
        x, labels = learned(self.model, batch)
        return Loss(self.model.output.cross_entropy(x, labels), labels.numel(), {"tokens": batch.tokens.numel()})

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Loss in nats per token of an answer, its exponential, the share of these tokens that the model finds
        likeliest; with `answered` the share of whole answers that are the same.
        """
        total, right, count = 0.0, 0, 0
        for rows in self.validation.spread(self.config.evaluated):
            x, labels = learned(self.model, self.validation.collate(rows))
            total += self.model.output.cross_entropy(x, labels).item()
            right, count = right + self.hits(x, labels), count + labels.numel()
        scores = {"loss": total / count, "perplexity": math.exp(min(50.0, total / count)), "accuracy": right / count}
        if self.config.answered:
            asked, expected = self.last_answers(self.config.answered)
            given = answers(self.language, self.encoder, asked, self.config.sample_tokens)
            same = sum(a.strip() == b.strip() for a, b in zip(given, expected, strict=True))
            scores["exact_match"] = same / len(expected)
        return scores

    def hits(self, x: Tensor, labels: Tensor) -> int:
        """How many labels are the likeliest token; the logits exist a piece at a time."""
        vocab = self.model.config.vocab
        return sum(
            int((self.model.logits(some).argmax(-1) == goal).sum())
            for some, goal in zip(in_pieces(x, vocab), in_pieces(labels, vocab), strict=True)
        )

    def last_answers(self, count: int) -> tuple[list[list[Message]], list[str]]:
        """Validation conversations up to their last answer, and that answer."""
        asked, expected = [], []
        for number in range(min(count, len(self.validation.corpus.rows))):
            messages = self.validation.corpus.messages(number)
            last = max(at for at, message in enumerate(messages) if message["role"] == "assistant")
            asked.append(list(messages[:last]))
            expected.append(str(messages[last].get("content") or ""))
        return asked, expected

    def sample(self) -> list[tuple[str, str]]:
        """Questions with the model's answers, the likeliest token each time."""
        asked: list[list[Message]] = [[{"role": "user", "content": text}] for text in self.config.samples]
        asked = asked or self.last_answers(2)[0]
        given = answers(self.language, self.encoder, asked, self.config.sample_tokens)
        return [(spoken(messages), answer) for messages, answer in zip(asked, given, strict=True)]

    def save(self, folder: Path) -> None:
        self.language.save(folder)

    def set_recompute(self) -> None:
        self.model.stack.recompute = True


def answers(language: LanguageModel, encoder: ChatEncoder, asked: Sequence[Sequence[Message]], limit: int) -> list[str]:
    """What the model says to each conversation, greedily, at most `limit` tokens; "" where it has no room left."""
    prompts = [encoder.ids(messages) for messages in asked]
    fit = [at for at, prompt in enumerate(prompts) if len(prompt) < language.model.config.length]
    written = language.writer().write([prompts[at] for at in fit], DecodingOptions(max_tokens=limit, temperature=0.0))
    texts = dict(zip(fit, (several[0].text for several in written), strict=True))
    return [texts.get(at, "") for at in range(len(asked))]


def spoken(messages: Sequence[Message]) -> str:
    """A conversation on one line, to look at."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return " | ".join(f"{each['role']}: {each.get('content') or ''}" for each in messages)


class ChatSource(Protocol):
    """What a [data] section says of tokenizer and template."""

    @property
    def tokenizer(self) -> str: ...
    @property
    def vocab(self) -> int: ...
    @property
    def template(self) -> str: ...


def obtain_model(
    sizes: CausalSizes, data: ChatSource, texts: list[str], folder: Path, start: Path | None
) -> tuple[LanguageModel, ChatEncoder]:
    """The model to start with, or a new one with a tokenizer trained on `texts`, and how it is spoken to.

    The template is that of data.template, else the model's own, else roles in plain words; it is saved with the model.
    """
    if start is not None:
        language = open_language(load_model(start))
        tokenizer = language.needs_tokenizer()
    else:
        tokenizer = obtain_tokenizer(data, texts, folder)
        language = new_language(sizes, tokenizer)
    template = language.template
    if data.template:
        template = read_template(data.template, special_names(tokenizer))
    language.template = template or plain_template(tokenizer)
    encoder = ChatEncoder(language.template, tokenizer)
    # whoever decodes the saved model stops where it was taught to stop
    language.settings = replace(language.settings, stop=tuple(dict.fromkeys((*language.ends, *encoder.ending()))))
    if torch.cuda.is_available():
        language.model.cuda()
    return language, encoder


def read_template(name: str, specials: dict[str, str]) -> ChatTemplate:
    """The template in a file, or of a model folder."""
    place = Path(name).expanduser()
    if place.is_dir():
        found = load_template(place)
        if found is None:
            raise ConfigError(f"data.template {place}: there is no chat template in this folder")
        return ChatTemplate(found.source, specials, where=found.where)
    try:
        return ChatTemplate(place.read_text("utf-8"), specials, where=str(place))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"data.template {place}: cannot be read ({error})") from error


def packed_talks(talks: Talks, data: ConversationData, length: int) -> Packed[Talks]:
    """The rows that a recipe asks for."""
    return Packed(talks, length, data.tokens_per_batch, seed=data.seed, together=data.packing == "documents")


def material(
    sections: dict[str, Any], folder: Path, start: Path | None
) -> tuple[LanguageModel, ChatEncoder, Packed[Talks], Packed[Talks]]:
    """Model, template and the rows of training and validation."""
    sizes, data, train = (sections[name] for name in ("model", "data", "train"))
    torch.manual_seed(train.seed)
    tables = data.tables()
    language, encoder = obtain_model(sizes, data, texts_of(tables[0].columns["messages"]), folder, start)
    length = row_length(data.length, language.model.config.length)
    last_only, drop_long = data.answers == "last", data.too_long == "drop"
    rows, watched = (
        packed_talks(Talks(table, encoder, length=length, last_only=last_only, drop_long=drop_long), data, length)
        for table in tables
    )
    return language, encoder, rows, watched


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[InstructTask, Packed[Talks], list[str]]:
    """Conversations, model and task of a recipe, and the lines of the report on them.

    start: the model folder whose weights, tokenizer and template to begin with. The tokenizer of a run is kept in its
    folder: going on with a run must not depend on training it again.
    """
    language, encoder, rows, watched = material(sections, folder, start)
    config = sections["task"]
    unknown = language.needs_tokenizer().unk
    report = [
        f"training data: {rows.corpus.table.name}",
        *rows.corpus.report(rows, unknown).lines(),
        f"validation: {watched.corpus.table.name}, {len(watched.corpus.rows):,} conversations, "
        f"{int(watched.corpus.counted.sum()):,} tokens of answers",
    ]
    return (
        InstructTask(language, encoder, watched, config),
        rows,
        [*report, *size_lines(language, encoder, sections, len(rows.epoch(0)))],
    )


def size_lines(
    language: LanguageModel, encoder: ChatEncoder, sections: dict[str, Any], batches: int, *, sides: int = 1
) -> list[str]:
    """The lines of the report on template, tokenizer, model and memory; a batch has so many `sides`."""
    data, train = sections["data"], sections["train"]
    tokenizer, template = encoder.tokenizer, encoder.template
    end = "".join(tokenizer.pieces(encoder.ending())) or "no special token, so nothing says where it ends"
    lost = [
        name
        for name in dict.fromkeys(re.findall(r"<\|[^|<>]+\|>", template.source))
        if tokenizer.rules.token_to_id(name) is None
    ]
    return [
        f"template: {template.where}; an answer ends with {end}",
        *[f"the template writes {name}, which is no token of this tokenizer, so anybody can write it" for name in lost],
        f"vocabulary: {tokenizer.vocab:,} tokens; model: {parameters_of(language.model):,} parameters",
        memory_line(language.model, train, sides * data.tokens_per_batch, batches),
    ]
