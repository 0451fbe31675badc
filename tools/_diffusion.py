"""What the commands of Section 4 share: the options of the sampler, under Karras et al.'s names, and the denoiser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import _cli

if TYPE_CHECKING:
    import torch

    from datarobust.artifacts import Store, Tensors
    from datarobust.diffusion.denoiser import Denoiser
    from datarobust.selection import Chosen

Model = Annotated[
    Path, typer.Option("--model", metavar="M.safetensors", help="A denoiser of edmtrain or model import.")
]
Start = Annotated[
    Literal["paper", "matched", "unit", "noise"],
    typer.Option("--start", help="How image and noise are mixed; see above."),
]
NoiseWeight = Annotated[float, typer.Option("--noise-weight", metavar="W", help="Share of noise in the start.")]
Labels = Annotated[
    str,
    typer.Option(
        "--labels", metavar="own|random|FILE", help="Classes to clone as; FILE has one a line for each point."
    ),
]
Compiled = Annotated[bool, typer.Option("--compile", help="Have torch.compile fuse the network; pays on a GPU.")]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", min=1, help="Images at a time; 32 on a CPU and 512 on a GPU if not given."),
]
_FROM_START = "; as the start has it if not given."
NumSteps = Annotated[int | None, typer.Option("--num-steps", metavar="N", min=1, help=f"Steps{_FROM_START}")]
SigmaMin = Annotated[float | None, typer.Option("--sigma-min", metavar="X", help=f"Least noise{_FROM_START}")]
SigmaMax = Annotated[float | None, typer.Option("--sigma-max", metavar="X", help=f"Most noise{_FROM_START}")]
Rho = Annotated[float | None, typer.Option("--rho", metavar="X", help=f"Exponent of the schedule{_FROM_START}")]
SChurn = Annotated[float | None, typer.Option("--S-churn", metavar="X", help=f"Amount of churn{_FROM_START}")]
SMin = Annotated[float | None, typer.Option("--S-min", metavar="X", help=f"No churn below this noise{_FROM_START}")]
SMax = Annotated[float | None, typer.Option("--S-max", metavar="X", help=f"Nor above this{_FROM_START}")]
SNoise = Annotated[float | None, typer.Option("--S-noise", metavar="X", help=f"Factor of added noise{_FROM_START}")]


def load(dataset: Path, model: Path, select: str | None, limit: int | None) -> tuple[Store, Chosen, Denoiser, Tensors]:
    """The dataset, its chosen points, and the denoiser with its artifact."""
    from dataclasses import replace

    from datarobust import artifacts, selection
    from datarobust.checkpoints.models import load_denoiser

    points = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    chosen = selection.choose(select or f"first:{len(points)}", points)
    chosen = replace(chosen, rows=chosen.rows[:limit])
    return points, chosen, *load_denoiser(_cli.argument_path(model))


def place_of(device: torch.device) -> str:
    """The device as a history records it."""
    import torch

    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return str(torch.cuda.get_device_name(device))
