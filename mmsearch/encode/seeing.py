"""Which part of a picture an encoder sees, and what of it where."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mmsearch.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


class Box(NamedTuple):
    """A rectangle on a picture, in shares of its width and height.

    It reaches beyond 0 and 1 where preprocessing puts a margin around the picture.
    """

    left: float
    top: float
    right: float
    bottom: float

    def first(self, across: float, down: float) -> "Box":
        """Its part from the left and the top, in shares of its own width and height."""
        right = self.left + across * (self.right - self.left)
        return Box(self.left, self.top, right, self.top + down * (self.bottom - self.top))


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def middle(size: tuple[int, int], width: float, height: float) -> Box:
    """A rectangle around the middle of a picture.

    Args:
        size: Width and height of the picture.
        width: Of the rectangle, in the picture's pixels.
        height: Of the rectangle.
    """
    across, down = width / size[0], height / size[1]
    return Box((1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2)


def alone(places: "Tensor", attend: "Callable[[Tensor], Tensor]") -> "Tensor":
    """What an attention says of each place when it has no other to look at.

    Args:
        places: (n, places, width).
        attend: From (m, 1, width) to (m, 1, dim).

    Returns:
        (n, places, dim).
    """
    found = attend(places.flatten(0, 1)[:, None])
    return found.reshape(*places.shape[:2], -1)


def no_map(checkpoint: str) -> ModelError:
    """The error for a network that does not tell the places of a picture apart."""
    return ModelError(
        f"{checkpoint} gives no heat maps: it does not tell the places of a picture apart"
    )
