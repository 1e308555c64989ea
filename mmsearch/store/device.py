"""The torch device that compares vectors: whether it has room, and one user at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from mmsearch.errors import DeviceError

if TYPE_CHECKING:
    import torch

_SPARE_BYTES = 2**31
"""Left on a GPU beside vectors: for a block, its scores, and the model."""
_ONE_AT_A_TIME = Lock()


@contextmanager
def at_work(device: "torch.device") -> Iterator[None]:
    """Around what a device computes: alone, as blocks of several threads might not fit.

    Raises:
        DeviceError: It has no room.
    """
    import torch

    with _ONE_AT_A_TIME, torch.inference_mode(), torch.autocast(device.type, enabled=False):
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{device}: its memory is full; free some, or leave the search device out"
            ) from error


def fits(size: int, device: "torch.device") -> bool:
    """Whether so many bytes have room on a device, and what else it must hold."""
    import torch

    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size + _SPARE_BYTES <= free + cached
