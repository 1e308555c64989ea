"""The three losses of mini, on L2-normalised rows."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div


def cosine_loss(student: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine between rows of (n, dim) and (n, dim)."""
    return (1 - (student * target).sum(dim=1)).mean()


def similarity_loss(student: Tensor, target: Tensor, temperature: float = 0.05) -> Tensor:
    """How far the student's ranking of the batch is from the target's.

    Kullback-Leibler divergence between the rows' softmax over similarities to all other rows
    (Tejankar et al. 2021, ISD, arXiv 2012.09259, eq. 3). The two may differ in dim.
    """
    hide = torch.eye(len(student), dtype=torch.bool, device=student.device)
    wanted = (target @ target.T / temperature).masked_fill(hide, -1e4).softmax(dim=1)
    got = (student @ student.T / temperature).masked_fill(hide, -1e4).log_softmax(dim=1)
    return kl_div(got, wanted, reduction="batchmean")


def contrastive_loss(left: Tensor, right: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE (Radford et al. 2021, fig. 3) that knows of several right answers.

    Args:
        left: (n, dim), L2-normalised rows.
        right: (n, dim), L2-normalised rows; row i belongs to row i of ``left``.
        same: (n, n) bool, true where another pair is as right as the pair itself: two captions of
            one picture, two pictures of one class.
        temperature: What similarities are divided by.
    """
    logits = left @ right.T / temperature
    targets = same.float()
    rows = cross_entropy(logits, targets / targets.sum(dim=1, keepdim=True))
    columns = cross_entropy(logits.T, targets.T / targets.T.sum(dim=1, keepdim=True))
    return (rows + columns) / 2
