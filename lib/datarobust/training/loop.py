"""The loop of a training, from any step to the last: steps, epochs, states.

State is a function of the step: every random number follows from (seed, step, place), so a run that was killed and goes
on has the bits of one that was not. What a step does is said by the classes that derive from :class:`Loop`:
:class:`datarobust.training.adversarial.Training` and :class:`datarobust.diffusion.training.Training`.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from datarobust.ahead import ahead
from datarobust.devices import triton_runs
from datarobust.distributed import Group
from datarobust.errors import DatarobustError, DivergedError, is_out_of_memory
from datarobust.types import Array, T

Arrays = dict[str, Array]
Line = dict[str, Any]
"""One epoch of the log."""


@dataclass(frozen=True)
class Weights:
    """Averaged weights of one epoch, as they are published."""

    arrays: Arrays
    epoch: int


class Checkpoint(Protocol):
    """Where states go; a state replaces the last one at once, or not at all."""

    def load(self) -> Arrays | None:
        """The last state that was saved, or None."""

    def save(self, state: Arrays, best: Weights | None, last: Weights | None) -> None:
        """Keep a state, and the averaged weights that go with it; None where they are as they were."""

    def log(self, line: Line) -> None:
        """Keep one epoch's figures."""

    def rewind(self, epochs: int) -> None:
        """Forget the figures of all but the first epochs: a state is resumed that did not know of them."""


class Listener(Protocol):
    """Who hears of a training while it goes on; by itself it tells nobody and lets it go on to its end."""

    def epoch(self, line: Line) -> None:
        """An epoch is over."""
        return

    def remark(self, text: str) -> None:
        """Something that the user should know."""
        return

    def stops(self) -> bool:
        """Whether the training is to save its state and stop after this step."""
        return False

    def progress(self, steps: Iterable[T], standing: Callable[[], Line], /) -> Iterable[T]:
        """Wrapped around the steps that are left.

        Between two steps ``standing()`` is the epoch so far as a line of the log, as far as this process knows it; of
        an epoch without a step the number alone. On a GPU it waits for the step.
        """
        return steps


class _Silent(Listener):
    """Tells nobody."""


SILENT = _Silent()


class _StopRequested(Exception):
    """The training is to stop, and an epoch is being prepared or measured."""


