"""FAB's projections equal the library's, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.fab_projections import projection_l2, projection_linf
from torch import Tensor

from datarobust.evaluation.projections import Projections

LIBRARY = {"linf": projection_linf, "l2": projection_l2}


class Spied:
    """The library's projections, counting the rows that they get."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
        self.rows += len(points)
        return projection_linf(points, normals, offsets)


def problem(seed: int, rows: int, width: int, levels: int, scale: float, far: float, flat: float) -> tuple[Tensor, ...]:
    """Points, some of them with few grey levels and so with ties; normals, some of them 0; planes near and far."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(rows, width, generator=generator)
    if levels:
        points = (points * levels).round() / levels
    normals = torch.randn(rows, width, generator=generator) * scale
    normals[torch.rand(rows, width, generator=generator) < flat] = 0.0
    away = torch.randn(rows, generator=generator) * far
    return points, normals, (normals * points).sum(1) + normals.abs().sum(1) * away


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 12),
    width=st.sampled_from([1, 2, 3, 5, 33, 64, 300]),
    levels=st.sampled_from([0, 1, 2, 15, 255]),
    scale=st.sampled_from([1e-9, 1e-4, 1.0, 100.0]),
    far=st.sampled_from([0.0, 0.001, 0.05, 0.5, 2.0]),
    flat=st.sampled_from([0.0, 0.3, 1.0]),
    norm=st.sampled_from(["linf", "l2"]),
)
def test_bits_are_those_of_the_library(
    seed: int, rows: int, width: int, levels: int, scale: float, far: float, flat: float, norm: str
) -> None:
    given_ = problem(seed, rows, width, levels, scale, far, flat)
    ours = getattr(Projections(1, **LIBRARY), norm)(*given_)
    assert torch.equal(ours, LIBRARY[norm](*given_))


@pytest.mark.parametrize("norm", LIBRARY)
def test_images_in_threads(norm: str) -> None:
    given_ = problem(1, 90, 3072, 255, 1.0, 0.02, 0.01)
    wanted = LIBRARY[norm](*given_)
    for threads in (1, 2, 3):
        assert torch.equal(getattr(Projections(threads, **LIBRARY), norm)(*given_), wanted)


def test_the_kernels_do_nearly_all() -> None:
    spied = Spied()
    Projections(1, spied, projection_l2).linf(*problem(2, 400, 3072, 255, 1.0, 0.02, 0.0))
    assert spied.rows <= 20


def test_one_doubtful_row_goes_to_the_library() -> None:
    spied = Spied()
    points, normals, offsets = problem(3, 6, 64, 0, 1.0, 0.05, 0.0)
    bounds = torch.where(normals[2] < 0, 1 - points[2], points[2])
    far = bounds.sort()[0][30]  # the plane is met just where a coordinate meets its bound: rounding decides
    offsets[2] = (normals[2] * (points[2] - normals[2].sign() * bounds.minimum(far))).sum()
    step = Projections(1, spied, projection_l2).linf(points, normals, offsets)
    assert spied.rows == 2  # the row twice, as torch may sum one row otherwise
    assert torch.equal(step, projection_linf(points, normals, offsets))


@pytest.mark.parametrize("norm", LIBRARY)
@pytest.mark.parametrize(
    "change",
    [
        lambda t, w, b: (t, w.clone().index_fill_(0, torch.tensor([1]), torch.nan), b),
        lambda t, w, b: (t, w, b.clone().index_fill_(0, torch.tensor([0]), torch.inf)),
        lambda t, w, b: (t.double(), w.double(), b.double()),
        lambda t, w, b: (t * 2 - 1, w, b),
        lambda t, w, b: (t.t().contiguous().t(), w, b),
    ],
    ids=["nan", "infinite", "double", "outside", "strided"],
)
def test_other_input_goes_to_the_library(norm: str, change: Any) -> None:
    given_ = change(*problem(4, 5, 40, 0, 1.0, 0.05, 0.0))
    ours, theirs = getattr(Projections(1, **LIBRARY), norm)(*given_), LIBRARY[norm](*given_)
    assert torch.equal(ours.nan_to_num(7.0), theirs.nan_to_num(7.0))
    assert ours.dtype == theirs.dtype
