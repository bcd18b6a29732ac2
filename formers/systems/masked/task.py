"""Pre-training of encoders, new ones or a checkpoint's: hidden words, next sentences, replaced tokens (ELECTRA).

rows with hidden words -> Encoder -> word head at the hidden places -> cross-entropy   (+ next sentence)
ELECTRA: the words that a generator draws there -> discriminator -> which tokens are replaced
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formers.data.segments import Sentences
from formers.data.sources import Table
from formers.decoding.log_probabilities import in_pieces
from formers.errors import CheckpointError, ConfigError
from formers.fields import Between, Count, check
from formers.models.encoder import Encoder
from formers.models.heads import HeadConfig, MaskedWords, Pretraining, ReplacedTokens
from formers.models.replaced import ReplacedPretraining, with_generator
from formers.pretrained.families import families
from formers.pretrained.load import load_model
from formers.systems.begin import Beginning, Prepared
from formers.systems.encoders import Begun, begin, recompute
from formers.systems.masked.data import MaskedBatch, MaskedBatches, MaskedRows
from formers.systems.masked.system import GENERATOR, MaskedModel, Words
from formers.systems.system import Report, cost, perplexity, share
from formers.text.frame import frame_of, ordinary_tokens
from formers.text.reader import Reader
from formers.training.task import Loss

SHOWN = 3  # texts of the validation data that are sampled where the recipe names none


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """What is learned, and how it is judged."""

    objective: Literal["masked", "replaced"] = "masked"
    """masked: say the hidden words (BERT); replaced: find those that a small generator has put there (ELECTRA)."""
    generator: Annotated[float, Between(above=0, most=1)] = 0.25
    """Size of ELECTRA's generator: its share of the heads and of the feed-forward."""
    discriminator_weight: Annotated[float, Between(0)] = 50.0
    """How much ELECTRA's second loss counts beside the generator's."""
    evaluated: Count = 0
    """Rows of the validation text read at each evaluation, spread evenly over it (0: all)."""
    samples: tuple[str, ...] = ()
    """Texts with [MASK] to fill now and then while training; empty: rows of the validation text."""

    def __post_init__(self) -> None:
        check(self, "task")
        if bare := next((text for text in self.samples if "[MASK]" not in text and "<mask>" not in text), None):
            raise ConfigError(f'task.samples: "{bare}" has no [MASK] to fill')


class MaskedTask:
    """What the trainer sees of BERT's pre-training: cross-entropy of the hidden words, and of the next sentence.

    The loss is a sum over hidden words; the mean of the next-sentence loss is added to their mean, as in BERT.
    """

    def __init__(self, masked: MaskedModel, validation: MaskedBatches, config: MaskedConfig) -> None:
        self.masked, self.validation, self.config = masked, validation, config
        self.model: Words = masked.words
        self.save = masked.save

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
    def evaluate(self) -> Report:
        """See `judge`."""
        return judge(self.model, self.validation, self.config.evaluated)

    def sample(self) -> list[tuple[str, str]]:
        """Texts with masks, filled with the likeliest words."""
        return filled(self.masked, self.validation, self.config.samples)

    set_recompute = recompute


