"""Indexing against its floors: the bare encoder and bare decoding, in one run.

Run: ``python benchmarks/encode.py --data DIR [--pictures N] [--models mini,vit-b-32] [--memory]``.

``vit-b-32`` has random weights, which cost what trained ones do. Everything is done on the same
photographs: decoding and preprocessing on all cores, encoding batches that are in memory, and
``Index.add``. On a CPU decoding and encoding share the cores, so that what can be reached is the
rate at which one after the other goes ("both"). With ``--memory``: the peak of the resident memory
of processes that index 1,000 and 50,000 pictures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from PIL import Image

import mmsearch
from mmsearch import Modality, Part
from mmsearch.encode import Encoder, Model, load_model
from mmsearch.engine.jobs import decode_for

INDEX = """
import resource, sys
import mmsearch
with mmsearch.create(sys.argv[2]) as index:
    assert not index.add(sys.argv[1]).failures
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def vit_b_32(folder: Path) -> str:
    """Write a ViT-B-32 with random weights; returns its name."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = open_clip.create_model("ViT-B-32", pretrained=None)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    settings = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    return f"open_clip:local-dir:{folder}"


def compare(title: str, model: Model, photos: Sequence[Path]) -> None:
    """Print the rates of one model, and the share of the floors that indexing reaches."""
    name = model.fields(Modality.IMAGE)[0]
    encoder = model.encoder(name)

    def prepare(path: Path) -> Any:
        ((_, picture),) = decode_for(Part("file", Modality.IMAGE, str(path)), [(name, encoder)])
        return encoder.prepare(picture)

    encoder.encode([prepare(path) for path in photos[: encoder.batch_size]])  # weights are loaded
    started = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        prepared = list(pool.map(prepare, photos))
    decoding = len(photos) / (time.perf_counter() - started)
    encoding = len(photos) / encoding_s(encoder, prepared)
    with (
        tempfile.TemporaryDirectory() as folder,
        mmsearch.create(Path(folder) / "index", model=model) as index,
    ):
        report = index.add(photos)
    indexing = report.added / report.seconds
    both = 1 / (1 / decoding + 1 / encoding)
    for what, rate in (
        ("bare decoding and preprocessing", decoding),
        ("bare encoding", encoding),
        ("both, one after the other", both),
    ):
        print(f"| {title}: {what} | {rate:.0f} pictures/s |")
    print(f"| {title}: index | {indexing:.0f} pictures/s |")
    print(f"| {title}: index / bare encoding | {indexing / encoding:.2f} |")
    print(f"| {title}: index / both | {indexing / both:.2f} |", flush=True)


def encoding_s(encoder: Encoder, prepared: Sequence[Any]) -> float:
    """Seconds to encode everything in batches."""
    started = time.perf_counter()
    for start in range(0, len(prepared), encoder.batch_size):
        encoder.encode(prepared[start : start + encoder.batch_size])
    return time.perf_counter() - started


def peak_mib(count: int) -> float:
    """MiB of resident memory at the peak of a process that indexes so many pictures."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for number in range(count):
            pixels = rng.integers(0, 255, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(pictures / f"{number}.jpg")
        command = [sys.executable, "-c", INDEX, str(pictures), str(Path(folder) / "index")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--models", default="mini,vit-b-32")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    photos = sorted((options.data / "flickr8k/images").iterdir())[: options.pictures]
    print(describe(), "\n\n| what | figure |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for title in options.models.split(","):
            name = vit_b_32(Path(folder)) if title == "vit-b-32" else title
            compare(title, load_model(name), photos)
    for count in (1_000, 50_000) if options.memory else ():
        print(f"| peak memory, {count:,} pictures | {peak_mib(count):.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
