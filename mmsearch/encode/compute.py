"""What networks run on, and how precisely they compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mmsearch.encode.torch_ import one_line
from mmsearch.errors import UsageError

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
    """

    name: str | None = None
    precision: Precision | None = None

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

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Around what a network computes: no gradients, and the precision."""
        import torch

        device = self.device
        fast = device.type == "cuda" and has_bf16(device)
        low = (self.precision or (Precision.BF16 if fast else Precision.FP32)) is Precision.BF16
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            yield


def has_bf16(device: "torch.device") -> bool:
    """Whether a device computes in bf16 by itself: emulated, it takes ten times as long as fp32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
