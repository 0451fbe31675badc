"""Cloning images (Section 4): each is mixed with noise and denoised by the sampler. The result is a function of image,
label, seed, row and repeat; batches, processes and devices change it by no more than rounding does.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from datarobust.diffusion.denoiser import Denoiser, one_hot
from datarobust.diffusion.sampler import Sampler, sample
from datarobust.diffusion.starts import Start, image_keys, normals
from datarobust.distributed import Group
from datarobust.errors import DataError, DatarobustError
from datarobust.networks.precision import products
from datarobust.types import Array, Images, Progress, Rows


class Readable(Protocol):
    """A column of images uint8 (N, C, H, W)."""

    def take(self, rows: Rows) -> Array:
        """Chosen rows."""
        ...


@dataclass(frozen=True)
class Task:
    """Images to clone, and how; it decides every clone.

    Attributes:
        images: a column of images.
        rows: int64 (M), the rows to clone.
        labels: int64 (M), the classes to clone them as.
        repeats: R, clones of each.
        start: what a clone is started from.
        sampler: from there to the clone.
        seed: of the noise.
    """

    images: Readable
    rows: Rows
    labels: Rows
    repeats: int
    start: Start
    sampler: Sampler
    seed: int

    @property
    def count(self) -> int:
        """M R, the number of clones. Number p is repeat p mod R of row p div R."""
        return len(self.rows) * self.repeats


def default_batch(device: str) -> int:
    """Clones at a time, by default."""
    return 32 if device == "cpu" else 512


def clones(
    denoiser: Denoiser,
    task: Task,
    batch: int,
    *,
    first: int = 0,
    pad: bool = False,
    group: Group | None = None,
    progress: Progress = iter,
) -> Iterator[tuple[int, Images]]:
    """All clones in order, a few batches at a time; several processes share the work, and all get all clones.

    Batches begin at multiples of ``batch``, so a run that goes on where another was stopped ends with its bits.

    Args:
        denoiser: as :func:`datarobust.diffusion.denoiser.prepare` leaves it.
        task: what to clone.
        batch: how many clones at a time, in each process.
        first: number of the first clone that is needed; some before it may come, too.
        pad: fill the last batch up, for programs that were compiled for one shape.
        group: the processes that share the work.
        progress: wraps the numbers of the batches.

    Yields:
        The number of the first clone, and clones uint8 (B, C, H, W).

    Raises:
        DatarobustError: a denoised image is not finite.
        DataError: labels that the denoiser does not know.
    """
    _demand_labels(task, denoiser.classes)
    group = group or Group(0, 1)
    rounds = range(first // (batch * group.size), -(-task.count // (batch * group.size)))
    batches = [_Batch.of(task, (number * group.size + group.rank) * batch, batch) for number in rounds]
    with ThreadPoolExecutor(1) as ahead:  # draws the next batch's noise while this one is computed
        pending = [ahead.submit(part.noise, denoiser.shape) for part in batches[:1]]
        for place, number in enumerate(progress(rounds)):
            noise = pending.pop().result()
            pending += [ahead.submit(part.noise, denoiser.shape) for part in batches[place + 1 : place + 2]]
            images = batches[place].cloned(denoiser, noise, batch if pad else 0)
            padded = np.zeros((batch, *denoiser.shape), np.uint8)
            padded[: len(images)] = images
            gathered = np.concatenate(group.all_gather(padded))
            start = number * group.size * batch
            yield start, gathered[: task.count - start]


@dataclass(frozen=True)
class _Batch:
    """The clones whose numbers begin at ``start``."""

    task: Task
    points: Rows
    """Places among the task's rows."""
    repeats: Rows

    @classmethod
    def of(cls, task: Task, start: int, size: int) -> _Batch:
        points, repeats = np.divmod(np.arange(start, max(start, min(start + size, task.count))), task.repeats)
        return cls(task, points, repeats)

    def noise(self, shape: tuple[int, int, int]) -> dict[int, Tensor]:
        """Standard normal numbers (B, *shape) of the start (-1) and of every step that adds noise."""
        keys = image_keys(self.task.seed, self.repeats, self.task.rows[self.points])
        steps = [number for number, step in enumerate(self.task.sampler.steps()) if step.noise]
        return {part: torch.from_numpy(normals(keys, part + 1, shape)) for part in (-1, *steps)}

    def cloned(self, denoiser: Denoiser, noise: dict[int, Tensor], padded: int) -> Images:
        """The clones uint8 (B, C, H, W); ``padded`` is the size of the batch that is computed, where it is larger."""
        if not len(self.points):
            return np.zeros((0, *denoiser.shape), np.uint8)
        device = next(denoiser.parameters()).device
        fill = [len(self.points) - 1] * (padded - len(self.points))
        places = np.concatenate([np.arange(len(self.points)), np.array(fill, np.int64)])
        images = torch.from_numpy(self.task.images.take(self.task.rows[self.points[places]])).to(device)
        labels = one_hot(torch.from_numpy(self.task.labels[self.points[places]]).to(device), denoiser.classes)
        drawn = {part: numbers[torch.from_numpy(places)].to(device) for part, numbers in noise.items()}
        start = self.task.start
        with torch.no_grad(), products(denoiser.precision):
            x = start.image * to_model(images).to(torch.float64) + start.noise * drawn[-1]
            x = sample(lambda x, sigma: denoiser(x, sigma, labels), x, self.task.sampler.steps(), drawn.__getitem__)
            x = x[: len(self.points)]
            finite = x.isfinite().flatten(1).all(1).cpu().numpy()
            if not finite.all():
                row = self.task.rows[self.points[int(np.argmin(finite))]]
                raise DatarobustError(
                    f"the clone of point {row} is not finite: the denoiser's weights are damaged, or the sampler's "
                    "arguments lead it astray"
                )
            return np.asarray(to_bytes(x).cpu().numpy())


def to_model(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def to_bytes(x: Tensor) -> Tensor:
    """The nearest bytes to images in [-1, 1]; what lies outside is clipped."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


def _demand_labels(task: Task, classes: int) -> None:
    if classes == 0:
        return
    unknown = np.flatnonzero((task.labels < 0) | (task.labels >= classes))
    if unknown.size:
        place = int(unknown[0])
        raise DataError(
            f"point {task.rows[place]} has the label {task.labels[place]}, but the denoiser knows the classes "
            f"0 to {classes - 1} only: choose a denoiser of this dataset's classes, or give other labels"
        )
