"""Trainings of denoisers as runs: from a dataset to a denoiser of its images; and how a classifier takes its clones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from datarobust.artifacts import Store
from datarobust.checkpoints.models import load_denoiser, load_model
from datarobust.diffusion.cloning import clones, default_batch
from datarobust.diffusion.denoiser import Denoiser, Edm, flops, prepare
from datarobust.diffusion.sampler import DEFAULTS
from datarobust.diffusion.training import AUGMENT_DIM, Recipe, Training
from datarobust.distributed import Group
from datarobust.errors import DataError
from datarobust.jobs.advtrain import points_of
from datarobust.jobs.clone import Cloning
from datarobust.jobs.make import ALONE, Form, Labelled, Output
from datarobust.jobs.run_folder import Run, RunFolder
from datarobust.networks.features import Extractor, FeatureSpace
from datarobust.networks.song_unet import CIFAR, DDPMPP, NCSNPP, SongUNet
from datarobust.selection import Chosen, random
from datarobust.text import shown
from datarobust.training.loop import SILENT, Listener
from datarobust.types import Images

KINDS = {"ddpmpp": DDPMPP, "ncsnpp": NCSNPP}
_PASSES = 3  # forward passes' worth of a step: the backward pass counts two


@dataclass(frozen=True)
class DenoiserTraining:
    """A denoiser to be trained. Raises DataError where the dataset holds no square images."""

    form: ClassVar[Form] = RunFolder()

    dataset: Store
    recipe: Recipe  # every number that decides the bits
    kind: str  # of the network: one of `KINDS`
    size: Mapping[str, Any]  # arguments of the network; absent or None: as it suits the images
    labelled: bool  # whether the denoiser is told labels
    memory: int  # bytes of images to hold
    device: torch.device | None = None  # with the group it decides the last bits
    listener: Listener = SILENT  # who hears of the epochs and may stop the training
    tensorboard: bool = False  # write the log for TensorBoard, too
    group: Group = ALONE  # the processes that share each batch

    def __post_init__(self) -> None:
        where = shown(self.dataset.path)
        if "images" not in self.dataset:
            raise DataError(f"{where} holds features: denoisers are for images")
        _, channels, height, width = self.dataset.column("images").shape
        if height != width:
            raise DataError(f"{where} has images of {height} x {width}: denoisers are for square ones")
        if len(self.dataset) * channels * height * width > self.memory:
            raise DataError(f"{where} takes more memory than `memory`: give more, or train on a part")

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, with initial values that follow from the seed."""
        classes = 0
        if self.labelled:
            named, most = len(self.dataset.attributes["classes"]), int(self.dataset.column("labels").read().max()) + 1
            if named and most > named:
                raise DataError(f"{shown(self.dataset.path)} names {named} classes, but a label is {most - 1}")
            classes = named or most
        _, channels, side, _ = self.dataset.column("images").shape
        arguments = usual_size(side) | {name: value for name, value in self.size.items() if value is not None}
        arguments |= KINDS[self.kind] | {"img_resolution": side, "img_channels": channels}
        arguments |= {"label_dim": classes, "augment_dim": AUGMENT_DIM if self.recipe.augment else 0}
        denoiser = Denoiser(SongUNet(**arguments), Edm())
        denoiser.model.initialise(torch.Generator().manual_seed(self.recipe.seed))
        return denoiser

    def plan(self) -> dict[str, Any]:
        """What the training takes."""
        operations = flops(self.denoiser)
        steps = -(-len(self.dataset) // self.recipe.batch) * self.recipe.epochs
        images = steps * self.recipe.batch
        return {
            "arch": self.denoiser.arch,
            "parameters": sum(parameter.numel() for parameter in self.denoiser.parameters()),
            "steps": steps,
            "images": images,
            "forward_operations_an_image": operations,
            "operations": images * operations * _PASSES,
        }

    def request(self) -> dict[str, Any]:
        """All that decides the bits on one machine."""
        inputs = {"dataset": self.dataset.digest}
        request: dict[str, Any] = {
            "tool": "edmtrain",
            "recipe": asdict(self.recipe),
            "arch": self.denoiser.arch,
            "inputs": inputs,
        }
        if self.recipe.augment:
            request["augmentations"] = 2  # of the second kind: before, smaller numbers were told
        return request

    def run(self, output: Output) -> None:
        """Train, from the state that the run has or from the start."""
        denoiser = copy.deepcopy(self.denoiser)  # the job stays as it is
        device, dataset = self.device or torch.device("cpu"), self.dataset
        history = [*dataset.history, output.step({"dataset": dataset.digest})]
        classes = list(dataset.attributes["classes"]) if self.labelled else []
        attributes = {"name": dataset.attributes["name"], "classes": classes, "dataset": dataset.digest}
        run = Run(output, self.request(), "denoiser", history, attributes, self.tensorboard)
        run.train(Training(self.recipe, points_of(dataset).to(device), denoiser, device, self.group), self.listener)


def usual_size(side: int) -> dict[str, Any]:
    """The size for images of so many pixels a side: the published one from 32 on; below, one that learns in minutes."""
    if side >= 32:
        return dict(CIFAR)
    levels = 3 if side % 4 == 0 and side >= 16 else 2 if side % 2 == 0 and side >= 4 else 1
    return {
        "model_channels": 32,
        "channel_mult": [1, 2, 2][:levels],
        "num_blocks": 1,
        "attn_resolutions": [side >> (levels - 1)],
        "dropout": 0.1,
    }


@dataclass(frozen=True)
class Judgement:
    """The accuracy, as shares, of a classifier that was trained on real images."""

    images: int  # how many of each kind
    held_out: float  # on real images that the denoiser was not trained on: what the others are compared with
    clones: float  # on their clones, by the paper's start, for their own labels
    samples: float | None  # on images made from nothing but their labels; None for a denoiser without labels

    def sentence(self) -> str:
        """The same in words."""
        made = ("" if self.samples is None else f"{self.samples:.1%} of samples, ") + f"{self.clones:.1%} of clones"
        real = f"{self.held_out:.1%} of the real held-out images ({self.images:,} of each)"
        return f"The judge finds the right label of {made}, and {real}."


def judge(
    path: Path, classifier_name: str, test: Store, count: int, device: torch.device, progress: Labelled
) -> Judgement:
    """The accuracy of a classifier on held-out images, on their clones by a denoiser, and on samples for their labels.

    ``path`` is the denoiser's; ``count`` images are a random choice of a test set on which neither was trained.
    """
    denoiser, weights = load_denoiser(path)
    prepare(denoiser, "fp32", str(device))
    rows = random(len(test), min(count, len(test)), 0)
    images, labels = test.column("images").take(rows), test.column("labels").take(rows)
    network = Extractor(classifier_name, load_model(classifier_name).module, "output", images, device)
    logits = FeatureSpace(classifier_name, "output", network)

    def accuracy(images: Images) -> float:
        return float((logits.of(images).argmax(1) == labels).mean())

    def made(start: str, label: str) -> float:
        task = Cloning(test, denoiser, weights, Chosen(rows), DEFAULTS[start], start).task
        batches = clones(denoiser, task, default_batch(device.type), progress=progress(label))
        return accuracy(np.concatenate([images for _, images in batches]))

    return Judgement(
        len(rows),
        accuracy(images),
        made("paper", "judged clones"),
        made("noise", "samples") if denoiser.classes else None,
    )
