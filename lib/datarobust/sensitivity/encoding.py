"""From rows to codes: one pass over the points, a second one for the l-infinity norm once radii are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from datarobust.errors import DataError

from .compiled import cached
from .l2 import L2Encoder
from .linf import LinfEncoder
from .panels import Panels
from .tables import Array, Codes
from .workers import Workers

SAMPLE = 2048
"""Points from which directions and coordinates are learned."""


class Encoding:
    """The codes of all points, and what else the kernels need to know of each."""

    codes: Codes
    leading: Array
    """(P, 4) float32 leading coordinates: points near each other have similar ones."""
    total: Array
    """(P,) int64 sums of bytes, (0,) where not needed."""
    square: Array
    """(P,) int64 sums of squared bytes, (0,) where not needed."""

    def __init__(self, panels: Panels, norm: str, vector: bool, workers: Workers) -> None:
        """Encode all points.

        Raises:
            DataError: a number is not finite, or numbers span more than float32 can hold.
        """
        self._panels, self._workers = panels, workers
        sample, self._sampled = panels.sample(SAMPLE)
        self._demand_finite(sample, self._sampled)
        summed = panels.positions if norm == "l2" and panels.dtype == np.uint8 else 0
        self.total, self.square = np.zeros(summed, np.int64), np.zeros(summed, np.int64)
        self.leading = np.zeros((panels.positions, 4), np.float32)
        # Our own threads share out the rows: the threads of a BLAS would only stand in their way.
        with threadpool_limits(1, user_api="blas"):
            self._encoder: L2Encoder | LinfEncoder
            encoder = L2Encoder if norm == "l2" else LinfEncoder
            self._encoder = encoder(sample, panels.width, panels.positions, vector)
            panels.stream(self._share(self._visit))
        self.codes = self._encoder.finish()

    def _share(self, visit: Callable[[Array, Array], None]) -> Callable[[Array, Array], None]:
        """The same visit, its rows shared out among threads."""
        return lambda rows, positions: self._workers.over(
            len(rows), 64, lambda start, stop: visit(rows[start:stop], positions[start:stop])
        )

    def _visit(self, rows: Array, positions: Array) -> None:
        self._demand_finite(rows, positions)
        if isinstance(self._encoder, LinfEncoder):
            self._encoder(rows, positions)
            leading = self._encoder.leading(rows)
        else:
            leading = self._encoder(rows, positions)
        self.leading[positions, : leading.shape[1]] = leading
        if len(self.total):
            byte_sums(rows, positions, self.total, self.square)

    def _demand_finite(self, rows: Array, positions: Array) -> None:
        if rows.dtype == np.float32 and not np.isfinite(rows).all():
            row = self._panels.origin[positions[np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]]]
            raise DataError(f"row {row} holds a number that is not finite: mend it, or leave the point out")

    @property
    def refinable(self) -> bool:
        """Whether the best codes depend on how far the search of each point reaches."""
        return isinstance(self._encoder, LinfEncoder)

    def refine(self, radius: Array) -> None:
        """Encode once more, now that ``radius`` (P,) says how far each search reaches; nothing to do in l2."""
        if not isinstance(self._encoder, LinfEncoder):
            return
        self._encoder.choose(self._panels.label[self._sampled], radius[self._sampled])
        self._panels.stream(self._share(self._encoder))
        self.codes = self._encoder.finish()


@cached
def byte_sums(rows, positions, total, square):  # type: ignore[no-untyped-def]
    """Sum and sum of squares of each row of bytes, at its position."""
    for i in range(rows.shape[0]):
        first, second = np.int64(0), np.int64(0)
        for t in range(rows.shape[1]):
            value = np.int64(rows[i, t])
            first += value
            second += value * value
        total[positions[i]], square[positions[i]] = first, second
