"""Long text into sentences: where it is cut, where not, and that nothing is lost."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from formers.data.sentences import split_sentences, split_spans
from formers.errors import ConfigError

# `|` marks the cuts
CASES = [
    "A cat sleeps.| A dog barks!| Why?| Nobody knows…| It rains.",
    "One sentence without an end",
    "Dr. Smith met Mr. and Mrs. Brown.| They talked.",
    "J. R. R. Tolkien wrote it.| We read it.",
    "Fruit, e.g. Apples, i.e. the red ones.| Good.",
    "See No. 5 and p. 12 there.| Fine.",
    "Did he?| No.| He did not.",
    "It costs 3.50 dollars.| Pi is 3.14.| Good.",
    "The U.S. Army came.| It left.",
    "He lives in the U.S.| The weather is good.",
    "It ends at 5 p.m.| The guests leave.",
    "He was born in 1999.| Then he grew.",
    "He is 12.| She is 10.",
    "Vitamin C.| It helps.",
    "World War II.| The end.",
    "Wait... what is it?| I see ... nothing.| Well...| Then not.",
    "She said: “Come in.”| He came.",
    "“Why?” she asked.| “No!” he said.| Silence.",
    "(This is a note.)| This is not.",
    "Really?!| Yes!!!| Good.",
    "how are you?| i am fine",
    "Visit www.example.com or a.b.c today.| Bye.",
    "He said [sic.] nothing.| Fine.",
    "¿Qué?| ¡Nada!| Bien.",
    # German
    "Am 3. Mai kam er.| Sie ging.",
    "Das war im 19. Jahrhundert.| Der 2. Weltkrieg kam später.",
    "Das gilt z.B. Hunden, z. B. Die Katze, d.h. Tieren, d. h. Allen.| Gut.",
    "Herr Dr. Müller bzw. Frau Prof. Schmidt kam.| Er blieb.",
    "Nimm ca. Drei, ggf. Vier, usw.| Dann geh.",
    "Siehe Nr. 7 und Abs. 2 dort.| Ende.",
    "„Komm!“, rief sie.| „Wirklich?“ fragte er.| »Ja.«| Gut.",
    "Er wurde 1985 geboren.| 1990 zog er um.",
    "Ich mag ihn.| Übrigens auch dich.",
    "Das ist so ... aber egal.| Na gut …| Ende.",
    # other scripts
    "今日は。|元気ですか？|はい。|「行く。」と言った。",
    # lines
    "A title\n\n|A text.| Two.\n|Three without an end\r\n|four",
    "1. Introduction\n|2. Die Katze\n|a. The first",
]


@pytest.mark.parametrize("case", CASES)
def test_where_a_sentence_ends(case):
    expected = [sentence.strip() for sentence in case.split("|")]
    assert split_sentences(case.replace("|", "")) == expected


def test_spans_keep_what_separates():
    text = "  A cat.  A dog.\n\nNew paragraph\twith a tab. "
    assert split_spans(text) == [("", "  "), ("A cat.", "  "), ("A dog.", "\n\n"), ("New paragraph\twith a tab.", " ")]
    assert split_spans("") == split_sentences("") == []
    assert split_sentences(" \n ") == []


def test_longest_cuts_at_commas_then_spaces_then_hard():
    assert split_sentences("one two, three four", 12) == ["one two,", "three four"]
    assert split_sentences("one two three four", 10) == ["one two", "three four"]
    assert split_sentences("abcdefgh", 3) == ["abc", "def", "gh"]
    assert split_sentences("abcde\u0301fgh", 5) == ["abcd", "e\u0301fgh"]
    assert split_sentences("Short. And short.", 100) == ["Short.", "And short."]
    with pytest.raises(ConfigError, match="longest"):
        split_sentences("a", -1)


words = st.sampled_from(
    ["a", "Cat", "Dr.", "z.", "B.", "3.", "Mai", "1999.", "No.", "...", "…", "?", "!”", "“", "„", ",", ";", "。", "」"]
    + [" ", "  ", "\n", "\r\n", "\n\n", "\t", "\u2028", "\x85", "\u00a0", "e\u0301", "\x1f"]
)
texts = st.one_of(st.text(), st.lists(words).map("".join))


@given(texts, st.integers(0, 20))
@example("a.\u2028B.\x1fC", 0)
@example("e\u0301\u0301\u0301", 1)
def test_nothing_is_lost(text, longest):
    spans = split_spans(text, longest)
    assert "".join(sentence + separator for sentence, separator in spans) == text
    for index, (sentence, separator) in enumerate(spans):
        assert sentence == sentence.strip()
        assert not separator.strip()
        assert len(sentence.splitlines()) <= 1
        assert sentence or index == 0
        assert len(sentence) <= (longest or len(text))


def test_a_long_text_takes_linear_time():
    """A quadratic rule would take minutes here: it would run into the suite's time limit."""
    text = "word " * 200_000
    assert "".join(map("".join, split_spans(text))) == text
    assert "".join(map("".join, split_spans(text, 200))) == text
    assert split_sentences("a" * 300_000 + "." * 300_000) == ["a" * 300_000 + "." * 300_000]
