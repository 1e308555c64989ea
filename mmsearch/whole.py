"""Files that are written whole or not at all, so that a kill leaves no half of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; what is there at the end takes the place of ``path``."""
    temporary = path.with_name(f"{path.name}.tmp")
    yield temporary
    temporary.replace(path)
