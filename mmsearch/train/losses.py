"""Losses: contrastive ones on a matrix of scores, and those that follow a teacher.

In a matrix of scores, row i and column j say how well item i of the one side fits item j of the
other. ``same`` says which of them do fit: the diagonal, and whatever else is as right (two captions
of one picture, two pictures of one class).
"""

import math
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, logsigmoid


def info_nce(logits: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018, eq. 4; Radford et al. 2021, fig. 3).

    Mean cross-entropy of every row and every column with its right answers, which share the
    probability equally where there are several (Khosla et al. 2020, arXiv 2004.11362, eq. 2).

    Args:
        logits: (n, n), scores divided by the temperature.
        same: (n, n) bool; true at least on the diagonal.
    """
    targets = same.float()
    rows = cross_entropy(logits, targets / targets.sum(dim=1, keepdim=True))
    columns = cross_entropy(logits.T, targets.T / targets.T.sum(dim=1, keepdim=True))
    return (rows + columns) / 2


def sigmoid_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Every pair decided on its own (SigLIP: Zhai et al. 2023, arXiv 2303.15343, eq. 1).

    ``-1/n sum_ij log sigmoid(z_ij logit_ij)`` with ``z_ij`` = 1 for pairs that fit, else -1.

    Args:
        logits: (n, n), scores times the scale, plus the bias.
        same: (n, n) bool.
    """
    return -logsigmoid(torch.where(same, logits, -logits)).sum() / len(logits)


def triplet_loss(scores: Tensor, same: Tensor, margin: float) -> Tensor:
    """Hinge against the hardest wrong answer (VSE++: Faghri et al. 2018, arXiv 1707.05612, eq. 6).

    ``max_j [margin - s_ii + s_ij]+`` over the wrong j of every row, plus the same for columns;
    the mean over the batch.

    Args:
        scores: (n, n).
        same: (n, n) bool; these are never taken for wrong answers.
        margin: By how much the right answer is to be ahead.
    """
    right = scores.diagonal()
    wrong = scores.masked_fill(same, -math.inf)
    rows = (margin - right + wrong.amax(dim=1)).clamp(min=0)
    columns = (margin - right + wrong.amax(dim=0)).clamp(min=0)
    return (rows + columns).mean()


class Loss(StrEnum):
    """The contrastive losses by name."""

    INFONCE = "infonce"
    SIGMOID = "sigmoid"
    TRIPLET = "triplet"


MARGIN = 0.2
"""Of cosines; VSE++, section 4.1."""

MAX_SCALE = 100.0
"""Highest factor on scores: CLIP (Radford et al. 2021, section 2.5) clips it there."""


class Criterion(nn.Module):
    """A contrastive loss with the scale and the bias that it learns.

    Starts as its paper does: InfoNCE at a temperature of 0.07 (CLIP, section 2.5), sigmoid at a
    scale of 10 and a bias of -10 (SigLIP, section 3.2).
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss
        start = 10.0 if loss is Loss.SIGMOID else 1 / 0.07
        learns = loss is not Loss.TRIPLET
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)), requires_grad=learns)
        self.bias = nn.Parameter(torch.tensor(-10.0), requires_grad=loss is Loss.SIGMOID)

    def forward(self, scores: Tensor, same: Tensor) -> Tensor:
        """The loss of a batch: of (n, n) scores, and which of them fit."""
        if self._loss is Loss.TRIPLET:
            return triplet_loss(scores, same, MARGIN)
        with torch.no_grad():  # the parameter itself, so that it can come back
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        logits = scores * self.log_scale.exp()
        if self._loss is Loss.SIGMOID:
            return sigmoid_loss(logits + self.bias, same)
        return info_nce(logits, same)


def cosine_loss(student: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine between rows of unit length, (n, dim) and (n, dim)."""
    return (1 - (student * target).sum(dim=1)).mean()


def divergence(student: Tensor, target: Tensor, temperature: float) -> Tensor:
    """How far one list of similarities is from another: Kullback-Leibler, of (n, m) and (n, m).

    Both are turned into shares by a softmax over each row (Hinton et al. 2015, arXiv 1503.02531).
    """
    wanted = (target / temperature).softmax(dim=1)
    return kl_div((student / temperature).log_softmax(dim=1), wanted, reduction="batchmean")


def similarity_loss(student: Tensor, target: Tensor, temperature: float = 0.05) -> Tensor:
    """How far the student's ranking of the batch is from the target's.

    ``divergence`` between the rows' similarities to all other rows (ISD: Tejankar et al. 2021,
    arXiv 2012.09259, eq. 3). The two, of (n, a) and (n, b), may differ in width.
    """
    hide = torch.eye(len(student), dtype=torch.bool, device=student.device) * -1e4
    return divergence(student @ student.T + hide, target @ target.T + hide, temperature)


def nearest_loss(
    points: Tensor, own: Tensor, others: Tensor, skip: Tensor, temperature: float
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, eq. 4): each point's own match among many others.

    Args:
        points: (n, dim), rows of unit length.
        own: (n, dim), the match of each point.
        others: (m, dim), what it is told apart from.
        skip: (n, m) bool, which of the others are no wrong answers.
        temperature: What similarities are divided by.
    """
    mine = (points * own).sum(dim=1, keepdim=True)
    logits = torch.cat([mine, (points @ others.T).masked_fill(skip, -math.inf)], dim=1)
    first = torch.zeros(len(points), dtype=torch.long, device=points.device)
    return cross_entropy(logits / temperature, first)
