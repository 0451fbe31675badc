"""Robustness and sensitivity of every point of a labelled set: Equation (1) and Algorithm 1 of the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np

from datarobust.errors import DataError, DuplicateError, UsageError
from datarobust.norms import norm_of
from datarobust.types import Array, Floats, Progress, Rows

from .panels import Checkpoint, Labelled
from .search import Options, nearest

Duplicates = Literal["inf", "drop", "error"]
Merge = Callable[[Array, Array], tuple[Array, Array]]

DEFAULT = Options()
"""All processors, this process alone."""

MEMORY = 8 << 30
"""Bytes of rows held in memory unless the caller says otherwise."""


@dataclass(frozen=True)
class Ranking:
    """The k nearest neighbours of every point: differently labelled ones, or of the same label if those were sought."""

    distance: Floats
    """(N, k) ascending; +inf where there is no such neighbour, NaN where the point was dropped."""
    neighbour: Rows
    """(N, k) their rows; -1 where there is none."""

    @property
    def robustness(self) -> Floats:
        """(N,) r(x), the distance to the nearest differently labelled point (Section 3)."""
        return self.distance[:, 0]

    @property
    def sensitivity(self) -> Floats:
        """(N,) 1/r(x), as Algorithm 1 computes it; +inf at distance 0, 0 where no other label exists."""
        return sensitivity_of(self.robustness)


def sensitivity_of(distance: Floats) -> Floats:
    """1/r, elementwise: +inf at r = 0, 0 at r = inf, NaN stays."""
    with np.errstate(divide="ignore"):
        return 1.0 / distance


def least_robust_first(distance: Floats) -> Rows:
    """Rows by ascending distance, ties by the lower row; dropped points (NaN) are left out."""
    order = np.argsort(distance, kind="stable")
    return order[~np.isnan(distance[order])]


def rank(
    points: Labelled,
    norm: str,
    *,
    against: Labelled | None = None,
    k: int = 1,
    soft: bool = False,
    same: bool = False,
    duplicates: Duplicates = "inf",
    memory: int = MEMORY,
    options: Options = DEFAULT,
    progress: Progress = iter,
    checkpoint: Checkpoint | None = None,
    merge: Merge | None = None,
) -> Ranking:
    """For every point, the k nearest points of another label: Algorithm 1, exactly, without comparing most pairs.

    Args:
        points: N points of D numbers each.
        norm: "l1", "l2" or "linf".
        against: look for neighbours among these points instead of ``points``.
        k: how many neighbours.
        soft: Equation (1) with label vectors: the distance returned is min_j d(p_i, p_j) / ||y_i - y_j||_2, the
            reciprocal of s_y.
        same: look for the nearest *other* points of the same label instead. A point that is alone in its class has
            none: distance +inf, neighbour -1.
        duplicates: what equal points with different labels mean: distance 0 ("inf", their sensitivity), no part in
            the ranking for either ("drop": NaN, and nobody's neighbour; points ``against`` which others are held stay
            there), or an error ("error").
        memory: bytes of rows to hold; larger sets are read panel by panel.
        options: threads, blocks, shard; none of them changes a bit of the result.
        progress: wraps the loop over rounds.
        checkpoint: where to keep the state of a long search.
        merge: makes one list of those of all shards (:meth:`datarobust.distributed.Group.merge_neighbours`).

    Returns:
        Distances in [0,1] units for uint8 points (square root of a whole number, or a whole number, over 255), in
        their own units for float32. Equal distances go to the lower row. Whole-number arithmetic decides on uint8; on
        float32 l1 and l2 distances have a relative error below (D + 2) 2^-53, l-infinity distances below 2^-53.

    Raises:
        DataError: wrong dtypes or shapes.
        DuplicateError: there are such points, and they are not allowed.
        UsageError: ``soft`` without label vectors, or with ``same``; ``duplicates`` with ``same``; an unknown norm;
            ``k`` < 1.
    """
    check(points, against, norm, k, soft)
    check_same(same, soft, duplicates)

    def search(points: Labelled, against: Labelled | None, checkpoint: Checkpoint | None) -> Ranking:
        sources = [points] if against is None else [points, against]
        key, neighbour = nearest(
            sources, norm, k, soft=soft, same=same, memory=memory, options=options, progress=progress,
            checkpoint=checkpoint,
        )  # fmt: skip
        if merge is not None:
            key, neighbour = merge(key, neighbour)
        return Ranking(norm_of(norm).distances(key, points.rows.dtype), neighbour)

    found = search(points, against, checkpoint)
    equal = np.flatnonzero(found.robustness == 0.0)
    if duplicates == "inf" or not len(equal):
        return found
    if duplicates == "error":
        refuse_equal(len(equal), equal[0], found.neighbour[equal[0], 0])
    return _without(found, equal, points, against, search)


def check_same(same: bool, soft: bool, duplicates: Duplicates) -> None:
    """Raise UsageError where neighbours of the same label are sought in a way that has no meaning."""
    if same and soft:
        raise UsageError("`same` compares classes, not label vectors: leave out `soft`")
    if same and duplicates != "inf":
        raise UsageError(f"`duplicates` {duplicates} is about points of different labels: leave it out with `same`")


def refuse_equal(count: int, row: int, other: int) -> NoReturn:
    """Raise the DuplicateError of so many points that equal one of another label, the first ``row`` and its equal."""
    raise DuplicateError(
        f"{count} points equal a point of another label, the first is row {row}, equal to row {other}: choose "
        "`duplicates` inf or drop, or leave them out with dataset subset `exclude`"
    )


def _without(
    found: Ranking,
    equal: Rows,
    points: Labelled,
    against: Labelled | None,
    search: Callable[[Labelled, Labelled | None, Checkpoint | None], Ranking],
) -> Ranking:
    """The ranking of a set from which the points ``equal`` are taken out; they get NaN and are nobody's neighbour.

    Points ``against`` which others are held stay: another set is not mended because one of ours equals one of its.
    """
    distance, neighbour = found.distance.copy(), found.neighbour.copy()
    if against is None:
        kept = np.setdiff1d(np.arange(len(distance)), equal)
        affected = np.setdiff1d(np.flatnonzero(np.isin(neighbour, equal).any(axis=1)), equal)
        if len(affected):
            again = search(points.subset(affected), points.subset(kept), None)
            distance[affected] = again.distance
            neighbour[affected] = np.where(again.neighbour < 0, -1, kept[again.neighbour])
    distance[equal], neighbour[equal] = np.nan, -1
    return Ranking(distance, neighbour)


def demand_neighbours(k: int, points: int) -> None:
    """Raise UsageError for more neighbours than there are points: lists of nothing would fill the memory."""
    if k > points:
        raise UsageError(f"k = {k:,}: there are only {points:,} points to be neighbours")


def check(points: Labelled, against: Labelled | None, norm: str, k: int = 1, soft: bool = False) -> None:
    """Raise DataError or UsageError where these points cannot be ranked so, as :func:`rank` says."""
    norm_of(norm)
    if k < 1:
        raise UsageError(f"k = {k}: at least one neighbour is needed")
    sets = {"points": points} | ({} if against is None else {"the set to hold them against": against})
    for name, part in sets.items():
        n, dtype, vectors = part.rows.shape[0], np.dtype(part.rows.dtype), part.soft
        if dtype not in (np.uint8, np.float32):
            raise DataError(f"{name}: numbers must be uint8 or float32, not {dtype.name}")
        if n == 0 or part.rows.shape[1] == 0:
            raise DataError(f"{name}: nothing to rank in an array of shape {tuple(part.rows.shape)}")
        if part.labels.shape != (n,):
            raise DataError(f"{name}: {n} points but labels of shape {part.labels.shape}; one label a point is needed")
        if not soft:
            continue
        if vectors is None or vectors.ndim != 2 or len(vectors) != n:
            raise UsageError(f"{name}: soft ranking needs a label vector for each point; this set has none")
        if not np.isfinite(vectors).all():
            row = np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0]
            raise DataError(f"{name}: the label vector of row {row} holds a number that is not finite")
    if against is None:
        return
    kinds = [f"{part.rows.shape[1]} {part.rows.dtype} numbers" for part in (points, against)]
    if kinds[0] != kinds[1]:
        raise DataError(f"points of {kinds[0]} cannot be held against points of {kinds[1]}")
    if soft:
        classes = [part.soft.shape[1] for part in (points, against) if part.soft is not None]
        if classes[0] != classes[1]:
            raise DataError(f"label vectors of {classes[0]} and {classes[1]} classes cannot be compared")
