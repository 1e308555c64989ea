"""Cross-attention between the parts of two things: patches and tokens, moments and tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmsearch.records import FloatArray

WIDTH = 128
HEADS = 4


class CrossAttention(nn.Module):
    """Each side looks at the other once, and what both have seen becomes a number.

    A co-attention layer (ViLBERT: Lu et al. 2019, arXiv 1908.02265, section 2.1) on projected
    local features, with means over the places of each side. Starts at 0 for every pair.
    """

    def __init__(self, left: int, right: int) -> None:
        """Make one for local features of the given widths."""
        super().__init__()
        self.left, self.right = nn.Linear(left, WIDTH), nn.Linear(right, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.looks = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(2)
        )
        last = nn.Linear(WIDTH, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(nn.Linear(4 * WIDTH, WIDTH), nn.GELU(), last)

    def forward(self, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> Tensor:
        """What to add to the cosines of pairs: (n,).

        Args:
            left: (n, places, width), and (n, places) bool, true where there is nothing.
            right: The same of the other side.
        """
        x, y = self.norms[0](self.left(left[0])), self.norms[1](self.right(right[0]))
        seen = [
            self.looks[0](x, y, y, key_padding_mask=right[1], need_weights=False)[0],
            self.looks[1](y, x, x, key_padding_mask=left[1], need_weights=False)[0],
        ]
        means = [
            mean(x, left[1]),
            mean(seen[0], left[1]),
            mean(y, right[1]),
            mean(seen[1], right[1]),
        ]
        found: Tensor = self.out(torch.cat(means, dim=1))[:, 0]
        return found


def mean(x: Tensor, nothing: Tensor) -> Tensor:
    """The mean over the places that there are: (n, places, width) to (n, width)."""
    there = (~nothing).unsqueeze(2).to(x.dtype)
    return (x * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)


def padded(rows: Sequence[FloatArray]) -> tuple[Tensor, Tensor]:
    """Local features of different lengths as one tensor.

    Returns:
        (n, most places, width) float32, and (n, most places) bool, true where there is nothing.
    """
    x = pad_sequence([torch.from_numpy(np.asarray(row, np.float32)) for row in rows], True)
    lengths = torch.tensor([len(row) for row in rows])
    return x, torch.arange(x.shape[1])[None] >= lengths[:, None]
