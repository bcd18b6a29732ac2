"""The tokens of a speech model's text: languages, tasks, times, what is no speech; and the words that tokens make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from formers.errors import CheckpointError, ConfigError, nearest
from formers.text.rule_tokenizer import RuleTokenizer
from formers.text.tokenizer import Tokenizer
from formers.text.training import BYTES, cut_words

SPECIAL = "endoftext startoftranscript en translate transcribe startoflm startofprev nospeech notimestamps".split()

LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
NOT_SPACED = {"zh", "ja", "th", "lo", "my", "yue"}  # languages whose words have no blanks between them
HALF = "\ufffd"  # what some of a character's bytes are decoded to
# marks that are written in transcripts of what nobody says; alone and after a blank
NO_SPEECH = [
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *"<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }}".split(),
]
NO_SPEECH += ["♪♪", "♪♪♪"]
MUSIC = "♩♪♫♬♭♮♯"
AHEAD, BEHIND = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # punctuation that belongs to the word behind it, before it


@dataclass(frozen=True)
class SpeechTokens:
    """The special tokens of a vocabulary; `begin` and all behind it are times, 20 milliseconds each."""

    tokenizer: RuleTokenizer
    start: int
    end: int
    previous: int
    """Before what was said before."""
    no_speech: int
    no_timestamps: int
    languages: dict[str, int] = field(default_factory=dict)
    """Code -> its token; empty: the model knows English only."""
    tasks: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tokenizer: Tokenizer | None, vocab: int) -> SpeechTokens:
        """vocab: rows of the model. Raises CheckpointError where the tokenizer is none of a speech model."""
        if not isinstance(tokenizer, RuleTokenizer):
            raise CheckpointError("a speech model needs its tokenizer.json, or vocab.json and merges.txt, beside it")
        names = {token.content: number for number, token in tokenizer.rules.get_added_tokens_decoder().items()}

        def number(*spellings: str) -> int:
            if (known := next((names[f"<|{name}|>"] for name in spellings if f"<|{name}|>" in names), None)) is None:
                raise CheckpointError(f"the tokenizer has no <|{spellings[0]}|>, so it is none of a speech model")
            return known

        start, silent = number("startoftranscript"), number("notimestamps")
        codes = {match[1]: id for name, id in names.items() if (match := LANGUAGE.fullmatch(name))}
        several = vocab > 51864 or (vocab < 51864 and len(codes) > 1)  # English models have the tokens, but no use
        return cls(
            tokenizer,
            start,
            number("endoftext"),
            number("startofprev"),
            number("nospeech", "nocaptions"),
            silent,
            dict(sorted(codes.items(), key=lambda pair: pair[1])) if several else {},
            {task: number(task) for task in ("transcribe", "translate")} if several else {},
        )

    @property
    def begin(self) -> int:
        """The token of 0 seconds."""
        return self.no_timestamps + 1

    def opening(self, language: str, task: str, *, timestamps: bool) -> list[int]:
        """What a text begins with. Raises ConfigError for a language or a task that the model does not know."""
        silent = [] if timestamps else [self.no_timestamps]
        if not self.languages:
            if language not in ("", "en") or task != "transcribe":
                asked = task if task != "transcribe" else f'language "{language}"'
                raise ConfigError(f"this model knows English only, got {asked}; take a multilingual one")
            return [self.start, *silent]
        return [self.start, self.languages[self.named(language)], self.tasks[task], *silent]

    def named(self, language: str) -> str:
        """Raises ConfigError for a language that is none of the model's."""
        if language and self.languages and language not in self.languages:
            known = f"{len(self.languages)} codes: {', '.join([*self.languages][:6])} ..."
            raise ConfigError(f'there is no language "{language}"{nearest(language, self.languages)}; known: {known}')
        return language

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.rules.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, blanks before it too; special tokens and times say nothing."""
        return str(
            self.tokenizer.rules.decode([token for token in tokens if token < self.end], skip_special_tokens=False)
        )

    @property
    def special(self) -> set[int]:
        """Tokens that are never written; the end of a text and times are."""
        return {self.start, self.previous, self.no_speech, *self.tasks.values(), *self.languages.values()}

    def marks(self) -> set[int]:
        """Tokens that transcripts seldom need: marks of what nobody says."""
        marks = {self.encode(" -")[0], self.encode(" '")[0]}
        for mark in [*NO_SPEECH, *MUSIC]:
            for tokens in (self.encode(mark), self.encode(f" {mark}")):
                if len(tokens) == 1 or mark in MUSIC:
                    marks.add(tokens[0])
        return marks

    def words(self, tokens: Sequence[int], language: str) -> list[list[int]]:
        """Text tokens as words, each with the blank before it and what is written together with it."""
        characters: list[list[int]] = [[]]
        for token in tokens:
            characters[-1].append(token)
            if HALF not in self.decode(characters[-1]):
                characters.append([])
        if not characters[-1]:
            characters.pop()
        if language in NOT_SPACED:
            return characters
        words: list[list[int]] = []
        for piece in characters:
            text = self.decode(piece)
            if not words or text.startswith(" ") or text.strip() in {*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}:
                words.append([])
            words[-1] += piece
        return words


def train_speech_tokens(texts: Iterable[str], vocab: int, positions: int) -> RuleTokenizer:
    """Byte-level pairs of an English model: at most `vocab` tokens of text, then the special ones, then the times of a
    window of so many positions. Raises ConfigError when `vocab` has no room for the 256 bytes.
    """
    if vocab < BYTES:
        raise ConfigError(f"vocab ({vocab}) must be at least {BYTES}, one for each byte")
    rules = tokenizers.Tokenizer(models.BPE())
    rules.pre_tokenizer, rules.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab, min_frequency=2, show_progress=False, initial_alphabet=alphabet)
    rules.train_from_iterator(cut_words(f" {text.strip()}" for text in texts), trainer)
    rules.add_special_tokens([f"<|{name}|>" for name in SPECIAL])
    rules.add_special_tokens([f"<|{0.02 * i:.2f}|>" for i in range(positions + 1)])
    return RuleTokenizer(rules, {f"{kind}_token": "<|endoftext|>" for kind in ("bos", "eos", "pad", "unk")})
