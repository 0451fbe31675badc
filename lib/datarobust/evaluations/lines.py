"""An evaluation as a line of JSON: what ``aaeval`` prints, from verdicts just made or from an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from datarobust.artifacts import Store
from datarobust.errors import UsageError
from datarobust.evaluation.statistics import VERDICTS
from datarobust.evaluation.statistics import summary as line

Array = npt.NDArray[Any]
__all__ = ["demand_distinct", "line", "stored"]


def stored(store: Store) -> dict[str, Array]:
    """The verdicts of an evaluation artifact, without its images."""
    return {name: store.column(name).read() for name in VERDICTS}


def demand_distinct(outputs: Sequence[Path]) -> None:
    """Refuse one output for two models."""
    if len({path.absolute() for path in outputs}) < len(outputs):
        raise UsageError("two models cannot have one output: name another with each -o.")
