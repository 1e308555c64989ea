"""What mini is trained on: pictures with captions or labels, sounds with labels, lines of text."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEST_NOTES = ("D", "Gs")
"""Notes of the instruments, in every octave, that are kept for reported figures."""

KEPT = "kept"

SENTENCE_FILES = (
    "audiocaps_train.txt",
    "audiocaps_val.txt",
    "clotho_train.txt",
    "clotho_val.txt",
    "clotho_test.txt",
    "coco_val2017.txt",
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to train on.

    Attributes:
        path: The file.
        texts: Captions, or one sentence made from its class name; empty when nothing is known.
        kind: The collection it comes from.
        least: The smallest share of it that its texts are true of.
    """

    path: Path
    texts: tuple[str, ...]
    kind: str
    least: float = 0.3


@dataclass(frozen=True, slots=True)
class Recording:
    """A labelled sound to train on.

    Attributes:
        path: The file.
        label: What sounds, in words.
        kind: ``esc10`` or ``instruments``.
        group: Recordings of one group share a source: a fold, or a note.
    """

    path: Path
    label: str
    kind: str
    group: str

    @property
    def kept(self) -> bool:
        """Whether it is a note that is only for reported figures."""
        return self.kind == "instruments" and self.group.rstrip("0123456789") in TEST_NOTES


def words(name: str) -> str:
    """A class or file name as plain words: ``grand_piano`` → ``grand piano``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[_\W]+", " ", spaced).strip().lower()


def flickr(data: Path, split: str) -> list[Picture]:
    """The photographs of one split of Flickr8k with their five captions each."""
    rows = map(json.loads, (data / "flickr8k/captions.jsonl").read_text().splitlines())
    return [
        Picture(data / "flickr8k" / row["image"], tuple(row["captions"]), f"flickr8k-{split}")
        for row in rows
        if row["split"] == split
    ]


def pictures(data: Path, dev: bool) -> list[Picture]:
    """Every picture to train on: Flickr8k first, then the other collections.

    Args:
        data: The folder of the data.
        dev: Whether to add the Flickr8k dev split, from which figures are reported.
    """
    found = flickr(data, "train") + (flickr(data, "dev") if dev else [])
    found += [Picture(path, (), "photos") for path in sorted(data.glob("photos/**/*.jpg"))]
    templates = {
        "caltech101": "a photo of a {}",
        "flowers": "a photo of {} flowers",
        "scenes64": "a photo of a {} landscape",
    }
    for kind, template in templates.items():
        for path in sorted(data.glob(f"{kind}/*/*.*")):
            found.append(Picture(path, (template.format(words(path.parent.name)),), kind))
    return found


def recordings(data: Path) -> list[Recording]:
    """Every labelled sound."""
    found = [
        Recording(path, words(path.parent.name), "esc10", path.name.split("-")[0])
        for path in sorted(data.glob("esc10/*/*.ogg"))
    ]
    for path in sorted(data.glob("instruments/*/*.mp3")):
        note = path.stem.split("_")[1]
        found.append(Recording(path, words(path.parent.name), "instruments", note))
    return found


def sentences(data: Path, dev: bool) -> list[str]:
    """Captions of pictures and sounds, each once; those of the Flickr8k dev split if wanted."""
    lines = [line for name in SENTENCE_FILES for line in _lines(data / "captions" / name)]
    for split in ("train", "dev") if dev else ("train",):
        lines += [text.strip() for picture in flickr(data, split) for text in picture.texts]
    return list(dict.fromkeys(filter(None, lines)))


def names(data: Path) -> list[str]:
    """Names of things and sounds: classes, AudioSet's ontology, ImageNet's labels."""
    found = [words(folder.name) for folder in sorted(data.glob("*/*")) if folder.is_dir()]
    ontology = json.loads((data / "captions/audioset_ontology.json").read_text())
    found += [entry["name"].lower() for entry in ontology]
    for line in _lines(data / "teachers/imagenet_labels.txt"):
        found += [part.strip().lower() for part in line.split(",")]
    return list(dict.fromkeys(filter(None, found)))


def audioset_classes(data: Path) -> list[str]:
    """The names of YAMNet's 521 classes, in its order."""
    with (data / "teachers/yamnet_class_map.csv").open(encoding="utf-8", newline="") as file:
        return [row["display_name"].lower() for row in csv.DictReader(file)]


def descriptions(data: Path) -> list[str]:
    """AudioSet's descriptions of its sound classes."""
    ontology = json.loads((data / "captions/audioset_ontology.json").read_text())
    return [entry["description"] for entry in ontology if entry["description"]]


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield line.strip()
