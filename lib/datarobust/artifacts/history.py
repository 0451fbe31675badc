"""What every artifact, folder or file, says about itself: kind, digest, seal, and the commands that led to it.

ARTIFACTS.md defines how its JSON is spelled and what is hashed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from datarobust.artifacts.kinds import KINDS, RESERVED, Kind, Shapes, chosen
from datarobust.errors import ArtifactError
from datarobust.text import read_json

RESTORE = "restore it from a copy, or make it again"
Blocks = Mapping[str, Sequence[str]]  # array -> sha256 of each of its blocks


def plain(value: object, where: str) -> Any:
    """``value`` in the types that JSON has; ArtifactError where it cannot be, as for NaN and infinities."""

    def simple(item: object) -> object:
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, Mapping):
            return dict(item)
        raise TypeError(f"a {type(item).__name__}")

    try:
        return json.loads(json.dumps(value, default=simple, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{where} has something that JSON cannot hold ({error})") from error


def canonical(value: object) -> bytes:
    """The one spelling of a JSON value that is hashed: sorted keys, no spaces, ASCII, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def pretty(value: object) -> bytes:
    """The one spelling of a metadata file on disk: sorted keys, two spaces, ASCII, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, allow_nan=False).encode() + b"\n"


def parse(text: bytes) -> Any:
    """Read JSON; ValueError where it is not UTF-8, has NaN or an infinity in it, or is nested beyond reason."""

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON number")

    return read_json(text.decode("utf-8"), parse_constant=refuse)


def sha256(data: Any) -> str:
    """The sha256 of a contiguous buffer, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(value: object) -> str:
    """A short name of a request: sha256 over the canonical JSON of its inputs' digests and its options."""
    return sha256(canonical(plain(value, "the request")))


def digest_of(arrays: Shapes, blocks: Blocks) -> str:
    """What an artifact *is*: sha256 over names, dtypes and shapes of its arrays, and the sha256 of their blocks."""
    described = {name: [dtype, list(shape), list(blocks[name])] for name, (dtype, shape) in arrays.items()}
    return sha256(canonical(described))


def seal_of(attributes: Mapping[str, Any]) -> str:
    """What protects the metadata: sha256 over all attributes except the seal itself."""
    return sha256(canonical({name: value for name, value in attributes.items() if name != "seal"}))


@dataclass(frozen=True)
class Step:
    """One command on the way to an artifact: enough to run it again."""

    tool: str
    argv: tuple[str, ...]  # without the name
    version: str  # of datarobust
    seed: int | None = None
    device: str | None = None  # such as "cpu, 2 threads"; None where it cannot matter
    inputs: Mapping[str, str] = field(default_factory=dict)  # role -> digest of what was read
    output: str | None = None  # digest of what it made; of a step before the last, from version 2 of its kind on


