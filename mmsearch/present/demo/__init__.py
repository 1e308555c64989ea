"""What ``mmsearch demo`` searches: real photographs, made sounds, short texts, a manifest."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import MMSearchError
from mmsearch.present.demo.photos import FLOWER, PHOTOS, ROCKET, TEMPLE, Photo, credits_text
from mmsearch.present.demo.sounds import NAMES, make_sound
from mmsearch.present.demo.texts import TEXTS
from mmsearch.records import Sound

# Sounds that belong to a manifest row, and are no files of their own.
_POSTCARDS = (
    (ROCKET, "rocket launch", "A rocket stands on the launch pad at night, ready to lift off"),
    (TEMPLE, "temple bell", "An old temple with red and green roofs above a misty lake"),
    (FLOWER, "bird song", "An orange dahlia in bloom in a green garden"),
)


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """One search of the demo.

    Attributes:
        title: What it shows: ``text → image``.
        arguments: The keyword arguments of ``Index.search``.
    """

    title: str
    arguments: dict[str, Any]


def write_demo_data(folder: Path) -> tuple[Path, ...]:
    """Write the demo's files; the same bytes on every call.

    Args:
        folder: Made if it is not there; files in it of the same names are replaced.

    Returns:
        What to index: three folders and a manifest. The folder ``queries``, whose pictures and
        sounds the demo searches with, is not among them.

    Raises:
        MMSearchError: The photographs' packages are not installed (the ``demo`` extra), or the
            folder cannot be written to.
    """
    photos = {f"photos/{photo.name}": photo.read() for photo in PHOTOS}
    _write(folder / "CREDITS", credits_text().encode())
    texts = {f"texts/{name}.txt": f"{text}\n".encode() for name, text in TEXTS.items()}
    apart = {sound for _, sound, _ in _POSTCARDS}
    sounds = {
        f"sounds/{_file(name)}": _wav(make_sound(name)) for name in NAMES if name not in apart
    }
    everything = {**photos, **texts, **sounds, **_postcards(), **_queries()}
    for name, content in everything.items():
        _write(folder / name, content)
    return tuple(
        folder / name for name in ("photos", "sounds", "texts", "postcards/postcards.jsonl")
    )


def demo_queries(folder: Path) -> tuple[DemoQuery, ...]:
    """The demo's searches, over an index of what ``write_demo_data`` wrote to the folder."""
    cat, coffee = str(folder / "queries/cat.jpg"), str(folder / "queries/coffee.jpg")
    dog, sea = str(folder / "queries/dog.wav"), str(folder / "queries/sea.wav")
    return (
        DemoQuery("text → image", {"text": "a cup of coffee on a table", "target": "image"}),
        DemoQuery("text → image", {"text": "stars in the night sky", "target": "image"}),
        DemoQuery("text → audio", {"text": "a dog is barking", "target": "audio"}),
        DemoQuery("text → audio", {"text": "heavy rain", "target": "audio"}),
        DemoQuery("text → text", {"text": "an animal that wakes people up", "target": "text"}),
        DemoQuery("image → text", {"image": cat, "target": "text"}),
        DemoQuery("image → image", {"image": coffee, "target": "image"}),
        DemoQuery("audio → text", {"audio": dog, "target": "text"}),
        DemoQuery("audio → audio", {"audio": sea, "target": "audio"}),
        DemoQuery("text → everything", {"text": "a rocket launch"}),
    )


def _postcards() -> dict[str, bytes]:
    """A manifest whose rows are a picture, its caption and its sound, and the files it names."""
    out, rows = {}, []
    for photo, sound, caption in _POSTCARDS:
        out[f"postcards/{photo.name}"] = photo.read()
        out[f"postcards/{_file(sound)}"] = _wav(make_sound(sound))
        rows.append(
            {
                "id": Path(photo.name).stem,
                "title": caption,
                "image": photo.name,
                "audio": _file(sound),
                "caption": caption,
                "licence": photo.licence,
                "credit": photo.credit,
            }
        )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return {**out, "postcards/postcards.jsonl": lines.encode()}


def _queries() -> dict[str, bytes]:
    """Pictures and sounds to search with, none of them equal to an indexed one."""
    photos = {photo.name: photo for photo in PHOTOS}
    return {
        "queries/cat.jpg": _mirrored(photos["cat.png"]),
        "queries/coffee.jpg": _mirrored(photos["coffee.png"]),
        "queries/dog.wav": _wav(make_sound("barking dog", take=1)),
        "queries/sea.wav": _wav(make_sound("sea waves", take=1)),
    }


def _mirrored(photo: Photo) -> bytes:
    """The middle of a photograph, mirrored."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(photo.read())) as picture:
        border = min(picture.size) // 12
        cropped = ImageOps.crop(ImageOps.mirror(picture.convert("RGB")), border)
    buffer = io.BytesIO()
    cropped.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise MMSearchError(f"cannot write the demo's file {path}: {error.strerror}") from error


def _wav(sound: Sound) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, sound.samples, sound.sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _file(sound: str) -> str:
    return sound.replace(" ", "-") + ".wav"
