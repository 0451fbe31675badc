"""The state of a training as named arrays: everything that the rest of it depends on, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch

T = TypeVar("T")
Arrays = dict[str, npt.NDArray[Any]]
Line = dict[str, Any]
"""One epoch of the log."""


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
    """Who hears of a training while it goes on."""

    def epoch(self, line: Line) -> None:
        """An epoch is over."""

    def remark(self, text: str) -> None:
        """Something that the user should know."""

    def stops(self) -> bool:
        """Whether the training is to save its state and stop after this step."""

    def progress(self, steps: Iterable[T], standing: Callable[[], Line], /) -> Iterable[T]:
        """Wrapped around the steps that are left.

        ``standing`` tells, between two steps, the epoch so far as a line of the log would, as far as this process
        knows it; an epoch without a step has its number alone. On a GPU it waits for the step.
        """


class Weights:
    """Averaged weights of one epoch, as they are published."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], epoch: int) -> None:
        self.epoch = epoch
        self.arrays: Arrays = {name: to_numpy(tensor) for name, tensor in tensors.items()}

    @classmethod
    def of(cls, arrays: Arrays, epoch: int) -> Self:
        """From arrays."""
        return cls({name: torch.from_numpy(array) for name, array in arrays.items()}, epoch)


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A copy in memory of its own, C-contiguous."""
    return np.array(tensor.detach().cpu().contiguous().numpy(), order="C", copy=True)


def pack(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Tensors as arrays whose names have a prefix."""
    return {f"{prefix}/{name}": to_numpy(tensor) for name, tensor in tensors.items()}


def unpack(prefix: str, arrays: Mapping[str, npt.NDArray[Any]], into: Mapping[str, torch.Tensor]) -> None:
    """Copy the arrays of a prefix into tensors of the same names, in place."""
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(torch.from_numpy(arrays[f"{prefix}/{name}"]))


def pack_json(value: object) -> npt.NDArray[np.uint8]:
    """A value of JSON as an array of bytes."""
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8).copy()


def unpack_json(array: npt.NDArray[Any]) -> Any:
    """The value."""
    return json.loads(array.tobytes())
