"""What the adapters of transformers' checkpoints share."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from mmsearch.encode.compute import Compute
from mmsearch.encode.hub import first_file, hub_folder, lacking
from mmsearch.encode.torch_ import Lazy, load_error
from mmsearch.errors import ModelError
from mmsearch.records import Space

VERSION_KEYS = {"_name_or_path", "dtype", "torch_dtype", "transformers_version"}
"""Keys of config.json that differ between copies of one checkpoint and change no vector."""


def folder_or_repository(kind: str, name: str) -> str:
    """Return the absolute path of a checkpoint's folder, or its OWNER/NAME on the hub.

    Raises:
        ModelError: The name is neither.
    """
    folder = Path(name).expanduser().absolute()
    if name and folder.is_dir():
        return str(folder)
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise ModelError(f"{kind}:{name}: give a folder, or OWNER/NAME on the Hugging Face hub")
    return name


class HubCheckpoint(ABC):
    """A checkpoint of transformers, whose parts are loaded on first use, each once.

    Attributes:
        kind: What it is, for errors.
        prefix: Of its models' names.
        needed: Groups of its file names, of which one each is needed.
        extras: Files that are downloaded with them where they exist.
        source: What :func:`folder_or_repository` has returned.
        compute: What its networks run on.
    """

    kind: ClassVar[str]
    prefix: ClassVar[str]
    needed: ClassVar[Sequence[Sequence[str]]]
    extras: ClassVar[Sequence[str]]

    def __init__(self, source: str, compute: Compute) -> None:
        self.source, self.compute = source, compute
        self.folder = Lazy(self._find_folder)
        self.network = Lazy(self._load_network)

    def fetch(self) -> None:
        """Look for the files, and download them if they are not there."""
        self.folder()

    def _find_folder(self) -> Path:
        """The user's own folder, or that of the hub's cache."""
        folder = Path(self.source)
        if not folder.is_absolute():
            instead = f"{self.prefix}:FOLDER"
            return hub_folder(self.source, self.needed, self.extras, instead=instead)
        for group in self.needed:
            if not first_file(folder, group):
                reason = lacking(group, {path.name for path in folder.iterdir()})
                raise ModelError(f"{folder} is no {self.kind} checkpoint: {reason}")
        return folder

    @abstractmethod
    def _load_network(self) -> Any:
        """The network in evaluation mode, on its device."""


class EmbeddingCheckpoint(HubCheckpoint):
    """One whose networks embed, in a space of its own."""

    def __init__(self, source: str, compute: Compute) -> None:
        super().__init__(source, compute)
        self.space = Lazy(self._describe)

    @abstractmethod
    def _describe(self) -> Space:
        """The space, by the hash of all that decides the vectors."""


def load_network(make: Any, kind: str, folder: Path) -> Any:
    """Return a network of transformers in float32 and evaluation mode.

    Args:
        make: Its class.
        kind: What it is to be, for the error.
        folder: Of its weights.

    Raises:
        ModelError: It cannot be loaded, or weights are missing: transformers would go on with
            random ones.
    """
    import torch

    try:
        with _no_progress_bar():
            # Without a dtype the checkpoint's is taken, which is half precision for some.
            network, report = make.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # transformers, torch and safetensors raise many kinds
        raise load_error(folder, error) from error
    absent = set(report["missing_keys"]) & {name for name, _ in network.named_parameters()}
    if absent:
        raise ModelError(
            f"the weights in {folder} are not of a {kind} model: {len(absent)} are missing, first"
            f" {min(absent)}"
        )
    return network


def version_free(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a ``config.json`` decides the vectors."""
    return {
        key: version_free(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in VERSION_KEYS
    }


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing on stderr while it loads weights."""
    from transformers.utils import logging

    bars: Any = logging  # untyped functions
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