def to_json(history: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps as JSON objects, without ``output`` where it is not known. No times: equal work gives equal bytes."""
    steps = []
    for i, step in enumerate(history):
        fields: dict[str, Any] = plain({**asdict(step), "inputs": dict(step.inputs)}, f"history[{i}]")
        if step.output is None:
            del fields["output"]
        steps.append(fields)
    return steps


def from_json(steps: object, digest: str) -> tuple[Step, ...]:
    """The inverse of `to_json` for an artifact of this digest, which its last step has made; else ValueError."""
    if not isinstance(steps, list):
        raise ValueError("history is not a list")
    return _last_made([_step(step, f"history[{place}]") for place, step in enumerate(steps)], digest)


def join(histories: Iterable[Sequence[Step]]) -> list[Step]:
    """All steps of several histories, each once, in the order in which they first come.

    A step whose output is not known (in artifacts of version 1) is left out where another differs in that alone. A
    command with two outputs, such as the best and the last weights of a training, stays two steps.
    """
    joined: list[Step] = []
    for step in (step for history in histories for step in history):
        twins = [i for i, other in enumerate(joined) if replace(other, output=step.output) == step]
        if step in joined or (twins and step.output is None):
            continue
        place = next((i for i in twins if joined[i].output is None), len(joined))
        joined[place : place + 1] = [step]
    return joined


def row_by_row(history: Iterable[Step], digest: str) -> list[str]:
    """Digests of the datasets whose rows are those of the dataset of this digest: its own, then what it is features of.

    Features of the first points alone have the first rows. No other step counts: a subset has other rows, new labels
    are another labelled set.
    """
    digests = [digest]
    for step in reversed(list(history)):
        if (step.tool, step.argv[:1], step.output) == ("dataset", ("features",), digests[-1]):
            digests += [step.inputs["dataset"]] if "dataset" in step.inputs else []
    return digests


def _last_made(history: Sequence[Step], digest: str | None) -> tuple[Step, ...]:
    return (*history[:-1], *(replace(step, output=digest) for step in history[-1:]))


def _step(step: Any, where: str) -> Step:
    try:
        result = Step(**{**step, "argv": tuple(step["argv"])})
        texts = [result.tool, result.version, *result.argv, *result.inputs.values()]
        texts += [text for text in (result.device, result.output) if text is not None]
        right = all(isinstance(text, str) for text in texts) and type(result.seed) in (int, type(None))
        if not right or to_json([result]) != [step]:
            raise TypeError("a field is not of the type that it was written with")
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{where} is no step as one is written: {error}") from error
    return result


@dataclass(frozen=True)
class Summary:
    """What an artifact says about itself."""

    path: Path
    kind: str
    version: int  # of the kind's schema
    digest: str  # sha256 over names, dtypes, shapes and bytes of its arrays
    history: tuple[Step, ...]  # oldest first
    attributes: Mapping[str, Any]  # all others
    arrays: Shapes


def as_json(summary: Summary) -> dict[str, Any]:
    """A summary as JSON has it: path, kind, version, digest, arrays, attributes, history."""
    return {
        "path": str(summary.path),
        **{name: getattr(summary, name) for name in ("kind", "version", "digest")},
        "arrays": {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in summary.arrays.items()},
        "attributes": dict(summary.attributes),
        "history": to_json(summary.history),
    }


def build_head(
    kind: Kind, attributes: Mapping[str, Any], history: Sequence[Step], arrays: Shapes, blocks: Blocks, path: Path
) -> dict[str, Any]:
    """All attributes of an artifact to be written; ArtifactError where the kind does not allow them or the arrays.

    The last step does not name its output, so a history that was read gives the bytes that it came from.
    """
    for name in RESERVED:
        if name in attributes:
            raise ArtifactError(f"{path} cannot be written: the attribute {name!r} is set by the writer alone")
    own: dict[str, Any] = plain(attributes, f"{path} cannot be written: it")
    complaint = kind.complaint_about_arrays(arrays) or kind.complaint_about_attributes(own)
    if complaint:
        raise ArtifactError(f"{path} cannot be written: it {complaint}")
    whole = {
        **own,
        "kind": kind.name,
        "version": kind.version_of(arrays, own),
        "digest": digest_of(kind.identifying(arrays), blocks),
        "history": to_json(_last_made(history, None)),
        "blocks": {name: list(blocks[name]) for name in arrays},
    }
    return {**whole, "seal": seal_of(whole)}


def read_head(attributes: object, file: Path, path: Path, kind: str | Collection[str] | None) -> tuple[Summary, Blocks]:
    """The checked attributes in ``file`` of the artifact ``path``, without its arrays, and its blocks.

    Kind and version are checked first, because another version may define all the rest differently.
    """
    if not isinstance(attributes, dict) or not isinstance(attributes.get("kind"), str):
        raise ArtifactError(f"{file} is not the head of an artifact: it names no kind")
    schema = KINDS.get(attributes["kind"])
    if schema is None:
        raise ArtifactError(f"{file} has the unknown kind {attributes['kind']!r}; known are {', '.join(KINDS)}")
    version = attributes.get("version")
    if type(version) is not int or version not in schema.reads:
        known = " and ".join(map(str, schema.reads))
        raise ArtifactError(f"{file} has version {version!r} of the kind {schema.name}; this datarobust reads {known}")
    if attributes.get("seal") != seal_of(attributes):
        raise ArtifactError(f"{file} was altered (its seal does not fit): {RESTORE}")
    kinds = chosen(kind)
    if schema.name not in kinds:
        advice = f": {schema.advice}" if schema.advice else ""
        needed = " or ".join(map(_article, kinds))
        raise ArtifactError(f"{path} is {_article(schema.name)}, where {needed} is needed{advice}")
    digest, blocks = attributes.get("digest"), attributes.get("blocks")
    try:
        if not isinstance(digest, str):
            raise ValueError("it has no digest")
        steps = from_json(attributes.get("history"), digest)
        if not isinstance(blocks, dict) or not blocks:
            raise ValueError("it lists no blocks")
        for name, hashes in blocks.items():
            if not isinstance(hashes, list) or not all(isinstance(item, str) for item in hashes):
                raise ValueError(f"its list of the blocks of {name!r} is not a list of hashes")
    except ValueError as error:
        raise ArtifactError(f"{file} was not written by datarobust: {error}") from error
    own = {name: value for name, value in attributes.items() if name not in RESERVED}
    if complaint := schema.complaint_about_attributes(own):
        raise ArtifactError(f"{file} {complaint}")
    return Summary(path, schema.name, version, digest, steps, own, {}), blocks


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def confirm_arrays(summary: Summary, arrays: Shapes, blocks: Blocks, file: Path) -> Summary:
    """The summary with the arrays that are there; ArtifactError where they are not those of its kind and digest."""
    kind = KINDS[summary.kind]
    if complaint := kind.complaint_about_arrays(arrays):
        raise ArtifactError(f"{file} {complaint}")
    if digest_of(kind.identifying(arrays), blocks) != summary.digest:
        raise ArtifactError(f"{file} was altered (its digest does not fit its arrays): {RESTORE}")
    return replace(summary, arrays=arrays)
