"""What timm's networks see where, as towers of OpenCLIP: their own head on each place alone."""

from functools import partial
from typing import TYPE_CHECKING, Any

from mmsearch.encode.seeing import alone

if TYPE_CHECKING:
    from torch import Tensor


def maps(tower: Any, pixels: "Tensor") -> "Tensor | None":
    """Embed each place of pictures; :mod:`mmsearch.encode.open_clip_seeing` says how.

    Args:
        tower: An ``open_clip.timm_model.TimmModel``.
        pixels: (n, 3, height, width).

    Returns:
        (n, rows, columns, dim), not normalised; None where the network has no such places.
    """
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if "pool" in dict(tower.head.named_children()):  # attention over all places of a fixed size
        return None
    if isinstance(tower.trunk, VisionTransformer | Eva):
        return _of_transformer(tower, pixels)
    return _of_convolutions(tower, pixels)


def _of_transformer(tower: Any, pixels: "Tensor") -> "Tensor | None":
    from timm.layers.attention_pool import AttentionPoolLatent
    from timm.models.eva import EvaBlock
    from timm.models.vision_transformer import Block

    trunk = tower.trunk
    block, pool = trunk.blocks[-1], trunk.attn_pool
    if isinstance(pool, AttentionPoolLatent) and pool.pos_embed is None:
        grid, places = _patches(trunk, pixels, len(trunk.blocks), normed=True)
        places = alone(places, lambda x: pool(x)[:, None])
    elif pool is None and trunk.global_pool == "token" and type(block) in (Block, EvaBlock):
        grid, places = _patches(trunk, pixels, len(trunk.blocks) - 1, normed=False)
        places = trunk.norm(alone(places, partial(_attended, block)))
    elif pool is None and trunk.global_pool == "avg":
        grid, places = _patches(trunk, pixels, len(trunk.blocks), normed=True)
    else:
        return None
    found: Tensor = tower.head(trunk.head(trunk.head_drop(trunk.fc_norm(places))))
    return found.reshape(len(pixels), *grid, -1)


def _patches(
    trunk: Any, pixels: "Tensor", layers: int, *, normed: bool
) -> "tuple[tuple[int, int], Tensor]":
    """Rows and columns, and what the first layers say of each patch: (n, patches, width)."""
    (found,) = trunk.forward_intermediates(
        pixels, [layers - 1], norm=normed, stop_early=True, intermediates_only=True
    )
    rows, columns = found.shape[2:]
    return (rows, columns), found.flatten(2).transpose(1, 2)


def _attended(block: Any, x: "Tensor") -> "Tensor":
    """What a layer's attention adds."""
    found: Tensor = block.attn(block.norm1(x))
    if hasattr(block, "ls1"):
        return block.ls1(found)  # type: ignore[no-any-return]
    return found if block.gamma_1 is None else block.gamma_1 * found


def _of_convolutions(tower: Any, pixels: "Tensor") -> "Tensor | None":
    """Each place as a feature map of its own."""
    trunk = tower.trunk
    features = trunk.forward_features(pixels)
    if features.ndim != 4:
        return None
    if getattr(trunk, "output_fmt", "NCHW") == "NCHW":
        features = features.permute(0, 2, 3, 1)
        single = features.flatten(0, 2)[:, :, None, None]
    else:
        single = features.flatten(0, 2)[:, None, None]
    found: Tensor = tower.head(trunk.forward_head(single))
    return found.reshape(*features.shape[:3], -1)
