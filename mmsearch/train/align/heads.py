"""Heads in torch, and how they become the arrays that an index needs."""

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from mmsearch.encode.heads import HeadKind
from mmsearch.errors import UsageError
from mmsearch.records import FloatArray

HIDDEN = 2
"""Width of a hidden layer, in widths of the output."""

DROPOUT = 0.1


class TorchHead(nn.Module):
    """A head that is trained; :class:`mmsearch.encode.heads.Head` says what it computes."""

    def __init__(self, kind: HeadKind, inputs: int, dim: int) -> None:
        super().__init__()
        if kind is HeadKind.RESIDUAL and inputs != dim:
            raise UsageError(
                f"a residual head keeps the dim, but {inputs} is to become {dim}; "
                "choose another head or dim"
            )
        self.kind, self.dim = kind, dim
        hidden = HIDDEN * dim
        first = dim if kind is HeadKind.LINEAR else hidden
        inner, outer = nn.Linear(inputs, first), nn.Linear(hidden, dim)
        if kind is HeadKind.LINEAR and inputs == dim:
            nn.init.eye_(inner.weight)
            nn.init.zeros_(inner.bias)
        if kind is HeadKind.RESIDUAL:
            nn.init.zeros_(outer.weight)
            nn.init.zeros_(outer.bias)
        layers = {"in": inner} if kind is HeadKind.LINEAR else {"in": inner, "out": outer}
        self.layers = nn.ModuleDict(layers)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, dim), rows of unit length."""
        x = normalize(x, dim=1)
        y = self.layers["in"](self.dropout(x) if self.kind is HeadKind.LINEAR else x)
        if self.kind is not HeadKind.LINEAR:
            y = self.layers["out"](self.dropout(gelu(y, approximate="tanh")))
        if self.kind is HeadKind.RESIDUAL:
            y = x + y
        return normalize(y.float(), dim=1)

    def arrays(self) -> dict[str, FloatArray]:
        """What :class:`mmsearch.encode.heads.Head` takes."""
        return {
            name: value.detach().cpu().numpy().astype(np.float32)
            for name, value in self.layers.state_dict().items()
        }
