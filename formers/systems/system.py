"""What a system is: its declaration, and what its verbs take and give. No torch: help and routes are made of this.

SYSTEM = System(name, title, models, places of sizes, rows, task ..., verbs, looks)      in systems/NAME/__init__.py
verb:  run(system, options) -> Progress, Note, Piece ... and results, each as it is there
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

from formers.errors import ConfigError
from formers.fields import Given
from formers.files import expanded, resolved

T = TypeVar("T")


def resolve(place: str) -> Any:
    """What "module:name" within this package names."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"formers.{module}"), name)


@dataclass(frozen=True)
class Verb:
    """`formers NAME MODEL ...`, and the server's `POST /NAME`."""

    name: str
    help: str
    """One line."""
    options: str
    """Its dataclass of options; nothing heavy is imported with it."""
    run: str = ""
    """(loaded system, options) -> an iterator of results ("": the function of the verb's name)."""
    endings: tuple[str, ...] = ()
    """Of the files that its results can be written to (`--out`); none: lines, or what a result says of itself."""
    out: str = ""
    """The file that a command line writes where --out names none, of results that take long."""


@dataclass(frozen=True)
class Look(Verb):
    """Something to see of the inside: `formers inspect MODEL NAME ...`."""

    opens: bool = True
    """Whether the model is opened for it; else its `run` gets None."""


@dataclass(frozen=True)
class System:
    """Everything that this house has to know of a system. Places are "module:name", resolved when used.

    A name without a module is of the system's own folder, in the file that is for such things; of sizes, of `sizes`.
    """

    name: str
    title: str
    """What it is, for lists."""
    open: str
    """The class of the loaded system, which takes model, tokenizer and family, or a function of a whole
    `pretrained.loaded.Loaded`. Systems that open alike share verbs and looks."""
    sizes: str
    """The recipe's section [model]."""
    rows: str
    """[rows]: columns, length, packing."""
    task: str
    """[task]: what is learned and how it is judged."""
    parts: str = ""
    """[parts], of systems whose models build on others: text fields, each of a `ModelClass`."""
    prepare: str = "prepare"
    """What makes a `Prepared` of a `Beginning`."""
    models: tuple[str, ...] = ()
    """Model classes whose checkpoints open as this system unless they say otherwise."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of its [data]."""
    verbs: tuple[Verb, ...] = ()
    looks: tuple[Look, ...] = ()
    scores: Mapping[str, str] = field(default_factory=dict)
    """What it is judged by: name -> what that says."""
    recipe: str = ""
    """The offline recipe that `formers adapt MODEL` trains ("": the one of the system's name)."""
    example: str = ""
    """The verb to try first, with its arguments: 'translate {} "I ate an apple"'."""
    lessons: str = ""
    """What shows which tokens carry loss, if it can (`formers data --show-loss`): see `systems.lessons`."""
    comparison: str = ""
    """What holds a trained model against simpler methods, if there are such (`formers compare RECIPE`): (loaded system,
    sections of the recipe, folder of the run, seconds of training) -> events."""

    def __post_init__(self) -> None:
        own = f"systems.{self.name}"
        places = {"sizes": "systems.sizes", "open": f"{own}.system", "rows": f"{own}.data", "task": f"{own}.task"}
        places["parts"] = f"{own}.parts"
        places |= {"prepare": f"{own}.task", "lessons": f"{own}.lessons", "comparison": f"{own}.comparison"}
        whole: dict[str, Any] = {name: _placed(module, getattr(self, name)) for name, module in places.items()}
        whole["recipe"] = self.recipe or self.name
        for kind in ("verbs", "looks"):
            whole[kind] = tuple(
                dataclasses.replace(
                    verb,
                    options=_placed(f"{own}.{kind}", verb.options),
                    run=_placed(f"{own}.{kind}", verb.run or verb.name),
                )
                for verb in getattr(self, kind)
            )
        for name, value in whole.items():
            object.__setattr__(self, name, value)


def _placed(module: str, name: str) -> str:
    return name if ":" in name or not name else f"{module}:{name}"


@dataclass(frozen=True)
class ModelClass:
    """Of a field of [parts], beside its type: the classes that the model may have. What the field names is a folder, or
    a recipe that is trained first."""

    names: tuple[str, ...]


# ---- what verbs take -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Typed:
    """How a command line writes a field, where it is not `--name`: beside its type, in `Annotated`."""

    metavar: str = ""
    positional: bool = False
    negatable: bool = False
    """`--no-name` too."""
    dash: bool = False
    """Of one text: - is standard input."""
    pairs: str = ""
    """Of texts: the option with which each is two texts, a tab between them."""
    file: bool = False
    """It names a file or data source, which a server does not take from a request."""
    inline: bool = False
    """Such a file may be a data: URL; a request gives its bytes in base64."""
    plain: bool = False
    """Such a file is plain text, no table."""
    source: bool = False
    """Of texts: the argument is no text but the file, table or data source that has them."""
    passage: bool = False
    """Of one text: a command line takes the text, the file that holds it, or - for standard input."""


