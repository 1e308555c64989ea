"""What networks run on, and how precisely they compute."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.torch_ import one_line
from mmsearch.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch


class Precision(StrEnum):
    """Of matrix products and convolutions; weights and results stay float32."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True)
class Compute:
    """Where a model's networks compute, and how.

    Attributes:
        name: A torch device such as ``cpu`` or ``cuda:1``; by default the first GPU, if there is
            one, else the CPU.
        precision: By default bf16 on a GPU that has it in hardware, fp32 elsewhere.
        compiled: Whether networks are compiled when they are first used: a minute or more, for
            long runs.
    """

    name: str | None = None
    precision: Precision | None = None
    compiled: bool = False

    @property
    def device(self) -> "torch.device":
        """The torch device.

        Raises:
            UsageError: torch knows no such device, or it is not in this machine.
        """
        import torch

        if self.name is None:
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise UsageError(f"device {self.name!r} cannot be used: {one_line(error)}") from error
        return device

    def place(self, network: "torch.nn.Module") -> Any:
        """A network on the device, ready to embed.

        What is compiled are its parts: adapters call them through methods of its own.
        """
        import torch

        network = network.eval().to(self.device)
        for name, part in list(network.named_children()) if self.compiled else ():
            if next(part.children(), None) is not None:  # more than one layer
                setattr(network, name, torch.compile(part))
        return network

    def tensor(self, array: NDArray[Any]) -> "torch.Tensor":
        """An array on the device; a GPU reads it from pinned memory, while the CPU goes on."""
        import torch

        device, tensor = self.device, torch.from_numpy(np.ascontiguousarray(array))
        if device.type == "cuda":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Around what a network computes: no gradients, and the precision.

        Raises:
            ModelError: The network could not be compiled.
        """
        import torch

        device = self.device
        fast = device.type == "cuda" and has_bf16(device)
        low = (self.precision or (Precision.BF16 if fast else Precision.FP32)) is Precision.BF16
        try:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
                yield
        except torch._dynamo.exc.TorchDynamoException as error:
            raise ModelError(f"the network cannot be compiled here: {one_line(error)}") from error


def compute_of(
    device: str | None = None, precision: str | None = None, compile: bool = False
) -> Compute:
    """Return what a user asks for; see :func:`mmsearch.load_model`.

    Raises:
        UsageError: There is no such precision.
    """
    if precision and precision not in set(Precision):
        raise UsageError(f"precision {precision!r}: choose {' or '.join(Precision)}")
    return Compute(device, Precision(precision) if precision else None, compile)


def on_gpu() -> bool:
    """Whether networks of this process compute on a GPU: torch has set it up by then."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


class GpuUse:
    """Around what a network computes: the memory that it takes on whichever GPU it uses."""

    def __enter__(self) -> Self:
        import torch

        self._gpus = range(torch.cuda.device_count())
        self._before = [torch.cuda.memory_allocated(gpu) for gpu in self._gpus]
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        peaks = [torch.cuda.max_memory_allocated(gpu) for gpu in self._gpus]
        taken = [peak - before for peak, before in zip(peaks, self._before, strict=True)]
        self.taken_bytes = max(taken, default=0)
        self._gpu = taken.index(self.taken_bytes) if taken else 0

    def room(self, count: int) -> int:
        """How many inputs as large as these ``count`` would fill the free memory; 0 if unknown."""
        import torch

        if not self.taken_bytes:
            return 0
        free, _ = torch.cuda.mem_get_info(self._gpu)
        cached = torch.cuda.memory_reserved(self._gpu) - torch.cuda.memory_allocated(self._gpu)
        return count * (free + cached) // self.taken_bytes


def has_bf16(device: "torch.device") -> bool:
    """Whether a device computes in bf16 by itself: emulated, it takes ten times as long as fp32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
