"""The log of a run as TensorBoard reads it: every number of an epoch is a scalar, the epoch its step.

Events follow from the lines of ``log.jsonl`` and from nothing else, times included: equal logs give equal bytes. A run
that goes on after a kill writes them anew, into a file with the next number, so no step stands there twice and a
TensorBoard that looks on turns to the new file.

The package tensorboard comes with ``pip install 'datarobust[tensorboard]'``; only the form of an event is taken from
it. Its scalars are of single precision: who wants all digits reads the log.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datarobust.artifacts import files
from datarobust.errors import UsageError
from datarobust.training.loop import Line

EVENTS = "tensorboard"
"""The folder of a run that holds them."""
_FIRST, _LAST = "events.out.tfevents.", ".datarobust"
_VERSION = "brain.Event:2"
_STEP = "epoch"


def demand_tensorboard() -> None:
    """Raise UsageError, with the way to install it, where the package is absent."""
    _tensorboard("proto.event_pb2")


def _tensorboard(name: str) -> Any:
    try:
        return importlib.import_module(f"tensorboard.compat.{name}")
    except ImportError as error:
        raise UsageError(
            f"`tensorboard` needs the package tensorboard, which is not there ({error}): "
            "pip install 'datarobust[tensorboard]' brings it."
        ) from error


@dataclass(frozen=True)
class Events:
    """The events of one run.

    Args:
        folder: where they are.
    """

    folder: Path

    @property
    def strange(self) -> list[str]:
        """What is in the folder besides, as ``tensorboard/NAME``; a run does not remove it."""
        names = sorted(entry.name for entry in self.folder.iterdir()) if self.folder.is_dir() else []
        return [f"{EVENTS}/{name}" for name in names if not (name.startswith(_FIRST) and _LAST in name)]

    def rewrite(self, lines: Sequence[Line]) -> float:
        """Let these lines of the log, from the first epoch on, be all that the events tell.

        Returns:
            The seconds that their epochs took.

        Raises:
            UsageError: the package tensorboard is absent.
            ArtifactError: the folder cannot be written.
        """
        event = _tensorboard("proto.event_pb2").Event
        parts, seconds = [_record(event(wall_time=0.0, file_version=_VERSION))], 0.0
        for line in lines:
            seconds += line["seconds"]
            parts.append(_record(_event(line, seconds)))
        data = b"".join(parts)
        with files.told(self.folder):
            self.folder.mkdir(exist_ok=True)
            present = self._present
            if len(present) != 1 or present[0].read_bytes() != data:
                files.replace_file(self._path(_number(present[-1]) + 1 if present else 1), data)
                for path in present:
                    path.unlink()
        return seconds

    def add(self, line: Line, seconds: float) -> None:
        """Append an epoch; with it the training has taken so many ``seconds``.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        with files.told(self.folder), max(self._present, default=self._path(1)).open("ab") as file:
            file.write(_record(_event(line, seconds)))

    @property
    def _present(self) -> list[Path]:
        """Their files, the newest last: one, but after a kill between two steps of writing."""
        return sorted(self.folder.glob(f"{_FIRST}*{_LAST}*"))

    def _path(self, number: int) -> Path:
        return self.folder / f"{_FIRST}{number:010}{_LAST}"


def _number(path: Path) -> int:
    return int(path.name.removeprefix(_FIRST).partition(".")[0])


def _event(line: Line, seconds: float) -> Any:
    """An epoch; its time is what the training has taken, for TensorBoard's relative axis."""
    summary = _tensorboard("proto.summary_pb2").Summary
    values = [
        summary.Value(tag=name, simple_value=float(number))
        for name, number in line.items()
        if name != _STEP and isinstance(number, int | float)
    ]
    event = _tensorboard("proto.event_pb2").Event
    return event(wall_time=seconds, step=line[_STEP], summary=summary(value=values))


def _record(event: Any) -> bytes:
    """An event as a record: length and bytes, each with its checksum."""
    checksum = _tensorboard("tensorflow_stub.pywrap_tensorflow").masked_crc32c
    data, length = event.SerializeToString(), struct.pack("<Q", event.ByteSize())
    return b"".join([length, struct.pack("<I", checksum(length)), data, struct.pack("<I", checksum(data))])
