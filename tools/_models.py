"""Networks that commands take: the options, where they run, and what they print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import _cli

if TYPE_CHECKING:
    import torch

    from datarobust.artifacts import Store, Tensors
    from datarobust.diffusion.denoiser import Denoiser
    from datarobust.selection import Chosen

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


# of clone and clone-search
DenoiserFile = Annotated[
    Path, typer.Option("--model", metavar="M.safetensors", help="A denoiser of edmtrain or model import.")
]
Start = Annotated[
    Literal["paper", "matched", "unit", "noise"],
    typer.Option("--start", help="How image and noise are mixed; see above."),
]
NoiseWeight = Annotated[float, typer.Option("--noise-weight", metavar="W", help="Share of noise in the start.")]
Compiled = Annotated[bool, typer.Option("--compile", help="Have torch.compile fuse the network; pays on a GPU.")]
CloneBatch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", min=1, help="Images at a time; 32 on a CPU and 512 on a GPU if not given."),
]


def load_denoiser(
    dataset: Path, model: Path, select: str | None, limit: int | None
) -> tuple[Store, Chosen, Denoiser, Tensors]:
    """The dataset, its chosen points, and the denoiser with its artifact."""
    from dataclasses import replace

    from datarobust import artifacts, selection
    from datarobust.checkpoints.models import load_denoiser

    points = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    chosen = selection.choose(select or f"first:{len(points)}", points)
    chosen = replace(chosen, rows=chosen.rows[:limit])
    return points, chosen, *load_denoiser(_cli.argument_path(model))


def hardware(device: torch.device) -> str:
    """Where a network runs, as the history of clones records it."""
    import torch

    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return str(torch.cuda.get_device_name(device))


def place_of(device: torch.device) -> str:
    """Where a network runs and in which version of PyTorch, as the history of other artifacts records it."""
    import torch

    return f"{hardware(device)}, torch {torch.__version__}"


@contextmanager
def foreign_code() -> Iterator[None]:
    """While networks of others run, what they print goes to stderr: stdout is for the product."""
    with redirect_stdout(sys.stderr):
        yield
