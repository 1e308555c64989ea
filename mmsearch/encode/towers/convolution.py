"""The convolutional tower, in torch: pixels or spectrograms in, points of the space out."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pixel_unshuffle
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmsearch.encode.towers.shapes import PATCH, Convolution


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(inputs, outputs, stride)
        self.second = Conv(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else Conv(inputs, outputs, stride, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y: Tensor = self.second(self.first(x)) + self.shortcut(x)
        return y


class Tower(nn.Module):
    """A small residual network with averaging over what is left of height and width.

    The first layer sees patches of 4 x 4, which costs a quarter of the usual strided start.
    """

    def __init__(self, shape: Convolution, dim: int) -> None:
        super().__init__()
        self.stem = Conv(shape.channels * PATCH * PATCH, shape.stem)
        blocks: list[nn.Module] = []
        inputs = shape.stem
        for stage in shape.stages:
            for number in range(stage.depth):
                blocks.append(Residual(inputs, stage.width, stage.stride if number == 0 else 1))
                inputs = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head: nn.Module = nn.Linear(inputs, dim)
        if shape.hidden:
            layers = (nn.Linear(inputs, shape.hidden), nn.GELU(), nn.Linear(shape.hidden, dim))
            self.head = nn.Sequential(*layers)

    def features(self, x: Tensor) -> Tensor:
        """The last feature map: (n, channels, h, w) to (n, width, h / 16, w / 16)."""
        patches = pixel_unshuffle(x, PATCH).contiguous(memory_format=torch.channels_last)
        y: Tensor = self.blocks(self.stem(patches))
        return y

    def places(self, x: Tensor) -> Tensor:
        """What is seen in each place: (n, channels, h, w) to (n, places, width)."""
        return self.features(x).flatten(2).transpose(1, 2)

    def maps(self, x: Tensor) -> Tensor:
        """Embed each place alone: (n, channels, h, w) to (n, h / 16, w / 16, dim), L2-normalised.

        Before they get unit length, and with a head of one layer, their mean is the embedding.
        """
        return normalize(self.head(self.features(x).permute(0, 2, 3, 1)).float(), dim=3)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch: (n, channels, h, w) to (n, dim), L2-normalised rows."""
        return normalize(self.head(self.features(x).mean(dim=(2, 3))).float(), dim=1)


def fold(tower: Tower) -> Tower:
    """Fold each normalisation into its convolution, which makes inference faster."""
    tower.eval()
    for module in list(tower.modules()):
        if isinstance(module, Conv):
            convolution, normalisation = module[0], module[1]
            assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
            module[0] = fuse_conv_bn_eval(convolution, normalisation)
            module[1] = nn.Identity()
    return tower
