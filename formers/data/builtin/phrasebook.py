"""The phrasebook: English-German sentence pairs from a grammar of our own, held out by combination.

    random numbers -> a meaning (grammar.py) -> English (grammar_english.py) and German (grammar_german.py)

What is particular:
- It is a function: an English sentence has one German one ("you" is du, "you all" ihr; "I read the book",
  which could be present or past, is always present).
- A verb with a noun that it takes is a combination. Each belongs to one split by a stable hash, and a
  sentence with a held-out one is never in "train": a test asks for new sentences made of old words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate
from random import Random

from formers.data.builtin.grammar import (
    IT,
    WHAT,
    WHO,
    Clause,
    Landmark,
    LexicalVerb,
    Noun,
    Phrase,
    Pronoun,
    Sentence,
    lexicon,
)
from formers.data.builtin.grammar_english import english, past
from formers.data.builtin.grammar_german import german
from formers.data.builtin.split import SPLITS, check_split, split_of

LECTURE = ("eat", "apple")  # "I ate an apple" must be news to the model that translates it

POSSESSIVES = ("my", "your", "his", "her", "our", "their")
YOU_ALL, THEM = lexicon.pronouns[5:7]
ITSELF = {1: (1, 4), 2: (2, 5), 3: (), 4: (1, 4), 5: (2, 5), 6: ()}  # "I see me" would need a reflexive
SPEAKERS = list(accumulate(pronoun.weight for pronoun in lexicon.pronouns))
BE = next(verb for verb in lexicon.verbs if verb.english == "be")
FREQUENT = list(accumulate(6 if v is BE else 2 if v.recipients or v.goals else 1 for v in lexicon.verbs))
OFTEN = tuple(f for f in lexicon.frequencies if f.english != "never")  # "do you never ...?" is a reproach
QUALIFIED = tuple(noun for noun in lexicon.nouns if noun.adjectives)
PERSONAL = next(noun.adjectives for noun in lexicon.nouns if noun.english == "man")


def pairs(split: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """`count` distinct (English, German) pairs of "train", "validation" or "test", the same every time."""
    check_split(split, count, size(split))
    translations: dict[str, str] = {}
    for sentence in sentences(split, seed):
        if len(translations) == count:
            break
        source = english(sentence)
        if source not in translations:
            translations[source] = german(sentence)
    return list(translations.items())


def sentences(split: str, seed: int = 0) -> Iterator[Sentence]:
    """Meanings of one split without end; short ones come again and again."""
    check_split(split)
    random = Random(f"{split} {seed}")
    while True:
        clause = _quality(random, split) if random.random() < 0.08 else _event(random, split)
        if clause and _plausible(clause):
            yield _sentence(random, _unambiguous(clause))


@cache
def split_of_combination(verb: str, noun: str) -> str:
    """The split of one combination: about 90% train, 5% validation, 5% test, the same on every machine."""
    if (verb, noun) == LECTURE:
        return "test"
    return split_of(f"{verb} {noun}", 5)


def split_of_clause(clause: Clause) -> str:
    """The split of a sentence: that of its verb (or predicate adjective) with the nouns it takes."""
    if clause.quality:
        return _split(clause.quality.english, [clause.subject])
    return _split(clause.verb.english, [clause.object, clause.recipient, clause.place, clause.goal])


def _split(head: str, taken: Iterable[object]) -> str:
    words = [word.noun if isinstance(word, Phrase) else word for word in taken]
    words = [word.english for word in words if isinstance(word, (Noun, Landmark))]
    return max((split_of_combination(head, word) for word in words), key=SPLITS.index, default="train")


@cache
def size(split: str) -> int:
    """How many distinct pairs a split has at the very least.

    Counted are only statements of a pronoun or name, a verb and an object noun with its determiners and
    adjectives: present and perfect, affirmed and denied, with and without the full stop. Times, places,
    questions, modals and opinions multiply this.
    """
    check_split(split)
    speakers = len(lexicon.pronouns) + len(lexicon.names) - 1  # not YOU_ALL, who never say "your"
    return sum(
        speakers * 2 * 2 * 2 * _count_phrases(noun)
        for verb in lexicon.verbs
        if not verb.recipients and not verb.preterite
        for noun in verb.objects
        if split_of_combination(verb.english, noun.english) == split
    )


def _count_phrases(noun: Noun) -> int:
    numbers = (False, True) if noun.plural else (False,)
    return sum(len(set(_determiners(noun, plural))) for plural in numbers) * (1 + len(noun.adjectives))


@cache
def _determiners(noun: Noun, plural: bool, known: bool = False) -> tuple[str, ...]:
    """What can stand before the noun, as many times as it is likely; `known`: nothing that is new."""
    if noun.own == "always":
        return ("the", *POSSESSIVES, *POSSESSIVES)
    new = "" if plural or not noun.plural else "a"
    own = () if noun.own == "never" else POSSESSIVES
    return ("the",) * 12 + ("this",) * 2 + own + (() if known else (new,) * 8)


def _phrase(random: Random, noun: Noun, *, known: bool = False, plural: float = 0.2, adjective: float = 0.2) -> Phrase:
    """The noun with determiner and perhaps an adjective; `plural` and `adjective` say how likely."""
    many = bool(noun.plural) and random.random() < plural
    described = bool(noun.adjectives) and random.random() < adjective
    determiner = random.choice(_determiners(noun, many, known))
    return Phrase(noun, determiner, random.choice(noun.adjectives) if described else None, many)


def _subject(random: Random, nouns: tuple[Noun, ...], *, known: bool) -> Pronoun | Phrase:
    chance = random.random()
    if chance < 0.62:
        return random.choices(lexicon.pronouns, cum_weights=SPEAKERS)[0]
    if chance < 0.74:
        return random.choice(lexicon.names)
    return _phrase(random, random.choice(nouns), known=known, adjective=0.1)


def _quality(random: Random, split: str) -> Clause | None:
    """What somebody or something is like, "the soup is hot"; None if of another split."""
    if random.random() < 0.35:
        subject, quality = _subject(random, BE.subjects[:1], known=True), random.choice(PERSONAL)
    else:
        noun = random.choice(QUALIFIED)
        subject, quality = _phrase(random, noun, known=True, adjective=0), random.choice(noun.adjectives)
    if isinstance(subject, Phrase) and quality not in subject.noun.adjectives:
        return None
    if _split(quality.english, [subject]) != split:
        return None
    asked = random.choices(("", "whether", "why"), (7, 2, 1))[0]
    clause = Clause(BE, subject, random.choice(("present", "past")), quality=quality, asked=asked)
    return _with_time(random, clause) if quality.passing else clause._replace(negative=_denied(random, asked))


def _event(random: Random, split: str) -> Clause | None:
    """What somebody does, to whom and where; None if of another split, known before the details are drawn."""
    verb = random.choices(lexicon.verbs, cum_weights=FREQUENT)[0]
    asked = _asked(random, verb)
    thing = _object(random, verb) if verb.objects and asked != "what" else None
    person = _recipient(random, verb) if verb.recipients else None
    place = goal = None
    if asked != "where":
        if verb.places and (verb.settled or random.random() < (0.25 if verb.objects else 0.6)):
            place = random.choice(verb.places)
        if verb.goals and (verb.settled or random.random() < 0.8):
            goal = random.choice(verb.goals)
    if _split(verb.english, [thing, person, place, goal]) != split:
        return None
    tense = _tense(random, verb, asked)
    negative = _denied(random, asked)
    subject = WHO if asked == "who" else _subject(random, verb.subjects, known=negative or bool(asked))
    if asked == "what":
        persons, things = _object_kinds(verb)
        thing = random.choice((WHO,) * persons + (WHAT,) * things)
    clause = Clause(
        verb,
        subject,
        tense,
        modal=random.choice(lexicon.modals) if tense == "modal" else None,
        negative=negative,
        object=_phrase(random, thing) if isinstance(thing, Noun) else thing,
        recipient=_phrase(random, person, known=True) if isinstance(person, Noun) else person,
        place=_phrase(random, place, known=negative, plural=0) if isinstance(place, Noun) else place,
        goal=_phrase(random, goal, known=negative, plural=0) if isinstance(goal, Noun) else goal,
        asked=asked,
    )
    return clause if verb.timeless or asked == "when" else _with_time(random, clause)


def _asked(random: Random, verb: LexicalVerb) -> str:
    chance = random.random()
    if chance < 0.7:
        return ""
    if chance < 0.82:
        return "whether"
    possible = ["who", "why"]
    if verb.objects:
        possible.append("what")
    if verb.places or (verb.goals and verb.settled):
        possible.append("where")
    if not verb.timeless:
        possible.append("when")
    return random.choice(possible)


@cache
def _object_kinds(verb: LexicalVerb) -> tuple[bool, bool]:
    """(whether it takes persons, whether it takes other things)."""
    persons = [noun.kind == "person" for noun in verb.objects]
    return any(persons), not all(persons)


def _object(random: Random, verb: LexicalVerb) -> Pronoun | Noun:
    persons, _ = _object_kinds(verb)
    if random.random() < 0.85:
        return random.choice(verb.objects)
    return random.choice(lexicon.pronouns if persons else (IT, THEM))


def _recipient(random: Random, verb: LexicalVerb) -> Pronoun | Noun:
    possible: tuple[Pronoun | Noun, ...] = verb.recipients if random.random() < 0.6 else lexicon.pronouns
    return random.choice(possible)


def _tense(random: Random, verb: LexicalVerb, asked: str) -> str:
    chance = random.random()
    if verb.modal and chance < 0.25:
        return "modal"
    if chance < 0.62:
        return "perfect" if chance < 0.36 and asked != "when" and not verb.preterite else "past"
    return "present" if verb.stative or chance < 0.81 else "progressive"


def _denied(random: Random, asked: str) -> bool:
    return asked in ("", "why") and random.random() < 0.22


def _with_time(random: Random, clause: Clause) -> Clause:
    """Perhaps a time, first or last, or a frequency: only one that goes with the tense and the negation."""
    chance = random.random()
    if chance < 0.35:
        # a stative verb has its present where others have the progressive
        stative = clause.verb.stative and clause.tense == "present"
        tenses = {"present", "progressive"} if stative else {clause.tense}
        time = random.choice(
            [t for t in lexicon.times if (t.negative or not clause.negative) and tenses & set(t.tenses)]
        )
        return clause._replace(time=time, fronted=not clause.asked and random.random() < 0.4)
    repeatable = clause.tense in ("present", "past") and not clause.negative
    if chance < 0.45 and repeatable and clause.asked in ("", "whether"):
        return clause._replace(frequency=random.choice(OFTEN if clause.asked else lexicon.frequencies))
    return clause


def _unambiguous(clause: Clause) -> Clause:
    """The perfect for a past that nothing (yesterday, he, did) tells from the present: "I read the book"."""
    looks_present = past(clause.verb) == clause.verb.english and clause.subject.person != 3
    if clause.tense != "past" or not looks_present or clause.asked or clause.negative:
        return clause
    time = clause.time
    if time and "present" not in time.tenses:
        return clause
    keeps = time is None or "perfect" in time.tenses
    return clause._replace(tense="perfect", time=time if keeps else None, fronted=clause.fronted and keeps)


def _plausible(clause: Clause) -> bool:
    """Nobody meets himself, no noun or object comes twice, and "you all" have no "your"."""
    subject, taken = clause.subject, (clause.object, clause.recipient, clause.place, clause.goal)
    phrases = [part for part in (subject, *taken) if isinstance(part, Phrase)]
    if len({phrase.noun for phrase in phrases}) < len(phrases):
        return False
    pronouns = [part for part in taken if isinstance(part, Pronoun)]
    if len(set(pronouns)) < len(pronouns):
        return False
    if isinstance(subject, Pronoun) and any(part.person in ITSELF[subject.person] for part in pronouns):
        return False
    if any(phrase.determiner == "your" for phrase in phrases):
        return subject is not YOU_ALL and YOU_ALL not in pronouns
    return True


def _sentence(random: Random, clause: Clause) -> Sentence:
    """The clause, or somebody's opinion that it holds; a quarter of the statements has no full stop."""
    if clause.asked:
        return Sentence(clause)
    stop = random.random() < 0.75
    if clause.fronted or random.random() > 0.15:
        return Sentence(clause, stop=stop)
    holder = random.choices(lexicon.pronouns, cum_weights=SPEAKERS)[0]
    return Sentence(clause, holder, random.choice(lexicon.opinions), stop)
