"""Runs of ``edmtrain``: from a dataset to a denoiser of its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from datarobust.artifacts import Step, Store
from datarobust.diffusion.augmenting import LABELS
from datarobust.diffusion.denoiser import Denoiser, build_denoiser, flops
from datarobust.diffusion.precondition import Edm
from datarobust.diffusion.training import Recipe, Training
from datarobust.distributed import Group
from datarobust.errors import DataError
from datarobust.networks.song_unet import CIFAR, DDPMPP, NCSNPP, SongUNet
from datarobust.runs.folder import Run
from datarobust.text import shown
from datarobust.training.images import Points
from datarobust.training.loop import Listener

KINDS = {"ddpmpp": DDPMPP, "ncsnpp": NCSNPP}
_PASSES = 3
"""Forward passes' worth of a step: the backward pass counts two."""


@dataclass(frozen=True)
class Size:
    """How large the network is; None: as it suits the images."""

    kind: str = "ddpmpp"
    width: int | None = None
    mult: tuple[int, ...] | None = None
    blocks: int | None = None
    attention: tuple[int, ...] | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class DenoiserJob:
    """A denoiser to be trained.

    Raises:
        DataError: the dataset holds no square images.
    """

    dataset: Store
    recipe: Recipe
    size: Size
    labelled: bool
    """Whether the denoiser is told labels."""
    memory: int
    """Bytes of images to hold."""
    processes: Group

    def __post_init__(self) -> None:
        if "images" not in self.dataset:
            raise DataError(f"{shown(self.dataset.path)} holds features: denoisers are for images")
        _, channels, height, width = self.dataset.column("images").shape
        if height != width:
            raise DataError(
                f"{shown(self.dataset.path)} has images of {height} x {width}: denoisers are for square ones"
            )
        if len(self.dataset) * channels * height * width > self.memory:
            raise DataError(
                f"{shown(self.dataset.path)} takes more memory than `memory`: give more, or train on a part"
            )

    @cached_property
    def points(self) -> Points:
        """The images in memory."""
        return Points.of(self.dataset.column("images").read(), self.dataset.column("labels").read())

    @property
    def classes(self) -> int:
        """How many classes the denoiser is told apart; 0 without labels."""
        if not self.labelled:
            return 0
        named = len(self.dataset.attributes["classes"])
        most = int(self.points.labels.max()) + 1
        if named and most > named:
            raise DataError(f"{shown(self.dataset.path)} names {named} classes, but a label is {most - 1}")
        return named or most

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, with initial values that follow from the seed."""
        _, channels, side, _ = self.dataset.column("images").shape
        usual = usual_size(side)
        chosen = {
            "model_channels": self.size.width,
            "channel_mult": self.size.mult,
            "num_blocks": self.size.blocks,
            "attn_resolutions": self.size.attention,
            "dropout": self.size.dropout,
        }
        arguments: dict[str, Any] = usual | {name: value for name, value in chosen.items() if value is not None}
        arguments |= KINDS[self.size.kind] | {"img_resolution": side, "img_channels": channels}
        arguments |= {"label_dim": self.classes, "augment_dim": LABELS if self.recipe.augment else 0}
        denoiser = Denoiser(SongUNet(**arguments), Edm())
        denoiser.model.initialise(torch.Generator().manual_seed(self.recipe.seed))
        return denoiser

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return -(-len(self.dataset) // self.recipe.batch) * self.recipe.epochs

    def plan(self) -> dict[str, Any]:
        """What the training takes."""
        one = flops(self.denoiser)
        images = self.steps * self.recipe.batch
        return {
            "arch": self.denoiser.arch,
            "parameters": sum(parameter.numel() for parameter in self.denoiser.parameters()),
            "steps": self.steps,
            "images": images,
            "forward_operations_an_image": one,
            "operations": images * one * _PASSES,
        }

    def run_at(self, path: Path, step: Step) -> Run:
        """The folder of this run; ``step`` is this command, for the history of the weights."""
        inputs = {"dataset": self.dataset.digest}
        history = [*self.dataset.history, step]
        classes = list(self.dataset.attributes["classes"]) if self.labelled else []
        attributes = {"name": self.dataset.attributes["name"], "classes": classes, "dataset": self.dataset.digest}
        return Run(path, self.recipe, self.denoiser.arch, inputs, history, "edmtrain", "denoiser", attributes)

    def train(self, run: Run, device: torch.device, listener: Listener, save_every: float) -> bool:
        """Train, from the state that the run has or from the start; False where the listener stopped it."""
        denoiser = build_denoiser(self.denoiser.arch)
        denoiser.load_state_dict(self.denoiser.state_dict())
        training = Training(self.recipe, self.points.to(device), denoiser, device, self.processes)
        return training.run(run, listener, save_every)


def usual_size(side: int) -> dict[str, Any]:
    """The network's size for images of so many pixels a side: the published one from 32 on, a small one below.

    The small ones learn digits within minutes on two processors.
    """
    if side >= 32:
        names = ("model_channels", "channel_mult", "num_blocks", "attn_resolutions", "dropout")
        return {name: CIFAR[name] for name in names}
    levels = 3 if side % 4 == 0 and side >= 16 else 2 if side % 2 == 0 and side >= 4 else 1
    lowest = side >> (levels - 1)
    return {
        "model_channels": 32,
        "channel_mult": [1, 2, 2][:levels],
        "num_blocks": 1,
        "attn_resolutions": [lowest],
        "dropout": 0.1,
    }
