"""German: cases and endings, the two ends of the verb, and the order of what stands between them."""

from __future__ import annotations

import re
from functools import cache

from formers.data.builtin.grammar import Clause, Landmark, LexicalVerb, Phrase, Pronoun, Sentence

CASES = {"nominative": 0, "accusative": 1, "dative": 2}
AUXILIARIES = {"haben": "habe hast hat haben habt haben".split(), "sein": "bin bist ist sind seid sind".split()}
EIN_WORDS = dict(
    pair.split("/") for pair in "a/ein no/kein my/mein your/dein his/sein her/ihr our/unser their/ihr".split()
)

# Rows: nominative, accusative, dative. Columns: masculine, feminine, neuter, plural.
THE = (("der", "die", "das", "die"), ("den", "die", "das", "die"), ("dem", "der", "dem", "den"))
THIS = (("er", "e", "es", "e"), ("en", "e", "es", "e"), ("em", "er", "em", "en"))
EIN = (("", "e", "", "e"), ("en", "e", "", "e"), ("em", "er", "em", "en"))
# What an adjective adds depends on what the word before it shows: all (weak), some (mixed), nothing (strong).
WEAK = (("e", "e", "e", "en"), ("en", "e", "e", "en"), ("en", "en", "en", "en"))
MIXED = (("er", "e", "es", "en"), ("en", "e", "es", "en"), ("en", "en", "en", "en"))
STRONG = THIS

CONTRACTIONS = {"in dem": "im", "in das": "ins", "an dem": "am", "an das": "ans", "zu dem": "zum", "zu der": "zur"}
QUESTION_WORDS = {"where": "wo", "when": "wann", "why": "warum"}


def noun(phrase: Phrase, case: str) -> str:
    """The noun in its case: "dem Studenten", "den Kindern"."""
    word = phrase.noun
    if not phrase.plural:
        return word.german if case == "nominative" else word.german + word.weak
    return word.plural + ("n" if case == "dative" and word.plural[-1] not in "ns" else "")


@cache
def noun_phrase(phrase: Phrase, case: str, negative: bool = False) -> str:
    """The words of a phrase; `negative` turns "ein Apfel" and "Äpfel" into "kein Apfel" and "keine Äpfel"."""
    row, column = CASES[case], 3 if phrase.plural else "mfn".index(phrase.noun.gender)
    determiner = "no" if negative and not phrase.definite else phrase.determiner
    if determiner == "the":
        first, endings = THE[row][column], WEAK
    elif determiner == "this":
        first, endings = "dies" + THIS[row][column], WEAK
    elif determiner:
        first, endings = EIN_WORDS[determiner] + EIN[row][column], MIXED
    else:
        first, endings = "", STRONG
    words = [first] if first else []
    if phrase.adjective:
        words.append((phrase.adjective.stem or phrase.adjective.german) + endings[row][column])
    return " ".join([*words, noun(phrase, case)])


@cache
def _prepositional(preposition: str, phrase: Phrase, case: str) -> str:
    first, *rest = noun_phrase(phrase, case).split()
    joined = f"{preposition} {first}"
    return " ".join([CONTRACTIONS.get(joined, joined), *rest])


def at(place: Phrase | Landmark) -> str:
    """Where: always the dative."""
    return place.at[1] if isinstance(place, Landmark) else _prepositional(place.noun.at, place, "dative")


def to(place: Phrase | Landmark) -> str:
    """Where to: the accusative, but the dative after "zu", which is also how one goes to a person."""
    if isinstance(place, Landmark):
        return place.to[1]
    preposition = place.noun.to or "zu"
    return _prepositional(preposition, place, "dative" if preposition == "zu" else "accusative")


def _words(who: Pronoun | Phrase, case: str, negative: bool = False) -> str:
    return who.german[CASES[case]] if isinstance(who, Pronoun) else noun_phrase(who, case, negative)


