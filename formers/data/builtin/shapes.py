"""Shapes: pictures of one to three coloured shapes with captions, boxes, masks, relations, questions and answers.

    (split, seed, index) -> Scene: what is where -> .draw(64), .caption, .boxes, .masks(64), .relations, .questions

What is particular:
- A scene is data, the same on every machine; it is drawn when it is asked for, at any resolution.
- Held-out combinations: of each form one colour, and of each colour one form (`is_held_out`), is never seen in training
  or validation; in every scene of the test split the first shape is one. Whoever names it has understood form and
  colour apart. The label is the form, so that all labels are learned.
- Captions are few: those of one shape repeat in every large batch, as class names do.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.data.builtin.split import check_split

if TYPE_CHECKING:
    from PIL import Image

FORMS = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLOURS = {
    "red": (214, 39, 40), "orange": (250, 140, 20), "yellow": (245, 220, 50), "green": (40, 150, 60),
    "cyan": (70, 210, 220), "blue": (35, 80, 205), "purple": (125, 50, 165), "pink": (250, 130, 190),
}  # fmt: skip
NAMES = tuple(f"{colour} {form}" for colour in COLOURS for form in FORMS)
SIZES = {"small": (0.16, 0.2), "large": (0.28, 0.4)}  # radius of a single shape, as a share of the picture
CROWDED = 0.6  # how much smaller the shapes of a scene of several are
OPENINGS = ("", "a picture of ", "a drawing of ")
OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
CLEARLY = 0.12  # how much more it is above than left of another, as a share of the picture
SAMPLES = 4  # points of a pixel along each side that an edge is drawn with
ANGLE = 20  # degrees that a shape is turned by at most


def is_held_out(form: str, colour: str) -> bool:
    """Whether a combination occurs in the test split only: 8 of the 64."""
    return (3 * FORMS.index(form) + list(COLOURS).index(colour)) % len(FORMS) == 0


@dataclass(frozen=True)
class Shape:
    """One shape; places and sizes are shares of the picture's side."""

    form: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.form}"

    @property
    def outline(self) -> NDArray[np.float64]:
        """(points, 2): what it is bounded by outside."""
        turn = math.radians(self.angle)
        rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        return OUTLINES[self.form] @ rotation * self.radius + (self.x, self.y)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        left, top = self.outline.min(0).tolist()
        right, bottom = self.outline.max(0).tolist()
        return left, top, right, bottom

    def coverage(self, side: int) -> NDArray[np.float32]:
        """(side, side) from 0 to 1: how much of each pixel it covers."""
        from PIL import Image, ImageDraw

        fine = Image.new("L", (side * SAMPLES, side * SAMPLES))
        pen = ImageDraw.Draw(fine)
        pen.polygon([tuple(point) for point in (self.outline * side * SAMPLES - 0.5).tolist()], fill=255)
        if self.form == "ring":
            inner = (self.outline - (self.x, self.y)) * 0.55 + (self.x, self.y)
            pen.polygon([tuple(point) for point in (inner * side * SAMPLES - 0.5).tolist()], fill=0)
        return np.asarray(fine.reduce(SAMPLES), np.float32) / np.float32(255)


