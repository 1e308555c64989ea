"""What OpenCLIP's towers see of a picture, and what of it where.

A place is embedded as if the tower's pooling saw it alone. Where places are averaged, that is the
place itself, through the head. An attention that has one place to look at gives its value, whatever
it asks for: that is taken of towers that pool by attention, and of the last layer of those that
pool by a token, as in MaskCLIP (arXiv 2112.01071). The residual connection and the feed-forward
network of that layer are left out: most of the noise in such maps comes from the residual
connection, says ClearCLIP (arXiv 2407.12442).
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from mmsearch.encode.seeing import Box, alone, middle

if TYPE_CHECKING:
    from torch import Tensor

THINNEST = 50
"""Proportions of a picture, beyond which its middle is taken."""


def bounded(picture: Image) -> Image:
    """The middle of a thin picture.

    A transform that keeps the proportions would make it huge before it cuts out the middle square.
    """
    width, height = picture.size
    wide, high = _bounds(picture.size)
    if (wide, high) == picture.size:
        return picture
    left, top = (width - wide) // 2, (height - high) // 2
    return picture.crop((left, top, width - left, height - top))


def _bounds(size: tuple[int, int]) -> tuple[int, int]:
    longest = THINNEST * min(size)
    return min(size[0], longest), min(size[1], longest)


def seen(size: tuple[int, int], mode: str, side: tuple[int, int]) -> Box:
    """What the transform of a checkpoint keeps of a picture.

    Args:
        size: Width and height of the picture.
        mode: ``shortest`` cuts out the middle, ``longest`` puts a margin around, ``squash`` keeps
            all.
        side: Height and width of what the network takes.
    """
    wide, high = _bounds(size)
    if mode == "squash":
        return middle(size, wide, high)
    scale = (max if mode == "longest" else min)(wide / side[1], high / side[0])
    return middle(size, scale * side[1], scale * side[0])


def reach(tower: Any, side: tuple[int, int]) -> tuple[float, float]:
    """What whole patches cover of what the network takes: 14 go 27 times into 384, up to 378.

    Args:
        tower: One of open_clip's for pictures.
        side: Height and width of what it takes.

    Returns:
        Shares of the width and of the height.
    """
    tower = getattr(tower, "trunk", tower)
    patch = getattr(getattr(tower, "patch_embed", tower), "patch_size", (1, 1))
    down, across = (whole // one * one / whole for whole, one in zip(side, patch, strict=True))
    return across, down


def maps(tower: Any, pixels: "Tensor") -> "Tensor | None":
    """Embed each place of pictures.

    Args:
        tower: One of open_clip's for pictures.
        pixels: (n, 3, height, width).

    Returns:
        (n, rows, columns, dim), not normalised; None where the tower has no such places.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    from mmsearch.encode import timm_seeing

    tower = getattr(tower, "_orig_mod", tower)  # what torch.compile has wrapped
    if isinstance(tower, VisionTransformer):
        return _of_transformer(tower, pixels)
    if isinstance(tower, ModifiedResNet):
        return _of_resnet(tower, pixels)
    return timm_seeing.maps(tower, pixels) if isinstance(tower, TimmModel) else None


def _of_transformer(tower: Any, pixels: "Tensor") -> "Tensor | None":
    blocks, pool = tower.transformer.resblocks, tower.attn_pool
    if pool is not None and tower.attn_pool_contrastive is None:
        places = alone(_patches(tower, pixels, len(blocks)), partial(_pooled, pool))
    elif pool is None and tower.pool_type == "tok" and len(blocks) > 1:
        places = alone(_patches(tower, pixels, len(blocks) - 1), partial(_attended, blocks[-1]))
    elif pool is None and tower.pool_type == "avg":
        places = _patches(tower, pixels, len(blocks))
    else:
        return None
    found: Tensor = tower.ln_post(places) @ tower.proj
    return found.reshape(len(pixels), *tower.grid_size, -1)


def _patches(tower: Any, pixels: "Tensor", layers: int) -> "Tensor":
    """What the first layers say of each patch: (n, patches, width)."""
    found = tower.forward_intermediates(
        pixels, [layers - 1], stop_early=True, intermediates_only=True, output_fmt="NLC"
    )
    patches: Tensor = found["image_intermediates"][0]
    return patches


def _attended(block: Any, x: "Tensor") -> "Tensor":
    """What a layer's attention adds."""
    x = block.ln_1(x)
    x = block.ln_attn(block.attn(x)) if hasattr(block, "ln_attn") else block.attention(x)
    found: Tensor = block.ls_1(x)
    return found


def _pooled(pool: Any, x: "Tensor") -> "Tensor":
    """What a pooling attention says to its first query."""
    query = pool.ln_q(pool.query[:1]).expand(len(x), -1, -1)
    keys = pool.ln_k(x)
    found: Tensor = pool.attn(query, keys, keys, need_weights=False)[0]
    return found


def _of_resnet(tower: Any, pixels: "Tensor") -> "Tensor":
    """The values that the pooling attention takes of each place, its position included."""
    found = tower.forward_intermediates(pixels, 1, intermediates_only=True)
    features = found["image_intermediates"][0]  # (n, width, rows, columns)
    pool = tower.attnpool
    places = features.flatten(2).transpose(1, 2) + pool.positional_embedding[1:]
    values: Tensor = pool.c_proj(pool.v_proj(places))
    return values.reshape(len(pixels), *features.shape[2:], -1)
