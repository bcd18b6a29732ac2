"""Pre-training of encoders, new ones or a checkpoint's: hidden words, next sentences, replaced tokens (ELECTRA).

rows with hidden words -> Encoder -> word head at the hidden places -> cross-entropy   (+ next sentence)
ELECTRA: the words that a generator draws there -> discriminator -> which tokens are replaced
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formers.data.masked import MaskedBatch, MaskedData, MaskedRows
from formers.data.masking import frame_of, ordinary_tokens
from formers.data.segments import Sentences
from formers.decoding.log_probabilities import in_pieces
from formers.errors import CheckpointError, ConfigError
from formers.models.encoder import Encoder
from formers.models.heads import HeadConfig, MaskedWords, Pretraining, ReplacedTokens
from formers.models.replaced import ReplacedPretraining, with_generator
from formers.pretrained.families import families
from formers.pretrained.files import write_folder
from formers.pretrained.load import load_model
from formers.systems.encoders import Begun, begin
from formers.systems.masked import GENERATOR, MaskedModel, Words
from formers.systems.report import memory_line, parameters_of
from formers.text.reader import Reader
from formers.text.training import train_word_pieces
from formers.training.task import Loss

OBJECTIVES = ("masked", "replaced")
SHOWN = 3  # texts of the validation data that are sampled where the recipe names none


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """What is learned, and how it is judged."""

    objective: str = "masked"
    """masked: say the hidden words (BERT); replaced: find those that a small generator has put there (ELECTRA)."""
    generator: float = 0.25
    """Size of ELECTRA's generator: its share of the heads and of the feed-forward."""
    discriminator_weight: float = 50.0
    """How much ELECTRA's second loss counts beside the generator's."""
    evaluated: int = 0
    """Rows of the validation text read at each evaluation, spread evenly over it (0: all)."""
    samples: tuple[str, ...] = ()
    """Texts with [MASK] to fill now and then while training; empty: rows of the validation text."""

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(f'task.objective "{self.objective}" is not known; known: {", ".join(OBJECTIVES)}')
        if not 0 < self.generator <= 1:
            raise ConfigError(f"task.generator ({self.generator}) must be above 0 and at most 1")
        if self.discriminator_weight < 0 or self.evaluated < 0:
            raise ConfigError(
                f"task.discriminator_weight ({self.discriminator_weight}) and task.evaluated "
                f"({self.evaluated}) must be 0 or more"
            )
        if bare := next((text for text in self.samples if "[MASK]" not in text and "<mask>" not in text), None):
            raise ConfigError(f'task.samples: "{bare}" has no [MASK] to fill')


class MaskedTask:
    """What the trainer sees of BERT's pre-training: cross-entropy of the hidden words, and of the next sentence.

    The loss is a sum over hidden words; the mean of the next-sentence loss is added to their mean, as in BERT.
    """

    def __init__(self, masked: MaskedModel, validation: MaskedRows, config: MaskedConfig) -> None:
        self.masked, self.validation, self.config = masked, validation, config
        self.model: Words = masked.words

    def loss(self, batch: MaskedBatch) -> Loss:
        """Logits exist for the hidden words only, and never all at once."""
        batch = batch.to(self.masked.device)
        x, pooled = read(self.model, batch)
        model, count = self.model, batch.labels.numel()
        total = model.output.cross_entropy(model.words(x), batch.labels)
        parts: dict[str, Any] = {"masked": total.detach(), "tokens": real_tokens(batch)}
        if pooled is not None:
            assert batch.follows is not None
            following = F.cross_entropy(pooled.float(), batch.follows) * count
            parts["next"] = following.detach()
            total = total + following
        return Loss(total, count, parts)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """See `judge`."""
        return judge(self.model, self.validation, self.config.evaluated)

    def sample(self) -> list[tuple[str, str]]:
        """Texts with masks, filled with the likeliest words."""
        return filled(self.masked, self.validation, self.config.samples)

    def save(self, folder: Path) -> None:
        self.masked.save(folder)

    def set_recompute(self) -> None:
        self.model.encoder.stack.recompute = True


