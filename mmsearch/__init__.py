"""Search your pictures, texts and sounds with any of them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.encode import Encoder, Model, load_model
    from mmsearch.engine.chunks import EmbeddedChunk
    from mmsearch.engine.embeddings import Embeddings
    from mmsearch.engine.evaluate import evaluate
    from mmsearch.engine.evaluate_model import ModelEvaluation, evaluate_model
    from mmsearch.engine.evaluation import Evaluation
    from mmsearch.engine.heat_map import HeatMap
    from mmsearch.engine.index import Index
    from mmsearch.engine.info import FieldSummary, IndexInfo
    from mmsearch.engine.ingest import Progress
    from mmsearch.engine.opening import create, repair, verify
    from mmsearch.engine.opening import open_index as open
    from mmsearch.engine.query import Query
    from mmsearch.engine.report import Report
    from mmsearch.engine.request import SearchOptions
    from mmsearch.errors import (
        DamagedIndexError,
        DecodeError,
        DeviceError,
        IndexFormatError,
        IndexLockedError,
        IndexNotFoundError,
        MMSearchError,
        ModelError,
        UsageError,
    )
    from mmsearch.metrics import Measure
    from mmsearch.present.curves import plot_training
    from mmsearch.present.hit_curves import plot_evaluation
    from mmsearch.present.plot.draw import plot
    from mmsearch.present.run_file import write_run
    from mmsearch.records import Chunk, Failure, Hit, Item, Modality, Part, Sound, Space
    from mmsearch.store.verify import Damage

_HOMES = {
    "encode": ("Encoder", "Model", "load_model"),
    "engine.chunks": ("EmbeddedChunk",),
    "engine.embeddings": ("Embeddings",),
    "engine.evaluate": ("evaluate",),
    "engine.evaluate_model": ("ModelEvaluation", "evaluate_model"),
    "engine.evaluation": ("Evaluation",),
    "engine.heat_map": ("HeatMap",),
    "engine.index": ("Index",),
    "engine.info": ("FieldSummary", "IndexInfo"),
    "engine.ingest": ("Progress",),
    "engine.opening": ("create", "repair", "verify"),
    "engine.query": ("Query",),
    "engine.report": ("Report",),
    "engine.request": ("SearchOptions",),
    "errors": (
        "DamagedIndexError",
        "DecodeError",
        "DeviceError",
        "IndexFormatError",
        "IndexLockedError",
        "IndexNotFoundError",
        "MMSearchError",
        "ModelError",
        "UsageError",
    ),
    "metrics": ("Measure",),
    "present.curves": ("plot_training",),
    "present.hit_curves": ("plot_evaluation",),
    "present.plot.draw": ("plot",),
    "present.run_file": ("write_run",),
    "records": ("Chunk", "Failure", "Hit", "Item", "Modality", "Part", "Sound", "Space"),
    "store.verify": ("Damage",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Chunk",
    "Damage",
    "DamagedIndexError",
    "DecodeError",
    "DeviceError",
    "EmbeddedChunk",
    "Embeddings",
    "Encoder",
    "Evaluation",
    "Failure",
    "FieldSummary",
    "HeatMap",
    "Hit",
    "Index",
    "IndexFormatError",
    "IndexInfo",
    "IndexLockedError",
    "IndexNotFoundError",
    "Item",
    "MMSearchError",
    "Measure",
    "Modality",
    "Model",
    "ModelError",
    "ModelEvaluation",
    "Part",
    "Progress",
    "Query",
    "Report",
    "SearchOptions",
    "Sound",
    "Space",
    "UsageError",
    "create",
    "evaluate",
    "evaluate_model",
    "load_model",
    "open",
    "plot",
    "plot_evaluation",
    "plot_training",
    "repair",
    "verify",
    "write_run",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562): importing mmsearch costs nothing."""
    if name == "open":
        return import_module("mmsearch.engine.opening").open_index
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    return getattr(import_module(f"mmsearch.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
