"""Folders of trainings: what is in them, and how their logs are read.

::

    RUN/
    ├── recipe.json         the recipe, the digests of its inputs, and the request that names it
    ├── log.jsonl           one epoch a line
    ├── best.safetensors    averaged weights of the epoch with the best tracked accuracy
    ├── last.safetensors    averaged weights of the last epoch
    ├── tensorboard/        the log once more, for TensorBoard, where that was asked for
    └── .state.resume       until the run is finished: the state that the same command goes on from
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datarobust.artifacts import durable
from datarobust.artifacts.history import Summary
from datarobust.artifacts.store import peek
from datarobust.errors import ArtifactError
from datarobust.text import read_json, shown

RECIPE, LOG, BEST, LAST = "recipe.json", "log.jsonl", "best.safetensors", "last.safetensors"
STATE, EVENTS = "state", "tensorboard"
_LOG_BYTES, _RECIPE_BYTES = 1 << 30, 1 << 24


def read_log(run: Path, epochs: int | None = None) -> list[dict[str, Any]]:
    """The lines of a run's log, at most ``epochs`` of them; a last line that was torn by a kill is left out.

    Raises ArtifactError where there is no log, or it is none.
    """
    path = run / LOG
    content = _content(path, _LOG_BYTES, "log of training")
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    lines = []
    for number, text in enumerate(whole[:epochs], 1):
        try:
            line = read_json(text)
        except ValueError as error:
            raise ArtifactError(f"{path}, line {number}: no line of a log of training ({error})") from error
        if not isinstance(line, dict) or line.get("epoch") != number:
            raise ArtifactError(f"{path}, line {number}: no line of a log of training (epoch {number} is expected)")
        if any(type(value) is int and value.bit_length() > 63 for value in line.values()):
            raise ArtifactError(f"{path}, line {number}: no line of a log of training (a number is too large)")
        lines.append(line)
    return lines


@dataclass(frozen=True)
class Run:
    """A training, as far as it is."""

    recipe: dict[str, Any]  # the content of recipe.json: at least the objects ``recipe``, ``arch`` and ``inputs``
    log: list[dict[str, Any]]  # an epoch each
    weights: dict[str, Summary]  # ``best`` and ``last``, those that are there


def open_run(run: Path) -> Run:
    """A run's recipe, log and heads of its weights; ArtifactError where one is damaged or there is no recipe."""
    files = {"best": run / BEST, "last": run / LAST}
    weights = {which: peek(file) for which, file in files.items() if file.is_file()}
    return Run(_recipe(run), read_log(run) if (run / LOG).is_file() else [], weights)


def _content(path: Path, limit: int, what: str) -> bytes:
    with durable.os_errors(path, "read"):
        if path.stat().st_size > limit:
            raise ArtifactError(f"{shown(path)} is too large for a {what}")
        return path.read_bytes()


def recorded(run: Path) -> dict[str, Any]:
    """What recipe.json says of a run; nothing where it is absent or damaged."""
    try:
        return _recipe(run)
    except ArtifactError:
        return {}


def _recipe(run: Path) -> dict[str, Any]:
    path = run / RECIPE
    try:
        document = read_json(_content(path, _RECIPE_BYTES, "recipe"))
    except ValueError as error:
        raise ArtifactError(f"{shown(path)} is not a recipe of a training ({error})") from error
    parts = ("recipe", "arch", "inputs")
    if not isinstance(document, dict) or not all(isinstance(document.get(part), dict) for part in parts):
        raise ArtifactError(f"{shown(path)} is not a recipe of a training: it lacks recipe, arch or inputs")
    return document
