"""What the owner of a data set should look at: labels that look wrong, copies, leaks, ambiguous points.

All of it follows from two exact searches, for the nearest points of another label and for the nearest other points of
the same label. With r_other and r_same the distances to the nearest of each,

====================  ================================================================================================
``leak``              a point of another set, such as the test set, equals it or is a near duplicate of it
``duplicate``         two points are equal
``near duplicate``    d(x, y) is far below u, the distance of x, and of y, to its USUAL-th nearest point: u / d
``label``             another class is nearer than the point's own: r_same / r_other, each a mean over the k nearest
``ambiguous``         two classes are about equally near, and both very near: the median of r_other / r_other
``alone``             no other point has the label
====================  ================================================================================================

The last column is the score: by how many times something is nearer than it should be. It has no unit, so one default
serves pixels and features of any network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datarobust.sensitivity import Labelled, Options, Ranking, rank
from datarobust.sensitivity.ranking import DEFAULT, MEMORY
from datarobust.types import Floats, Progress, Rows

KINDS = ("leak", "duplicate", "near duplicate", "label", "ambiguous", "alone")
"""In the order in which findings are listed."""

MEANINGS = {
    "leak": "Copies in the other set, equal or nearly so.",
    "duplicate": "Points that are equal.",
    "near duplicate": "Points far nearer to each other than usual.",
    "label": "Labels that look wrong: another class is nearer than the point's own. At the right is its nearest point.",
    "ambiguous": "Points between two classes that are about equally near.",
    "alone": "Points that are the only ones of their class, beside the nearest point of another.",
}
"""The kinds in a sentence."""

USUAL = 5
"""Which nearest point says how far apart points are where nothing is a copy; copies in groups of more escape it."""


NEIGHBOURS = 5
"""Of each kind, whose distances are compared for a label: measured, better than 1 (tests/bench/label_errors.py)."""


@dataclass(frozen=True)
class Thresholds:
    """Least scores of findings. Measured: tests/bench/label_errors.py."""

    label: float = 1.2
    near: float = 2.0
    ambiguous: float = 1.5


@dataclass(frozen=True)
class Findings:
    """M findings, by kind in the order of KINDS, then the clearest first."""

    kind: Rows  # (M,) places in KINDS
    score: Floats  # (M,) +inf for equal points, NaN for points alone in their class
    first: Rows  # (M,) rows
    second: Rows  # (M,) rows of the other points, in the other set for leaks; -1 where there is none
    distance: Floats  # (M,) between the two
    agreement: float  # share of points whose nearest point has the same label

    def __len__(self) -> int:
        return len(self.kind)

    def count(self, kind: str) -> int:
        """How many there are of a kind."""
        return int((self.kind == KINDS.index(kind)).sum())


def label_scores(same: Floats, other: Floats) -> Floats:
    """r_same / r_other (N,): how much nearer other classes are than a point's own; 0 where the ratio does not exist.

    ``same`` and ``other`` (N, k) are the distances of the k nearest points with the same label and with others. The
    ratio is that of their sums, over as many as there are of both; it does not exist without one of each, nor where all
    distances are 0.
    """
    both = np.isfinite(same) & np.isfinite(other)
    sums = [np.where(both, distance, 0.0).sum(axis=1) for distance in (same, other)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sums[0] / sums[1]
    return np.where(np.isnan(ratio), 0.0, ratio)


def find(
    points: Labelled,
    norm: str,
    group: Rows,
    *,
    against: Labelled | None = None,
    leaking: Labelled | None = None,
    k: int = NEIGHBOURS,
    thresholds: Thresholds = Thresholds(),
    memory: int = MEMORY,
    options: Options = DEFAULT,
    progress: Callable[[str], Progress] = lambda label: iter,
) -> Findings:
    """The findings in a set of N points.

    Args:
        points: what is examined.
        norm: "l1", "l2" or "linf".
        group: (N,) equal numbers for equal points.
        against: a set that should have no point in common with ``points``, such as the test set.
        leaking: the points as they are compared with that set, where these are other numbers than those of ``points``.
        k: how many of the nearest points of the same and of other labels decide whether a label looks wrong.
        thresholds: least scores.
        memory: bytes of rows to hold in a search.
        options: how to search.
        progress: from the name of a search to what wraps its rounds.

    Raises:
        DataError: as :func:`datarobust.sensitivity.rank`.
    """

    def search(name: str, points: Labelled, k: int, others: Labelled | None = None) -> tuple[Ranking, Ranking]:
        """The nearest points of other labels, and of the same."""
        one, two = (
            rank(
                points, norm, against=others, k=k, same=same, memory=memory, options=options,
                progress=progress(f"{name}, {'same' if same else 'other'} labels"),
            )
            for same in (False, True)
        )  # fmt: skip
        return one, two

    k = min(k, len(points.labels))
    other, same = search("searching", points, max(k, USUAL))
    distance, neighbour = _any_label(other, same, USUAL)
    usual = _last_finite(distance)
    parts = [_duplicates(group), _near(distance, neighbour, usual, group, thresholds.near)]
    copies = {pair for _, _, *rows, _ in parts for pair in zip(*(part.tolist() for part in rows), strict=True)}
    if against is not None:
        if leaking is not None:
            usual = _last_finite(_any_label(*search("searching", leaking, USUAL), USUAL)[0])
        nearest = _any_label(*search("searching the other set", leaking or points, 1, against), 1)
        parts.append(_leaks(nearest[0][:, 0], nearest[1][:, 0], usual, thresholds.near))
    parts += _of_classes(other, same, k, copies, thresholds)
    kinds = np.concatenate([np.full(len(part[2]), part[0]) for part in parts])
    score, first, second, apart = (np.concatenate([part[n] for part in parts]) for n in (1, 2, 3, 4))
    order = np.lexsort((second, first, -np.nan_to_num(score, nan=0.0), kinds))
    counted = np.isfinite(other.robustness) & np.isfinite(same.robustness)
    agreement = float((same.robustness < other.robustness)[counted].mean()) if counted.any() else 1.0
    return Findings(kinds[order], score[order], first[order], second[order], apart[order], agreement)


_Part = tuple[int, Floats, Rows, Rows, Floats]  # kind, score, first, second, distance


def _of_classes(
    other: Ranking, same: Ranking, k: int, copies: set[tuple[int, int]], thresholds: Thresholds
) -> list[_Part]:
    """Points whose labels look wrong, are ambiguous, or are alone; not those of ``copies``, pairs that are listed."""
    r, partner = other.robustness, other.neighbour[:, 0]
    pairs = zip(range(len(partner)), partner.tolist(), strict=True)
    listed = np.array([(min(pair), max(pair)) in copies for pair in pairs], np.bool_)
    free, finite = ~listed & (r > 0), r[np.isfinite(r)]
    ratio = label_scores(same.distance[:, :k], other.distance[:, :k])
    with np.errstate(divide="ignore", invalid="ignore"):
        near = (np.median(finite) if len(finite) else 0.0) / r
    wrong = ratio >= thresholds.label
    between = ~wrong & (ratio >= 1 / thresholds.label) & (near >= thresholds.ambiguous)
    chosen = {
        "label": (free & wrong, ratio),
        "ambiguous": (free & between, near),
        "alone": (np.isinf(same.robustness), np.full(len(r), np.nan)),
    }
    return [
        (KINDS.index(kind), score[rows], np.flatnonzero(rows), partner[rows], r[rows])
        for kind, (rows, score) in chosen.items()
    ]


def _any_label(other: Ranking, same: Ranking, k: int) -> tuple[Floats, Rows]:
    """The k nearest points whatever their labels: distances (N, k) and rows (N, k)."""
    distance = np.concatenate([other.distance, same.distance], axis=1)
    neighbour = np.concatenate([other.neighbour, same.neighbour], axis=1)
    order = np.lexsort((neighbour, distance), axis=1)[:, :k]
    return np.take_along_axis(distance, order, 1), np.take_along_axis(neighbour, order, 1)


def _last_finite(distance: Floats) -> Floats:
    """The last finite distance of each row (N, k); NaN where there is none."""
    last = np.isfinite(distance).sum(axis=1) - 1
    return np.where(last < 0, np.nan, distance[np.arange(len(distance)), np.maximum(last, 0)])


def _duplicates(group: Rows) -> _Part:
    """Each point that equals an earlier one, beside the first of its group."""
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    start = first[member.ravel()]
    again = np.flatnonzero(start != np.arange(len(group)))
    zero = np.zeros(len(again))
    return KINDS.index("duplicate"), zero + np.inf, start[again].astype(np.int64), again, zero


def _near(distance: Floats, neighbour: Rows, usual: Floats, group: Rows, least: float) -> _Part:
    """Pairs far nearer than usual for both, of points that are the first of their groups."""
    _, start = np.unique(group, return_index=True)
    counts = np.zeros(len(group), np.bool_)
    counts[start] = True
    row, place = np.nonzero(np.isfinite(distance) & counts[:, None])
    mate, apart = neighbour[row, place], distance[row, place]
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.minimum(usual[row], usual[mate]) / apart
    kept = counts[mate] & (score >= least)
    first, second = np.minimum(row, mate)[kept], np.maximum(row, mate)[kept]
    pairs, at = np.unique(np.stack([first, second]), axis=1, return_index=True)
    return KINDS.index("near duplicate"), score[kept][at], pairs[0], pairs[1], apart[kept][at]


def _leaks(distance: Floats, neighbour: Rows, usual: Floats, least: float) -> _Part:
    """Points beside their nearest ones in the other set, where these are equal or far nearer than usual."""
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(distance == 0, np.inf, usual / distance)
    rows = np.flatnonzero(score >= least)
    return KINDS.index("leak"), score[rows], rows, neighbour[rows], distance[rows]
