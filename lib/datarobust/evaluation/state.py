"""How far an evaluation is, point by point.

A verdict depends on its logical batch alone, so a state is merely what is known of each point, whoever found it: states
of several processes, or of runs that were killed, are merged by taking what is known better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
TALLIES = ("zero_gradients", "outside", "not_finite", "rechecked")
"""What is counted over batches."""
NONE = -1


@dataclass
class Verdicts:
    """What one stage found on one batch of B points."""

    predicted: Rows
    """(B) class of the image that was found, or of the image itself; -1 where the logits are not finite."""
    fooled: npt.NDArray[np.bool_]
    """(B) whether the prediction is wrong."""
    images: npt.NDArray[np.float32] | None
    """(B, C, H, W) what the attack made; none for the stage without attack."""
    tally: dict[str, int] = field(default_factory=dict)


class State:
    """What is known of M points. Stage 0 predicts without attack; stage s runs the s-th attack.

    Attributes:
        clean: int64 (M), predicted class without attack.
        attacked: int64 (M), predicted class of the image that an attack found; where none did, as ``clean``.
        broken: int64 (M), number of the attack that succeeded, from 0; -1: none.
        settled: int64 (M), how many stages each point has gone through.
        tally: int64 (M, T), counts over batches, each in the row of its batch's first point.
        found: adversarial images float32 (C, H, W) by row, where they are kept.
    """

    def __init__(self, points: int) -> None:
        self.clean, self.attacked, self.broken = (np.full(points, NONE, np.int64) for _ in range(3))
        self.settled = np.zeros(points, np.int64)
        self.tally = np.zeros((points, len(TALLIES)), np.int64)
        self.found: dict[int, npt.NDArray[np.float32]] = {}

    def robust(self, labels: Rows, stage: int) -> npt.NDArray[np.bool_]:
        """Which points (M) are classified right after ``stage`` stages, all of which every point has gone through."""
        left = (self.broken == NONE) | (self.broken >= stage - 1)
        return np.asarray((self.clean == labels) & left, np.bool_)

    def standing(self, labels: Rows) -> tuple[int, int]:
        """How many points are still classified right, of how many that went through a stage."""
        seen = self.settled > 0
        return int((seen & (self.clean == labels) & (self.broken == NONE)).sum()), int(seen.sum())

    def batches(self, labels: Rows, stage: int, size: int) -> list[Rows]:
        """The logical batches of a stage, whether done or not: consecutive points that are still right."""
        rows = np.arange(len(labels)) if stage == 0 else np.flatnonzero(self.robust(labels, stage))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def done(self, batch: Rows, stage: int) -> bool:
        """Whether a batch has been through a stage."""
        return bool((self.settled[batch] > stage).all())

    def record(self, batch: Rows, stage: int, verdicts: Verdicts, keep: bool) -> None:
        """Take in what a stage found on a batch."""
        fooled = batch[verdicts.fooled]
        if stage == 0:
            self.clean[batch] = self.attacked[batch] = verdicts.predicted
        else:
            self.broken[fooled] = stage - 1
            self.attacked[fooled] = verdicts.predicted[verdicts.fooled]
            if keep and verdicts.images is not None:
                for place in np.flatnonzero(verdicts.fooled):
                    self.found[int(batch[place])] = verdicts.images[place]
        self.settled[batch] = stage + 1
        self.tally[batch[0]] += [verdicts.tally.get(name, 0) for name in TALLIES]

    def counts(self) -> dict[str, int]:
        """The tallies over all batches."""
        return dict(zip(TALLIES, (int(count) for count in self.tally.sum(axis=0)), strict=True))

    # ------------------------------------------------------------------------------------------ saving, merging

    def table(self) -> Rows:
        """Everything but the images: int64 (M, 4 + T)."""
        columns = np.stack([self.settled, self.clean, self.attacked, self.broken], axis=1)
        return np.concatenate([columns, self.tally], axis=1)

    def images(self) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Rows (F), ascending, whose images are kept, and the images (F, C, H, W)."""
        rows = np.array(sorted(self.found), np.int64)
        return rows, np.stack([self.found[row] for row in rows.tolist()]) if len(rows) else np.empty(0, np.float32)

    def arrays(self) -> dict[str, Array]:
        """All of it, to be saved."""
        rows, images = self.images()
        return {"table": self.table(), "rows": rows, "images": images}

    def merge(self, table: Rows) -> None:
        """Take from another state's table what it knows better."""
        better = table[:, 0] > self.settled
        self.settled[better], self.clean[better] = table[better, 0], table[better, 1]
        self.attacked[better], self.broken[better] = table[better, 2], table[better, 3]
        self.tally[better] = table[better, 4:]

    def take(self, arrays: dict[str, Array]) -> None:
        """Take up what was saved."""
        if arrays["table"].shape != self.table().shape:
            return
        self.merge(arrays["table"])
        self.add(arrays["rows"], arrays["images"])

    def add(self, rows: Rows, images: Array) -> None:
        """Keep images of these rows."""
        self.found |= {row: np.asarray(image) for row, image in zip(rows.tolist(), images, strict=True)}


def gathered(parts: Sequence[tuple[Rows, Array]]) -> tuple[Rows, Array]:
    """Rows and images of several processes as one, without the rows that only fill up (-1)."""
    rows = np.concatenate([part[0] for part in parts])
    images = np.concatenate([part[1] for part in parts])
    return rows[rows != NONE], images[rows != NONE]
