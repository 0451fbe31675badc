"""From rows to codes: one pass over the points, a second one for the l-infinity norm once radii are known."""

from __future__ import annotations

import numpy as np

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
        """Encode all points."""
        self._panels, self._workers = panels, workers
        sample, self._sampled = panels.sample(SAMPLE)
        self._encoder: L2Encoder | LinfEncoder
        if norm == "l2":
            self._encoder = L2Encoder(sample, panels.width, panels.positions, vector, workers)
        else:
            self._encoder = LinfEncoder(sample, panels.width, panels.positions, vector)
        summed = panels.positions if norm == "l2" and panels.dtype == np.uint8 else 0
        self.total, self.square = np.zeros(summed, np.int64), np.zeros(summed, np.int64)
        self.leading = np.zeros((panels.positions, 4), np.float32)
        panels.stream(self._visit)
        self.codes = self._encoder.finish()

    def _visit(self, rows: Array, positions: Array) -> None:
        if rows.dtype == np.float32 and not np.isfinite(rows).all():
            row = self._panels.origin[positions[np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]]]
            raise DataError(f"row {row} holds a number that is not finite: mend it, or leave the point out")
        if isinstance(self._encoder, LinfEncoder):
            self._encoder(rows, positions, self._workers)
            leading = self._encoder.leading(rows, self._workers)
        else:
            leading = self._encoder(rows, positions, self._workers)
        self.leading[positions, : leading.shape[1]] = leading
        if len(self.total):
            self._workers.over(
                len(rows), 64, lambda a, b: byte_sums(rows[a:b], positions[a:b], self.total, self.square)
            )

    def refine(self, radius: Array) -> bool:
        """Encode once more where the best codes depend on how far the search of each point reaches, ``radius`` (P,);
        whether so.
        """
        if isinstance(self._encoder, LinfEncoder):
            encoder = self._encoder
            encoder.choose(self._panels.label[self._sampled], radius[self._sampled])
            self._panels.stream(lambda rows, positions: encoder(rows, positions, self._workers))
            self.codes = encoder.finish()
            return True
        return False


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
