"""Inverted lists on a GPU: training their centroids, and giving rows to them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.device import at_work

if TYPE_CHECKING:
    import torch

_BLOCK_BYTES = 2**28
"""Of inner products at a time."""
_SEED = 1234
"""As in FAISS's own clustering."""


class ListsOnDevice:
    """The centroids of inverted lists on a torch device."""

    def __init__(self, centroids: "torch.Tensor") -> None:
        """Take (nlist, dim) float32 on the device."""
        self._centroids = centroids
        self._halves = centroids.square().sum(dim=1) / 2

    @classmethod
    def of(cls, centroids: FloatArray, device: "torch.device") -> "ListsOnDevice":
        """Copy (nlist, dim) float32 to a device.

        Raises:
            DeviceError: It has no room.
        """
        import torch

        with at_work(device):
            return cls(torch.from_numpy(centroids).to(device))

    def nearest(self, vectors: FloatArray) -> NDArray[np.int64]:
        """Return the list of each vector, (n,) int64: that of the nearest centroid.

        Args:
            vectors: (n, dim) float32.

        Raises:
            DeviceError: The device has no room.
        """
        import torch

        device = self._centroids.device
        with at_work(device):
            rows = torch.from_numpy(vectors).to(device)
            nearest: NDArray[np.int64] = torch.cat([*self._nearest(rows)]).cpu().numpy()
        return nearest

    def _nearest(self, rows: "torch.Tensor") -> Iterator["torch.Tensor"]:
        import torch

        for block in torch.split(rows, max(1, _BLOCK_BYTES // (4 * len(self._centroids)))):
            yield (block @ self._centroids.T - self._halves).argmax(dim=1)

    def moved(self, rows: "torch.Tensor", generator: "torch.Generator") -> "ListsOnDevice":
        """Return each list with the mean of its rows as centroid; empty ones begin at any row."""
        import torch

        lists = torch.cat([*self._nearest(rows)])
        sums = torch.zeros_like(self._centroids).index_add_(0, lists, rows)
        sizes = lists.bincount(minlength=len(sums))
        others = torch.randint(len(rows), (len(sums),), generator=generator, device="cpu")
        empty = (sizes == 0)[:, None]
        return ListsOnDevice(
            torch.where(empty, rows[others.to(rows.device)], sums / sizes.clamp(min=1)[:, None])
        )

    def numpy(self) -> FloatArray:
        """The centroids, (nlist, dim) float32."""
        centroids: FloatArray = self._centroids.cpu().numpy()
        return centroids


def train_lists(sample: FloatArray, nlist: int, rounds: int, device: "torch.device") -> FloatArray:
    """Return the centroids of k-means, (nlist, dim) float32 (Lloyd 1982).

    A GPU adds up rows in any order, so centroids are not quite the same from run to run.

    Args:
        sample: (n, dim) float32, as many rows as lists at the least.
        nlist: How many lists.
        rounds: How often rows are given to the nearest centroid, and centroids moved.
        device: What computes.

    Raises:
        DeviceError: The device has no room.
    """
    import torch

    generator = torch.Generator().manual_seed(_SEED)
    first = torch.randperm(len(sample), generator=generator, device="cpu")[:nlist]
    with at_work(device):
        rows = torch.from_numpy(sample).to(device)
        lists = ListsOnDevice(rows[first.to(device)])
        for _ in range(rounds):
            lists = lists.moved(rows, generator)
        return lists.numpy()
