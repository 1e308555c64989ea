"""The vectors of a field in the memory of a GPU: which of them may be among the best."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.device import at_work

if TYPE_CHECKING:
    import torch

_BLOCK_BYTES = 2**30
"""Of vectors that are float32 at a time, and of their scores."""


class OnDevice:
    """Consecutive rows of float16 vectors on a torch device.

    Products of float32 (torch's default, not TF32) say nearly which rows are best; whoever scores
    those again, each by itself, answers as a CPU does.
    """

    def __init__(self, parts: Sequence["torch.Tensor"]) -> None:
        """Take (rows, dim) float16 tensors on one device, at least one row."""
        self._parts = parts
        self._longest = max(float(block.norm(dim=1).max()) for _, block in self._blocks(0))

    def near_top(
        self,
        queries: FloatArray,
        count: int,
        allowed: NDArray[np.bool_],
        bias: FloatArray | None = None,
    ) -> list[NDArray[np.int64]]:
        """Return for each query the rows whose scores may be among the best, ascending.

        Args:
            queries: (n, dim) float32.
            count: How many are to be the best.
            allowed: (rows,) bool.
            bias: (rows,) float32, subtracted from inner products.

        Raises:
            DeviceError: It has no room.
        """
        with at_work(self._parts[0].device):
            return self._near_top(queries, count, allowed, bias)

    def _near_top(
        self,
        queries: FloatArray,
        count: int,
        allowed: NDArray[np.bool_],
        bias: FloatArray | None,
    ) -> list[NDArray[np.int64]]:
        import torch

        device = self._parts[0].device
        asked = torch.from_numpy(queries).to(device)
        rounding = 2 * self._longest * asked.shape[1] * torch.finfo(torch.float32).eps
        margin = rounding * asked.norm(dim=1, keepdim=True)
        best = torch.empty((len(asked), 0), device=device)
        near = []
        for rows, block in self._blocks(len(asked)):
            scores = asked @ block.T
            if bias is not None:
                scores -= torch.from_numpy(bias[rows]).to(device)
            scores[:, ~torch.from_numpy(allowed[rows]).to(device)] = -torch.inf
            best = torch.cat([best, scores.topk(min(count, len(block))).values], dim=1)
            best = best.topk(min(count, best.shape[1])).values
            who, where = ((scores >= best[:, -1:] - margin) & scores.isfinite()).nonzero().T
            near.append((who, where + rows.start, scores[who, where]))
        who, where, found = (torch.cat(columns) for columns in zip(*near, strict=True))
        kept = found >= (best[:, -1:] - margin)[who, 0]
        who, where = who[kept].cpu(), where[kept].cpu().numpy()
        order = np.lexsort((where, who))
        ends = np.cumsum(np.bincount(who, minlength=len(asked)))[:-1]
        return np.split(where[order], ends)

    def _blocks(self, queries: int) -> Iterator[tuple[slice, "torch.Tensor"]]:
        """Yield some rows at a time: which, and their vectors as float32.

        Args:
            queries: How many there are, whose scores take memory, too.
        """
        start = 0
        for part in self._parts:
            step = max(1, _BLOCK_BYTES // (4 * (part.shape[1] + 2 * queries)))
            for at in range(0, len(part), step):
                block = part[at : at + step]
                yield slice(start, start + len(block)), block.float()
                start += len(block)
