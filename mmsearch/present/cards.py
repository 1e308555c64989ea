"""What a gallery says about each search and each hit, every string safe to show."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from mmsearch.present.previews import Preview, Sight, picture_preview, shown, sound_preview
from mmsearch.present.words import lines, one_line, where
from mmsearch.records import Chunk, Hit, Item, Modality, Part


@dataclass(frozen=True, slots=True)
class Card:
    """One hit as the page shows it.

    Attributes:
        picture: The item's picture: the part that matched, or else its first picture.
        heat: The picture with its heat map.
        sound: The seconds that matched.
        text: The passage that matched.
        link: A ``file:`` address of the file.
        details: What the fold-out lists, by name.
    """

    rank: int
    name: str
    alt: str
    modality: Modality
    matched: str
    where: str
    score: str
    link: str
    details: tuple[tuple[str, str], ...]
    picture: Preview | None = None
    heat: Preview | None = None
    sound: Preview | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One search as the page shows it.

    Attributes:
        heading: A few words over it.
        text: The text that was asked for.
        pictures: The pictures that were searched with.
        sounds: The sounds that were searched with.
        terms: The rest of the query, by name.
        cards: The hits.
    """

    heading: str
    text: str
    pictures: tuple[Preview, ...]
    sounds: tuple[Preview, ...]
    terms: tuple[tuple[str, str], ...]
    cards: tuple[Card, ...]


def panel(
    heading: str, query: Mapping[str, object], hits: Sequence[Hit], heat: Mapping[int, Image]
) -> Panel:
    """A search's panel, with heat maps by rank."""
    given = {name: value for name, value in query.items() if value is not None}
    images, sounds = _files(given.pop("image", ())), _files(given.pop("audio", ()))
    return Panel(
        heading=one_line(heading),
        text=lines(str(given.pop("text", ""))),
        pictures=tuple(picture_preview(Sight(path)) for path in images),
        sounds=tuple(sound_preview(path, Chunk()) for path in sounds),
        terms=tuple((one_line(name), in_words(value)) for name, value in given.items()),
        cards=tuple(card(hit, heat.get(hit.rank)) for hit in hits),
    )


def _files(given: object) -> Iterator[str]:
    """The paths of one file or several."""
    several = given if isinstance(given, list | tuple) else [given]
    return (os.path.expanduser(str(path)) for path in several)


def card(hit: Hit, heat: Image | None = None) -> Card:
    """A hit's card, with its heat map if there is one."""
    part = hit.part
    picture = sight(hit.item, part, hit.chunk)
    sounds = part.path if part.modality is Modality.AUDIO else None
    role = "" if part.role in ("file", part.modality) else f": {one_line(part.role)}"
    return Card(
        rank=hit.rank,
        name=one_line(hit.item.name),
        alt=alt_text(hit.item),
        modality=part.modality,
        matched=f"{part.modality}{role}",
        where=where(part.modality, hit.chunk),
        score=_score(hit),
        link=file_link(hit.item, part),
        details=_details(hit),
        picture=picture_preview(picture) if picture else None,
        heat=shown(one_line(hit.item.name), heat) if heat else None,
        sound=sound_preview(sounds, hit.chunk) if sounds else None,
        text=lines(hit.text or ""),
    )


def alt_text(item: Item) -> str:
    """Words for a picture that cannot be seen: its caption where it has one, else its name."""
    return one_line(next((part.text for part in item.parts if part.text), item.name))


def sight(item: Item, part: Part, chunk: Chunk) -> Sight | None:
    """What shows a stretch of an item: its part in question, or else its first picture."""
    pictures = (p.path for p in (part, *item.parts) if p.modality is Modality.IMAGE)
    path = next(filter(None, pictures), None)
    return Sight(path, float(chunk.start or 0) if path == part.path else 0.0) if path else None


def file_link(item: Item, part: Part) -> str:
    """A ``file:`` address of the part, or of what best stands for the item."""
    return Path(part.path or item.path).absolute().as_uri()


def _score(hit: Hit) -> str:
    found = f"score {hit.score:.3f}" if hit.relevance is None else f"{hit.relevance:.0%} relevant"
    return f"≈ {found}" if hit.approximate else found


def _details(hit: Hit) -> tuple[tuple[str, str], ...]:
    """Path, row, columns, and how the score came about, by name."""
    known = {"path": str(hit.part.path or hit.item.path)}
    if hit.item.row is not None:
        known["row"] = hit.item.row
    why = ("why", "; ".join(hit.explain()))
    everything = [*known.items(), *hit.item.columns.items(), ("score", f"{hit.score:.4f}"), why]
    return tuple((one_line(name), in_words(value)) for name, value in everything if value)


def in_words(value: object) -> str:
    """A column's or an argument's value in words."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(in_words(inner) for inner in value)
    return one_line("" if value is None else str(value))
