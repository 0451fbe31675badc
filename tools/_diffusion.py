"""What the commands of Section 4 share: the options of the sampler, under Karras et al.'s names, and the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from datarobust.errors import UsageError

if TYPE_CHECKING:
    import torch

    from datarobust.diffusion.denoiser import Denoiser
    from datarobust.diffusion.sampler import Sampler

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


_NAMES = {"s_churn": "S_churn", "s_min": "S_min", "s_max": "S_max", "s_noise": "S_noise"} | {
    name: name for name in ("num_steps", "sigma_min", "sigma_max", "rho")
}


def sampler(start: str, options: Mapping[str, Any]) -> Sampler:
    """The sampler of a start, with what was given on the command line in it."""
    from dataclasses import replace

    from datarobust.diffusion.starts import DEFAULTS

    changed: dict[str, Any] = {name: options[key] for key, name in _NAMES.items() if options[key] is not None}
    if start == "matched" and "sigma_max" in changed:
        raise UsageError("--start matched begins at the noise that there is: give --noise-weight, not --sigma-max.")
    return replace(DEFAULTS[start], **changed)


def prepared(denoiser: Denoiser, precision: str, device: torch.device, compiled: bool) -> Denoiser:
    """The denoiser, ready on its device; changed in place."""
    from datarobust.diffusion.denoiser import prepare

    if precision == "tf32" and device.type == "cpu":
        raise UsageError("--precision tf32 is of NVIDIA's processors: choose fp32 or bf16 on a CPU.")
    return prepare(denoiser, precision, str(device), compiled=compiled)  # type: ignore[arg-type]


def batch_of(device: torch.device) -> int:
    """How many images at a time, where nobody says so."""
    return 32 if device.type == "cpu" else 512


def place_of(device: torch.device) -> str:
    """The device as a history records it."""
    import torch

    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return str(torch.cuda.get_device_name(device))
