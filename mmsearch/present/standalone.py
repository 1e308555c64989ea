"""Files that stand alone: written whole or not at all, pages that load nothing from anywhere."""

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmsearch.errors import MMSearchError, UsageError
from mmsearch.present.words import one_line


def check_target(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file that cannot be written, before the work that it is to hold is done.

    Raises:
        UsageError: Its suffix is another, or its folder does not exist.
    """
    name = one_line(str(path))
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{name}: what is written here ends in {' or '.join(suffixes)}")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a file whose folder does not exist.

    Raises:
        UsageError: It does not.
    """
    if not path.parent.is_dir():
        folder = one_line(str(path.parent))
        raise UsageError(f"{one_line(str(path))}: there is no folder {folder}")


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file through a temporary name.

    Raises:
        MMSearchError: It cannot be written.
    """
    target = Path(path)
    # The process id keeps two writers apart; the rename shows readers the old file or the new.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise MMSearchError(f"cannot write {one_line(str(target))}: {reason}") from error


def render(name: str, values: dict[str, Any], *, package: str, script: str = "") -> str:
    """Fill in a template, everything escaped.

    Args:
        name: The template is the package's ``NAME.html.j2``, its style the theme that all pages
            share and ``NAME.css``; it is given as ``css``, the Content-Security-Policy as
            ``policy``.
        values: What else it is given.
        package: Where both lie.
        script: The one script that the page may run; given as ``script``.
    """
    # Jinja2 takes a while to import, and the command line's --help must not wait for it.
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    css = read_text("mmsearch.present", "theme.css") + read_text(package, f"{name}.css")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(read_text(package, f"{name}.html.j2"))
    # Markup: style and script are ours, and quotes in them must not be escaped.
    return template.render(
        values, css=Markup(css), script=Markup(script), policy=_policy(css, script)
    )


def read_text(package: str, name: str) -> str:
    """Read a file that comes with the package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _policy(css: str, script: str) -> str:
    """A Content-Security-Policy that allows the page's own style and script, and its own media."""
    scripts = f"script-src {_digest(script)}; " if script else ""
    return (
        f"default-src 'none'; {scripts}style-src {_digest(css)}; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
