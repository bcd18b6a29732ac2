"""The phrasebook: sentences written by hand, one German sentence per English one, splits by combination."""

import re
import tomllib
from itertools import islice
from pathlib import Path

import pytest

from formers.data.builtin import phrasebook
from formers.data.builtin.grammar import IT, WHAT, WHO, Clause, Phrase, Sentence, lexicon
from formers.data.builtin.grammar_english import english
from formers.data.builtin.grammar_german import german
from formers.errors import DataError

TABLE = tomllib.loads(Path(phrasebook.__file__).with_name("phrasebook.toml").read_text(encoding="utf-8"))
NOUNS = [noun for group in TABLE["nouns"].values() for noun in group]


@pytest.fixture(scope="module")
def train():
    return phrasebook.pairs("train", 20_000)


@pytest.fixture(scope="module")
def held_out():
    return phrasebook.pairs("validation", 1500) + phrasebook.pairs("test", 1500)


def word(words, name):
    return next(w for w in words if w.english == name)


def who(name):
    """A pronoun, a name, or a phrase like "the old man" and "my books"."""
    if not isinstance(name, str):
        return name
    for one in lexicon.pronouns + lexicon.names:
        if one.english[0] == name:
            return one
    *before, last = name.split()
    determiner = before[0] if before and before[0] in ("the", "a", "this", *phrasebook.POSSESSIVES) else ""
    adjective = word(lexicon.adjectives, before[-1]) if before and before[-1] != determiner else None
    for noun in lexicon.nouns:
        if last in (noun.english, noun.english_plural, noun.english + "s"):
            return Phrase(noun, determiner, adjective, plural=last != noun.english)
    return word(lexicon.landmarks, last)


def clause(subject, verb, tense="present", **parts):
    for role in ("object", "recipient", "place", "goal"):
        if role in parts:
            parts[role] = who(parts[role])
    lists = {"modal": lexicon.modals, "time": lexicon.times, "frequency": lexicon.frequencies}
    for role, words in {**lists, "quality": lexicon.adjectives}.items():
        if role in parts:
            parts[role] = word(words, parts[role])
    return Clause(word(lexicon.verbs, verb), who(subject), "modal" if "modal" in parts else tense, **parts)


LECTURE = Sentence(clause("I", "eat", "past", object="a apple"), stop=False)