class ReplacedTask:
    """ELECTRA's pre-training: the generator's cross-entropy, and the discriminator's over all tokens, weighted."""

    def __init__(self, masked: MaskedModel, validation: MaskedRows, config: MaskedConfig) -> None:
        assert isinstance(masked.model, ReplacedTokens) and masked.generator is not None
        self.masked, self.validation, self.config = masked, validation, config
        self.model = ReplacedPretraining(masked.generator, masked.model)

    def loss(self, batch: MaskedBatch) -> Loss:
        """The generator draws the words with torch's global dice, which the trainer throws anew at every step."""
        batch = batch.to(self.masked.device)
        generator, count = self.model.generator, batch.labels.numel()
        x, _ = read(generator, batch)
        x = generator.words(x)
        total = generator.output.cross_entropy(x, batch.labels)
        logits, replaced, real = self.found(batch, x)
        each = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="sum")
        finding = each / real * count
        parts = {"masked": total.detach(), "replaced": finding.detach(), "tokens": real_tokens(batch)}
        return Loss(total + self.config.discriminator_weight * finding, count, parts)

    def found(self, batch: MaskedBatch, x: Tensor) -> tuple[Tensor, Tensor, int]:
        """Of every real token: the discriminator's logit, and whether it is replaced; and how many there are."""
        generator = self.model.generator
        with torch.no_grad():
            drawn = [
                torch.multinomial(generator.logits(part).float().softmax(-1), 1).squeeze(1)
                for part in in_pieces(x, generator.config.vocab)
            ]
            tokens = batch.original()
            before = tokens.clone()
            tokens[batch.chosen] = torch.cat(drawn)
        logits = self.model.discriminator(tokens, segments=batch.segments, keep=batch.keep).float()
        replaced = tokens != before
        if batch.keep is not None:
            logits, replaced = logits[batch.keep], replaced[batch.keep]
        return logits.flatten(), replaced.flatten(), logits.numel()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Of the generator as `judge`; of the discriminator its loss and which share of the tokens it judges rightly,
        of those that are replaced it finds, and of those that it suspects are replaced. loss: as in training."""
        scores = judge(self.model.generator, self.validation, self.config.evaluated)
        loss = right = total = found = replaced = suspected = 0.0
        for rows in self.validation.spread(self.config.evaluated):
            batch = self.validation.collate(rows).to(self.masked.device)
            x, _ = read(self.model.generator, batch)
            logits, truth, real = self.found(batch, self.model.generator.words(x))
            guess = logits > 0
            loss += F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="sum").item()
            right, total = right + (guess == truth).sum().item(), total + real
            found, replaced = found + (guess & truth).sum().item(), replaced + truth.sum().item()
            suspected += guess.sum().item()
        scores["loss"] = scores["masked_loss"] + self.config.discriminator_weight * loss / total
        return {
            **scores,
            "replaced_loss": loss / total,
            "replaced_accuracy": 100 * right / total,
            "replaced_share": 100 * replaced / total,
            "recall": 100 * found / max(1.0, replaced),
            "precision": 100 * found / max(1.0, suspected),
        }

    def sample(self) -> list[tuple[str, str]]:
        """Texts with masks, filled with the generator's likeliest words."""
        reading = MaskedModel(self.model.generator, self.masked.tokenizer)
        return filled(reading, self.validation, self.config.samples)

    def save(self, folder: Path) -> None:
        self.masked.save(folder)

    def set_recompute(self) -> None:
        for part in (self.model.generator, self.model.discriminator):
            part.encoder.stack.recompute = True


def read(model: Words, batch: MaskedBatch) -> tuple[Tensor, Tensor | None]:
    """Hidden states where words are hidden, and the next-sentence logits where the model and the batch have them."""
    x = model.encoder(batch.tokens, segments=batch.segments, keep=batch.keep)
    pooled = None
    if isinstance(model, Pretraining) and batch.follows is not None:
        pooled = model.next(model.encoder.pool(x, batch.keep))
    return x[batch.chosen], pooled


def real_tokens(batch: MaskedBatch) -> int | Tensor:
    return batch.tokens.numel() if batch.keep is None else batch.keep.sum()


