"""By which features images are held against each other: options that the commands of Section 4 share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FEATURES = typer.Option(
    "--features",
    metavar="WHICH",
    help="inception, classifier:M or pixels: what distances are of; fid also takes file:F.",
)
Features = Annotated[str, _FEATURES]
OptionalFeatures = Annotated[str | None, _FEATURES]
InceptionWeights = Annotated[
    Path | None, typer.Option("--weights", metavar="PATH", help="Of Inception, as published or imported.")
]
