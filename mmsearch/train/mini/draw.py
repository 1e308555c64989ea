"""Pictures that the project draws itself: shapes, colours, counts and patterns, with captions."""

from collections.abc import Callable
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmsearch.train.mini.data import Picture
from mmsearch.whole import written_whole

SIDE = 160
COLOURS = {
    "red": (210, 35, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 200),
    "yellow": (245, 215, 40),
    "orange": (240, 140, 30),
    "purple": (130, 50, 160),
    "pink": (245, 150, 190),
    "brown": (125, 80, 45),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
    "gray": (130, 130, 130),
}
NUMBERS = ("one", "two", "three", "four", "five", "six")

Points = list[tuple[float, float]]


def _polygon(corners: int, turn: float = 0.0, inner: float = 1.0) -> Points:
    """Corners on a circle of radius 1; every other one on a smaller circle, for stars."""
    angles = [turn + 2 * pi * number / corners for number in range(corners)]
    radii = [1.0 if number % 2 == 0 else inner for number in range(corners)]
    return [(r * sin(a), -r * cos(a)) for a, r in zip(angles, radii, strict=True)]


def _heart() -> Points:
    angles = np.linspace(0, 2 * pi, 40)
    across = 16 * np.sin(angles) ** 3
    up = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    return [(float(x / 17), float(-y / 17)) for x, y in zip(across, up, strict=True)]


SHAPES: dict[str, Points] = {
    "circle": _polygon(48),
    "square": _polygon(4, pi / 4),
    "triangle": _polygon(3),
    "star": _polygon(10, inner=0.4),
    "diamond": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "hexagon": _polygon(6),
    "rectangle": [(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)],
    "heart": _heart(),
    "cross": [
        *((-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)),
        *((0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)),
    ],
    "arrow": [(-1, -0.25), (0.2, -0.25), (0.2, -0.7), (1, 0), (0.2, 0.7), (0.2, 0.25), (-1, 0.25)],
}
"""Outlines within -1 to 1."""


def plural(word: str) -> str:
    """More than one of a shape or colour word."""
    return word + ("es" if word.endswith(("s", "x", "sh", "ch")) else "s")


def one(word: str) -> str:
    """A word with its article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def draw(rng: np.random.Generator) -> tuple[Image.Image, tuple[str, ...]]:
    """One picture and what may be said of it."""
    ground, first, second = rng.choice(list(COLOURS), 3, replace=False)
    kinds: list[Callable[..., tuple[Image.Image, tuple[str, ...]]]] = [_shapes, _couple, _pattern]
    return kinds[rng.choice(3, p=[0.6, 0.25, 0.15])](rng, str(ground), str(first), str(second))


def _shapes(
    rng: np.random.Generator, ground: str, colour: str, _: str
) -> tuple[Image.Image, tuple[str, ...]]:
    shape, count = str(rng.choice(list(SHAPES))), int(rng.integers(1, len(NUMBERS) + 1))
    picture = Image.new("RGB", (SIDE, SIDE), _tint(ground, rng))
    cells = rng.choice(9, count, replace=False) if count > 1 else [4]
    for cell in cells:
        _place(picture, shape, colour, int(cell), 0.9 if count == 1 else 0.3, rng)
    noun = shape if count == 1 else plural(shape)
    several = one(colour) if count == 1 else f"{NUMBERS[count - 1]} {colour}"
    return picture, (
        f"{several} {noun}",
        f"{NUMBERS[count - 1]} {colour} {noun} on {one(ground)} background",
        f"a drawing of {several} {noun}",
    )


def _couple(
    rng: np.random.Generator, ground: str, colour: str, other: str
) -> tuple[Image.Image, tuple[str, ...]]:
    shape, twin = (str(name) for name in rng.choice(list(SHAPES), 2, replace=False))
    picture = Image.new("RGB", (SIDE, SIDE), _tint(ground, rng))
    _place(picture, shape, colour, 3, 0.4, rng)
    _place(picture, twin, other, 5, 0.4, rng)
    return picture, (
        f"{one(colour)} {shape} and {one(other)} {twin}",
        f"{one(colour)} {shape} beside {one(other)} {twin} on {one(ground)} background",
    )


def _pattern(
    rng: np.random.Generator, colour: str, other: str, _: str
) -> tuple[Image.Image, tuple[str, ...]]:
    name = str(rng.choice(["stripes", "checkerboard", "dots"]))
    down, across = np.mgrid[:SIDE, :SIDE] / (SIDE / rng.integers(3, 9))
    if name == "stripes":
        angle = rng.uniform(0, pi)
        marked = (across * cos(angle) + down * sin(angle)) % 1 < 0.5
    elif name == "checkerboard":
        marked = (across.astype(int) + down.astype(int)) % 2 == 0
    else:
        marked = (across % 1 - 0.5) ** 2 + (down % 1 - 0.5) ** 2 < 0.09
    colours = np.array([_tint(colour, rng), _tint(other, rng)], np.uint8)
    picture = Image.fromarray(colours[marked.astype(int)])
    return picture, (f"{colour} and {other} {name}", f"a pattern of {colour} and {other} {name}")


def _place(
    picture: Image.Image, shape: str, colour: str, cell: int, size: float, rng: np.random.Generator
) -> None:
    """Draw a shape into one of 3 x 3 cells of the middle of a picture."""
    row, column = divmod(cell, 3)
    radius = size * SIDE / 2 * rng.uniform(0.6, 0.9)
    x = SIDE * (0.22 + 0.28 * column) + rng.uniform(-3, 3)
    y = SIDE * (0.22 + 0.28 * row) + rng.uniform(-3, 3)
    turn = rng.uniform(-0.25, 0.25)
    points = [
        (x + radius * (a * cos(turn) - b * sin(turn)), y + radius * (a * sin(turn) + b * cos(turn)))
        for a, b in SHAPES[shape]
    ]
    outline = int(rng.integers(0, 2)) * 3
    ImageDraw.Draw(picture).polygon(points, _tint(colour, rng), (0, 0, 0), width=outline)


def _tint(colour: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour, a little off."""
    red, green, blue = (
        int(c + d) for c, d in zip(COLOURS[colour], rng.integers(-12, 13, 3), strict=True)
    )
    return min(max(red, 0), 255), min(max(green, 0), 255), min(max(blue, 0), 255)


def drawings(count: int, folder: Path, seed: int) -> list[Picture]:
    """Draw pictures into a folder, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(count):
        picture, texts = draw(np.random.default_rng([seed, 9, number]))
        path = folder / f"{number:05d}.png"
        if not path.exists():
            with written_whole(path) as temporary:
                picture.save(temporary, "PNG")
        found.append(Picture(path, texts, "drawn", least=0.85))
    return found
