"""Pictures seen differently each time: cut, stretched, mirrored, recoloured, mixed."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def boxes(count: int, least: float, rng: np.random.Generator) -> Tensor:
    """Random crops of any aspect, half of them mirrored (Szegedy et al. 2014, arXiv 1409.4842).

    Args:
        count: How many.
        least: The smallest share of each side that a crop holds.
        rng: Of the crops.

    Returns:
        (count, 2, 3) float32, the maps from what is seen to the picture, as ``affine_grid`` takes
        them.
    """
    size = rng.uniform(least, 1.0, (count, 2))
    shift = (1 - size) * rng.uniform(-1, 1, (count, 2))
    mirror = rng.choice([-1.0, 1.0], count)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = size[:, 0] * mirror, size[:, 1], shift
    return torch.from_numpy(theta)


def cut(x: Tensor, box: Tensor, side: int) -> Tensor:
    """Sample a square from a part of each row: (n, h, w, c) to (n, c, side, side) float32."""
    grid = affine_grid(box, [len(x), x.shape[3], side, side], align_corners=False)
    rows = x.float().permute(0, 3, 1, 2)
    return grid_sample(rows, grid, padding_mode="border", align_corners=False)


def recolour(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast and the balance of colours a little: within -1 to 1.

    Args:
        x: (n, 3, h, w), 0 to 255.
        rng: Of the changes.
    """
    gain, tint, shift = (
        torch.from_numpy(rng.uniform(low, high, (len(x), channels, 1, 1)).astype(np.float32))
        for low, high, channels in ((0.8, 1.2, 1), (0.93, 1.07, 3), (-0.1, 0.1, 1))
    )
    scaled = (x / 127.5 - 1.0) * (gain * tint).to(x.device) + shift.to(x.device)
    return scaled.clamp(-1, 1).contiguous(memory_format=torch.channels_last)