GOLDEN = [
    (clause("I", "eat", "past", object="a apple"), "I ate an apple.", "Ich habe einen Apfel gegessen."),
    (clause("he", "read", object="the book"), "He reads the book.", "Er liest das Buch."),
    (clause("she", "eat", "progressive", object="a pear"), "She is eating a pear.", "Sie isst eine Birne."),
    (
        clause("I", "eat", object="a apple", time="today", fronted=True),
        "Today I eat an apple.",
        "Heute esse ich einen Apfel.",
    ),
    (
        clause("I", "read", "past", object="the book", time="yesterday", negative=True),
        "I did not read the book yesterday.",
        "Ich habe das Buch gestern nicht gelesen.",
    ),
    (
        clause("we", "buy", "past", object="a car", time="yesterday", negative=True),
        "We did not buy a car yesterday.",
        "Wir haben gestern kein Auto gekauft.",
    ),
    (clause("they", "drink", object="milk", negative=True), "They do not drink milk.", "Sie trinken keine Milch."),
    (
        clause("the old man", "give", object="the boy", recipient="the student"),
        "The old man gives the student the boy.",
        "Der alte Mann gibt dem Studenten den Jungen.",
    ),
    (
        clause("she", "give", "past", object=IT, recipient="my small child"),
        "She gave it to my small child.",
        "Sie hat es meinem kleinen Kind gegeben.",
    ),
    (
        clause("he", "show", object="the new house", recipient="we"),
        "He shows us the new house.",
        "Er zeigt uns das neue Haus.",
    ),
    (
        clause("you", "help", "past", object="our neighbor"),
        "You helped our neighbor.",
        "Du hast unserem Nachbarn geholfen.",
    ),
    (
        clause("you all", "help", object="these children".replace("these", "this")),
        "You all help these children.",
        "Ihr helft diesen Kindern.",
    ),
    (clause("she", "follow", "past", object="a dog"), "She followed a dog.", "Sie ist einem Hund gefolgt."),
    (clause("we", "go", "past", goal="home"), "We went home.", "Wir sind nach Hause gegangen."),
    (clause("Anna", "drive", goal="the station"), "Anna drives to the station.", "Anna fährt zum Bahnhof."),
    (clause("he", "run", goal="the park"), "He runs to the park.", "Er läuft in den Park."),
    (clause("he", "go", goal="my sister"), "He goes to my sister.", "Er geht zu meiner Schwester."),
    (
        clause("I", "go", "progressive", goal="the office", negative=True),
        "I am not going to the office.",
        "Ich gehe nicht ins Büro.",
    ),
    (clause("he", "sleep", place="the big garden"), "He sleeps in the big garden.", "Er schläft im großen Garten."),
    (clause("I", "be", place="the beach"), "I am on the beach.", "Ich bin am Strand."),
    (clause("we", "be", "past", place="the market"), "We were at the market.", "Wir waren auf dem Markt."),
    (clause("the soup", "be", quality="hot"), "The soup is hot.", "Die Suppe ist heiß."),
    (
        clause("you all", "be", "past", quality="tired", negative=True, time="today"),
        "You all were not tired today.",
        "Ihr wart heute nicht müde.",
    ),
    (clause("I", "have", "past", object="a horse"), "I had a horse.", "Ich hatte ein Pferd."),
    (
        clause("you", "eat", object="the cake", modal="must", negative=True),
        "You must not eat the cake.",
        "Du darfst den Kuchen nicht essen.",
    ),
    (
        clause("you", "eat", object="the cake", modal="have", negative=True),
        "You do not have to eat the cake.",
        "Du musst den Kuchen nicht essen.",
    ),
    (
        clause("I", "read", object="his letters", modal="can", negative=True),
        "I cannot read his letters.",
        "Ich kann seine Briefe nicht lesen.",
    ),
    (
        clause("he", "buy", object="a red jacket", modal="want", time="tomorrow"),
        "He wants to buy a red jacket tomorrow.",
        "Er will morgen eine rote Jacke kaufen.",
    ),
    (
        clause("he", "call", object="the colleague", time="today", negative=True),
        "He does not call the colleague today.",
        "Er ruft den Kollegen heute nicht an.",
    ),
    (
        clause("you", "drink", object="cold water", frequency="often"),
        "You often drink cold water.",
        "Du trinkst oft kaltes Wasser.",
    ),
    (clause("you", "see", "past", object="she", asked="whether"), "Did you see her?", "Hast du sie gesehen?"),
    (clause(WHO, "eat", "past", object=IT, asked="who"), "Who ate it?", "Wer hat es gegessen?"),
    (clause("you", "write", object=WHAT, asked="what"), "What do you write?", "Was schreibst du?"),
    (clause("he", "meet", object=WHO, asked="what"), "Who does he meet?", "Wen trifft er?"),
    (clause("he", "help", object=WHO, asked="what"), "Who does he help?", "Wem hilft er?"),
    (clause("they", "fly", "past", asked="where"), "Where did they fly?", "Wohin sind sie geflogen?"),
    (clause("you", "live", asked="where"), "Where do you live?", "Wo wohnst du?"),
    (
        clause("your father", "come", modal="can", asked="when"),
        "When can your father come?",
        "Wann kann dein Vater kommen?",
    ),
    (
        clause("Paul", "invite", object="I", negative=True, asked="why"),
        "Why does Paul not invite me?",
        "Warum lädt Paul mich nicht ein?",
    ),
]


@pytest.mark.parametrize(("meaning", "source", "target"), GOLDEN, ids=[source for _, source, _ in GOLDEN])
def test_golden(meaning, source, target):
    assert (english(Sentence(meaning)), german(Sentence(meaning))) == (source, target)


@pytest.mark.parametrize(
    ("inner", "source", "target"),
    [
        (
            clause("he", "read", object="the book"),
            "I think that he reads the book.",
            "Ich glaube, dass er das Buch liest.",
        ),
        (clause("Maria", "call", object="I"), "I think that Maria calls me.", "Ich glaube, dass Maria mich anruft."),
        (
            clause("she", "travel", "past", goal="Berlin", time="yesterday"),
            "I think that she traveled to Berlin yesterday.",
            "Ich glaube, dass sie gestern nach Berlin gereist ist.",
        ),
        (clause("we", "wait", modal="have"), "I think that we have to wait.", "Ich glaube, dass wir warten müssen."),
    ],
)
def test_golden_opinions(inner, source, target):
    sentence = Sentence(inner, who("I"), word(lexicon.opinions, "think"))
    assert (english(sentence), german(sentence)) == (source, target)


