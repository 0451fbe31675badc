"""Training of denoisers: the loss by hand, learning, and resuming to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from datarobust.diffusion.cloning import to_model
from datarobust.diffusion.denoiser import one_hot
from datarobust.diffusion.training import Recipe, Training, edm_loss
from datarobust.distributed import Group
from datarobust.errors import DivergedError, UsageError
from datarobust.training.images import Points
from datarobust.training.loop import Arrays, Line, Weights

from .helpers import in_two_processes, small

T = TypeVar("T")
CPU = torch.device("cpu")


class Memory:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.state: Arrays | None = None
        self.last: Weights | None = None
        self.lines: list[Line] = []
        self.saves = 0

    def load(self) -> Arrays | None:
        return self.state

    def save(self, state: Arrays, best: Weights | None, last: Weights | None) -> None:
        assert best is None
        self.state, self.last, self.saves = state, last or self.last, self.saves + 1

    def log(self, line: Line) -> None:
        self.lines.append(line)

    def rewind(self, epochs: int) -> None:
        self.lines = self.lines[:epochs]


class Listener:
    """Stops a training after so many steps."""

    def __init__(self, after: int | None = None) -> None:
        self.left = after
        self.epochs: list[int] = []
        self.seen: list[Line] | None = None

    def epoch(self, line: Line) -> None:
        self.epochs.append(line["epoch"])

    def remark(self, text: str) -> None:
        raise AssertionError(text)

    def stops(self) -> bool:
        if self.left is not None:
            self.left -= 1
        return self.left == 0

    def progress(self, items: Iterable[T], standing: Callable[[], Line]) -> Iterable[T]:
        for item in items:
            if self.seen is not None:
                self.seen.append(standing())
            yield item


def points(count: int = 24) -> Points:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, count)
    images = np.full((count, 1, 8, 8), 30, np.uint8)
    for place, label in enumerate(labels):
        images[place, 0, :, 2 * label : 2 * label + 3] = 220
    return Points.of(images, labels.astype(np.int64))


def train(
    recipe: Recipe,
    checkpoint: Memory,
    stop: int | None = None,
    every: float = 1e9,
    listener: Listener | None = None,
    **more: Any,
) -> bool:
    denoiser = small(dropout=0.2, **more)
    denoiser.model.initialise(torch.Generator().manual_seed(1))
    training = Training(recipe, points(), denoiser, CPU, Group(0, 1))
    return training.run(checkpoint, listener or Listener(stop), every)


SHORT = Recipe(3, 8, 5e-3)


def test_where_memory_runs_out_a_step_is_made_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(most: int) -> tuple[dict[str, torch.Tensor], list[str], list[int]]:
        """The state after two steps of 8 images where so many fit into memory, what was said, and sizes of parts."""
        denoiser, sizes, remarks = small(dropout=0.0), [], []
        denoiser.model.initialise(torch.Generator().manual_seed(1))

        def loss(model: Any, images: torch.Tensor, *others: Any) -> torch.Tensor:
            sizes.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return edm_loss(model, images, *others)

        monkeypatch.setattr("datarobust.diffusion.training.edm_loss", loss)
        training = Training(SHORT, points(), denoiser, CPU, Group(0, 1))
        monkeypatch.setattr(training, "remark", remarks.append)
        for number in range(2):
            training.train_step(number, training.draw(number))
            training.step += 1
        return training.state(), remarks, sizes

    expected, remarks, sizes = step(8)
    assert (remarks, sizes) == ([], [8, 8])
    parts, remarks, sizes = step(3)
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert len(remarks) == 1
    assert "Memory ran out: each process takes 2 images at a time" in remarks[0]
    first = [
        torch.cat([state[name].flatten() for name in state if name.startswith("first/")]) for state in (parts, expected)
    ]
    assert float((first[0] - first[1]).norm() / first[1].norm()) < 1e-3
    assert float(parts["sums/loss"]) == pytest.approx(float(expected["sums/loss"]), rel=1e-4)


def test_the_loss_is_that_of_equation_8() -> None:
    denoiser = small()
    images = to_model(points(4).images)
    sigma, noise = torch.tensor([0.01, 0.3, 1.0, 5.0]), torch.randn(4, 1, 8, 8)
    labels = one_hot(points(4).labels, 3)
    found = edm_loss(denoiser, images, sigma, noise, labels, None)
    total = 0.0
    for place in range(4):
        level = float(sigma[place])
        noisy = images[place : place + 1] + level * noise[place : place + 1]
        assert labels is not None
        error = denoiser(noisy, sigma[place], labels[place : place + 1]) - images[place : place + 1]
        total += (level**2 + 0.25) / (0.5 * level) ** 2 * float(error.detach().square().mean())
    assert float(found.detach()) == pytest.approx(total / 4, rel=1e-5)


def test_it_learns() -> None:
    checkpoint = Memory()
    assert train(Recipe(60, 24, 5e-3), checkpoint)
    losses = [line["loss"] for line in checkpoint.lines]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    assert checkpoint.last is not None
    assert checkpoint.last.epoch == 60


@pytest.fixture(scope="module")
def straight() -> Memory:
    """What a short training leaves that nobody stops."""
    checkpoint = Memory()
    assert train(SHORT, checkpoint)
    return checkpoint


def test_who_looks_on_sees_the_epoch_so_far_and_changes_no_bit(straight: Memory) -> None:
    watched, listener = Memory(), Listener()
    listener.seen = []
    assert train(SHORT, watched, listener=listener)
    assert [line["epoch"] for line in listener.seen] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [set(line) - {"epoch"} for line in listener.seen[:3]] == [set(), {"loss"}, {"loss"}]
    first, second = (line["loss"] for line in listener.seen[1:3])
    assert min(first, 3 * watched.lines[0]["loss"] - 2 * second) > 0  # sums of positive losses
    assert straight.last is not None
    assert watched.last is not None
    for name, array in straight.last.arrays.items():
        assert watched.last.arrays[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("stop", [1, 3, 8])
def test_goes_on_to_the_bit(straight: Memory, stop: int) -> None:
    stopped = Memory()
    assert not train(SHORT, stopped, stop)
    assert train(SHORT, stopped)
    assert straight.last is not None
    assert stopped.last is not None
    assert straight.state is not None
    assert stopped.state is not None
    for one, other in ((straight.last.arrays, stopped.last.arrays), (straight.state, stopped.state)):
        assert list(one) == list(other)
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    assert [line["loss"] for line in straight.lines] == [line["loss"] for line in stopped.lines]


def test_states_are_saved_as_often_as_asked_and_a_finished_run_does_nothing() -> None:
    checkpoint = Memory()
    train(SHORT, checkpoint, every=0.0)
    assert checkpoint.saves == 3
    before = checkpoint.state
    train(SHORT, checkpoint)
    assert before is not None
    assert checkpoint.state is not None
    assert all(before[name].tobytes() == checkpoint.state[name].tobytes() for name in before)


def test_seeds_and_numbers_matter() -> None:
    found = []
    for recipe in (SHORT, Recipe(3, 8, 5e-3, seed=1), Recipe(3, 8, 5e-3, P_mean=-0.5), Recipe(3, 8, 5e-3, augment=0.5)):
        checkpoint = Memory()
        train(recipe, checkpoint, augment_dim=9)
        assert checkpoint.last is not None
        found.append(checkpoint.last.arrays["model.map_layer0.weight"].tobytes())
    assert len(set(found)) == 4


def test_two_processes_are_one_up_to_rounding() -> None:
    alone = Memory()
    recipe = Recipe(2, 8, 1e-6)  # so small that Adam does not make steps of other signs out of rounding
    denoisers = [small(dropout=0.0) for _ in range(3)]  # dropout depends on who has which images
    Training(recipe, points(), denoisers[0], CPU, Group(0, 1)).run(alone, Listener(), 1e9)
    found = [Memory(), Memory()]

    def work(group: Group) -> None:
        training = Training(recipe, points(), denoisers[1 + group.rank], CPU, group)
        training.run(found[group.rank], Listener(), 1e9)

    in_two_processes(work)
    assert found[1].last is None
    assert alone.state is not None
    assert found[0].state is not None
    numbers = {name: array for name, array in alone.state.items() if array.dtype.kind == "f"}
    for name, array in numbers.items():  # weights, averages, and both moments of the gradients
        np.testing.assert_allclose(found[0].state[name], array, rtol=0, atol=1e-3 * np.abs(array).max(), err_msg=name)


def test_averaging_forgets_by_half_lives() -> None:
    recipe = Recipe(1, 10, ema_images=1000.0, ema_share=0.05)
    assert recipe.decay(200) == pytest.approx(0.5)  # half-life of ten images at first
    assert recipe.decay(10**9) == pytest.approx(0.5 ** (10 / 1000))
    assert recipe.rate(0, 1000) == 0.0
    assert recipe.rate(25, 1000) == pytest.approx(recipe.lr / 2)
    assert recipe.rate(500, 1000) == recipe.lr


def test_a_loss_that_is_not_finite_is_told_and_not_saved() -> None:
    checkpoint = Memory()
    with pytest.raises(DivergedError, match="not finite in epoch 1"):
        train(Recipe(3, 8, 1e30, warm_up=0.0), checkpoint)
    assert checkpoint.state is None


@pytest.mark.parametrize(
    "changes", [{"epochs": 0}, {"batch": 0}, {"lr": 0.0}, {"P_std": math.nan}, {"augment": 2.0}, {"ema_images": -1.0}]
)
def test_recipes_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="`"):
        Recipe(**{"epochs": 1, **changes})


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match="cannot be shared by 3 processes"):
        Training(Recipe(1, 8), points(), small(), CPU, Group(0, 3))


def test_bfloat16_trains_too() -> None:
    checkpoint = Memory()
    assert train(Recipe(2, 8, precision="bf16"), checkpoint)
    assert math.isfinite(checkpoint.lines[-1]["loss"])
