"""Indexing against its floors: the bare encoder and bare decoding, in one run.

Run: ``python benchmarks/encode.py [--data DIR] [--models mini,ViT-B-32] [--memory]``.

Models other than ``mini`` are open_clip's, with random weights, which cost what trained ones do.
Everything is done on the same photographs, three times in turn, and the medians are printed:
decoding and preprocessing on all cores, encoding batches that are in memory, and ``Index.add``.

On a CPU decoding and encoding share the cores, so what can be reached is the rate at which one goes
after the other ("both"); on a GPU it is that of the slower one. There the table says what share of
the GPU's rate of bf16 products, measured on large matrices, the encoder reaches. With ``--memory``:
the peak of the resident memory of processes that index 1,000 and 50,000 pictures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe
from PIL import Image

import mmsearch
from mmsearch import Modality, Part
from mmsearch.encode import Encoder, Model, load_model
from mmsearch.encode.batching import Batching
from mmsearch.encode.compute import on_gpu
from mmsearch.engine.jobs import decode_for
from mmsearch.engine.pipeline import WORKERS

DATA = Path(__file__).parents[2] / "shared/data"
ROUNDS = 3
MATRIX = 8192

INDEX = """
import resource, sys
import mmsearch
with mmsearch.create(sys.argv[2]) as index:
    assert not index.add(sys.argv[1]).failures
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def random_clip(architecture: str, folder: Path) -> str:
    """Write a model of open_clip with random weights; returns its name."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    network = open_clip.create_model(architecture, pretrained=None)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    settings = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    return f"open_clip:local-dir:{folder}"


def compare(title: str, model: Model, photos: Sequence[Path], folder: Path) -> None:
    """Print the rates of one model, and the share of the floors that indexing reaches."""
    name = model.fields(Modality.IMAGE)[0]
    encoder = model.encoder(name)
    batching = Batching(encoder)

    def prepare(path: Path) -> Any:
        ((_, picture),) = decode_for(Part("file", Modality.IMAGE, str(path)), [(name, encoder)])
        return encoder.prepare(picture)

    for _ in range(2):  # weights are loaded, then the size of batches is found
        batching([prepare(path) for path in photos[: encoder.batch_size]])
    rounds = []
    for number in range(ROUNDS):
        decoding, prepared = timed(lambda: on_all_cores(prepare, photos))
        encoding, _ = timed(partial(batched, batching, prepared))
        with mmsearch.create(folder / f"{title}-{number}", model=model) as index:
            report = index.add(photos)
        floor = max(decoding, encoding) if on_gpu() else decoding + encoding
        rounds.append((decoding, encoding, report.seconds, floor))
    few = photos[: len(photos) // 10]
    alone, _ = timed(lambda: [prepare(path) for path in few])
    decoding, encoding, indexing, floor = (median(column) for column in zip(*rounds, strict=True))
    of_encoding = median(encoding / indexing for _, encoding, indexing, _ in rounds)
    of_floor = median(floor / indexing for _, _, indexing, floor in rounds)
    for what, rate in (
        ("decoding and preprocessing, one thread", len(few) / alone),
        ("decoding and preprocessing, all cores", len(photos) / decoding),
        ("encoding", len(photos) / encoding),
        ("floor: " + ("the slower of the two" if on_gpu() else "both"), len(photos) / floor),
        ("index", len(photos) / indexing),
    ):
        print(f"| {title}: {what} | {rate:.0f} pictures/s |")
    print(f"| {title}: index / encoding | {of_encoding:.2f} |")
    print(f"| {title}: index / floor | {of_floor:.2f} |", flush=True)
    if on_gpu():
        per_picture = flops(encoder, prepared[:1])
        share = per_picture * len(photos) / encoding / bf16_rate()
        print(f"| {title}: share of the GPU's bf16 products | {share:.2f} |", flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that some work takes, and what it gives."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def on_all_cores(prepare: Callable[[Path], Any], photos: Sequence[Path]) -> list[Any]:
    """Decode and preprocess as `Index.add` does, with nothing beside it."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(prepare, photos))


def batched(batching: Batching, prepared: Sequence[Any]) -> None:
    """Encode everything in batches."""
    for start in range(0, len(prepared), batching.size):
        batching(prepared[start : start + batching.size])


def flops(encoder: Encoder, prepared: Sequence[Any]) -> int:
    """Floating-point operations of embedding some pictures."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        encoder.encode(prepared)
    return int(counter.get_total_flops())


def bf16_rate() -> float:
    """Floating-point operations a second of large products in bf16 on the GPU."""
    import torch

    x = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16)
    return 2 * MATRIX**3 / min(timed(lambda: (x @ x).sum().item())[0] for _ in range(20))


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
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--models", default="mini,ViT-B-32")
    parser.add_argument("--device", help="such as cuda; mini is for CPUs unless it is named")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    photos = sorted((options.data / "flickr8k/images").iterdir())[: options.pictures]
    print(describe(), "\n\n| what | figure |\n|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title in options.models.split(","):
            model = title if title == "mini" else random_clip(title, folder / title)
            compare(title, load_model(model, options.device), photos, folder)
    for count in (1_000, 50_000) if options.memory else ():
        print(f"| peak memory, {count:,} pictures | {peak_mib(count):.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