class ReplacedTask:
    """ELECTRA's pre-training: the generator's cross-entropy, and the discriminator's over all tokens, weighted."""

    def __init__(self, masked: MaskedModel, validation: MaskedBatches, config: MaskedConfig) -> None:
        assert isinstance(masked.model, ReplacedTokens) and masked.generator is not None
        self.masked, self.validation, self.config = masked, validation, config
        self.model = ReplacedPretraining(masked.generator, masked.model)
        self.save = masked.save

    def loss(self, batch: MaskedBatch) -> Loss:
        """The generator draws the words with torch's global dice, which the trainer throws anew at every step."""
        batch = batch.to(self.masked.device)
        generator, count = self.model.generator, batch.labels.numel()
        x = generator.words(read(generator, batch)[0])
        total = generator.output.cross_entropy(x, batch.labels)
        logits, replaced = self.discriminate(batch, x)
        detection = F.binary_cross_entropy_with_logits(logits, replaced.float()) * count
        parts = {"masked": total.detach(), "replaced": detection.detach(), "tokens": real_tokens(batch)}
        return Loss(total + self.config.discriminator_weight * detection, count, parts)

    def discriminate(self, batch: MaskedBatch, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of every real token: the discriminator's logit, and whether it is replaced by what the generator draws."""
        generator = self.model.generator
        with torch.no_grad():
            draws = [
                torch.multinomial(generator.logits(part).float().softmax(-1), 1).squeeze(1)
                for part in in_pieces(x, generator.config.vocab)
            ]
            original = batch.original()
            tokens = original.masked_scatter(batch.hidden, torch.cat(draws))
        logits = self.model.discriminator(tokens, segments=batch.segments, keep=batch.keep).float()
        real = slice(None) if batch.keep is None else batch.keep
        return logits[real].flatten(), (tokens != original)[real].flatten()

    @torch.no_grad()
    def evaluate(self) -> Report:
        """Of the generator as `judge`; of the discriminator its loss and which share of the tokens it judges rightly,
        of those that are replaced it finds, and of those that it suspects are replaced. loss: as in training."""
        _, *scores = judge(self.model.generator, self.validation, self.config.evaluated).scores
        loss = right = total = detected = replaced = suspected = 0.0
        for rows in self.validation.spread(self.config.evaluated):
            batch = self.validation.collate(rows).to(self.masked.device)
            x, _ = read(self.model.generator, batch)
            logits, truth = self.discriminate(batch, self.model.generator.words(x))
            guess = logits > 0
            loss += F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="sum").item()
            right, total = right + (guess == truth).sum().item(), total + len(logits)
            detected, replaced = detected + (guess & truth).sum().item(), replaced + truth.sum().item()
            suspected += guess.sum().item()
        return Report(
            [
                cost("loss", scores[0].value + self.config.discriminator_weight * loss / total),
                *scores,
                cost("replaced_loss", loss / total),
                share("replaced_accuracy", right / total),
                share("replaced_share", replaced / total),
                share("recall", detected / max(1.0, replaced)),
                share("precision", detected / max(1.0, suspected)),
            ]
        )

    def sample(self) -> list[tuple[str, str]]:
        """Texts with masks, filled with the generator's likeliest words."""
        reading = MaskedModel(self.model.generator, self.masked.tokenizer)
        return filled(reading, self.validation, self.config.samples)

    def set_recompute(self) -> None:
        for part in (self.model.generator, self.model.discriminator):
            part.encoder.stack.recompute = True


def read(model: Words, batch: MaskedBatch) -> tuple[Tensor, Tensor | None]:
    """Hidden states where words are hidden, and the next-sentence logits where the model and the batch have them."""
    x = model.encoder(batch.tokens, segments=batch.segments, keep=batch.keep)
    pooled = None
    if isinstance(model, Pretraining) and batch.follows is not None:
        pooled = model.next(model.encoder.pool(x, batch.keep))
    return x[batch.hidden], pooled


def real_tokens(batch: MaskedBatch) -> int | Tensor:
    return batch.tokens.numel() if batch.keep is None else batch.keep.sum()


@torch.no_grad()
def judge(model: Words, batches: MaskedBatches, most: int = 0) -> Report:
    """Of about `most` rows (0: all), the same words hidden every time: the loss of a hidden word, its perplexity, the
    share of them whose likeliest word is right; with pairs also the loss and the share of right next sentences.
    loss: the sum of the two losses."""
    device, vocab = model.encoder.embedding.weight.device, model.config.vocab
    total = count = right = following = pairs = judged = 0.0
    for rows in batches.spread(most):
        batch = batches.collate(rows).to(device)
        x, pooled = read(model, batch)
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
    words = [cost("masked_loss", mean), perplexity(mean), share("masked_accuracy", right / max(1.0, count))]
    pair = [cost("next_loss", following / pairs), share("next_accuracy", judged / pairs)] if pairs else []
    return Report([cost("loss", mean + sum(score.value for score in pair[:1])), *words, *pair])