def test_the_lecture_sentence_is_held_out():
    assert (english(LECTURE), german(LECTURE)) == ("I ate an apple", "Ich habe einen Apfel gegessen")
    assert phrasebook.split_of_clause(LECTURE.clause) == "test"


def test_an_english_sentence_has_one_german_one():
    found = {}
    for split, count in (("train", 100_000), ("validation", 5_000), ("test", 5_000)):
        for sentence in islice(phrasebook.sentences(split, seed=5), count):
            source, target = english(sentence), german(sentence)
            assert found.setdefault(source, target) == target, source


def test_distinct_and_deterministic(train):
    assert len({source for source, _ in train}) == 20_000
    again = phrasebook.pairs("train", 500)
    assert again == train[:500]
    assert again == phrasebook.pairs("train", 500, seed=0)
    assert again != phrasebook.pairs("train", 500, seed=1)


def combinations(split, count):
    for sentence in islice(phrasebook.sentences(split), count):
        clause = sentence.clause
        head = clause.quality or clause.verb
        taken = [clause.object, clause.recipient, clause.place, clause.goal]
        taken = [clause.subject] if clause.quality else taken
        words = [part.noun if isinstance(part, Phrase) else part for part in taken]
        yield {(head.english, w.english) for w in words if w in lexicon.nouns or w in lexicon.landmarks}


def test_splits_are_disjoint_by_combination():
    trained = set().union(*combinations("train", 40_000))
    assert len(trained) > 1800
    validation = list(combinations("validation", 2_000))
    test = list(combinations("test", 2_000))
    assert all(taken - trained for taken in validation + test)
    assert ("eat", "apple") in set().union(*test)
    verbs = {verb for verb, _ in trained}
    assert {verb for taken in validation + test for verb, _ in taken} <= verbs


def test_no_sentence_of_training_eats_an_apple(train):
    eating = [source for source, _ in train if re.search(r"\b(eats?|ate|eaten|eating)\b", source)]
    assert len(eating) > 100 and not any("apple" in source for source in eating)


def test_no_sentence_is_in_two_splits(train, held_out):
    assert not set(train) & set(held_out)
    assert not set(phrasebook.pairs("validation", 1500)) & set(phrasebook.pairs("test", 1500))


def test_every_held_out_word_is_trained(train, held_out):
    for side in (0, 1):
        known = {w.lower() for pair in train for w in re.findall(r"\w+", pair[side])}
        assert {w.lower() for pair in held_out for w in re.findall(r"\w+", pair[side])} <= known


def test_about_a_quarter_of_the_statements_has_no_full_stop(train):
    statements = [(source, target) for source, target in train if not source.endswith("?")]
    assert all(source.endswith(".") == target.endswith(".") for source, target in statements)
    assert 0.2 < sum(not source.endswith(".") for source, _ in statements) / len(statements) < 0.35


def test_sizes():
    assert len(NOUNS) >= 60 and {noun["gender"] for noun in NOUNS} == {"m", "f", "n"}
    assert len(TABLE["verbs"]) >= 30
    assert sum(verb.get("auxiliary") == "sein" for verb in TABLE["verbs"]) >= 6
    assert phrasebook.size("train") > 1_000_000
    assert min(phrasebook.size("validation"), phrasebook.size("test")) > 100_000


def test_the_lexicon_names_only_words_that_exist():
    kinds = set(TABLE["nouns"]) | {noun["english"] for noun in NOUNS}
    places = kinds | set(TABLE["landmarks"]) | {landmark["kind"] for landmark in TABLE["landmarks"].values()}
    for entry in TABLE["verbs"]:
        for role in ("subjects", "objects", "recipients"):
            assert set(entry.get(role, ())) <= kinds, entry["english"]
        for role in ("places", "goals"):
            assert set(entry.get(role, ())) <= places, entry["english"]
    for entry in TABLE["adjectives"]:
        assert set(entry["kinds"]) <= kinds, entry["english"]


def test_errors_say_what_was_expected():
    with pytest.raises(DataError, match=r'got "dev", expected one of train, validation, test'):
        phrasebook.pairs("dev", 1)
    with pytest.raises(DataError, match=r"got 1000000000, expected 0 to \d+"):
        phrasebook.pairs("test", 1_000_000_000)
    with pytest.raises(DataError, match="got -1"):
        phrasebook.pairs("train", -1)
    assert phrasebook.pairs("train", 0) == []
