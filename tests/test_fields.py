"""Settings as dataclasses: help, bounds and words beside the fields, strict building, parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from formers.errors import ConfigError
from formers.fields import Between, Count, Natural, OneOf, Part, build, check, fields_of


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A part of settings."""

    temperature: Annotated[float, Between(0)] | None = None
    """How flat."""

    def __post_init__(self) -> None:
        check(self, "made")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Something to set."""

    steps: Natural = 3
    """How many."""
    waits: Count = 0
    """How long."""
    share: Annotated[float, Between(0, below=1)] = 0.5
    """Of all."""
    rates: Annotated[tuple[float, ...], Between(above=0)] = (1.0,)
    """Each."""
    kind: Literal["one", "several"] = "one"
    """Which."""
    form: Annotated[str, OneOf(("round", "square"))] = "round"
    """What shape."""
    draw: Annotated[Draw, Part()] = field(default_factory=Draw)
    """How it is drawn."""

    def __post_init__(self) -> None:
        check(self, "made")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "made.steps (0) must be at least 1"),
        ({"waits": -1}, "made.waits (-1) must be 0 or more"),
        ({"share": 1.0}, "made.share (1.0) must be in [0, 1)"),
        ({"share": float("nan")}, "made.share (nan) must be in [0, 1)"),
        ({"rates": [1, 0]}, "made.rates ((1.0, 0.0)) must be a positive number"),
        ({"kind": "many"}, 'made.kind "many" is not known; known: one, several'),
        ({"form": "squar"}, 'made.form "squar" is not known; did you mean "square"?'),
        ({"temperature": -1}, "made.temperature (-1.0) must be 0 or more"),
        ({"steps": "3"}, "x steps: got '3' (str), expected int"),
        ({"steps": True}, "x steps: got True (bool), expected int"),
        ({"rates": 1.0}, "x rates: got 1.0 (float), expected list"),
        ({"step": 3}, 'x has no key "step"; did you mean "steps"?'),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given, message):
    with pytest.raises(ConfigError) as error:
        build(Settings, given, "x")
    assert str(error.value) == message


def test_what_fits_is_built_parts_included():
    settings = build(Settings, {"share": 0, "rates": [1, 2.5], "temperature": 1, "kind": "several"}, "x")
    assert settings == Settings(share=0.0, rates=(1.0, 2.5), kind="several", draw=Draw(temperature=1.0))
    assert build(Settings, {"temperature": None}, "x").draw.temperature is None


def test_every_field_says_what_it_is():
    fields = fields_of(Settings)
    assert [fields[name].help for name in ("steps", "temperature")] == ["How many.", "How flat."]
    assert fields["temperature"].part == ("draw", Draw) and fields["temperature"].optional
    assert fields["kind"].words == ("one", "several") and fields["form"].words == ("round", "square")


def test_a_field_without_help_is_a_fault_of_ours():
    @dataclass
    class Bare:
        """No help below."""

        number: int = 1

    with pytest.raises(AssertionError, match="Bare: no docstring below"):
        fields_of(Bare)


def test_a_value_in_a_message_is_cut():
    with pytest.raises(ConfigError) as fault:
        build(Settings, {"steps": ["x" * 10_000]}, "it")
    assert len(str(fault.value)) < 200
