"""Attention layers, in torch, and the vision transformer that is made of them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmsearch.encode.towers.shapes import Blocks, Vit

DROPOUT = 0.1
WIDER = 4
"""Width of a layer's hidden units, in widths (Vaswani et al. 2017, section 3.3)."""


def stack(shape: Blocks) -> nn.TransformerEncoder:
    """Attention layers, each behind its normalisation (Xiong et al. 2020, arXiv 2002.04745)."""
    layer = nn.TransformerEncoderLayer(
        shape.width,
        shape.heads,
        WIDER * shape.width,
        DROPOUT,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    norm = nn.LayerNorm(shape.width)
    return nn.TransformerEncoder(layer, shape.depth, norm, enable_nested_tensor=False)


class VitTower(nn.Module):
    """A small vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929).

    Positions are averaged at the end, as Beyer et al. 2022 (arXiv 2205.01580) advise for small
    data, instead of adding a token that stands for all.
    """

    def __init__(self, shape: Vit, side: int, dim: int) -> None:
        super().__init__()
        width = shape.blocks.width
        self.patches = nn.Conv2d(3, width, shape.patch, shape.patch)
        self.positions = nn.Parameter(nn.init.trunc_normal_(_positions(shape, side), std=0.02))
        self.blocks = stack(shape.blocks)
        self.head = nn.Linear(width, dim)
        self._rows = side // shape.patch

    def places(self, x: Tensor) -> Tensor:
        """What is seen in each patch: (n, 3, side, side) to (n, patches, width)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        seen: Tensor = self.blocks(patches + self.positions)
        return seen

    def maps(self, x: Tensor) -> Tensor:
        """Embed each patch alone: (n, 3, side, side) to (n, rows, rows, dim), L2-normalised.

        Before they get unit length, their mean is the embedding.
        """
        found = self.head(self.places(x)).reshape(len(x), self._rows, self._rows, -1)
        return normalize(found.float(), dim=3)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures: (n, 3, side, side) to (n, dim), L2-normalised rows."""
        return normalize(self.head(self.places(x).mean(dim=1)).float(), dim=1)


def _positions(shape: Vit, side: int) -> Tensor:
    return torch.zeros((side // shape.patch) ** 2, shape.blocks.width)
