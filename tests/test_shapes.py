"""The shape of JSON before it is used, and what no JSON of ours may hold."""

import json
import os
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import pytest

from formers.errors import CheckpointError, FormersError, one_line, shown
from formers.fields import Between
from formers.files import parse_json, read_json
from formers.shapes import Closed, Sized, fault


class Inner(TypedDict):
    name: str
    size: NotRequired[Annotated[int, Between(1)]]


class Outer(TypedDict, total=False):
    kind: Literal["a", "b"]
    rate: float
    inner: list[Inner]
    table: dict[str, int]
    either: int | list[int] | None
    closed: Annotated[Inner, Closed()]
    pair: tuple[int, str]
    some: Annotated[list[int], Sized(1, 3)]


GOOD = {
    "kind": "a",
    "rate": 1,
    "inner": [{"name": "x", "size": 2, "other": object}],
    "table": {"x": 1},
    "either": None,
    "closed": {"name": "x"},
    "pair": [1, "x"],
    "some": [1],
    "beside": 1,
}


def test_a_value_of_the_shape_passes():
    assert fault(GOOD, Outer) == ""
    assert fault({**GOOD, "either": [1, 2]}, Outer) == ""


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("kind", "c", "kind is 'c', expected 'a' or 'b'"),
        ("kind", ["a"], "kind is ['a'], expected 'a' or 'b'"),
        ("rate", True, "rate is True, expected a number"),
        ("rate", float("nan"), "rate is nan, expected a number"),
        ("rate", 10**400, f"rate is 1{'0' * 98}…, expected a number"),
        ("table", {"a": 2**63}, "table.a is 9223372036854775808, expected a whole number"),
        ("inner", {}, "inner is {}, expected a list of objects"),
        ("inner", [{}], "inner[0].name is missing"),
        ("inner", [{"name": "x"}, {"name": 3}], "inner[1].name is 3, expected a text"),
        ("inner", [{"name": "x", "size": 0}], "inner[0].size is 0, expected at least 1"),
        ("table", {"a": 1, "b": 1.5}, "table.b is 1.5, expected a whole number"),
        ("either", "x", "either is 'x', expected a whole number or a list of whole numbers or null"),
        ("either", [1, "x"], "either[1] is 'x', expected a whole number"),
        ("closed", {"name": "x", "sise": 2}, 'closed.sise is not known; did you mean "size"?'),
        ("pair", [1], "pair has 1 values, expected 2"),
        ("some", [], "some is empty"),
        ("some", [1] * 4, "some has 4 entries, expected at most 3"),
    ],
)
def test_a_value_of_another_shape_is_named(key, value, message):
    assert fault({**GOOD, key: value}, Outer) == message
    assert fault([{**GOOD, key: value}], list[Outer], "rows").startswith(f"rows[0].{message[:6]}")


class Late(TypedDict, total=False):
    a: "Required[int]"
    b: "int"


class Early(TypedDict):
    a: "NotRequired[int]"
    b: "int"


def test_a_hint_that_is_text_is_no_less_required():
    assert fault({}, Late) == "a is missing" and fault({"a": 1}, Late) == ""
    assert fault({}, Early) == "b is missing" and fault({"b": 1}, Early) == ""


def test_long_values_are_cut_and_a_message_is_one_line():
    assert len(fault("x" * 10_000, int)) < 150
    assert len(shown("y" * 1000)) == 100
    assert str(FormersError(f"a {'y' * 1000}: b")) == f"a {'y' * 399}… b"
    assert str(FormersError("a\n  b\x1b[2J\u202e\ud800")) == r"a b\x1b[2J\u202e\ud800"
    assert one_line("Schön – 中文") == "Schön – 中文"


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": NaN}', "no finite number"),
        ('{"a": 1e999}', "no finite number"),
        ('{"a": -Infinity}', "no finite number"),
        ('{"a": "\\ud800"}', "half of a character"),
        (b'{"a": "\xed\xa0\x80"}', "half of a character"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "not valid JSON"),
        ("[1]", "expected an object"),
        (b"\xff\xfe{", "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_json_that_no_file_may_hold(text, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        parse_json(text, dict[str, Any], "x.json")
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=f"x.json.*{message}"):
        read_json(tmp_path / "x.json")


def test_whole_characters_written_as_two_halves_are_text():
    assert parse_json(json.dumps({"a": "\N{GRINNING FACE}"}), dict[str, str], "x") == {"a": "\N{GRINNING FACE}"}


def test_a_pipe_a_folder_and_a_large_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(CheckpointError, match=r"pipe.json is no regular file, expected a file"):
        read_json(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_json(tmp_path / "link.json")
    with pytest.raises(CheckpointError, match="is a folder, expected a file"):
        read_json(tmp_path)
    (tmp_path / "big.json").write_text('{"a": 1}')
    with pytest.raises(CheckpointError, match="8 bytes long, expected at most 5"):
        read_json(tmp_path / "big.json", most=5)