@dataclass(frozen=True)
class Scene:
    """What is in a picture, and where."""

    shapes: tuple[Shape, ...]
    grey: tuple[float, float, float]
    """Of the background: in the middle, and how much it grows to the right and down; 0 to 255."""
    opening: str = ""
    sized: bool = False
    """Whether the caption says how large the first shape is."""
    side: int = 64
    """Pixels of a side where none are asked for."""

    @property
    def label(self) -> str:
        return self.shapes[0].form

    @property
    def caption(self) -> str:
        """Such as "a red circle above a blue square"."""
        first, *others = self.shapes
        size = f"{first.size} " if self.sized else ""
        relations = [f"{relation(first, other)} {with_article(other.name)}" for other in others]
        return " ".join([f"{self.opening}{with_article(size + first.name)}", " and ".join(relations)]).strip()

    @property
    def captions(self) -> list[str]:
        """All that can be said of it in the words of captions: of each shape alone, and of each pair."""
        return [with_article(shape.name) for shape in self.shapes] + [
            f"{with_article(one)} {where} {with_article(other)}" for one, where, other in self.relations
        ]

    @property
    def relations(self) -> list[tuple[str, str, str]]:
        """(shape, relation, shape) of all pairs, both ways."""
        pairs = [(one, other) for one in self.shapes for other in self.shapes if one is not other]
        return [(one.name, relation(one, other), other.name) for one, other in pairs]

    @property
    def contents(self) -> list[str]:
        """All that it holds, as labels "kind: name", for a classifier that judges painted pictures."""
        return labels(self.shapes, [(one, other) for one in self.shapes for other in self.shapes if one is not other])

    @property
    def claims(self) -> list[str]:
        """Those of them that its caption means, which places the first shape beside each of the others."""
        first, *others = self.shapes
        return labels(self.shapes, [pair for other in others for pair in ((first, other), (other, first))])

    @property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Left, top, right, bottom of each shape, as shares of the picture."""
        return [shape.box for shape in self.shapes]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Form, colour, size and box of each shape."""
        keys = ("form", "colour", "size", "box")
        return [{key: getattr(shape, key) for key in keys} for shape in self.shapes]

    @property
    def questions(self) -> list[tuple[str, str]]:
        """(question, answer) of everything that can be asked."""
        return list(questions(self))

    def masks(self, side: int = 0) -> NDArray[np.bool_]:
        """(shapes, side, side): which pixels are of each; none overlap."""
        return np.stack([shape.coverage(side or self.side) >= 0.5 for shape in self.shapes])

    def draw(self, side: int = 0) -> NDArray[np.uint8]:
        """The picture (side, side, 3), its edges smooth."""
        side = side or self.side
        middle, right, down = self.grey
        steps = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        pixels = np.repeat((middle + right * steps + down * steps[:, None])[..., None], 3, 2)
        for shape in self.shapes:
            cover = shape.coverage(side)[..., None]
            pixels += cover * (np.array(COLOURS[shape.colour], np.float32) - pixels)
        return pixels.clip(0, 255).round().astype(np.uint8)

    def image(self, side: int = 0) -> Image.Image:
        from PIL import Image

        return Image.fromarray(self.draw(side))

    def png(self, side: int = 0) -> bytes:
        self.image(side).save(file := io.BytesIO(), "PNG")
        return file.getvalue()


Row = tuple[Scene, str, str, str, list[dict[str, Any]], list[str], list[str]]


def shapes(split: str, count: int, seed: int = 0) -> list[Row]:
    """`count` rows (picture, form, "red circle", caption, objects, contents, claims) of one shape, of 32 pixels."""
    return rows(split, count, seed, most=1, side=32)


def captioned(split: str, count: int, seed: int = 0) -> list[Row]:
    """The same of scenes of one to three shapes, of 64 pixels; form and name are those of the first of the caption."""
    return rows(split, count, seed, most=3, side=64)


def pairs(split: str, count: int, seed: int = 0) -> list[Row]:
    """The same of scenes of one shape or two, which are larger for a picture of 32 pixels."""
    return rows(split, count, seed, most=2, side=64)


def every(split: str, count: int, seed: int = 0) -> list[Row]:
    """The same with no combination held out: what a judge of painted pictures learns from."""
    return rows(split, count, seed, most=2, side=64, all_kinds=True)


def rows(split: str, count: int, seed: int, most: int, side: int, *, all_kinds: bool = False) -> list[Row]:
    check_split(split, count)
    scenes = (scene(split, index, seed, most=most, side=side, all_kinds=all_kinds) for index in range(count))
    return [(one, one.label, one.shapes[0].name, one.caption, one.objects, one.contents, one.claims) for one in scenes]


def scene(split: str, index: int, seed: int = 0, *, most: int = 3, side: int = 64, all_kinds: bool = False) -> Scene:
    """The scene of a place in a split: one shape, or 1 to `most`; all_kinds: no combination is held out."""
    random = Random(f"shapes/{split}{'/all' * all_kinds}/{seed}/{most}/{index}")
    count = random.randint(1, most)
    kinds = [(form, colour) for form in FORMS for colour in COLOURS]
    held_out = [kind for kind in kinds if is_held_out(*kind)]
    seen = kinds if all_kinds else [kind for kind in kinds if kind not in held_out]
    first = random.choice(held_out if split == "test" and not all_kinds else seen)
    others = [kind for kind in (kinds if split == "test" else seen) if kind != first]
    picked = [first, *random.sample(others, count - 1)]
    grey = (random.uniform(25, 230), random.uniform(-50, 50), random.uniform(-50, 50))
    opening, sized = random.choice(OPENINGS), random.random() < 0.5
    while True:
        placed = tuple(place(random, form, colour, count > 1) for form, colour in picked)
        if all(apart(one, other) for at, one in enumerate(placed) for other in placed[:at]):
            return Scene(placed, grey, opening, sized, side)


