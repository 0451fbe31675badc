"""Cloning images (Section 4): each is mixed with noise and denoised by the sampler. The result is a function of image,
label, seed, row and repeat; batches, processes and devices change it by no more than rounding does.

The noise of an image is a function of (seed, repeat, row), whatever the batch or the device: it is drawn on the CPU. An
image has a key of 64 bits (:mod:`datarobust.randomness`); the numbers of its part s (the start, or a step) are those of
a Philox generator under the key (the image's key, s).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datarobust.ahead import ahead
from datarobust.devices import to_device
from datarobust.diffusion.denoiser import Denoiser, one_hot
from datarobust.diffusion.sampler import Sampler, Start, sample
from datarobust.distributed import Group
from datarobust.errors import DatarobustError
from datarobust.networks import products, within_memory
from datarobust.randomness import Domain, row_keys
from datarobust.types import Array, Floats, Images, Progress, Rows

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Task:
    """Images to clone, and how; it decides every clone."""

    images: Callable[[Rows], Images]  # reads some rows of the dataset
    rows: Rows  # int64 (M), the rows to clone
    labels: Rows  # int64 (M), the classes to clone them as; some that the denoiser knows
    repeats: int  # clones of each
    start: Start
    sampler: Sampler  # from the start to the clone
    seed: int  # of the noise

    @property
    def count(self) -> int:
        """The number of clones. Number p is repeat p mod R of row p div R."""
        return len(self.rows) * self.repeats


def default_batch(device: str) -> int:
    """Clones at a time, by default."""
    return 32 if device == "cpu" else 512


def shared_batch(count: int, batch: int, processes: int) -> int:
    """Clones at a time, ``batch`` at most, of ``count``; several processes have equal parts, as nearly as can be."""
    if processes == 1 or not count:
        return batch
    rounds = -(-count // (batch * processes))
    return -(-count // (rounds * processes))


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
    """All clones in order, a few batches at a time: the number of the first one, and clones uint8 (B, C, H, W).

    Several processes share the work, ``batch`` clones at a time in each at most (`shared_batch`), and all get all
    clones. Batches begin at multiples of their size, so a run that goes on where another was stopped ends with its
    bits: from the clone ``first`` on, or some before it. Where memory runs out, fewer are computed at a time. The
    denoiser is as :func:`datarobust.diffusion.denoiser.prepare` leaves it; ``pad`` fills the
    last batch up, for programs that were compiled for one shape. Raises DatarobustError for a clone that is not finite.
    """
    group = group or Group(0, 1)
    batch = shared_batch(task.count, batch, group.size)
    together = batch * group.size
    rounds = range(first // together, -(-task.count // together))

    def numbers(number: int) -> Rows:
        """The clones of this process in a round."""
        start = number * together + group.rank * batch
        return np.arange(start, max(start, min(start + batch, task.count)))

    def originals(number: int) -> tuple[Images, dict[int, Array]]:
        """Of a round the images, and the noise (B, C, H, W) of the start (-1) and of every step that adds some."""
        points, repeats = np.divmod(numbers(number), task.repeats)
        keys = image_keys(task.seed, repeats, task.rows[points])
        parts = [-1, *(number for number, step in enumerate(task.sampler.steps()) if step.noise)]
        return task.images(task.rows[points]), {part: normals(keys, part + 1, denoiser.shape) for part in parts}

    def cloned(number: int, images: Images, drawn: dict[int, Array], most: int) -> Images:
        """The clones of a round, filled up with zeros, ``most`` of them at a time."""
        points, result = numbers(number) // task.repeats, np.zeros((batch, *denoiser.shape), np.uint8)
        for start in range(0, len(points), most):
            part = slice(start, min(start + most, len(points)))
            noises = {step: values[part] for step, values in drawn.items()}
            result[part] = _cloned(denoiser, task, points[part], images[part], noises, most if pad else 0)
        return result

    most = batch
    for number, (images, drawn) in zip(progress(rounds), ahead(originals, rounds), strict=True):
        made, most = within_memory(partial(cloned, number, images, drawn), most)
        gathered = np.concatenate(group.all_gather(made))
        yield number * together, gathered[: task.count - number * together]


def _cloned(
    denoiser: Denoiser, task: Task, points: Rows, originals: Images, noise: dict[int, Array], padded: int
) -> Images:
    """Clones uint8 (B, C, H, W) of these places among the task's rows; so many are computed, where that is more."""
    device = next(denoiser.parameters()).device
    places = np.minimum(np.arange(max(len(points), padded)), len(points) - 1)  # the last one fills the batch up
    images = to_device(originals[places], device)
    labels = one_hot(to_device(task.labels[points[places]], device), denoiser.classes)
    drawn = {part: to_device(numbers[places], device) for part, numbers in noise.items()}
    with torch.no_grad(), products(denoiser.precision):
        x = task.start.image * to_model(images).to(torch.float64) + task.start.noise * drawn[-1]
        x = sample(lambda x, sigma: denoiser(x, sigma, labels), x, task.sampler.steps(), drawn.__getitem__)
        x = x[: len(points)]
        finite = x.isfinite().flatten(1).all(1).cpu().numpy()
        if not finite.all():
            point = task.rows[points[int(np.argmin(finite))]]
            raise DatarobustError(f"the clone of point {point} is not finite: damaged weights, or a sampler led astray")
        return np.asarray(to_bytes(x).cpu().numpy())


def to_model(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def to_bytes(x: Tensor) -> Tensor:
    """The nearest bytes to images in [-1, 1]; what lies outside is clipped."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


def image_keys(seed: int, repeats: Rows, rows: Rows) -> Keys:
    """The keys uint64 (B) of clones: number ``repeats`` (B) of the images ``rows`` (B) of a dataset."""
    pairs = zip(repeats.tolist(), rows.tolist(), strict=True)
    keys = [row_keys(seed, Domain.CLONE.of(repeat), row, row + 1)[0] for repeat, row in pairs]
    return np.array(keys, np.uint64)


def normals(keys: Keys, part: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Standard normal numbers float32 (B, *shape) of one part: the start, a step, a noise level; shape is not ()."""
    noise = np.empty((len(keys), *shape), np.float32)
    for row, generator in zip(noise, _generators(keys, part), strict=True):
        generator.standard_normal(dtype=np.float32, out=row)
    return noise


def uniforms(keys: Keys, part: int, count: int) -> Floats:
    """Numbers float64 (B, count), uniform in [0, 1), of one part."""
    numbers = np.empty((len(keys), count))
    for row, generator in zip(numbers, _generators(keys, part), strict=True):
        generator.random(out=row)
    return numbers


def random_labels(seed: int, rows: Rows, classes: int) -> Rows:
    """A random label int64 (B), from 0 to classes - 1, for each row of a dataset."""
    labels = [int(row_keys(seed, Domain.CLONE_LABEL.of(0), row, row + 1)[0]) % classes for row in rows.tolist()]
    return np.array(labels, np.int64)


def _generators(keys: Keys, part: int) -> Iterator[np.random.Generator]:
    """The generator of each key: one, set to the next key, which takes a fifth of the time that another one would."""
    philox = np.random.Philox(key=np.array([0, part], np.uint64))
    generator, state = np.random.Generator(philox), philox.state
    for key in keys:
        state["state"]["key"][0] = key
        philox.state = state
        yield generator