@cache
def present(verb: LexicalVerb) -> tuple[str, ...]:
    """The six forms of the present, without a separable prefix."""
    if verb.present:
        return verb.present
    infinitive = verb.german.removeprefix(verb.prefix)
    stem = infinitive.removesuffix("en")
    link = "e" if re.search(r"([td]|ffn|chn)$", stem) else ""  # du arbeit-e-st, er öffn-e-t, ihr zeichn-e-t
    du = verb.du or stem + ("t" if stem[-1] in "sßzx" else link + "st")
    er = verb.er or stem + link + "t"
    return (stem + "e", du, er, infinitive, stem + link + "t", infinitive)


def _verb(clause: Clause) -> tuple[str, list[str]]:
    """(the finite verb, what stands at the end of the clause)."""
    verb, person = clause.verb, clause.subject.person - 1
    if clause.tense == "modal":
        assert clause.modal is not None
        forms = clause.modal.negative if clause.negative and clause.modal.negative else clause.modal.present
        return forms[person], [verb.german]
    if clause.tense in ("past", "perfect"):
        if verb.preterite:
            return verb.preterite[person], []
        return AUXILIARIES[verb.auxiliary][person], [verb.perfect]
    return present(verb)[person], [verb.prefix] if verb.prefix else []


def _middle(clause: Clause) -> list[str]:
    """Between the ends of the verb: pronouns, what is known, when, nicht, where, what is new, where to."""
    thing = clause.object if clause.asked != "what" else None
    case = clause.verb.case
    recipient = _words(clause.recipient, "dative") if clause.recipient else ""
    words = [recipient] if isinstance(clause.recipient, Pronoun) else []
    if isinstance(thing, Pronoun):
        words.insert(0, _words(thing, case))
    if isinstance(clause.recipient, Phrase):
        words.append(recipient)
    if isinstance(thing, Phrase) and thing.definite:
        words.append(_words(thing, case))
    if clause.time and not clause.fronted:
        words.append(clause.time.german)
    if clause.frequency:
        words.append(clause.frequency.german)
    new = thing if isinstance(thing, Phrase) and not thing.definite else None
    if clause.negative and not new:  # a new thing says kein instead
        words.append("nicht")
    if clause.place:
        words.append(at(clause.place))
    if new:
        words.append(_words(new, case, clause.negative))
    if clause.goal:
        words.append(to(clause.goal))
    if clause.quality:
        words.append(clause.quality.german)
    return words


def _first(clause: Clause) -> str:
    """What a question or a sentence with a time in front begins with, "" for none."""
    if clause.asked == "what":
        assert clause.object is not None
        return _words(clause.object, clause.verb.case)
    if clause.asked == "where" and clause.verb.goals:
        return "wohin"
    if clause.fronted:
        assert clause.time is not None
        return clause.time.german
    return QUESTION_WORDS.get(clause.asked, "")


def _main(clause: Clause) -> list[str]:
    """Verb second; first where a yes-no question leaves the place before it empty."""
    finite, end = _verb(clause)
    subject = _words(clause.subject, "nominative")
    first = _first(clause)
    if first or clause.asked == "whether":
        return [first, finite, subject, *_middle(clause), *end]
    return [subject, finite, *_middle(clause), *end]


def _subordinate(clause: Clause) -> list[str]:
    """Verb last, a separable prefix joined to it again."""
    finite, end = _verb(clause)
    subject = _words(clause.subject, "nominative")
    if clause.verb.prefix and end == [clause.verb.prefix]:
        finite, end = clause.verb.prefix + finite, []
    return [subject, *_middle(clause), *end, finite]


def german(sentence: Sentence) -> str:
    """The German sentence."""
    clause = sentence.clause
    if sentence.opinion:
        holder = sentence.holder
        assert holder is not None
        words = [holder.german[0], sentence.opinion.present[holder.person - 1] + ",", "dass", *_subordinate(clause)]
    else:
        words = _main(clause)
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:] + ("?" if clause.asked else "." if sentence.stop else "")
