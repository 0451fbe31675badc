"""Means and covariances as artifacts: made once of a set, and held against others as often as one likes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.errors import ArtifactError, DataError
from datarobust.fidelity.measuring import Measure
from datarobust.fidelity.sides import Side
from datarobust.frechet import Moments
from datarobust.selection import rows_digest
from datarobust.text import shown

_KEYS = ("features", "mode", "weights")


@dataclass(frozen=True)
class Calibration:
    """The distance between two random halves of a set: what finitely many points make of none."""

    frechet: float
    points: int
    """In each half."""
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Names and values."""
        return {"frechet": self.frechet, "points": self.points, "seed": self.seed}


def request(side: Side, measure: Measure) -> str:
    """Names the moments of these points by these features."""
    return artifacts.fingerprint(
        {"tool": "fid", "dataset": side.store.digest, "rows": rows_digest(side.rows), **told(measure)}
    )


def told(measure: Measure) -> dict[str, Any]:
    """What a measure is, as moments record it."""
    return {"features": measure.name, "mode": measure.mode, "weights": measure.weights}


def save(
    path: Path,
    side: Side,
    measure: Measure,
    moments: Moments,
    calibration: Calibration | None,
    step: Step,
    overwrite: bool,
) -> None:
    """Write the moments of a side.

    Raises:
        ExistsError, LockedError: the output is taken.
    """
    columns = {"mean": ("float64", ()), "covariance": ("float64", (moments.width,))}
    attributes: dict[str, Any] = {
        "count": moments.count,
        "dataset": side.store.digest,
        "rows": rows_digest(side.rows),
        "calibration": None if calibration is None else calibration.as_json(),
        "request": request(side, measure),
        **{key: value for key, value in told(measure).items() if value is not None},
    }
    history = [*side.store.history, step]
    with artifacts.create(
        path, "moments", columns, attributes=attributes, history=history, overwrite=overwrite
    ) as writer:
        writer.append("mean", moments.mean)
        writer.append("covariance", moments.covariance)


def load(store: Store) -> tuple[Moments, Calibration | None]:
    """The moments in an artifact, and their calibration where it is known.

    Raises:
        ArtifactError: they are no moments of anything.
    """
    try:
        known = Moments.known(
            store.attributes["count"],
            np.asarray(store.column("mean").read(), np.float64),
            np.asarray(store.column("covariance").read(), np.float64),
        )
    except DataError as error:
        raise ArtifactError(f"{shown(store.path)} cannot be used: {error}") from error
    found = store.attributes.get("calibration")
    if not isinstance(found, dict):
        return known, None
    return known, Calibration(float(found["frechet"]), int(found["points"]), int(found["seed"]))


def demand_same(store: Store, asked: Mapping[str, Any], of: str) -> None:
    """Refuse moments of other features, of another mode or other weights.

    Args:
        store: moments.
        asked: what :func:`told` says of the others.
        of: whose those are, for the sentence.

    Raises:
        ArtifactError: they differ; the sentence says in what.
    """
    for key in _KEYS:
        mine, theirs = store.attributes.get(key), asked[key]
        if mine != theirs:
            raise ArtifactError(
                f"{shown(store.path)} has moments of the {key} {mine}, but {of} {theirs}: moments are compared with "
                "features of their own kind alone"
            )


def attributes_of(store: Store) -> dict[str, Any]:
    """Of moments: features, mode and weights."""
    return {key: store.attributes.get(key) for key in _KEYS}
