"""Runs of ``advtrain`` and ``edmtrain``: a folder with weights, a log and the state to go on from.

::

    RUN/
    ├── recipe.json         the recipe, the digests of its inputs, and the request that names it
    ├── log.jsonl           one epoch a line
    ├── best.safetensors    averaged weights of the epoch with the best tracked accuracy
    ├── last.safetensors    averaged weights of the last epoch
    ├── tensorboard/        the log once more, for TensorBoard, where that was asked for
    └── .state.journal      until the run is finished: the state that the same command goes on from
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datarobust import artifacts
from datarobust.artifacts import Step, durable, files
from datarobust.errors import ArtifactError, ExistsError
from datarobust.runs.events import EVENTS, Events
from datarobust.training.loop import Arrays, Line, Weights
from datarobust.training.recipe import Recipe

if TYPE_CHECKING:
    from datarobust.diffusion.training import Recipe as DenoiserRecipe

RECIPE, LOG, BEST, LAST, STATE = "recipe.json", "log.jsonl", "best.safetensors", "last.safetensors", "state"
_OURS = {RECIPE, LOG, BEST, LAST, EVENTS}
_LOG_BYTES = 1 << 30


@dataclass
class Run:
    """A run folder, held by one process: its :class:`~datarobust.training.state.Checkpoint`."""

    path: Path
    recipe: Recipe | DenoiserRecipe
    arch: Mapping[str, Any]
    """Name and arguments of the network, enough to build it."""
    inputs: Mapping[str, str]
    """Digests by role."""
    history: Sequence[Step] = ()
    """Of the inputs, and this step at the end."""
    tool: str = "advtrain"
    kind: str = "classifier"
    """Of the artifacts that the weights become."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """More attributes of theirs."""
    tensorboard: bool = False
    """Whether the log is written for TensorBoard, too; names no run."""
    _seconds: float = 0.0
    """Of the epochs in the log."""

    @property
    def events(self) -> Events:
        """The log for TensorBoard."""
        return Events(self.path / EVENTS)

    @property
    def request(self) -> str:
        """Names the run: equal recipes on equal inputs are one run."""
        return request_of(self.recipe, self.arch, self.inputs, self.tool)

    def finished(self) -> bool:
        """Whether this very run is done."""
        if not artifacts.finished(self.path / LAST, self.request) or not (self.path / RECIPE).is_file():
            return False
        return artifacts.peek(self.path / LAST).attributes.get("epoch") == self.recipe.epochs

    def begin(self, overwrite: bool) -> None:
        """Make the folder, or take up the one of the same run.

        Raises:
            ExistsError: it holds another run, or anything else.
        """
        path = durable.checked_output(self.path)
        with files.told(path):
            if path.exists() and not path.is_dir():
                raise ExistsError(f"{path} is no folder: choose another name for the run")
            if path.is_dir() and self._recorded() != self.request:
                self._clear(overwrite)
            path.mkdir(exist_ok=True)
            document = {"request": self.request, "recipe": asdict(self.recipe), "arch": dict(self.arch)}
            text = json.dumps(document | {"inputs": dict(self.inputs)}, indent=2, sort_keys=True) + "\n"
            files.replace_file(path / RECIPE, text.encode())

    @property
    def _journal(self) -> artifacts.Journal:
        return artifacts.Journal(self.path / STATE, self.request)

    def load(self) -> Arrays | None:
        """The state of this run, or None."""
        return self._journal.load()

    def save(self, state: Arrays, best: Weights | None, last: Weights | None) -> None:
        """Replace the state, then the weights that belong to it."""
        self._journal.save(state)
        for name, weights in (("best", best), ("last", last)):
            if weights is not None:
                artifacts.save_tensors(
                    self.path / f"{name}.safetensors",
                    self.kind,
                    weights.arrays,
                    attributes={
                        **self.attributes,
                        "arch": dict(self.arch),
                        "weights": name,
                        "epoch": weights.epoch,
                        "request": self.request,
                    },
                    history=self.history,
                    overwrite=True,
                )

    def finish(self) -> None:
        """The run is done: its state is of no more use."""
        self._journal.discard()

    def log(self, line: Line) -> None:
        """Append a line, on the disk when this returns."""
        with files.told(self.path), (self.path / LOG).open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if self.tensorboard:
            self._seconds += line["seconds"]
            self.events.add(line, self._seconds)

    def rewind(self, epochs: int) -> None:
        """Keep the first lines of the log; a torn one at its end goes too."""
        lines = read_log(self.path, epochs) if (self.path / LOG).exists() else []
        with files.told(self.path):
            files.replace_file(self.path / LOG, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        if self.tensorboard:
            self._seconds = self.events.rewrite(lines)

    def tell_tensorboard(self) -> None:
        """Write the log of a finished run for TensorBoard, where that was asked for; nothing where it is there."""
        if self.tensorboard:
            self.events.rewrite(read_log(self.path))

    def _recorded(self) -> str | None:
        try:
            document = json.loads((self.path / RECIPE).read_bytes())
        except (OSError, ValueError):
            return None
        return document.get("request") if isinstance(document, dict) else None

    def _clear(self, overwrite: bool) -> None:
        """Make room for another run, where that was asked for and nothing but a run is there."""
        names = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(f".{STATE}.")}
        if not names:
            return
        if not overwrite:
            what = "another run" if RECIPE in names else "something that is no run"
            raise ExistsError(
                f"{self.path} holds {what}: choose another folder{', or say `overwrite`' if RECIPE in names else ''}"
            )
        strange = sorted(names - _OURS) + self.events.strange
        if RECIPE not in names or strange:
            raise ExistsError(
                f"{self.path} holds {strange[0] if strange else 'no recipe.json'}"
                f"{', which `overwrite` does not remove' if strange else ''}: choose another folder"
            )
        for name in names:
            files.remove(self.path / name)


def request_of(
    recipe: Recipe | DenoiserRecipe, arch: Mapping[str, Any], inputs: Mapping[str, str], tool: str = "advtrain"
) -> str:
    """What names a run: all that decides its bits on one machine."""
    return artifacts.fingerprint({"tool": tool, "recipe": asdict(recipe), "arch": dict(arch), "inputs": dict(inputs)})


def read_log(run: Path, epochs: int | None = None) -> list[Line]:
    """The lines of a run's log, at most ``epochs`` of them; a last line that was torn by a kill is left out.

    Raises:
        ArtifactError: there is no log, or it is none.
    """
    path = run / LOG
    with files.told(path, "read"):
        if path.stat().st_size > _LOG_BYTES:
            raise ArtifactError(f"{path} is too large for a log of training")
        data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1].splitlines()
    found = []
    for number, text in enumerate(whole[:epochs], 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ArtifactError(f"{path}, line {number}: no line of a log of training ({error})") from error
        if not isinstance(line, dict) or line.get("epoch") != number:
            raise ArtifactError(f"{path}, line {number}: no line of a log of training (epoch {number} is expected)")
        found.append(line)
    return found
