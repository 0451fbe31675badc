"""All numbers of a comparison of two sets, from stores to one JSON object (Tables 1 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.errors import DataError, DatarobustError, UsageError
from datarobust.fidelity import moments as stored
from datarobust.fidelity.keeping import Keeper
from datarobust.fidelity.measuring import Measure
from datarobust.fidelity.moments import Calibration
from datarobust.fidelity.pixels import pair_distances
from datarobust.fidelity.sides import Rows, Side
from datarobust.fidelity.streams import Stream, growing, halves, pools
from datarobust.frechet import Moments, extrapolated
from datarobust.kid import SUBSETS, Kid, kid
from datarobust.selection import rows_digest
from datarobust.text import shown

Features = npt.NDArray[Any]
Progress = Callable[[str], Callable[[Iterable[Any]], Iterable[Any]]]
"""Of a label."""
_NO_ITEMS: Rows = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Result:
    """What was found; the names are those of :meth:`as_json`."""

    frechet: float
    counts: tuple[int, int]
    width: int
    told: dict[str, Any]
    paired: bool
    calibration: Calibration | None
    kid: Kid | None
    pairs: dict[str, dict[str, float] | None]
    extrapolated: float | None

    def as_json(self) -> dict[str, Any]:
        """One object; ``fid`` is there only where the features are Inception's."""
        fid = {"fid": self.frechet} if self.told["features"] == "inception" else {}
        return {
            **fid,
            "frechet": self.frechet,
            **self.told,
            "n": {"a": self.counts[0], "b": self.counts[1]},
            "dimensions": self.width,
            "paired": self.paired,
            "calibration": None if self.calibration is None else self.calibration.as_json(),
            "kid": None if self.kid is None else self.kid.as_json(),
            **self.pairs,
            "extrapolated": self.extrapolated,
        }

    def remarks(self) -> Iterator[str]:
        """What the numbers alone do not say."""
        if min(self.counts) <= self.width:
            yield (
                f"{min(self.counts):,} points span fewer than the {self.width:,} dimensions of the features: the "
                "distance is biased upwards, and comparable only with those of as many points; KID is not biased."
            )
        if self.calibration is not None:
            yield (
                f"Two random halves of A, {self.calibration.points:,} points each, are {self.calibration.frechet:.4g} "
                "apart: what so many points make of no difference."
            )


