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


def run(spec: str, module: Network, batch: Tensor) -> Any:
    """What the network makes of a batch, without gradients.

    Raises DataError where it raises; the sentence says what and where.
    """
    try:
        with torch.no_grad():
            return module(batch)
    except DatarobustError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything: it is told
        refuse(spec, f"fails on a batch of shape {tuple(batch.shape)}: it", error)


def demand_classes(spec: str, module: Network, batch: Tensor) -> int:
    """How many classes a network has, having run it on a few points (B, ...) and seen that it is a classifier.

    Raises DataError where it gives no (B, C) finite numbers with C >= 2, or those of a point depend on chance or on the
    other points of the batch.
    """
    return int(demand_scores(spec, demand_steady(spec, module, batch), batch).shape[1])


def demand_scores(spec: str, outputs: Any, batch: Tensor) -> Tensor:
    """The outputs for a batch. Raises DataError where they are no (B, C) finite numbers with C >= 2."""
    scores = _rows(spec, outputs, batch)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise DataError(
            f"{spec} gives outputs of shape {tuple(scores.shape)} for {len(batch)} points: a classifier gives one row "
            "of numbers a point, a number a class."
        )
    wrong = ~torch.isfinite(scores).all(dim=1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0, 0])
        raise DataError(
            f"{spec} gives outputs that are not finite, first for point {row}: it is broken, or expects other inputs."
        )
    return scores


def demand_steady(spec: str, module: Network, batch: Tensor) -> Tensor:
    """The outputs (B, ...) of a few points, having seen that a point gets the same in another batch.

    Raises DataError where the outputs are no tensor with a row a point, or depend on chance or on the other points.
    """
    outputs = _rows(spec, run(spec, module, batch), batch)
    half = -(-len(batch) // 2)
    again = _rows(spec, run(spec, module, batch[:half]), batch[:half])
    first = outputs[:half].double()
    if again.shape != first.shape or (
        again.numel() and float((again.double() - first).abs().amax()) > UNLIKE * float(first.abs().amax())
    ):
        raise DataError(
            f"{spec} gives other outputs for the same points in another batch: leave out dropout, other chance, and "
            "statistics of the batch."
        )
    return outputs


def demand_logits(spec: str, outputs: Tensor) -> None:
    """Raise DataError where outputs (B, C) are probabilities: attacks on them fail for want of gradients."""
    sums = outputs.double().sum(dim=1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        raise DataError(f"{spec} gives probabilities, but logits are needed: leave out its softmax.")


def refuse(spec: str, what: str, error: BaseException) -> NoReturn:
    """Raise an error of somebody else's code as one sentence; out of memory stays what it is."""
    if is_out_of_memory(error):
        raise error
    lines = str(error).strip().splitlines()
    detail = f" ({lines[0][:300].rstrip('.')})" if lines else ""
    passing = {Path(__file__).parent.parent, *(Path(str(library.__file__)).parent for library in (torch, importlib))}
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.is_file() and not passing & {file, *file.parents}]
    place = f" in line {own[-1][1]} of {own[-1][0]}" if own else ""
    raise DataError(f"{spec} {what} raises {type(error).__name__}{detail}{place}.") from error


def _rows(spec: str, outputs: Any, batch: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise DataError(f"{spec} gives a {type(outputs).__name__}, not a tensor: wrap it in a module that gives one.")
    if outputs.ndim < 1 or len(outputs) != len(batch):
        raise DataError(f"{spec} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} points.")
    return outputs