Passage = Annotated[str, Typed(metavar="TEXT|FILE|-", passage=True)]


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, which no user writes: whoever opened it fills it in."""

    name: str
    """What the user called it."""
    sections: Mapping[str, Any] | None = None
    """The recipe of a run."""
    system: str = ""
    """The system of that recipe."""
    recipe_is_bad: bool = False
    """Whether it is a run whose recipe cannot be read."""

    @property
    def no_data(self) -> str:
        """Why there are no data of its own."""
        return "has a recipe that cannot be read" if self.recipe_is_bad else "is not a run"

    @property
    def short(self) -> str:
        """The name without the folders that it lies in."""
        return resolved(expanded(self.name)).name

    def section(self, name: str, system: str) -> Any:
        """A section of the run's recipe; None where it is no run of this system."""
        return self.sections[name] if self.sections is not None and self.system == system else None


NOWHERE = Origin("")
FILLED = (Origin, Given)  # kinds of fields that no user writes


# ---- what verbs give -----------------------------------------------------------------------------------------------


class Result(Protocol):
    """A dataclass; its JSON is its fields."""

    def line(self) -> str:
        """Plain text, a line or several."""


@runtime_checkable
class Coloured(Protocol):
    """A result that has colours on a terminal; where it is a table too, it is one in a pipe."""

    def spans(self) -> Sequence[tuple[str, str]]:
        """(text, style) one after the other."""


@runtime_checkable
class Tabled(Protocol):
    """A result that is a table on a terminal and in a pipe."""

    def table(self) -> ResultTable: ...


@runtime_checkable
class Gathered(Protocol):
    """Results that people see as one, and programs each by itself: in JSON and in a file."""

    def results(self) -> Sequence[Result]: ...


@runtime_checkable
class Written(Protocol):
    """A result that is a file: a picture, vectors."""

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the names that it can be written to, the usual one first."""

    def write(self, path: Path) -> Path | None:
        """Gives the path where it is another one."""


@dataclass(frozen=True)
class Line:
    """A line of text."""

    text: str

    def line(self) -> str:
        return self.text


@dataclass(frozen=True)
class Piece:
    """Some of a text that is still being written."""

    text: str


@dataclass(frozen=True)
class Progress:
    """How far long work has come."""

    done: int
    total: int
    what: str = ""


@dataclass(frozen=True)
class Remark:
    """A line beside the results: what was cut, left out, measured."""

    text: str


Event = Result | Piece | Progress | Remark


def result_of(work: Generator[Any, None, T]) -> T:
    """What long work returns in the end, whatever it yields on the way."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def record(result: Any) -> dict[str, Any]:
    """The JSON of a result: its fields, those that are None and those marked `metadata={"json": False}` left out."""
    if isinstance(result, Report):
        return {**result.facts, **result.values()}
    return {
        part.name: _plain(value)
        for part in dataclasses.fields(result)
        if part.metadata.get("json", True) and (value := getattr(result, part.name)) is not None
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return record(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


# ---- scores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A number that says how good a model is. The unit of a share, "share", is a number from 0 to 1."""

    name: str
    value: float
    unit: str = ""
    lower_is_better: bool = False

    @property
    def text(self) -> str:
        """The value for people, with its unit: shares as per cent."""
        if self.unit == "share":
            return f"{100 * self.value:.2f}%"
        return f"{self.value:.4f} {self.unit}" if self.unit in ("", "nats") else f"{self.value:.2f} {self.unit}"


def share(name: str, value: float) -> Score:
    """A share, between 0 and 1."""
    return Score(name, value, "share")


def cost(name: str, value: float, unit: str = "nats") -> Score:
    """Something of which less is better."""
    return Score(name, value, unit, lower_is_better=True)


def perplexity(loss: float, name: str = "perplexity") -> Score:
    """exp of a mean negative log-probability in nats, which is what perplexity is everywhere here."""
    return cost(name, math.exp(min(50.0, loss)), "")


@dataclass(frozen=True)
class ResultTable:
    """Columns and rows; `right` names the columns of numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    right: Sequence[str] = ()

    def line(self) -> str:
        return "\n".join("\t".join(map(str, row)) for row in self.rows)

    def table(self) -> ResultTable:
        return self


@dataclass(frozen=True)
class Report:
    """What an evaluation found: of a task while it learns, and of a loaded system alike."""

    scores: Sequence[Score]
    title: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else its JSON says: model, data, how many, signatures."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """A word to a score, or a line of its own: what was counted, how fast."""
    tables: Sequence[ResultTable] = ()
    examples: Sequence[Mapping[str, str]] = ()
    notes: Sequence[str] = ()
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    """Ending -> what writes such a file (`--out`); "": any ending."""

    def value(self, name: str) -> float:
        """The value of a score. Raises ConfigError for a name that is none of them."""
        for score in self.scores:
            if score.name == name:
                return score.value
        raise ConfigError(f'there is no score "{name}"; there are: {", ".join(score.name for score in self.scores)}')

    def line(self) -> str:
        return ", ".join(f"{score.name} {score.text}" for score in self.scores)

    def values(self) -> dict[str, float]:
        return {score.name: score.value for score in self.scores}
