"""The forms that transcripts are written in."""

from __future__ import annotations

import json

import pytest

from formers.errors import ConfigError
from formers.systems.transcripts import (
    Segment,
    Transcribed,
    Transcript,
    TranscriptForm,
    Word,
    clock,
    delivered,
    write_transcript,
)

WORDS = [
    Word(" Ask", 0.0, 0.5, 0.9),
    Word(" not", 0.5, 1.0, 0.8),
    Word(" what-", 1.5, 2.0, 0.7),
    Word("ever.", 2.0, 2.5, 0.6),
]
SPOKEN = Transcript(
    [
        Segment(0.0, 2.5, " Ask not what-ever.", WORDS, {"seek": 0, "tokens": [7]}),
        Segment(3661.25, 3662, " The end", [Word(" The", 3661.25, 3661.5), Word(" end", 3661.5, 3662)]),
    ],
    "en",
)


def form(**given):
    return TranscriptForm(**given)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00.000"), (59.9996, "01:00.000"), (61.25, "01:01.250"), (7325.5, "02:02:05.500")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_text_and_times():
    assert write_transcript(SPOKEN, form()) == "Ask not what-ever.\nThe end"
    assert write_transcript(SPOKEN, form(timestamps=True)).splitlines()[1] == "[01:01:01.250 --> 01:01:02.000] The end"
    assert write_transcript(SPOKEN, form(words=True)).splitlines()[2] == "[00:01.500 --> 00:02.000] what-"
    assert SPOKEN.text == "Ask not what-ever. The end"


def test_table_is_in_milliseconds():
    lines = write_transcript(SPOKEN, form(format="tsv")).splitlines()
    assert lines == ["start\tend\ttext", "0\t2500\tAsk not what-ever.", "3661250\t3662000\tThe end"]


def test_json_has_the_usual_keys():
    record = json.loads(write_transcript(SPOKEN, form(format="json")))
    assert list(record) == ["text", "segments", "language"]
    first, last = record["segments"]
    assert first | {"words": 0} == {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 2.5,
        "text": " Ask not what-ever.",
        "tokens": [7],
        "words": 0,
    }
    assert first["words"][0] == {"word": " Ask", "start": 0.0, "end": 0.5, "probability": 0.9}
    assert "probability" not in last["words"][0]


def test_subtitles_are_cut_between_words_where_words_have_times():
    text = write_transcript(SPOKEN, form(format="srt", words=True, max_line_width=9, max_line_count=1))
    assert text.split("\n\n") == [
        "1\n00:00:00,000 --> 00:00:01,000\nAsk not",
        "2\n00:00:01,500 --> 00:00:02,500\nwhat-ever.",  # written together, so on one line
        "3\n01:01:01,250 --> 01:01:02,000\nThe end",
    ]
    assert "Ask not\nwhat-ever." in write_transcript(SPOKEN, form(format="vtt", words=True, max_line_width=9))


def test_subtitles_without_times_of_words_are_wrapped():
    plain = Transcript([Segment(0, 1, " one two three --> four")])
    text = write_transcript(plain, form(format="vtt", max_line_width=7))
    assert text == "WEBVTT\n\n00:00.000 --> 00:01.000\none two\nthree\n->\nfour"
    assert write_transcript(Transcript([]), form(format="vtt")) == "WEBVTT"


def test_spoken_words_are_underlined():
    text = write_transcript(SPOKEN, form(format="vtt", words=True, highlight=True))
    cues = text.split("\n\n")[1:]
    assert cues[0] == "00:00.000 --> 00:00.500\n<u>Ask</u> not what-ever."
    assert cues[2] == "00:01.000 --> 00:01.500\nAsk not what-ever."  # the pause
    assert cues[4] == "00:02.000 --> 00:02.500\nAsk not what-<u>ever.</u>"


def test_results(tmp_path):
    (result,) = delivered("a/speech.flac", SPOKEN, form())
    assert isinstance(result, Transcribed) and result.language == "en" and result.line().startswith("Ask")
    result.write(tmp_path / "x.srt")
    assert (tmp_path / "x.srt").read_text().startswith("1\n00:00:00,000 -->")
    list(delivered("a/speech.flac", SPOKEN, form(format="json", folder=str(tmp_path / "new"))))
    assert json.loads((tmp_path / "new" / "speech.json").read_text())["language"] == "en"


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"highlight": True}, "add --words"),
        ({"words": True, "max_line_count": 2}, "add --max-line-width"),
        ({"max_line_width": 0}, "max_line_width"),
    ],
)
def test_what_does_not_go_together(given, fault):
    with pytest.raises(ConfigError, match=fault):
        form(**given)
