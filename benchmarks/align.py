"""How long it takes to align 10,000 pairs whose embeddings are cached.

Run: ``python benchmarks/align.py``; prints one table. The embeddings are as wide as ViT-B-32's
(512) and by lot: time does not depend on what they mean.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe

from mmsearch.config import InputLimits
from mmsearch.encode import Model
from mmsearch.encode.heads import HeadKind, unit
from mmsearch.records import FloatArray, Modality, Space
from mmsearch.train.align import Options, Similarity, train_align

DIM = 512


class Drawn:
    """An encoder whose embeddings are drawn by the number in a text or a sound's file name."""

    space = Space("visual", DIM, True, "drawn", "0" * 64)
    limits = InputLimits()
    batch_size = 256

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def fits(self, text: str) -> bool:
        """Say True."""
        return True

    def prepare(self, decoded: Any) -> int:
        """The number of a text, or of a picture by its colour."""
        if isinstance(decoded, str):
            return int(decoded.split()[1])
        red, green, _ = np.asarray(decoded)[0, 0]
        return int(red) * 256 + int(green)

    def encode(self, prepared: Sequence[int]) -> FloatArray:
        """(n, 512) float32: one meaning a number, and noise of the modality."""
        own = sum(self.modality.encode())
        meaning = [np.random.default_rng(n).standard_normal(DIM) for n in prepared]
        noise = [np.random.default_rng([n, own]).standard_normal(DIM) for n in prepared]
        return unit(np.array(meaning, np.float32) + 4 * np.array(noise, np.float32))


def write_pairs(home: Path, count: int) -> Path:
    """Tiny pictures with a caption each."""
    from PIL import Image

    rows = []
    for number in range(count):
        path = home / f"{number}.png"
        Image.new("RGB", (4, 4), (number // 256, number % 256, 0)).save(path)
        rows.append(json.dumps({"image": path.name, "text": f"number {number}"}))
    manifest = home / "pairs.jsonl"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    count = parser.parse_args().pairs
    model = Model("drawn", (Drawn(Modality.IMAGE), Drawn(Modality.TEXT)))
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        manifest = write_pairs(home, count)
        runs = {f"{head} head": Options(head=head, patience=0) for head in HeadKind}
        runs["bilinear"] = Options(Similarity.BILINEAR, patience=0)
        runs["mlp re-ranker, 5 epochs"] = Options(Similarity.MLP, epochs=5, patience=0)
        features = home / "features"
        train_align(manifest, model=model, out=home / "first", options=Options(epochs=1))
        (home / "first/features").rename(features)
        print(f"| {count:,} pairs of {DIM} dimensions, 30 epochs | seconds |\n|---|---|")
        for what, options in runs.items():
            out = home / what
            out.mkdir()
            (out / "features").symlink_to(features)
            started = time.perf_counter()
            report = train_align(manifest, model=model, out=out, options=options)
            taken_s = time.perf_counter() - started
            print(f"| {what}, {report.steps:,} steps | {taken_s:.0f} |", flush=True)
    print(f"{describe()}; torch {torch.__version__}")


if __name__ == "__main__":
    main()