@torch.no_grad()
def judge(model: Words, rows: MaskedRows, most: int = 0) -> dict[str, float]:
    """Of about `most` rows (0: all), the same words hidden every time: the loss of a hidden word in nats, its
    exponential (perplexity), the share of them whose likeliest word is right, in per cent; with pairs also the loss and
    the share of right next sentences. loss: the sum of the two losses."""
    device = model.encoder.embedding.weight.device
    total = count = right = following = pairs = judged = 0.0
    for chosen in rows.spread(most):
        batch = rows.collate(chosen).to(device)
        x, pooled = read(model, batch)
        vocab = model.config.vocab
        for part, goal in zip(in_pieces(model.words(x), vocab), in_pieces(batch.labels, vocab), strict=True):
            logits = model.logits(part).float()
            total += F.cross_entropy(logits, goal, reduction="sum").item()
            right += (logits.argmax(-1) == goal).sum().item()
        count += batch.labels.numel()
        if pooled is not None:
            assert batch.follows is not None
            following += F.cross_entropy(pooled.float(), batch.follows, reduction="sum").item()
            judged += (pooled.argmax(-1) == batch.follows).sum().item()
            pairs += len(batch.follows)
    mean = total / max(1.0, count)
    scores = {
        "loss": mean,
        "masked_loss": mean,
        "perplexity": math.exp(min(50.0, mean)),
        "masked_accuracy": 100 * right / max(1.0, count),
    }
    if pairs:
        scores["loss"] += following / pairs
        scores |= {"next_loss": following / pairs, "next_accuracy": 100 * judged / pairs}
    return scores


