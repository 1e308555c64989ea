"""The losses: their gradients by finite differences, their values by hand, and gradient caching."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from mmsearch.train.caching import backward_in_parts
from mmsearch.train.losses import (
    Criterion,
    Loss,
    cosine_loss,
    divergence,
    info_nce,
    nearest_loss,
    sigmoid_loss,
    similarity_loss,
    triplet_loss,
)

Scored = Callable[[Tensor, Tensor], Tensor]

SAME = torch.eye(5, dtype=torch.bool)
SHARED = SAME.clone()
SHARED[0, 3] = SHARED[3, 0] = True


def rows(count: int, dim: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("same", [SAME, SHARED], ids=["one answer", "several"])
@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss, partial(triplet_loss, margin=0.7)])
def test_the_gradient_of_a_contrastive_loss(loss: Scored, same: Tensor) -> None:
    assert gradcheck(lambda scores: loss(scores, same), rows(5))


@pytest.mark.parametrize("loss", list(Loss))
def test_the_gradient_of_a_criterion_with_what_it_learns(loss: Loss) -> None:
    criterion = Criterion(loss).double()
    learned = [p for p in criterion.parameters() if p.requires_grad]

    def value(scores: Tensor, *_: Tensor) -> Tensor:
        loss: Tensor = criterion(scores, SHARED)
        return loss

    assert gradcheck(value, (rows(5), *learned))


def test_the_gradient_of_the_distillation_losses() -> None:
    student, target, more = rows(5), rows(5, seed=1), rows(7, seed=2)
    assert gradcheck(lambda x: cosine_loss(normalize(x, dim=1), target), student)
    assert gradcheck(lambda x: similarity_loss(x, target, 0.5), student)
    assert gradcheck(lambda x: divergence(x, target, 0.5), student)
    skip = torch.zeros(5, 7, dtype=torch.bool)
    skip[2, 3:] = True
    assert gradcheck(lambda x, o, m: nearest_loss(x, o, m, skip, 0.5), (student, target, more))


def test_info_nce_is_what_its_paper_says() -> None:
    scores = rows(4).detach()[:, :4]
    expected = 0.0
    for i in range(4):
        row, column = scores[i], scores[:, i]
        expected -= (row[i] - row.logsumexp(0)).item() + (column[i] - column.logsumexp(0)).item()
    assert info_nce(scores, SAME[:4, :4]).item() == pytest.approx(expected / 8, rel=1e-6)


def test_sigmoid_is_what_its_paper_says() -> None:
    scores = rows(3).detach()[:, :3]
    expected = 0.0
    for i in range(3):
        for j in range(3):
            z = 1 if i == j else -1
            expected -= math.log(1 / (1 + math.exp(-z * scores[i, j].item())))
    assert sigmoid_loss(scores, SAME[:3, :3]).item() == pytest.approx(expected / 3, rel=1e-6)


def test_triplet_takes_the_hardest_wrong_answer_and_never_a_right_one() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.8], [0.2, 0.9, 0.1], [0.95, 0.0, 0.9]])
    same = torch.eye(3, dtype=torch.bool)
    # rows: 0.2 - 0.9 + 0.8, 0, 0.2 - 0.9 + 0.95; columns: the same two, the other way round
    assert triplet_loss(scores, same, 0.2).item() == pytest.approx((0.1 + 0.25) * 2 / 3, rel=1e-5)
    same[0, 2] = same[2, 0] = True
    assert triplet_loss(scores, same, 0.2).item() == 0
    assert triplet_loss(scores, torch.ones(3, 3, dtype=torch.bool), 0.2).item() == 0


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss, partial(triplet_loss, margin=0.7)])
def test_two_right_answers_do_not_compete(loss: Scored) -> None:
    scores = torch.full((5, 5), -3.0) + 6 * SHARED.float()
    scores[0, 3] += 1
    assert loss(scores, SHARED) < loss(scores, SAME)


def test_distillation_is_least_where_student_and_teacher_agree() -> None:
    points, other = normalize(rows(8), dim=1), normalize(rows(8, seed=1), dim=1)
    assert cosine_loss(points, points).item() == pytest.approx(0, abs=1e-6)
    assert similarity_loss(points, points).item() == pytest.approx(0, abs=1e-6)
    assert similarity_loss(points, other).item() > 0.01
    assert divergence(points @ other.T, points @ other.T, 0.1).item() == pytest.approx(0, abs=1e-6)


class Sides(nn.Module):
    """Two encoders with dropout, whose noise caching has to repeat."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, 4))
        self.right = nn.Linear(7, 4)
        self.criterion = Criterion(Loss.INFONCE)


def gradients(part: int, dropout: bool) -> tuple[float, list[Tensor]]:
    model = Sides().train(dropout)
    x, y = torch.randn(12, 6), torch.randn(12, 7)
    torch.manual_seed(5)
    value = backward_in_parts(
        list(zip(torch.split(x, part), torch.split(y, part), strict=True)),
        lambda both: (normalize(model.left(both[0])), normalize(model.right(both[1]))),
        lambda both: model.criterion(both[0] @ both[1].T, torch.eye(12, dtype=torch.bool)),
    )
    return value, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("part", [1, 4, 5])
def test_gradients_in_parts_are_those_of_the_whole_batch(part: int) -> None:
    (whole, wanted), (value, got) = gradients(12, dropout=False), gradients(part, dropout=False)
    assert value == pytest.approx(whole, rel=1e-6)
    assert len(got) == len(wanted) == 7
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_in_parts_repeat_their_noise() -> None:
    """With dropout a part's gradient belongs to the very embeddings that the loss has seen."""
    model = Sides().train()
    x = torch.randn(8, 6)
    seen: list[Tensor] = []

    def embed(part: Tensor) -> tuple[Tensor]:
        seen.append(model.left(part))
        return (seen[-1],)

    backward_in_parts(list(torch.split(x, 4)), embed, lambda both: both[0].square().sum())
    torch.testing.assert_close(seen[0], seen[2].detach())
    torch.testing.assert_close(seen[1], seen[3].detach())
