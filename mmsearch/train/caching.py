"""Gradient caching: a large contrastive batch in the memory of a small one."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def backward_in_parts(
    parts: Sequence[T],
    embed: Callable[[T], Sequence[Tensor]],
    loss: Callable[[Sequence[Tensor]], Tensor],
) -> float:
    """Add the gradients of a batch's loss, embedding it a part at a time (arXiv 2101.06983).

    All parts are embedded without a graph; the loss's gradient towards their embeddings is kept;
    then each part is embedded again and passes its share of that gradient on. Memory holds one
    part's graph, time is that of one more forward pass. Layers that look at the whole batch (batch
    normalisation) see a part instead.

    Args:
        parts: The batch, cut into pieces.
        embed: From a piece to one or more (n, dim) tensors. What it draws from torch's generators
            it draws alike both times.
        loss: From the tensors, each joined over all parts, to a number.

    Returns:
        The loss.
    """
    if len(parts) == 1:
        value = loss(embed(parts[0]))
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()
    states, outputs = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            outputs.append(embed(part))
    leaves = [torch.cat(tensors).requires_grad_() for tensors in zip(*outputs, strict=True)]
    value = loss(leaves)
    value.backward()  # type: ignore[no-untyped-call]
    after = _random_state()
    start = 0
    for part, state in zip(parts, states, strict=True):
        _set_random_state(state)
        tensors = embed(part)
        stop = start + len(tensors[0])
        torch.autograd.backward(
            list(tensors), [leaf.grad[start:stop] for leaf in leaves if leaf.grad is not None]
        )
        start = stop
    _set_random_state(after)
    return value.item()


def _random_state() -> tuple[Tensor, list[Tensor]]:
    """Of torch's default generators: the CPU's and every GPU's."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all()


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    torch.cuda.set_rng_state_all(state[1])