def filled(masked: MaskedModel, rows: MaskedRows, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """(text with masks, the same with the likeliest word in each)."""
    mask = masked.mask_text
    if not texts:
        several = [rows.collate([row]) for each in rows.spread(SHOWN) for row in each]
        texts = tuple(
            masked.reader.tokenizer.decode(visible(batch, masked.mask), skip_special=False) for batch in several
        )
        texts = tuple(text for text in texts if mask in text)
    found = []
    for text in texts:
        done = masked.with_mask(text)
        for words in masked.fill(text, top=1):
            done = done.replace(mask, words[0].word.removeprefix("##"), 1)
        found.append((text, done))
    return found


def visible(batch: MaskedBatch, mask: int) -> list[int]:
    """A row's first segment in the middle of its special tokens, masks included; short enough to read again."""
    real = batch.chosen.new_ones(batch.tokens.shape[1]) if batch.keep is None else batch.keep[0]
    ids = batch.tokens[0][real][1:-1].tolist()
    first = len(ids) if batch.segments is None else int((batch.segments[0][real] == 0).sum()) - 2
    return ids[: max(1, min(first, (len(ids) + 2) // 2))]


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[MaskedTask | ReplacedTask, MaskedRows, list[str]]:
    """Text, tokenizer, model and task of a recipe, and the lines of the report on them.

    start: a model folder to go on from; a head that it lacks is made anew, and the report says so.
    """
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    if config.objective == "replaced" and data.next_sentence:
        raise ConfigError('task.objective "replaced" has no next sentences: set data.next_sentence = false')
    torch.manual_seed(train.seed)
    table, held_out = data.tables()
    if start is None and not data.tokenizer and not (folder / "tokenizer").is_dir():
        made = train_word_pieces(table.columns[data.column], data.vocab, lowercase=data.lowercase)
        write_folder(folder / "tokenizer", made.files())
    begun = begin(sizes, data, table.columns[data.column], folder, start, pooler=data.next_sentence)
    reader = begun.reader(data.length)
    masked, notes = model_of(begun, config, data, start)
    rows = rows_of(Sentences(table, data.column, reader.rules, reader.tokenizer.unk), data, reader)
    heard = rows_of(Sentences(held_out, data.column, reader.rules, reader.tokenizer.unk), data, reader)
    task: MaskedTask | ReplacedTask = (ReplacedTask if config.objective == "replaced" else MaskedTask)(
        masked, heard, config
    )
    return (
        task,
        rows,
        [
            f"training data: {table.name}",
            *rows.report().lines(),
            f"validation: {held_out.name}, {len(heard.sentences):,} documents, {len(heard.plan(0).places):,} rows, "
            f"unknown {heard.sentences.unknown:.3%}",
            f"vocabulary: {reader.tokenizer.vocab:,} tokens; model: {parameters_of(task.model):,} parameters",
            *notes,
            memory_line(task.model, train, data.tokens_per_batch, len(rows.epoch(0))),
        ],
    )


def rows_of(sentences: Sentences, data: MaskedData, reader: Reader) -> MaskedRows:
    """The rows of a text as a reader's model takes them. Raises ConfigError where the tokenizer has no mask token."""
    if reader.mask is None:
        raise ConfigError(
            "the tokenizer has no mask token (mask_token in tokenizer_config.json), so no word can be "
            "hidden; start from an encoder, or let word pieces be trained (data.tokenizer empty)"
        )
    specials = (reader.pad, reader.mask, reader.first, reader.separator, reader.tokenizer.unk)
    reader.rules.no_truncation()
    masking = data.masking(reader.mask, ordinary_tokens(reader.rules, specials))
    return MaskedRows(
        sentences, data, frame_of(reader.rules), masking, reader.length, pad=reader.pad, segments=reader.segments
    )


def model_of(begun: Begun, config: MaskedConfig, data: MaskedData, start: Path | None) -> tuple[MaskedModel, list[str]]:
    """The model to train, on the encoder that training begins with, and what has to be said of its heads."""
    family = None if start is None else begun.family
    if config.objective == "replaced":
        return replaced_of(begun, config, start)
    kind = Pretraining if data.next_sentence else MaskedWords
    model: Words = kind(HeadConfig(encoder=begun.encoder.config)).to(begun.encoder.embedding.weight.device)
    notes = carry(model, begun.model, ("words", "next"))
    model.encoder = begun.encoder
    return MaskedModel(model, begun.tokenizer, family=writable(model, family)), notes


def replaced_of(begun: Begun, config: MaskedConfig, start: Path | None) -> tuple[MaskedModel, list[str]]:
    """A discriminator on the encoder, and its generator: the one saved beside it, else a new one."""
    model = ReplacedTokens(HeadConfig(encoder=begun.encoder.config)).to(begun.encoder.embedding.weight.device)
    notes = carry(model, begun.model, ("dense", "out"))
    model.encoder = begun.encoder
    place = None if start is None else start / GENERATOR
    if place is None or not place.is_dir():
        generator = with_generator(model, config.generator).generator
        notes += ["generator: a new one"] if start is not None else []
    else:
        loaded = load_model(place).model
        if not isinstance(loaded, MaskedWords):
            raise CheckpointError(f"{place} is a {type(loaded).__name__}, expected a generator (masked words)")
        generator = loaded.to(begun.encoder.embedding.weight.device)
    return MaskedModel(
        model, begun.tokenizer, family=writable(model, None if start is None else begun.family), generator=generator
    ), notes


def carry(model: nn.Module, before: nn.Module | None, heads: tuple[str, ...]) -> list[str]:
    """Take over the heads that a checkpoint's model has, too; gives what is new and what is left out."""
    if before is None:
        return []
    ours = dict(model.named_children())
    theirs = {} if isinstance(before, Encoder) else dict(before.named_children())
    wanted = [name for name in heads if name in ours]
    taken = [
        name for name in wanted if type(theirs.get(name)) is type(ours[name]) and (name != "out" or "dense" in theirs)
    ]
    for name in taken:
        ours[name].load_state_dict(theirs[name].state_dict())
    new = [name for name in wanted if name not in taken]
    lost = [name for name in theirs if name not in ("encoder", "activation") and name not in taken]
    kind = type(before).__name__
    return ([f"heads: {', '.join(new)} made anew, as the checkpoint ({kind}) has none"] if new else []) + (
        [f"heads: {', '.join(lost)} of the checkpoint ({kind}) left out"] if lost else []
    )


def writable(model: nn.Module, family: str | None) -> str | None:
    """The family to save as: the checkpoint's own where it has a place for this head, else whatever fits."""
    return family if family is not None and any(each.model is type(model) for each in families(family)) else None
