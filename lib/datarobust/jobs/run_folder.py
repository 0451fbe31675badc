"""The folder that a training makes (`datarobust.artifacts.runs`): how it is claimed, kept, and shown to TensorBoard.

It grows while the training goes on, so it is not whole or absent as artifacts are: the same request takes it up at any
time, and every file in it is replaced at once.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from datarobust import artifacts
from datarobust.artifacts import Step, durable
from datarobust.artifacts.runs import BEST, EVENTS, LAST, LOG, RECIPE, STATE, read_log, recorded
from datarobust.errors import ExistsError, UsageError
from datarobust.jobs.make import Form, Output
from datarobust.training.loop import Arrays, Line, Listener, Loop, Weights

_OURS = (LOG, BEST, LAST, EVENTS, RECIPE)
_EVENTS = "events.out.tfevents.*.datarobust*"


@dataclass(frozen=True)
class RunFolder(Form):
    """An output that is the folder of a training."""

    state: ClassVar[str] = STATE  # in the folder: it moves with it

    def finished(self, path: Path, request: str) -> bool:
        """Whether this very training is done."""
        for output in (path, path / BEST):  # artifacts.finished does so for LAST
            durable.tidy(output)
        document = recorded(path)
        if document.get("request") != request or not artifacts.finished(path / LAST, request):
            return False
        epoch = artifacts.peek(path / LAST).attributes.get("epoch")
        return bool(epoch == document["recipe"].get("epochs"))

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """Make the folder, take up that of the same training, or clear that of another; ExistsError if it may not."""
        with durable.os_errors(path):
            if path.exists() and not path.is_dir():
                raise ExistsError(f"{path} is not a folder: choose another name for the run")
            path.mkdir(exist_ok=True)
            for name in _OURS:  # of a run that was killed while it replaced one
                durable.remove(path / f"{name}.new")
            journal = durable.hidden(path / STATE, "journal")
            if journal.exists() and not overwrite:
                old = "an unfinished run of version 0.1, which this version does not go on with"
                raise ExistsError(f"{path} holds {old}: choose another folder, or say `overwrite`")
            durable.remove(journal)
            if recorded(path).get("request") == request:
                return
            hidden = tuple(f".{name}." for name in (STATE, BEST, LAST))
            names = {entry.name for entry in path.iterdir() if not entry.name.startswith(hidden)}
            if not names:
                return
            if not overwrite:
                if RECIPE in names:
                    raise ExistsError(f"{path} holds another run: choose another folder, or say `overwrite`")
                raise ExistsError(f"{path} holds something that is not a run: choose another folder")
            events = path / EVENTS
            foreign = set(events.iterdir()) - set(events.glob(_EVENTS)) if events.is_dir() else set()
            strange = sorted(names - set(_OURS)) + sorted(f"{EVENTS}/{entry.name}" for entry in foreign)
            if strange or RECIPE not in names:
                what = f"{strange[0]}, which `overwrite` does not remove" if strange else "no recipe.json"
                raise ExistsError(f"{path} holds {what}: choose another folder")
            for name in _OURS:  # the recipe last: until then the folder is known as a run's
                durable.remove(path / name)


@dataclass
class Run:
    """A training at work in its folder: the :class:`~datarobust.training.loop.Checkpoint` of its loop."""

    output: Output  # the folder
    record: Mapping[str, Any]  # what recipe.json says: recipe, arch and inputs
    kind: str  # of the artifacts that the weights become
    history: Sequence[Step]  # of these, this step at the end
    attributes: Mapping[str, Any] = field(default_factory=dict)  # more of theirs
    tensorboard: bool = False  # write the log for TensorBoard, too
    _events: Events | None = None

    def train(self, loop: Loop, listener: Listener) -> None:
        """Train from the state that is there, or from the start; KeyboardInterrupt where the listener stopped it."""
        if self.output.group.is_main:
            document = {name: self.record[name] for name in ("recipe", "arch", "inputs")}
            text = json.dumps({"request": self.output.request, **document}, indent=2, sort_keys=True) + "\n"
            with durable.os_errors(self.output.path):
                durable.replace_file(self.output.path / RECIPE, text.encode())
        try:
            if not loop.run(self, listener, self.output.resume.every):
                raise KeyboardInterrupt
        finally:
            if self._events is not None:
                self._events.close()

    def load(self) -> Arrays | None:
        """The state of this training, or None."""
        return self.output.resume.load()

    def save(self, state: Arrays, best: Weights | None, last: Weights | None) -> None:
        """Replace the state, then the weights that belong to it."""
        self.output.resume.save(state)
        about = {**self.attributes, "arch": self.record["arch"], "request": self.output.request}
        for name, weights in (("best", best), ("last", last)):
            if weights is not None:
                path, attributes = self.output.path / f"{name}.safetensors", {"weights": name, "epoch": weights.epoch}
                artifacts.save_tensors(
                    path, self.kind, weights.arrays, attributes=about | attributes, history=self.history, overwrite=True
                )

    def log(self, line: Line) -> None:
        """Append a line, on the disk when this returns."""
        with durable.os_errors(self.output.path), (self.output.path / LOG).open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if self._events is not None:
            self._events.write([line])

    def rewind(self, epochs: int) -> None:
        """Keep the first lines of the log; a torn one at its end goes too."""
        lines = read_log(self.output.path, epochs) if (self.output.path / LOG).exists() else []
        with durable.os_errors(self.output.path):
            durable.replace_file(self.output.path / LOG, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        if self.tensorboard:
            self._events = Events(self.output.path)
            self._events.write(lines)


def demand_tensorboard() -> None:
    """Raise UsageError, with the way to install it, where the package is absent."""
    try:
        importlib.import_module("tensorboard")
    except ImportError as error:
        advice = "pip install 'datarobust[tensorboard]' brings it."
        raise UsageError(f"`tensorboard` needs the package of that name ({error}): {advice}") from error


class Events:
    """The log of a run for TensorBoard: a new file, in the place of those there are, so that no epoch stands twice.

    Every number of a line is a scalar, the epoch its step; its time is what the training has taken.
    """

    def __init__(self, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run / EVENTS
        with durable.os_errors(folder):
            for path in folder.glob(_EVENTS):
                path.unlink()
            self._writer = SummaryWriter(str(folder), filename_suffix=".datarobust")
        self._seconds = 0.0

    def write(self, lines: Iterable[Line]) -> None:
        """Append epochs."""
        for line in lines:
            self._seconds += line["seconds"]
            for name, number in line.items():
                if name != "epoch" and isinstance(number, int | float):
                    self._writer.add_scalar(name, number, line["epoch"], self._seconds)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def rewrite_events(run: Path) -> None:
    """Write the log of a finished run for TensorBoard."""
    with closing(Events(run)) as events:
        events.write(read_log(run))
