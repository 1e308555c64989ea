"""What `mmsearch doctor` looks at: versions, devices, downloads, speed, and what to mend."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encode import load_model
from mmsearch.encode.presets import PRESETS
from mmsearch.engine.versions import library_versions
from mmsearch.records import Modality
from mmsearch.store.speed import faiss_gflops, numpy_gflops

SLOW_SHARE = 0.5
"""FAISS below this share of NumPy's speed has chosen a kernel for an older processor."""

SPEED_S = 1.0

WEIGHTS = {".safetensors", ".bin", ".pt"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        found: What was found.
        advice: What to do about it, if anything.
    """

    name: str
    found: str
    advice: str | None = None


def examine() -> Iterator[Finding]:
    """Look at everything; takes a few seconds."""
    yield Finding("python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("libraries", ", ".join(f"{n} {v}" for n, v in library_versions().items()))
    yield Finding("cpu", _cpu())
    yield _gpu()
    yield _products()
    yield _mini_speed()
    yield from _downloads()


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if _is_linux() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{next(names, platform.machine())}, {os.cpu_count()} cores, {memory:.0f} GiB"


def _is_linux() -> bool:
    return platform.system() == "Linux"


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", "none that torch can use: networks run on the CPU")
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return Finding("gpu", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")


def _products() -> Finding:
    ours, theirs = numpy_gflops(), faiss_gflops()
    found = f"NumPy {ours:.0f} GFLOP/s, FAISS {theirs:.0f} GFLOP/s (float32)"
    if theirs > SLOW_SHARE * ours:
        return Finding("products", found)
    advice = "FAISS may have chosen a slow kernel: try OPENBLAS_CORETYPE=SkylakeX (or Haswell)"
    return Finding("products", found, advice)


def _mini_speed() -> Finding:
    model = load_model("mini")
    encoder = model.encoder(model.fields(Modality.IMAGE)[0])
    batch = [np.zeros((112, 112, 3), np.uint8)] * encoder.batch_size
    encoder.encode(batch)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SPEED_S:
        encoder.encode(batch)
        count += len(batch)
    return Finding("mini", f"{count / (time.perf_counter() - started):,.0f} pictures/s")


def _downloads() -> Iterator[Finding]:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        repositories = frozenset()
    # A file appears in the cache when all of it is there; the weights are the longest.
    sizes = {
        repo.repo_id: repo.size_on_disk
        for repo in repositories
        if any(Path(name).suffix in WEIGHTS for name in _file_names(repo))
    }
    for preset in PRESETS.values():
        missing = [name for name in preset.repositories if name not in sizes]
        if preset.repositories:
            found = f"not downloaded: {', '.join(missing)}" if missing else "downloaded"
            pull = f"`mmsearch models pull {preset.name}` downloads {preset.size}"
            yield Finding(preset.name, found, pull if missing else None)
    total = sum(sizes.values()) / 1e9
    yield Finding("cache", f"{constants.HF_HUB_CACHE}: {len(sizes)} checkpoints, {total:.1f} GB")


def _file_names(repository: Any) -> Iterator[str]:
    for revision in repository.revisions:
        yield from (file.file_name for file in revision.files)
