"""Where an artifact comes from: one `Step` for every command on the way to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from datarobust.artifacts.digests import plain


@dataclass(frozen=True)
class Step:
    """One command: enough to run it again.

    Attributes:
        tool: name of the command, as typed.
        argv: its arguments, without the name.
        version: of datarobust.
        seed: of the random numbers; None where none were drawn.
        device: where it was computed, for instance ``"cpu, 2 threads"``; None where that cannot matter.
        inputs: role -> digest of the artifact that was read in that role.
    """

    tool: str
    argv: tuple[str, ...]
    version: str
    seed: int | None = None
    device: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)


_FIELDS = {"tool", "argv", "version", "seed", "device", "inputs"}


def to_json(history: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps as JSON objects, oldest first. Times are left out on purpose: equal work gives equal bytes."""
    return [plain({**asdict(step), "inputs": dict(step.inputs)}, f"history[{i}]") for i, step in enumerate(history)]


def from_json(steps: object) -> tuple[Step, ...]:
    """The inverse of `to_json`.

    Raises:
        ValueError: something that `to_json` never writes.
    """
    if not isinstance(steps, list):
        raise ValueError("history is not a list")
    return tuple(_step(step, f"history[{place}]") for place, step in enumerate(steps))


def _step(step: object, where: str) -> Step:
    if not isinstance(step, dict) or set(step) != _FIELDS:
        raise ValueError(f"{where} does not have the fields {', '.join(sorted(_FIELDS))}")
    argv, inputs, seed, device = step["argv"], step["inputs"], step["seed"], step["device"]
    if not isinstance(step["tool"], str) or not isinstance(step["version"], str):
        raise ValueError(f"{where} names no tool or no version")
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        raise ValueError(f"{where}.argv is not a list of words")
    if not isinstance(inputs, dict) or not all(isinstance(value, str) for value in inputs.values()):
        raise ValueError(f"{where}.inputs does not map roles to digests")
    if seed is not None and type(seed) is not int:
        raise ValueError(f"{where}.seed is no integer")
    if device is not None and not isinstance(device, str):
        raise ValueError(f"{where}.device is no text")
    return Step(step["tool"], tuple(argv), step["version"], seed, device, inputs)
