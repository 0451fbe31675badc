"""What commands on evaluations share: the ranking that accuracies are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_RANKING = typer.Option(
    "--ranking",
    metavar="R.zarr",
    help="Accuracy by robustness in this ranking, of the evaluated dataset.",
    show_default=False,
)
Ranking = Annotated[Path, _RANKING]
OptionalRanking = Annotated[Path | None, _RANKING]
Quantiles = Annotated[
    int, typer.Option("--quantiles", metavar="N", min=1, help="Parts that --ranking makes of the points.")
]