class Loop(ABC):
    """A training: its averaged model, whose weights are published, and where it is.

    ``steps`` are those of an epoch, ``images`` those of a step in all processes.
    """

    def __init__(
        self, average: nn.Module, epochs: int, steps: int, images: int, device: torch.device, group: Group
    ) -> None:
        self.average = average
        self.epochs, self.steps, self.images = epochs, steps, images
        self.device, self.group = device, group
        self.epoch = self.step = 0
        self.best: tuple[float, Weights] | None = None
        """The best tracked accuracy, the latest of equals, and the averaged weights that have it."""
        self._best_is_new = False
        self._listener: Listener = SILENT

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a step changes, by name; read and written in place."""

    @abstractmethod
    def draw(self, number: int) -> Any:
        """The random choices of step ``number``, made on the processor; a thread calls it, one step ahead."""

    @abstractmethod
    def train_step(self, number: int, drawn: Any) -> None:
        """Step ``number`` of the training, which is ``self.step`` of ``self.epoch``, with what was drawn for it."""

    @abstractmethod
    def standing(self) -> Line:
        """The epoch so far, of this process's images: its number and, where there are any, the mean loss and more."""

    @abstractmethod
    def end_epoch(self) -> Line:
        """Measure the epoch that ends; its line of the log but for times. Calls `demand_finite` before it measures.

        It may be interrupted and begun again (`pause`), so until its end it leaves the state as it is.
        """

    def begin_epoch(self) -> None:  # noqa: B027 - a training may have nothing to do
        """What is to be done before the first step of an epoch; it may be interrupted and begun again (`pause`)."""

    def memory(self) -> Line:
        """Columns of the log about memory."""
        return {}

    def run(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        """Train to the end; False where the listener stopped it.

        The last saved state is gone on from. States are saved at ends of epochs, ``save_every`` seconds apart, and when
        stopped.

        Raises DivergedError where a loss is not finite, DatarobustError where memory runs out; the last state that was
        saved stays.
        """
        self._listener = listener
        self._resume(checkpoint, listener)
        try:
            return self._train(checkpoint, listener, save_every)
        except _StopRequested:
            self._save(checkpoint)
            return False
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DatarobustError(
                f"memory ran out in a step of {self.images} images; the last saved state is kept. In a new run "
                "`precision` bf16 takes about half as much, and so does half the `batch`"
            ) from error

    def _train(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        saved = began = time.monotonic()
        total = self.epochs * self.steps
        if self.step == self.steps:
            self._finish_epoch(checkpoint, listener, began)
        numbers = range(self.epoch * self.steps + self.step, total)
        for number, drawn in zip(listener.progress(numbers, self.standing), ahead(self.draw, numbers), strict=False):
            if self.step == 0:
                began = time.monotonic()
                self.begin_epoch()
            self.train_step(number, drawn)
            self.step += 1
            if self.step == self.steps:
                self._finish_epoch(checkpoint, listener, began)
            if number + 1 < total:
                stopped = self.group.any(listener.stops())
                due = self.step == 0 and self.group.agree(time.monotonic() - saved >= save_every)
                if stopped or due:
                    self._save(checkpoint)
                    saved = time.monotonic()
                if stopped:
                    return False
        self._save(checkpoint)
        return True

    def _finish_epoch(self, checkpoint: Checkpoint, listener: Listener, began: float) -> None:
        line = self.end_epoch()
        tracked = line.get("tracked_accuracy")
        if tracked is not None and (self.best is None or tracked >= self.best[0]):
            self.best, self._best_is_new = (tracked, self._weights(self.epoch + 1)), True
        self.epoch, self.step = self.epoch + 1, 0
        seconds = time.monotonic() - began
        line |= {"images_per_second": self.images * self.steps / seconds, "seconds": seconds, **self.memory()}
        if self.group.is_main:
            checkpoint.log(line)
            listener.epoch(line)

    def pause(self) -> None:
        """Between two parts of an epoch's preparation or measuring: go no further where the training is to stop.

        All processes call it equally often.
        """
        if self.group.any(self._listener.stops()):
            raise _StopRequested

    def remark(self, text: str) -> None:
        """Tell the user something; of several processes the first one does."""
        if self.group.is_main:
            self._listener.remark(text)

    def demand_finite(self, loss: float) -> None:
        """Raise DivergedError where the mean or the sum of an epoch's losses is not finite."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is not finite in epoch {self.epoch + 1}: the last saved state is kept; "
                "a smaller `lr` or another `precision` may help, in a new run"
            )

    def _weights(self, epoch: int) -> Weights:
        return Weights(_arrays(self.average.state_dict()), epoch)

    def _save(self, checkpoint: Checkpoint) -> None:
        """Save the state, between two steps or before an epoch is measured; nobody goes on before it is safe.

        Raises DivergedError where a loss of this epoch is not finite; nothing is saved.
        """
        self.demand_finite(self.standing().get("loss", 0.0))
        if self.group.is_main:
            position: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "environment": self._environment()}
            arrays, best = _arrays(self.state()), None
            if self.best is not None:
                accuracy, weights = self.best
                position["best"] = {"accuracy": accuracy, "epoch": weights.epoch}
                arrays |= {f"best/{name}": array for name, array in weights.arrays.items()}
                best = weights if self._best_is_new else None
            arrays["where"] = np.frombuffer(json.dumps(position, sort_keys=True).encode(), np.uint8).copy()
            checkpoint.save(arrays, best, self._weights(self.epoch) if self.epoch and self.step == 0 else None)
            self._best_is_new = False
        self.group.agree(True)

    def _resume(self, checkpoint: Checkpoint, listener: Listener) -> None:
        """Take up the last state, if there is one: rank 0 reads it, the others have it from rank 0."""
        arrays = checkpoint.load() if self.group.is_main else None
        if self.group.agree(arrays is not None):
            where = torch.zeros(2, dtype=torch.int64)
            if arrays is not None:
                position = json.loads(arrays["where"].tobytes())
                where = torch.tensor([position["epoch"], position["step"]])
                if "best" in position:
                    best = {name.removeprefix("best/"): arrays[name] for name in arrays if name.startswith("best/")}
                    self.best = (position["best"]["accuracy"], Weights(best, position["best"]["epoch"]))
                    self._best_is_new = True
                now = self._environment()
                before = position["environment"]
                changes = [f"{name} {before.get(name)} before, {now[name]} now" for name in sorted(now)
                           if before.get(name) != now[name]]  # fmt: skip
                if changes:
                    listener.remark(
                        "The run goes on, but no longer bit for bit as it would have without the stop: "
                        f"{'; '.join(changes)}."
                    )
            self.group.broadcast([where])
            self.epoch, self.step = (int(number) for number in where)
            tensors = self.state()
            if arrays is not None:
                with torch.no_grad():
                    for name, tensor in tensors.items():
                        tensor.copy_(torch.from_numpy(arrays[name]))
            self.group.broadcast([*tensors.values()])
        if self.group.is_main:
            checkpoint.rewind(self.epoch)

    def _environment(self) -> dict[str, Any]:
        """On what bits depend besides the recipe."""
        cuda = self.device.type == "cuda"
        kernels = {"kernels": "Triton" if triton_runs(self.device) else "PyTorch"} if cuda else {}
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            **kernels,
            "threads": torch.get_num_threads(),
            "processes": self.group.size,
            "torch": torch.__version__,
            "numpy": np.__version__,
        }


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Copies in memory of their own, C-contiguous."""
    return {name: np.array(tensor.detach().cpu().contiguous().numpy(), order="C") for name, tensor in tensors.items()}


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under names ``prefix/name``."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}