def filled(masked: MaskedModel, batches: MaskedBatches, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """(text with masks, the same with the likeliest word in each)."""
    mask, decode = masked.mask_text, masked.reader.tokenizer.decode
    if not texts:
        rows = (batches.collate([row]) for spread in batches.spread(SHOWN) for row in spread)
        decoded = (decode(visible(batch), skip_special=False) for batch in rows)
        texts = tuple(text for text in decoded if mask in text)
    pairs = []
    for text in texts:
        answer = masked.with_mask(text)
        for words in masked.fill(text, top=1):
            answer = answer.replace(mask, words[0].word.removeprefix("##"), 1)
        pairs.append((text, answer))
    return pairs


def visible(batch: MaskedBatch) -> list[int]:
    """A row's first segment in the middle of its special tokens, masks included; short enough to read again."""
    real = batch.hidden.new_ones(batch.tokens.shape[1]) if batch.keep is None else batch.keep[0]
    ids = batch.tokens[0][real][1:-1].tolist()
    first = len(ids) if batch.segments is None else int((batch.segments[0][real] == 0).sum()) - 2
    return ids[: max(1, min(first, (len(ids) + 2) // 2))]


def prepare(beginning: Beginning) -> Prepared:
    """Text, tokenizer, model and task of a recipe, and the lines of the report on them.

    Where a checkpoint to go on from lacks a head, it is made anew, and the report says so.
    """
    rows, config, source, start = beginning.rows, beginning.task, beginning.source, beginning.start
    replaced = config.objective == "replaced"
    if replaced and rows.next_sentence:
        raise ConfigError('task.objective "replaced" has no next sentences: set rows.next_sentence = false')
    table, held_out = beginning.tables()
    begun = begin(beginning, table.columns[rows.column], pooler=rows.next_sentence, lowercase=rows.lowercase)
    reader = begun.reader(rows.length)
    masked, notes = replaced_of(begun, config, start) if replaced else masked_of(begun, rows.next_sentence, start)
    batches, validation = (batches_of(part, rows, reader, source.seed) for part in (table, held_out))
    lines = [
        f"training data: {table.described}",
        *batches.report().lines(),
        f"validation: {held_out.name}, {len(validation.sentences):,} documents, "
        f"{len(validation.plan(0).places):,} rows, unknown {validation.sentences.unknown:.3%}",
        *notes,
    ]
    task = (ReplacedTask if replaced else MaskedTask)(masked, validation, config)
    return beginning.prepared(task, batches, lines, reader.tokenizer)


def batches_of(table: Table, rows: MaskedRows, reader: Reader, seed: int) -> MaskedBatches:
    """The batches of a text as a reader's model takes them. Raises ConfigError for a tokenizer without a mask token."""
    if reader.mask is None:
        raise ConfigError(
            "the tokenizer has no mask token (mask_token in tokenizer_config.json), so no word can be "
            "hidden; start from an encoder, or let word pieces be trained (rows.tokenizer empty)"
        )
    reader.rules.no_truncation()
    specials = (reader.pad, reader.mask, reader.first, reader.separator, reader.tokenizer.unk)
    return MaskedBatches(
        Sentences(table, rows.column, reader.rules, reader.tokenizer.unk),
        rows,
        frame_of(reader.rules),
        rows.masking(reader.mask, ordinary_tokens(reader.rules, specials)),
        reader.length,
        pad=reader.pad,
        segments=reader.segments,
        seed=seed,
    )


def masked_of(begun: Begun, pairs: bool, start: Path | None) -> tuple[MaskedModel, list[str]]:
    """The model to train, on the encoder that training begins with, and what has to be said of its heads."""
    config, device = begun.encoder.config, begun.encoder.embedding.weight.device
    model: Words = (Pretraining if pairs else MaskedWords)(HeadConfig(encoder=config)).to(device)
    notes = carry(model, begun.model, ("words", "next"))
    model.encoder = begun.encoder
    return MaskedModel(model, begun.tokenizer, family=writable(model, begun, start)), notes


def replaced_of(begun: Begun, config: MaskedConfig, start: Path | None) -> tuple[MaskedModel, list[str]]:
    """A discriminator on the encoder, and its generator: the one saved beside it, else a new one."""
    device = begun.encoder.embedding.weight.device
    model = ReplacedTokens(HeadConfig(encoder=begun.encoder.config)).to(device)
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
        generator = loaded.to(device)
    return MaskedModel(model, begun.tokenizer, family=writable(model, begun, start), generator=generator), notes


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


def writable(model: nn.Module, begun: Begun, start: Path | None) -> str | None:
    """The family to save as: the checkpoint's own where it has a place for this head, else whatever fits."""
    fits = start is not None and any(family.model is type(model) for family in families(begun.family))
    return begun.family if fits else None
