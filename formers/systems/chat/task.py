"""Instruction tuning: a language model learns the answers of conversations, and nothing else of them.

messages -> chat template -> tokens, counted where an assistant speaks -> packed rows -> cross-entropy of these
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from formers.data.packing import PackedRows, TextBatch
from formers.data.sources import Table
from formers.decoding.log_probabilities import in_pieces
from formers.fields import Count, Natural, check
from formers.models.causal import CausalLM
from formers.systems.begin import Beginning, Prepared
from formers.systems.chat.data import ConversationRows, Conversations
from formers.systems.conversing import answers, obtain_model, prepared, sample_answers, texts_of
from formers.systems.language_model import LanguageModel
from formers.systems.next_token import features_and_labels, row_length
from formers.systems.system import Report, cost, perplexity, share
from formers.text.chat import ChatEncoder, Message
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class ChatConfig:
    """How the model is judged while it learns."""

    evaluated: Count = 0
    """Validation conversations read at each evaluation (0: all)."""
    answered: Count = 0
    """Validation conversations whose last answer is also given by the model and compared, word for word (0: none)."""
    samples: tuple[str, ...] = ()
    """Questions to answer now and then while training; empty: two of the validation conversations."""
    sample_tokens: Natural = 100
    """Most tokens of an answer."""

    def __post_init__(self) -> None:
        check(self, "task")


class ChatTask:
    """What the trainer sees: the cross-entropy of what assistants say, the end of the turn included."""

    def __init__(
        self, language: LanguageModel, encoder: ChatEncoder, validation: PackedRows[Conversations], config: ChatConfig
    ) -> None:
        self.language, self.encoder, self.validation, self.config = language, encoder, validation, config
        self.model: CausalLM = language.model
        self.save = language.save

    def loss(self, batch: TextBatch) -> Loss:
        """Summed cross-entropy over the tokens of answers; parts["tokens"] counts all that were read."""
        x, labels = features_and_labels(self.model, batch)
        return Loss(self.model.output.cross_entropy(x, labels), labels.numel(), {"tokens": batch.tokens.numel()})

    @torch.no_grad()
    def evaluate(self) -> Report:
        """Loss in nats per token of an answer, its exponential, the share of these tokens that the model finds
        likeliest; with `answered` the share of whole answers that are the same.
        """
        total, right, count = 0.0, 0, 0
        for rows in self.validation.spread(self.config.evaluated):
            x, labels = features_and_labels(self.model, self.validation.collate(rows))
            total += self.model.output.cross_entropy(x, labels).item()
            right, count = right + self.hits(x, labels), count + labels.numel()
        mean = total / count
        scores = [cost("loss", mean), perplexity(mean, "row_perplexity"), share("accuracy", right / count)]
        if self.config.answered:
            questions, expected = self.last_answers(self.config.answered)
            given = answers(self.language, self.encoder, questions, self.config.sample_tokens)
            same = sum(a.strip() == b.strip() for a, b in zip(given, expected, strict=True))
            scores.append(share("exact_match", same / len(expected)))
        return Report(scores)

    def hits(self, x: Tensor, labels: Tensor) -> int:
        """How many labels are the likeliest token; the logits exist a piece at a time."""
        vocab = self.model.config.vocab
        return sum(
            int((self.model.logits(some).argmax(-1) == targets).sum())
            for some, targets in zip(in_pieces(x, vocab), in_pieces(labels, vocab), strict=True)
        )

    def last_answers(self, count: int) -> tuple[list[list[Message]], list[str]]:
        """Validation conversations up to their last answer, and that answer."""
        questions, expected = [], []
        for number in range(min(count, len(self.validation.corpus.rows))):
            messages = self.validation.corpus.messages(number)
            last = max(at for at, message in enumerate(messages) if message["role"] == "assistant")
            questions.append(list(messages[:last]))
            expected.append(str(messages[last].get("content") or ""))
        return questions, expected

    def sample(self) -> list[tuple[str, str]]:
        """Questions with the model's answers, the likeliest token each time."""
        return sample_answers(self.language, self.encoder, self.config, lambda: self.last_answers(2)[0])

    def set_recompute(self) -> None:
        self.model.stack.recompute = True


def packed_rows(
    table: Table, rows: ConversationRows, encoder: ChatEncoder, longest: int, seed: int
) -> PackedRows[Conversations]:
    """The rows that a recipe asks for."""
    length = row_length(rows.length, longest)
    talks = Conversations(
        table, encoder, length=length, last_only=rows.answers == "last", drop_long=rows.too_long == "drop"
    )
    return PackedRows(talks, length, rows.tokens_per_batch, seed=seed, together=rows.packing == "documents")


def task_of(language: LanguageModel, encoder: ChatEncoder, held_out: Table, beginning: Beginning) -> ChatTask:
    """The task of a model with the conversations that it is watched on."""
    longest, seed = language.model.config.length, beginning.source.seed
    validation = packed_rows(held_out, beginning.rows, encoder, longest, seed)
    return ChatTask(language, encoder, validation, beginning.task)


def prepare(beginning: Beginning) -> Prepared:
    """Conversations, model and task of a recipe, and the lines of the report on them.

    The weights, tokenizer and template to begin with are those of model.start, if there is one.
    """
    rows, source = beginning.rows, beginning.source
    table, held_out = beginning.tables()
    language, encoder = obtain_model(beginning, "chat", texts_of(table.columns["messages"]))
    batches = packed_rows(table, rows, encoder, language.model.config.length, source.seed)
    task = task_of(language, encoder, held_out, beginning)
    watched = task.validation.corpus
    lines = [
        f"training data: {table.described}",
        *batches.corpus.report(batches, encoder.tokenizer.unk).lines(),
        f"validation: {held_out.name}, {len(watched.rows):,} conversations, "
        f"{int(watched.counted.sum()):,} tokens of answers",
    ]
    return prepared(beginning, task, batches, lines, language, encoder)
