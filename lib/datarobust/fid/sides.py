"""The two sides of a comparison: images of a set, random parts of them, their features, and distances of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from datarobust.errors import DataError
from datarobust.fid.features import FeatureSpace
from datarobust.fid.frechet import Moments, Sums
from datarobust.norms import L2, LINF
from datarobust.randomness import Domain, permutation
from datarobust.types import Array, Images, Progress, Rows

POOL = 1 << 14
"""Images of each side, at most, whose features are kept for KID."""
SIZES = 15
"""Sets that a distance is extrapolated from; the smallest has 5,000 images, or half of them."""
_SMALLEST = 5000
_CLONE_BYTES = 1 << 24
"""Bytes of clones at a time, for distances of pairs."""


class Column(Protocol):
    """Images uint8 (N, C, H, W), or clones (N, R, C, H, W)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of them."""
        ...

    def take(self, rows: Rows, /) -> Array:
        """Chosen rows."""
        ...


class State(Protocol):
    """Where a loop keeps how far it is, for the next run."""

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        ...

    def load(self) -> Mapping[str, Array] | None:
        """What was saved last."""
        ...

    def save(self, arrays: Mapping[str, Array | int | float], /) -> None:
        """Replace what was saved."""
        ...


@dataclass(frozen=True)
class Side:
    """Images of a set: item ``i`` is clone ``i % repeats`` of row ``rows[i // repeats]``.

    Attributes:
        name: of the set, for messages.
        column: all images of the set.
        rows: int64 (M), the rows that take part.
    """

    name: str
    column: Column
    rows: Rows

    @property
    def repeats(self) -> int:
        """Clones in a row; 1 of a dataset."""
        return self.column.shape[1] if len(self.column.shape) == 5 else 1

    @property
    def count(self) -> int:
        """How many items."""
        return len(self.rows) * self.repeats

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image, (C, H, W)."""
        return self.column.shape[-3:]

    def take(self, items: Rows) -> Images:
        """Images uint8 (B, C, H, W) of these items."""
        images = self.column.take(self.rows[items // self.repeats])
        return images[np.arange(len(items)), items % self.repeats] if images.ndim == 5 else images

    def first(self, count: int | None) -> Side:
        """The same with the first rows alone; with all where ``count`` is None."""
        return replace(self, rows=self.rows[:count])


# ------------------------------------------------------------------------------------------------- random parts


def halves(count: int, seed: int) -> Rows:
    """0 or 1 for each of ``count`` items: random halves, of which the first may have one more."""
    groups = np.empty(count, np.int64)
    groups[permutation(seed, Domain.FID_HALVES.of(0), count)] = np.arange(count) * 2 // count
    return groups


def growing(count: int, seed: int) -> Rows:
    """For each of ``count`` items the number of the first of the growing random sets that has it."""
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


# ----------------------------------------------------------------------------------------------------- features


@dataclass(frozen=True)
class SideFeatures:
    """The features of a side.

    Attributes:
        side: the images.
        space: the features.
        batch: images at a time.
        array: features (N R, D) of all images of the set, where they come from a file.

    Raises:
        DataError: fewer than two images, or a file of features with other rows.
    """

    side: Side
    space: FeatureSpace
    batch: int
    array: Array | None = None

    def __post_init__(self) -> None:
        side = self.side
        if side.count < 2:
            raise DataError(f"{side.name} gives {side.count} images, but a Fréchet distance takes two or more")
        images = side.column.shape[0] * side.repeats
        if self.array is not None and len(self.array) != images:
            raise DataError(
                f"the file of features has {len(self.array):,} rows for {side.name}, which has {images:,} images"
            )

    def of(self, items: Rows) -> Array:
        """Features (B, D) of some items.

        Raises:
            DataError: one is not finite.
        """
        side = self.side
        if self.array is not None:
            return np.asarray(self.array[side.rows[items // side.repeats] * side.repeats + items % side.repeats])
        features = self.space.of(side.take(items), self.batch)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            row = int(side.rows[int(items[int(np.argmin(finite))]) // side.repeats])
            raise DataError(f"{side.name}: the features of row {row} are not finite")
        return features

    def moments(
        self, groups: Rows, kept: Rows, state: State | None = None, progress: Progress = iter
    ) -> tuple[list[Moments], Array]:
        """Moments of each group of items, and the features (K, D) of the items ``kept``; each is computed once.

        Args:
            groups: int64 (count), the number of each item's group, from 0; none of them is empty.
            kept: int64 (K), different items in any order.
            state: for the next run; what an earlier one left there is not computed again.
            progress: wraps the batches.
        """
        order = np.argsort(kept, kind="stable")
        sums = _GroupSums(groups, kept[order], None if state is None else state.load())
        batches = [items for items in spans(self.side.count, self.batch) if items[0] >= sums.done]
        try:
            for items in progress(batches):
                sums.add(items, self.of(items))
                if state is not None and state.due:
                    state.save(sums.state())
        except BaseException as error:
            if state is not None and sums.whole and not isinstance(error, Exception):  # a signal
                state.save(sums.state())
            raise
        if state is not None:
            state.save(sums.state())
        ascending = np.concatenate(sums.pool)
        features = np.empty_like(ascending)
        features[order] = ascending
        return [group.moments() for group in sums.groups], features


class _GroupSums:
    """Sums of each group, and the features that are kept, of all items before number ``done``."""

    def __init__(self, groups: Rows, kept: Rows, state: Mapping[str, Array] | None) -> None:
        self._group_of, self._kept = groups, kept
        self.whole = True
        numbers = range(int(groups.max()) + 1)
        self.done, self.pool, self.groups = 0, list[Array](), [Sums() for _ in numbers]
        if state is not None:
            self.done, self.pool = int(state["done"]), [state["pool"]]
            for number in numbers:
                prefix = f"{number}."
                parts = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
                self.groups[number] = Sums.restored(parts)

    def add(self, items: Rows, features: Array) -> None:
        """The features of the items that follow."""
        self.whole = False  # a signal in between leaves some groups with these items and some without
        groups = self._group_of[items]
        for number in np.unique(groups):
            self.groups[number].add(features[groups == number])
        low, high = np.searchsorted(self._kept, [items[0], items[-1] + 1])
        self.pool.append(features[self._kept[low:high] - items[0]])
        self.done, self.whole = int(items[-1]) + 1, True

    def state(self) -> dict[str, Array | int | float]:
        """All of it as arrays."""
        pool = np.concatenate(self.pool) if self.pool else np.zeros((0, 0))
        state: dict[str, Array | int | float] = {"done": self.done, "pool": pool}
        for number, sums in enumerate(self.groups):
            state |= {f"{number}.{key}": array for key, array in sums.state().items()}
        return state


def spans(count: int, size: int) -> Iterator[Rows]:
    """The items 0 to ``count`` - 1, ``size`` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


# -------------------------------------------------------------------------------------------- distances of pairs


def pair_distances(a: Side | None, b: Side, progress: Progress = iter) -> dict[str, dict[str, Any] | None]:
    """Mean l2 and linf distances in [0, 1] units of images and clones (O:C), and of successive clones (C:C).

    Differences and their squares are summed in whole numbers.

    Args:
        a: the images that b was made of, one for each of its rows; None where they are not known.
        b: clones, or other images.
        progress: wraps the batches.

    Returns:
        ``oc``: of each image and each of its clones; None without a. ``cc``: of each clone and the next one of the same
        image, R - 1 pairs for each image; None for one clone of each. Both have l2, linf and pairs.
    """
    keys: dict[str, list[Array]] = {"oc": [], "cc": []}
    repeats = b.repeats
    size = max(1, _CLONE_BYTES // (repeats * int(np.prod(b.shape))))
    if a is None and repeats == 1:
        return {"oc": None, "cc": None}
    for points in progress(list(spans(len(b.rows), size))):
        items = (points[:, None] * repeats + np.arange(repeats)).ravel()
        clones = b.take(items).reshape(len(points), repeats, *b.shape)
        if a is not None:
            originals = np.broadcast_to(a.take(points)[:, None], clones.shape)
            keys["oc"].append(_keys(originals, clones))
        if repeats > 1:
            keys["cc"].append(_keys(clones[:, :-1], clones[:, 1:]))
    return {name: _means(parts) for name, parts in keys.items()}


def _keys(x: Images, y: Images) -> Array:
    """Keys int64 (M R, 2) in l2 and linf of images (M, R, C, H, W) and (M, R, C, H, W)."""
    x, y = (part.reshape(-1, *part.shape[2:]) for part in (x, y))
    return np.stack([norm.keys(x, y) for norm in (L2, LINF)], 1)


def _means(parts: list[Array]) -> dict[str, Any] | None:
    if not parts:
        return None
    keys = np.concatenate(parts)
    means = {norm.name: float(norm.distances(keys[:, n], np.uint8).mean()) for n, norm in enumerate((L2, LINF))}
    return {**means, "pairs": len(keys)}
