"""Networks of others: run on a batch, whatever their code does, and tried before anything depends on them."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from datarobust.errors import DataError, DatarobustError, is_out_of_memory

UNLIKE = 1e-3
"""Outputs for the same image may differ so much, as a share of the largest; rounding stays far below."""

Network = Callable[[Tensor], Any]
"""A torch.nn.Module, or another function of a batch."""

_MESSAGE = 300


def run(spec: str, module: Network, batch: Tensor) -> Any:
    """What the network makes of a batch, without gradients.

    Raises:
        DataError: it raises; the sentence says what and where.
    """
    try:
        with torch.no_grad():
            return module(batch)
    except DatarobustError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything: it is told
        refuse(spec, f"fails on a batch of shape {tuple(batch.shape)}: it", error)


def demand_classes(spec: str, module: Network, batch: Tensor) -> int:
    """Run the network on a few points, and see whether it is a classifier: how many classes it has.

    Args:
        spec: its name, for messages.
        module: from points to outputs, on the device of ``batch``.
        batch: (B, ...) float32, B >= 1.

    Raises:
        DataError: the outputs are no (B, C) finite numbers with C >= 2, or those of a point depend on chance or on the
            other points of the batch.
    """
    outputs = demand_steady(spec, module, batch)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise DataError(
            f"{spec} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} points: a classifier gives one row "
            "of numbers a point, a number a class."
        )
    if not torch.isfinite(outputs).all():
        raise DataError(f"{spec} gives outputs that are not finite: it is broken, or expects other inputs.")
    return int(outputs.shape[1])


def demand_steady(spec: str, module: Network, batch: Tensor) -> Tensor:
    """The outputs (B, ...) of a few points, having seen that a point gets the same in another batch.

    Raises:
        DataError: the outputs are no tensor with a row a point, or depend on chance or on the other points.
    """
    outputs = _rows(spec, run(spec, module, batch), batch)
    half = -(-len(batch) // 2)
    again = _rows(spec, run(spec, module, batch[:half]), batch[:half])
    if again.shape[1:] != outputs.shape[1:] or _unlike(again, outputs[:half]):
        raise DataError(
            f"{spec} gives other outputs for the same points in another batch: leave out dropout, other chance, and "
            "statistics of the batch."
        )
    return outputs


def demand_logits(spec: str, outputs: Tensor) -> None:
    """Refuse probabilities, (B, C), where logits are needed: attacks on them fail for want of gradients.

    Raises:
        DataError: no output is negative, and every row sums to 1.
    """
    sums = outputs.double().sum(dim=1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        raise DataError(f"{spec} gives probabilities, but logits are needed: leave out its softmax.")


def refuse(spec: str, what: str, error: BaseException) -> NoReturn:
    """Raise an error of somebody else's code as one sentence; out of memory stays what it is."""
    if is_out_of_memory(error):
        raise error
    lines = str(error).strip().splitlines()
    detail = f" ({lines[0][:_MESSAGE].rstrip('.')})" if lines else ""
    passing = {Path(__file__).parent.parent, *(Path(str(library.__file__)).parent for library in (torch, importlib))}
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.is_file() and not passing & {file, *file.parents}]
    place = f" in line {own[-1][1]} of {own[-1][0]}" if own else ""
    raise DataError(f"{spec} {what} raises {type(error).__name__}{detail}{place}.") from error


def _unlike(one: Tensor, two: Tensor) -> bool:
    """Whether outputs differ by more than rounding."""
    gaps, sizes = (one.double() - two.double()).abs(), two.double().abs()
    return bool(gaps.numel()) and float(gaps.amax()) > UNLIKE * float(sizes.amax())


def _rows(spec: str, outputs: Any, batch: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise DataError(f"{spec} gives a {type(outputs).__name__}, not a tensor: wrap it in a module that gives one.")
    if outputs.ndim < 1 or len(outputs) != len(batch):
        raise DataError(f"{spec} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} points.")
    return outputs