@dataclass(frozen=True)
class Comparison:
    """Two sets to be held against each other.

    Attributes:
        a: the reference.
        b: the other set; None where moments of A are all that is wanted.
        paired: item i of B was made of row ``i // b.repeats`` of A.
        measure: features; None where both sides are moments.
        batch: images at a time.
        seed: of halves and subsets.
        kid_subsets: of KID; 0 for none.
        extrapolate: whether to fit distances over the number of points of B.

    Raises:
        ArtifactError: moments of other features, mode or weights.
        DataError: fewer than two images, or a file of features with other rows.
        UsageError: an extrapolation from moments.
    """

    a: Side
    b: Side | None
    paired: bool
    measure: Measure | None
    batch: int
    seed: int = 0
    kid_subsets: int = SUBSETS
    extrapolate: bool = False

    def __post_init__(self) -> None:
        asked = "those asked for are" if self.measure is not None else f"those of {shown(self.a.store.path)} are"
        for side in self._sides.values():
            if side.moments:
                stored.demand_same(side.store, self.told, asked)
        self._demand_channels(list(self.streams.values()))
        if self.extrapolate and ("b" not in self.streams or self.streams["b"].side.count < 4):
            raise UsageError("`extrapolate` takes a set B of four images or more, not moments")

    def _demand_channels(self, streams: list[Stream]) -> None:
        """Refuse grey images beside coloured ones, but for Inception, which takes grey ones as coloured."""
        if len(streams) < 2 or self.told["features"] == "inception" or streams[0].measure.arrays is not None:
            return
        one, two = (stream.side for stream in streams)
        if one.shape != two.shape:
            raise DataError(
                f"{shown(one.store.path)} has images of {one.shape[0]} channels and {shown(two.store.path)} of "
                f"{two.shape[0]}: only `features` inception takes grey images beside coloured ones"
            )

    @property
    def _sides(self) -> dict[str, Side]:
        return {"a": self.a} if self.b is None else {"a": self.a, "b": self.b}

    @cached_property
    def streams(self) -> dict[str, Stream]:
        """The features of the sides that are no moments, by role."""
        if self.measure is None:
            return {}
        sides = {role: side for role, side in self._sides.items() if not side.moments}
        return {role: Stream(role, side, self.measure, self.batch) for role, side in sides.items()}  # type: ignore[arg-type]

    @property
    def told(self) -> dict[str, Any]:
        """Features, mode and weights."""
        return stored.attributes_of(self.a.store) if self.measure is None else stored.told(self.measure)

    @cached_property
    def _kept(self) -> dict[str, Rows]:
        """Items whose features are kept for KID, by role."""
        if not self.kid_subsets or set(self.streams) != {"a", "b"}:
            return {}
        assert self.b is not None
        return dict(zip("ab", pools(self.a, self.b, self.paired, self.seed), strict=True))

    @property
    def request(self) -> str:
        """Names the comparison: equal where all numbers are, to the last bit on one machine."""
        sides = {role: [side.store.digest, rows_digest(side.rows)] for role, side in self._sides.items()}
        choices = [self.paired, self.batch, self.seed, self.kid_subsets, self.extrapolate]
        return artifacts.fingerprint({"tool": "fid", "sides": sides, "choices": choices, **self.told})

    def run(
        self,
        output: Path | None,
        step: Step,
        *,
        keeper: Keeper | None = None,
        overwrite: bool = False,
        progress: Progress = lambda label: iter,
    ) -> Result | None:
        """All numbers; None where there is no B.

        Args:
            output: where the moments of A go; the same moments that are there already are taken.
            step: of the history.
            keeper: keeps features of a run that is killed.
            overwrite: replace another artifact at ``output``.
            progress: of a label.

        Raises:
            ExistsError, LockedError: the output is taken.
            DataError: features that are not finite.
        """
        if output is not None and (overwrite or not self._known(output)):
            artifacts.demand_vacant(output, "moments", overwrite)
        reference, calibration, x = self._reference(output, step, overwrite, keeper, progress)
        if self.b is None:
            return None
        parts, y = self._other(keeper, progress)
        other, limit = reduce(Moments.joined, parts), None
        value = reference.distance(other)
        if not np.isfinite(value):
            raise DatarobustError("the distance is not finite: the features are too large for it")
        if self.extrapolate:
            grown = progress("extrapolating, sizes")(accumulate(parts, Moments.joined))
            limit = extrapolated([(part.count, reference.distance(part)) for part in grown])
        found = None
        if self._kept:
            wrap = progress("KID, subsets")
            found = kid(x, y, self.paired, subsets=self.kid_subsets, seed=self.seed, progress=wrap)
        pairs: dict[str, dict[str, float] | None] = {"oc": None, "cc": None}
        if not self.b.moments:
            images = self.a if self.paired else None
            pairs = pair_distances(images, self.b, progress("distances of pairs, batches"))
        counts = (reference.count, other.count)
        return Result(value, counts, reference.width, self.told, self.paired, calibration, found, pairs, limit)

    def _known(self, output: Path) -> bool:
        """Whether the moments of A are there."""
        return self.measure is not None and artifacts.finished(output, stored.request(self.a, self.measure))

    def _reference(
        self, output: Path | None, step: Step, overwrite: bool, keeper: Keeper | None, progress: Progress
    ) -> tuple[Moments, Calibration | None, Features]:
        """Moments of A, new or known; how far two halves of it are apart; the features that are kept."""
        if self.a.moments:
            return *stored.load(self.a.store), np.zeros((0, 0))
        assert self.measure is not None
        stream, kept = self.streams["a"], self._kept.get("a", _NO_ITEMS)
        there = output is not None and not overwrite and self._known(output)
        if output is not None and there and (keeper is None or keeper.load("a") is None):
            known = stored.load(artifacts.open_store(output, "moments"))
            return *known, stream.features(kept) if len(kept) else np.zeros((0, 0))
        groups = halves(self.a.count, self.seed)
        two, pool = stream.moments(groups, kept, progress("features of A, batches"), keeper)
        whole, calibration = reduce(Moments.joined, two), None
        if min(part.count for part in two) > 1:
            calibration = Calibration(two[0].distance(two[1]), two[1].count, self.seed)
        if output is not None and not there:
            stored.save(output, self.a, self.measure, whole, calibration, step, overwrite)
        return whole, calibration, pool

    def _other(self, keeper: Keeper | None, progress: Progress) -> tuple[list[Moments], Features]:
        """Moments of parts of B, which joined one by one make growing sets, and the features that are kept."""
        assert self.b is not None
        if self.b.moments:
            return [stored.load(self.b.store)[0]], np.zeros((0, 0))
        groups = (growing if self.extrapolate else halves)(self.b.count, self.seed)
        kept = self._kept.get("b", _NO_ITEMS)
        return self.streams["b"].moments(groups, kept, progress("features of B, batches"), keeper)

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        if self.paired:
            yield f"A is restricted to the {len(self.a.rows):,} points that B was made of."
        for role, side in self._sides.items():
            if side.moments:
                yield f"{role.upper()} is moments: there is no KID, there are no pairs."

    def plan(self, width: int, seconds: float) -> dict[str, Any]:
        """What the work takes, where a point has so many features, which take so many seconds."""
        sides = {role: stream.side for role, stream in self.streams.items()}
        images = sum(side.count for side in sides.values())
        return {
            "n": {role: side.count for role, side in sides.items()},
            "paired": self.paired,
            **self.told,
            "dimensions": width,
            "operations": images * (0 if self.measure is None else self.measure.operations),
            "bytes": sum(side.count * int(np.prod(side.shape)) for side in sides.values()),
            "expected_seconds": round(images * seconds, 1),
        }
