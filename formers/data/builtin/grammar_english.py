"""English: the forms of words, noun phrases, and where the auxiliary goes."""

from __future__ import annotations

from functools import cache

from formers.data.builtin.grammar import Clause, Landmark, LexicalVerb, Modal, Noun, Phrase, Pronoun, Sentence

BE = {"present": ("am", "are", "is", "are", "are", "are"), "past": ("was", "were", "was", "were", "were", "were")}


def _ends_in_consonant_y(word: str) -> bool:
    return word.endswith("y") and word[-2] not in "aeiou"


def with_s(word: str) -> str:
    """The plural of a noun, the third person of a verb."""
    if _ends_in_consonant_y(word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def past(verb: LexicalVerb) -> str:
    """The simple past, "ate"."""
    if verb.past:
        return verb.past
    if _ends_in_consonant_y(verb.english):
        return verb.english[:-1] + "ied"
    return verb.english + ("d" if verb.english.endswith("e") else "ed")


def participle(verb: LexicalVerb) -> str:
    """The past participle, "eaten"."""
    return verb.participle or past(verb)


def progressive(verb: LexicalVerb) -> str:
    """The present participle, "eating"."""
    return verb.ing or verb.english.removesuffix("e") + "ing"


def third(verb: LexicalVerb | Modal) -> str:
    """The third person of the present, "eats"."""
    return verb.third or with_s(verb.english)


def plural(noun: Noun) -> str:
    """The plural, "apples"."""
    return noun.english_plural or with_s(noun.english)


@cache
def noun_phrase(phrase: Phrase) -> str:
    """The words of a phrase; English nouns have no cases."""
    determiner = phrase.determiner
    words = [phrase.adjective.english] if phrase.adjective else []
    words.append(plural(phrase.noun) if phrase.plural else phrase.noun.english)
    if determiner == "this" and phrase.plural:
        determiner = "these"
    elif determiner == "a" and words[0][0] in "aeiou":
        determiner = "an"
    return " ".join([determiner, *words] if determiner else words)


def _words(who: Pronoun | Phrase, *, oblique: bool = False) -> str:
    return noun_phrase(who) if isinstance(who, Phrase) else who.english[oblique]


def _predicate(clause: Clause) -> tuple[str, str]:
    """(auxiliary or "", the verb after it), without negation and order."""
    verb, person = clause.verb, clause.subject.person
    if clause.tense == "modal":
        modal = clause.modal
        assert modal is not None
        if modal.infinitive:
            return "", f"{third(modal) if person == 3 else modal.english} to {verb.english}"
        return modal.english, verb.english
    if verb.english == "be":
        return BE[clause.tense][person - 1], ""
    if clause.tense == "progressive":
        return BE["present"][person - 1], progressive(verb)
    if clause.tense == "perfect":
        return "has" if person == 3 else "have", participle(verb)
    if clause.tense == "past":
        return "", past(verb)
    return "", third(verb) if person == 3 else verb.english


def _clause(clause: Clause) -> list[str]:
    inverted = clause.asked not in ("", "who")
    auxiliary, rest = _predicate(clause)
    if not auxiliary and (inverted or clause.negative):  # questions and "not" need one
        auxiliary = "did" if clause.tense == "past" else "does" if clause.subject.person == 3 else "do"
        rest = f"{clause.modal.english} to {clause.verb.english}" if clause.modal else clause.verb.english
    not_ = "not" if clause.negative else ""
    if auxiliary == "can" and not_ and not inverted:
        auxiliary, not_ = "cannot", ""
    words = []
    if clause.fronted:
        assert clause.time is not None
        words.append(clause.time.english)
    if clause.asked == "what":
        assert clause.object is not None
        words.append(_words(clause.object))
    elif inverted:
        words.append("" if clause.asked == "whether" else clause.asked)
    subject = _words(clause.subject)
    words += [auxiliary, subject] if inverted else [subject, auxiliary]
    words += [not_, clause.frequency.english if clause.frequency else "", rest, clause.verb.particle]
    words += _complements(clause)
    if clause.time and not clause.fronted:
        words.append(clause.time.english)
    return words


def _complements(clause: Clause) -> list[str]:
    """What follows the verb: "the child a book", but "it to the child"."""
    thing = _words(clause.object, oblique=True) if clause.object and clause.asked != "what" else ""
    words = [thing]
    if clause.recipient:
        person = _words(clause.recipient, oblique=True)
        words = [thing, "to", person] if thing and isinstance(clause.object, Pronoun) else [person, thing]
    if clause.quality:
        words.append(clause.quality.english)
    if goal := clause.goal:
        words.append(goal.to[0] if isinstance(goal, Landmark) else f"to {noun_phrase(goal)}")
    if place := clause.place:
        words.append(place.at[0] if isinstance(place, Landmark) else f"{place.noun.english_at} {noun_phrase(place)}")
    return words


def english(sentence: Sentence) -> str:
    """The English sentence."""
    words = _clause(sentence.clause)
    if sentence.opinion:
        holder, verb = sentence.holder, sentence.opinion
        assert holder is not None
        words = [holder.english[0], third(verb) if holder.person == 3 else verb.english, "that", *words]
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:] + ("?" if sentence.clause.asked else "." if sentence.stop else "")
