"""Trainings of denoisers as runs: from a dataset to a denoiser of its images."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch

from datarobust.artifacts import Store
from datarobust.diffusion.augmenting import LABELS
from datarobust.diffusion.denoiser import Denoiser, flops
from datarobust.diffusion.precondition import Edm
from datarobust.diffusion.training import Recipe, Training
from datarobust.distributed import Group
from datarobust.errors import DataError
from datarobust.jobs.advtrain import points_of
from datarobust.jobs.make import ALONE, Form, Output
from datarobust.jobs.run_folder import Run, RunFolder
from datarobust.networks.song_unet import CIFAR, DDPMPP, NCSNPP, SongUNet
from datarobust.text import shown
from datarobust.training.images import Points
from datarobust.training.loop import SILENT, Listener

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
class DenoiserTraining:
    """A denoiser to be trained.

    Attributes:
        dataset: the images.
        recipe: every number that decides the bits.
        size: of the network.
        labelled: whether the denoiser is told labels.
        memory: bytes of images to hold.
        device: where to train; with the group it decides the last bits.
        listener: who hears of the epochs and may stop the training.
        tensorboard: write the log for TensorBoard, too.
        group: the processes that share each batch.

    Raises:
        DataError: the dataset holds no square images.
    """

    form: ClassVar[Form] = RunFolder()

    dataset: Store
    recipe: Recipe
    size: Size
    labelled: bool
    memory: int
    device: torch.device | None = None
    listener: Listener = SILENT
    tensorboard: bool = False
    group: Group = ALONE

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
        return points_of(self.dataset)

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
        operations = flops(self.denoiser)
        images = self.steps * self.recipe.batch
        return {
            "arch": self.denoiser.arch,
            "parameters": sum(parameter.numel() for parameter in self.denoiser.parameters()),
            "steps": self.steps,
            "images": images,
            "forward_operations_an_image": operations,
            "operations": images * operations * _PASSES,
        }

    def request(self) -> dict[str, Any]:
        """All that decides the bits on one machine."""
        return {
            "tool": "edmtrain",
            "recipe": asdict(self.recipe),
            "arch": self.denoiser.arch,
            "inputs": {"dataset": self.dataset.digest},
        }

    def run(self, output: Output) -> None:
        """Train, from the state that the run has or from the start."""
        denoiser = copy.deepcopy(self.denoiser)  # the job stays as it is
        device = self.device or torch.device("cpu")
        dataset = self.dataset
        history = [*dataset.history, output.step({"dataset": dataset.digest})]
        classes = list(dataset.attributes["classes"]) if self.labelled else []
        attributes = {"name": dataset.attributes["name"], "classes": classes, "dataset": dataset.digest}
        run = Run(output, self.request(), "denoiser", history, attributes, self.tensorboard)
        run.train(Training(self.recipe, self.points.to(device), denoiser, device, self.group), self.listener)


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
