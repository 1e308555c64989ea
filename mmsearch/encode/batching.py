"""Batches that fit the memory: smaller ones when it runs out, instead of an end."""

import gc
import logging
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmsearch.encode.base import Encoder
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray

log = logging.getLogger(__name__)


class Batching:
    """Embeds as many inputs at once as an encoder likes and the memory holds.

    Attributes:
        encoder: What embeds.
        size: How many inputs to give at once; falls when memory has run out.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.size = encoder, encoder.batch_size

    def __call__(self, prepared: Sequence[Any]) -> FloatArray:
        """Embed prepared inputs: (n, dim) float32.

        Raises:
            ModelError: There is not enough memory for a single one.
        """
        while True:
            try:
                starts = range(0, max(1, len(prepared)), self.size)
                parts = [self.encoder.encode(prepared[at : at + self.size]) for at in starts]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                if min(self.size, len(prepared)) == 1:
                    raise ModelError(
                        f"there is not enough memory to embed one {self.encoder.modality} at a "
                        "time: close other programs, choose another --device, or a smaller model"
                    ) from error
            # Here, not above: while the error is alive, so are the tensors of its frames.
            self.size = min(self.size, len(prepared)) // 2
            log.warning("memory ran out: embedding %d at a time", self.size)
            _free()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a GPU or on the CPU."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "allocate memory" in str(error)


def _free() -> None:
    """Give back what torch keeps for later."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
