"""What a figure was measured on."""

import os
import platform
import subprocess
from pathlib import Path


def describe() -> str:
    """Return processor, cores, versions and commit in one line."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, platform.machine())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, commit {commit}"
