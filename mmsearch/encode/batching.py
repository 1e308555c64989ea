"""Batches that fit the memory: as large as a GPU holds, smaller ones when it runs out."""

import gc
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from mmsearch.encode.base import Encoder
from mmsearch.encode.compute import GpuUse, on_gpu
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray

log = logging.getLogger(__name__)

LARGEST = 256
"""Inputs that a batch grows to at the most: a GPU gains nothing by more."""
LARGEST_BYTES = 256 * 2**20
"""What a batch that has grown takes before the network at the most."""


class Batching:
    """Embeds as many inputs at once as an encoder likes and the memory holds.

    Attributes:
        encoder: What embeds.
        size: How many inputs to give at once; found by what a batch takes of a GPU's free memory;
            falls when memory has run out.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.size = encoder, encoder.batch_size
        self._loaded = self._measured = False

    def __call__(self, prepared: Sequence[Any]) -> FloatArray:
        """Embed prepared inputs: (n, dim) float32.

        Raises:
            ModelError: There is not enough memory for a single one.
        """
        while True:
            try:
                starts = range(0, max(1, len(prepared)), self.size)
                parts = [self._encode(prepared[at : at + self.size]) for at in starts]
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
            self._measured = True  # what is known now is better than what a batch tells
            _free()

    def _encode(self, batch: Sequence[Any]) -> FloatArray:
        """Embed one batch; on a GPU the second, when weights are there, says how many would fit."""
        if self._measured or not self._loaded or not on_gpu():
            found, self._loaded = self.encoder.encode(batch), True
            return found
        with GpuUse() as use:
            found = self.encoder.encode(batch)
        if room := use.room(len(batch)):
            fitting = 2 ** int(np.log2(max(1, room // 2)))
            most = min(LARGEST, LARGEST_BYTES // max(1, input_bytes(batch[0])))
            self.size, self._measured = max(self.size, min(fitting, most)), True
        return found


def input_bytes(prepared: Any) -> int:
    """Bytes of a prepared input's arrays, whatever an adapter keeps them in."""
    if isinstance(prepared, np.ndarray):
        return prepared.nbytes
    if isinstance(prepared, Mapping):
        return sum(map(input_bytes, prepared.values()))
    if is_dataclass(prepared):
        return sum(input_bytes(getattr(prepared, part.name)) for part in fields(prepared))
    return sys.getsizeof(prepared)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a GPU or on the CPU."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "allocate memory" in str(error)


def _free() -> None:
    """Give back what torch keeps for later."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
