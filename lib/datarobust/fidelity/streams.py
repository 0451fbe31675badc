"""Features of a set, a batch at a time: into moments of parts of it, and some of them kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError
from datarobust.fidelity.keeping import Keeper
from datarobust.fidelity.measuring import Measure
from datarobust.fidelity.sides import Rows, Side, spans
from datarobust.frechet import Moments, Sums
from datarobust.randomness import Domain, permutation
from datarobust.text import shown

Features = npt.NDArray[Any]
Groups = npt.NDArray[np.int64]
POOL = 1 << 14
"""Points of each set, at most, whose features are kept for KID."""
SIZES = 15
"""From which distances are extrapolated; the smallest is 5,000, or half of the points."""
_SMALLEST = 5000
"""Domains of random choices."""


@dataclass(frozen=True)
class Stream:
    """The features of a set.

    Raises:
        DataError: there are fewer than two images, or a file of features has other rows than them.
    """

    role: Literal["a", "b"]
    side: Side
    measure: Measure
    batch: int

    def __post_init__(self) -> None:
        side = self.side
        if side.count < 2:
            raise DataError(
                f"{shown(side.store.path)} gives {side.count} images, but a Fréchet distance takes two or more"
            )
        due = len(side.store) * side.repeats
        if self.measure.arrays is not None and len(self._array) != due:
            raise DataError(
                f"the file of features has {len(self._array):,} rows in {self.role}, but {shown(side.store.path)} has "
                f"{due:,} images"
            )

    @property
    def _array(self) -> Features:
        assert self.measure.arrays is not None
        return self.measure.arrays["ab".index(self.role)]

    def features(self, items: Rows) -> Features:
        """Features (B, D) of some items.

        Raises:
            DataError: one is not finite.
        """
        side = self.side
        if self.measure.arrays is not None:
            return np.asarray(self._array[side.rows[items // side.repeats] * side.repeats + items % side.repeats])
        found = self.measure.of(side.images(items), self.batch)
        good = np.isfinite(found).all(axis=1)
        if not good.all():
            row = int(side.rows[int(items[int(np.argmin(good))]) // side.repeats])
            raise DataError(f"{shown(side.store.path)}: the features of row {row} are not finite")
        return found

    def moments(
        self,
        groups: Groups,
        kept: Rows,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
        keeper: Keeper | None = None,
    ) -> tuple[list[Moments], Features]:
        """Moments of each group of items, and the features (K, D) of the items to be kept; all are computed once.

        Args:
            groups: number of a group, from 0, for each item; none of them is empty.
            kept: different items, in any order.
            progress: wraps the batches.
            keeper: keeps the state; what it has is not computed again.
        """
        order = np.argsort(kept, kind="stable")
        work = _Work(groups, kept[order], keeper.load(self.role) if keeper is not None else None)
        batches = [items for items in spans(self.side.count, self.batch) if items[0] >= work.done]
        try:
            for items in progress(batches):
                work.take(items, self.features(items))
                if keeper is not None and keeper.due:
                    keeper.save(self.role, work.state())
        except BaseException as error:
            if keeper is not None and work.whole and not isinstance(error, Exception):  # a signal
                keeper.save(self.role, work.state())
            raise
        if keeper is not None:
            keeper.save(self.role, work.state())
        gathered = np.concatenate(work.pool)
        features = np.empty_like(gathered)
        features[order] = gathered
        return [one.moments() for one in work.sums], features


class _Work:
    """Sums of each group, and features that are kept, of the items before ``done``."""

    def __init__(self, groups: Groups, ascending: Rows, state: Mapping[str, npt.NDArray[Any]] | None) -> None:
        self._groups, self._ascending = groups, ascending
        self.whole = True
        count = int(groups.max()) + 1
        self.done, self.pool, self.sums = 0, list[Features](), [Sums() for _ in range(count)]
        if state is not None:
            self.done, self.pool = int(state["done"]), [state["pool"]]
            self.sums = [Sums.restored(_under(f"{number}.", state)) for number in range(count)]

    def take(self, items: Rows, found: Features) -> None:
        """The features of the items that follow."""
        self.whole = False  # a signal in between leaves some groups with these items and some without
        mine = self._groups[items]
        for number in np.unique(mine):
            self.sums[number].add(found[mine == number])
        low, high = np.searchsorted(self._ascending, [items[0], items[-1] + 1])
        self.pool.append(found[self._ascending[low:high] - items[0]])
        self.done, self.whole = int(items[-1]) + 1, True

    def state(self) -> dict[str, npt.NDArray[Any] | int]:
        """As arrays."""
        pool = np.concatenate(self.pool) if self.pool else np.zeros((0, 0))
        parts = {f"{n}.{key}": value for n, one in enumerate(self.sums) for key, value in one.state().items()}
        return {"done": self.done, "pool": pool, **parts}


def _under(prefix: str, state: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def halves(count: int, seed: int) -> Groups:
    """0 or 1 for each of so many items: random halves, of which the first may have one more."""
    groups = np.empty(count, np.int64)
    groups[permutation(seed, Domain.FID_HALVES.of(0), count)] = np.arange(count) * 2 // count
    return groups


def growing(count: int, seed: int) -> Groups:
    """For each item the number of the first of the growing random sets that has it."""
    least = _SMALLEST if count >= 2 * _SMALLEST else max(2, count // 2)
    sizes = np.unique(np.linspace(least, count, SIZES).astype(np.int64))
    rank = np.empty(count, np.int64)
    rank[permutation(seed, Domain.FID_ORDER.of(0), count)] = np.arange(count)
    return np.searchsorted(sizes, rank, side="right").astype(np.int64)


def pools(a: Side, b: Side, paired: bool, seed: int) -> tuple[Rows, Rows]:
    """Items of A and of B whose features are kept; where they are paired, one clone each of the same images."""
    if not paired:
        first, second = (permutation(seed, Domain.FID_POOL.of(n), side.count)[:POOL] for n, side in enumerate((a, b)))
        return first, second
    points = permutation(seed, Domain.FID_POOL.of(0), len(a.rows))[:POOL]
    repeat = permutation(seed, Domain.FID_REPEAT.of(0), len(a.rows)) % b.repeats
    return points, points * b.repeats + repeat[points]
