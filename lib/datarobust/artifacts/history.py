"""Where an artifact comes from: one `Step` for every command on the way to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from datarobust.artifacts.format import plain


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
        output: digest of the artifact that this step made, as far as it is known. The last step of an opened artifact
            has that artifact's own digest. Steps before it have theirs if the artifact was written with version 2 of
            its kind.
    """

    tool: str
    argv: tuple[str, ...]
    version: str
    seed: int | None = None
    device: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None


_FIELDS = {"tool", "argv", "version", "seed", "device", "inputs"}


def to_json(history: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps as JSON objects, oldest first. Times are left out on purpose: equal work gives equal bytes.

    A step whose output is not known has no field ``output``.
    """
    steps = []
    for i, step in enumerate(history):
        fields: dict[str, Any] = plain({**asdict(step), "inputs": dict(step.inputs)}, f"history[{i}]")
        if step.output is None:
            del fields["output"]
        steps.append(fields)
    return steps


def unfinished(history: Sequence[Step]) -> list[Step]:
    """The history as it is written into an artifact: the last step does not name the digest that it is about to make.

    So the metadata of an artifact do not repeat its digest, and a history that was read gives the bytes that it came
    from.
    """
    return [*history[:-1], *(replace(step, output=None) for step in history[-1:])]


def from_json(steps: object, digest: str) -> tuple[Step, ...]:
    """The history of an artifact that is opened: the inverse of `to_json`, and the last step has made ``digest``.

    Raises:
        ValueError: something that `to_json` never writes.
    """
    if not isinstance(steps, list):
        raise ValueError("history is not a list")
    history = [_step(step, f"history[{place}]") for place, step in enumerate(steps)]
    return (*history[:-1], *(replace(step, output=digest) for step in history[-1:]))


def join(histories: Iterable[Sequence[Step]]) -> list[Step]:
    """All steps of several histories, each once, in the order in which they first come.

    A step whose output is not known (in artifacts of version 1) is the same step as one that differs only in that its
    output is known, and is left out where there is such a one. A command with two outputs, such as the best and the
    last weights of a training, stays two steps.
    """
    joined: list[Step] = []
    for step in (step for history in histories for step in history):
        twins = [i for i, other in enumerate(joined) if replace(other, output=step.output) == step]
        unknown = [i for i in twins if joined[i].output is None]
        if step in joined or (twins and step.output is None):
            continue
        if unknown:
            joined[unknown[0]] = step
        else:
            joined.append(step)
    return joined


def _step(step: object, where: str) -> Step:
    if not isinstance(step, dict) or set(step) - {"output"} != _FIELDS:
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
    output = step.get("output")
    if "output" in step and not isinstance(output, str):
        raise ValueError(f"{where}.output is no digest")
    return Step(step["tool"], tuple(argv), step["version"], seed, device, inputs, output)
