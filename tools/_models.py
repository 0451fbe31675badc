"""Networks that commands take from outside: the option, and the one place that loads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from datarobust.external import Model

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


def load_model(spec: str) -> Model:
    """The network that ``--model`` names.

    Raises:
        UsageError: the spelling is none that is read.
        ArtifactError: the artifact is no classifier, or is not intact.
        DataError: there is no such network, or it cannot be made.
    """
    from datarobust import external

    if not spec.endswith(".safetensors"):
        return external.load(spec)
    from datarobust.classifiers import load_classifier

    network, found = load_classifier(Path(spec))
    return external.Model(spec, network.requires_grad_(False), found.digest)


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
