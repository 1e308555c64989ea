"""Files that can be made again: kept for the next process, and no loss where that fails."""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


def keep(path: Path, content: bytes) -> None:
    """Write a file whole, through a name of this thread's own; or not, if that is not possible."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        log.debug("%s: cannot be written: %s", path, error)
