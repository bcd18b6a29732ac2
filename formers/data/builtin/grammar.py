"""What a phrasebook sentence means, in no language yet: the lexicon, noun phrases and clauses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

# Words hash by identity (eq=False): each exists once, and phrases made of them are cached by the thousand.


@dataclass(frozen=True, eq=False, kw_only=True)
class Adjective:
    """A property, with the kinds of nouns that can have it."""

    english: str
    german: str
    kinds: list[str]
    stem: str = ""
    passing: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Noun:
    """A thing or person; without a plural it is a mass ("milk") or somebody's one and only ("my mother")."""

    english: str
    german: str
    gender: str
    kind: str
    adjectives: tuple[Adjective, ...] = ()
    english_plural: str = ""
    plural: str = ""
    weak: str = ""
    own: str = ""
    at: str = ""
    to: str = ""
    english_at: str = "in"


@dataclass(frozen=True, eq=False, kw_only=True)
class Landmark:
    """A place without an article: the phrases for being there and for going there, (English, German)."""

    english: str
    kind: str
    at: list[str]
    to: list[str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pronoun:
    """Somebody known: (nominative, oblique) in English, (nominative, accusative, dative) in German."""

    english: list[str]
    german: list[str]
    person: int  # 1 ich, 2 du, 3 er/sie/es, 4 wir, 5 ihr, 6 sie
    weight: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class LexicalVerb:
    """What happens: the forms that no rule gives, and the nouns that it takes."""

    english: str
    german: str
    perfect: str
    third: str = ""
    past: str = ""
    participle: str = ""
    ing: str = ""
    particle: str = ""
    prefix: str = ""
    du: str = ""
    er: str = ""
    present: tuple[str, ...] = ()
    preterite: tuple[str, ...] = ()
    auxiliary: str = "haben"
    case: str = "accusative"
    subjects: tuple[Noun, ...] = ()
    objects: tuple[Noun, ...] = ()
    recipients: tuple[Noun, ...] = ()
    places: tuple[Noun | Landmark, ...] = ()
    goals: tuple[Noun | Landmark, ...] = ()
    stative: bool = False
    timeless: bool = False
    modal: bool = True
    settled: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Modal:
    """Can, must, want ...: its six German forms, other ones where the negation changes the verb."""

    english: str
    present: list[str]
    negative: list[str] | None = None
    third: str = ""
    infinitive: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Adverb:
    """A time or a frequency, with the English forms it goes with."""

    english: str
    german: str
    tenses: tuple[str, ...] = ("present", "past")
    negative: bool = True


class Phrase(NamedTuple):
    """A noun with its company: determiner ("" for none), adjective, number."""

    noun: Noun
    determiner: str
    adjective: Adjective | None
    plural: bool

    @property
    def person(self) -> int:
        """Which of the six verb forms it takes."""
        return 6 if self.plural else 3

    @property
    def definite(self) -> bool:
        """Whether it is a known one; German puts known things early and new ones late."""
        return self.determiner not in ("", "a")


class Clause(NamedTuple):
    """Who does what to whom, when and where; `asked` is "" or whether, who, what, where, when, why."""

    verb: LexicalVerb
    subject: Pronoun | Phrase
    tense: str  # present, progressive, past, perfect or modal: the English forms (German has three)
    modal: Modal | None = None
    negative: bool = False
    object: Pronoun | Phrase | None = None
    recipient: Pronoun | Phrase | None = None
    place: Phrase | Landmark | None = None
    goal: Phrase | Landmark | None = None
    quality: Adjective | None = None
    time: Adverb | None = None
    frequency: Adverb | None = None
    asked: str = ""
    fronted: bool = False


class Sentence(NamedTuple):
    """A clause, perhaps somebody's opinion (holder, verb), with or without its full stop."""

    clause: Clause
    holder: Pronoun | None = None
    opinion: Modal | None = None
    stop: bool = True


WHO = Pronoun(english=["who", "who"], german=["wer", "wen", "wem"], person=3)
WHAT = Pronoun(english=["what", "what"], german=["was", "was", "was"], person=3)
IT = Pronoun(english=["it", "it"], german=["es", "es", "ihm"], person=3)


class Lexicon:
    """Every word of `phrasebook.toml`."""

    def __init__(self, text: str):
        entries = tomllib.loads(text)
        self.pronouns = tuple(Pronoun(**entry) for entry in entries["pronouns"])
        self.names = tuple(Pronoun(english=[n, n], german=[n, n, n], person=3) for n in entries["names"])
        self.adjectives = tuple(Adjective(**entry) for entry in entries["adjectives"])
        self.nouns = tuple(
            Noun(**entry, kind=kind, adjectives=self._fitting(entry["english"], kind))
            for kind, group in entries["nouns"].items()
            for entry in group
        )
        self.landmarks = tuple(Landmark(english=e, **entry) for e, entry in entries["landmarks"].items())
        self.modals = tuple(Modal(**entry) for entry in entries["modals"])
        self.opinions = tuple(Modal(**entry) for entry in entries["opinions"])
        self.times = tuple(Adverb(**entry) for entry in entries["times"])
        self.frequencies = tuple(Adverb(**entry) for entry in entries["frequencies"])
        self.verbs = tuple(LexicalVerb(**self._with_nouns(entry)) for entry in entries["verbs"])

    def _fitting(self, noun: str, kind: str) -> tuple[Adjective, ...]:
        return tuple(a for a in self.adjectives if noun in a.kinds or kind in a.kinds)

    def _with_nouns(self, entry: dict) -> dict:
        """A verb's entry with words in place of the kinds and names that it lists."""
        entry = {"subjects": ["person"], **entry}
        found = {}
        for role in ("subjects", "objects", "recipients", "places", "goals"):
            words = self.nouns + self.landmarks if role in ("places", "goals") else self.nouns
            wanted = entry.get(role, [])
            found[role] = tuple(word for word in words if word.english in wanted or word.kind in wanted)
        return entry | found


lexicon = Lexicon(resources.files(__package__).joinpath("phrasebook.toml").read_text(encoding="utf-8"))
