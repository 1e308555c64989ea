"""Whether embeddings that others have made fit a model, before an index is made for them."""

from collections.abc import Iterable

from mmsearch.encode import Model
from mmsearch.engine.imported import Block
from mmsearch.sources.vectors import Shard


def check_shards(shards: Iterable[Shard], model: Model) -> None:
    """Look at the first row of every shard as an import does.

    Raises:
        UsageError: Its vectors are of another dim than the model's, no floating-point numbers, or
            of a modality that the model does not embed; or a file is damaged.
    """
    for shard in shards:
        vectors, rows = next(shard.blocks(1), ({}, ()))
        Block("", "", str(shard.paths[0]), vectors, rows, model)
