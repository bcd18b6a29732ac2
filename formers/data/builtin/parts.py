"""Parts of speech: English sentences whose every word is tagged, from a small grammar of our own.

    random numbers -> clause (noun phrases, verb phrase, adverbs) -> words and Universal tags

What is particular:
- Many words are of two or three kinds ("light", "can", "her", "that", "watch"), so that a list of words cannot do it:
  what stands around a word decides.
- A verb with its subject is a combination. Each belongs to one split by a stable hash: a test asks for new sentences
  made of known words.
"""

from __future__ import annotations

from random import Random

from formers.data.builtin.split import check_split, split_of

Words = list[tuple[str, str]]

NOUNS = (
    "dog cat bird horse house river table garden letter teacher doctor farmer window road light cold watch play "
    "plant walk drink cook look work fish can hope answer guide race park ship key light match well"
).split()
NAMES = "Anna Ben Clara David Emma Mark Rose Will Grace Berlin Paris London".split()
# base, third person, past: many of them are nouns, too
VERBS = [
    tuple(forms.split("/"))
    for forms in (
        "watch/watches/watched play/plays/played plant/plants/planted walk/walks/walked answer/answers/answered "
        "see/sees/saw find/finds/found like/likes/liked guide/guides/guided cook/cooks/cooked park/parks/parked "
        "ship/ships/shipped match/matches/matched hear/hears/heard help/helps/helped light/lights/lit"
    ).split()
]
SINGLE = [
    tuple(forms.split("/"))
    for forms in (  # without an object
        "sleep/sleeps/slept work/works/worked hope/hopes/hoped race/races/raced look/looks/looked fall/falls/fell "
        "laugh/laughs/laughed fish/fishes/fished"
    ).split()
]
ADJECTIVES = "old young small cold light red green kind well fast early hard quiet dark".split()
ADVERBS = "often never slowly well fast early hard quickly still only".split()
MODALS = "can will must may should".split()
SUBJECTS, OBJECTS = "he she it they we you I".split(), "him her it them us you me".split()
POSSESSIVES = "his her its their our your my".split()
DETERMINERS = "the a that this every some".split()
PREPOSITIONS = "in near under behind with like past".split()
COUNTS = "two three four five ten".split()
OPENERS = "yes no oh well".split()


def rows(split: str, count: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """`count` different sentences of "train", "validation" or "test" as (words, tags), the same every time."""
    check_split(split, count)
    random = Random(f"{split}/{seed}")
    sentences: dict[tuple[str, ...], list[str]] = {}
    while len(sentences) < count:
        sentence = _sentence(random, split)
        sentences.setdefault(tuple(word for word, _ in sentence), [tag for _, tag in sentence])
    return [(list(words), tags) for words, tags in sentences.items()]


def _sentence(random: Random, split: str) -> Words:
    words = _clause(random, split)
    if random.random() < 0.15:
        words = [(random.choice(OPENERS), "INTJ"), (",", "PUNCT"), *words]
    join = random.random()
    if join < 0.12:
        words += [(random.choice(("and", "but", "or")), "CCONJ"), *_clause(random, split)]
    elif join < 0.24:
        words += [(random.choice(("because", "if", "that", "while")), "SCONJ"), *_clause(random, split)]
    first, tag = words[0]
    return [(first[0].upper() + first[1:], tag), *words[1:], (random.choice(".!."), "PUNCT")]


def _clause(random: Random, split: str) -> Words:
    """Subject, verb phrase and what it takes; its combination of subject and verb is of this split."""
    while True:
        subject, head, plural = _subject(random)
        verb = random.choice(VERBS + SINGLE)
        if split_of(f"{head} {verb[0]}") == split:
            break
    words = subject + _verb(random, verb, plural)
    if verb in VERBS:
        words += _object(random)
    if random.random() < 0.3:
        words += [(random.choice(PREPOSITIONS), "ADP"), *_phrase(random, plural=random.random() < 0.3)]
    if random.random() < 0.25:
        words.append((random.choice(ADVERBS), "ADV"))
    return words


def _subject(random: Random) -> tuple[Words, str, bool]:
    """The words, the one that counts for the combination, and whether the verb is plural."""
    kind = random.random()
    if kind < 0.3:
        word = random.choice(SUBJECTS)
        return [(word, "PRON")], word, word not in ("he", "she", "it")
    if kind < 0.45:
        word = random.choice(NAMES)
        return [(word, "PROPN")], word, False
    plural = random.random() < 0.3
    words = _phrase(random, plural=plural)
    return words, words[-1][0], plural


def _object(random: Random) -> Words:
    kind = random.random()
    if kind < 0.25:
        return [(random.choice(OBJECTS), "PRON")]
    if kind < 0.35:
        return [(random.choice(NAMES), "PROPN")]
    if kind < 0.42:
        return [(random.choice(("that", "this")), "PRON")]
    return _phrase(random, plural=random.random() < 0.3)


def _phrase(random: Random, *, plural: bool) -> Words:
    """Determiner, possessive or number; adjectives; a noun."""
    kind = random.random()
    if kind < 0.3:
        words = [(random.choice(POSSESSIVES), "PRON")]
    elif plural:
        words = [(random.choice(COUNTS), "NUM")] if kind < 0.7 else [(random.choice(("the", "some")), "DET")]
    else:
        words = [(random.choice(DETERMINERS), "DET")]
    words += [(adjective, "ADJ") for adjective in random.sample(ADJECTIVES, random.choice((0, 0, 1, 1, 2)))]
    noun = random.choice(NOUNS)
    ending = "" if not plural else "es" if noun.endswith(("ch", "sh")) else "s"
    words.append((noun + ending, "NOUN"))
    vowel = words[1][0][0] in "aeiou"
    return [("an", "DET"), *words[1:]] if words[0] == ("a", "DET") and vowel else words


def _verb(random: Random, verb: tuple[str, ...], plural: bool) -> Words:
    """In the present or past, with a modal, negated, or after "to"."""
    base, third, past = verb
    kind = random.random()
    adverb = [(random.choice(ADVERBS[:2]), "ADV")] if random.random() < 0.15 else []
    if kind < 0.3:
        return [*adverb, (base if plural else third, "VERB")]
    if kind < 0.6:
        return [*adverb, (past, "VERB")]
    if kind < 0.8:
        negation = [("not", "PART")] if random.random() < 0.3 else []
        return [(random.choice(MODALS), "AUX"), *negation, *adverb, (base, "VERB")]
    if kind < 0.9:
        return [("do" if plural else "does", "AUX"), ("not", "PART"), (base, "VERB")]
    return [("want" if plural else "wants", "VERB"), ("to", "PART"), (base, "VERB")]
