"""Networks that commands take: the options, where they run, and what they print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

SPELLING = (
    "a classifier's M.safetensors; or module:factory or path/to/file.py:factory, a function without arguments that "
    "makes a torch.nn.Module"
)
Network = Annotated[
    str, typer.Option("--model", metavar="M", help=f"A network: {SPELLING}; its code is run.", show_default=False)
]
OptionalNetwork = Annotated[
    str | None,
    typer.Option("--model", metavar="M", help=f"Labels that a classifier gives: {SPELLING}; its code is run."),
]
Batch = Annotated[
    int, typer.Option("--batch", metavar="N", min=1, help="Points at a time; changes rounding, and memory.")
]
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


def place_of(device: torch.device) -> str:
    """Where a network runs, as the history records it."""
    import torch

    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"


@contextmanager
def foreign_code() -> Iterator[None]:
    """While networks of others run, what they print goes to stderr: stdout is for the product."""
    with redirect_stdout(sys.stderr):
        yield