def place(random: Random, form: str, colour: str, crowded: bool) -> Shape:
    """A shape somewhere within the picture."""
    size = random.choice(list(SIZES))
    radius = random.uniform(*SIZES[size]) * (CROWDED if crowded else 1)
    x, y = (random.uniform(radius + 0.02, 0.98 - radius) for _ in range(2))
    return Shape(form, colour, size, x, y, radius, random.uniform(-ANGLE, ANGLE))


def apart(one: Shape, other: Shape) -> bool:
    """Whether two shapes do not touch, and one is clearly beside or above the other."""
    across, down = abs(one.x - other.x), abs(one.y - other.y)
    return math.hypot(across, down) > one.radius + other.radius + 0.03 and abs(across - down) > CLEARLY


def relation(one: Shape, other: Shape) -> str:
    """Where one shape is from another."""
    across, down = one.x - other.x, one.y - other.y
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def labels(shapes: Sequence[Shape], pairs: Sequence[tuple[Shape, Shape]]) -> list[str]:
    """How many there are, colour, form and both of each, and of each pair where its first is from its second."""
    names = [f"count: {len(shapes)}"]
    names += [
        f"{kind}: {name}"
        for one in shapes
        for kind, name in (("colour", one.colour), ("form", one.form), ("shape", one.name))
    ]
    names += [f"relation: {name} {relation(*pair)}" for pair in pairs for name in (pair[0].colour, pair[0].form)]
    return list(dict.fromkeys(names))


def questions(scene: Scene) -> Iterator[tuple[str, str]]:
    """How many there are, the colour of each form and the form of each colour that occur once, and what is where."""
    yield "how many shapes are there?", ("one", "two", "three")[len(scene.shapes) - 1]
    for shape in scene.shapes:
        if sum(other.form == shape.form for other in scene.shapes) == 1:
            yield f"what colour is the {shape.form}?", shape.colour
        if sum(other.colour == shape.colour for other in scene.shapes) == 1:
            yield f"what is {shape.colour}?", with_article(shape.form)
    for one, where, other in scene.relations:
        yield f"is the {one} {where} the {other}?", "yes"
        yield f"is the {one} {OPPOSITE[where]} the {other}?", "no"


def with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def around(count: int, *radii: float) -> NDArray[np.float64]:
    """(count, 2): points around the middle from the top, at the radii in turn."""
    angles = np.arange(count) * 2 * np.pi / count
    return np.stack([np.sin(angles), -np.cos(angles)], 1) * np.resize(radii, count)[:, None]


def heart() -> NDArray[np.float64]:
    at = np.arange(48) * 2 * np.pi / 48
    down = 13 * np.cos(at) - 5 * np.cos(2 * at) - 2 * np.cos(3 * at) - np.cos(4 * at)
    return np.stack([16 * np.sin(at) ** 3, -down - 2.5], 1) / 17


def crescent() -> NDArray[np.float64]:
    """A moon that opens to the right: an arc of 250 degrees outside, a flatter one back."""
    half = np.radians(125)
    outside = np.linspace(np.pi - half, np.pi + half, 40)
    tip = np.array([np.cos(outside[0]), np.sin(outside[0])])
    middle = 0.42
    radius = math.hypot(tip[0] - middle, tip[1])
    start = math.atan2(tip[1], tip[0] - middle)
    inside = np.linspace(2 * np.pi - start, start, 30)
    outer = np.stack([np.cos(outside), np.sin(outside)], 1)
    return np.concatenate([outer, np.stack([middle + radius * np.cos(inside), radius * np.sin(inside)], 1)])


CROSS = [(-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1), (-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3)]
OUTLINES = {  # within the circle of radius 1
    "circle": around(64, 1.0),
    "square": around(4, 1.0) @ np.array([[1, 1], [-1, 1]]) / math.sqrt(2),
    "triangle": around(3, 1.0),
    "star": around(10, 1.0, 0.42),
    "cross": np.array(CROSS) / math.sqrt(10),
    "ring": around(64, 1.0),
    "heart": heart(),
    "crescent": crescent(),
}
