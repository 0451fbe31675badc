"""The attributes that every artifact carries, checked the same way for folders and files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datarobust.artifacts import history as histories
from datarobust.artifacts.format import digest_of, plain, seal_of
from datarobust.artifacts.history import Step
from datarobust.artifacts.kinds import KINDS, RESERVED, Kind, chosen
from datarobust.errors import ArtifactError

RESTORE = "restore it from a copy, or make it again"


@dataclass(frozen=True)
class Summary:
    """What an artifact says about itself.

    Attributes:
        path: of the file or folder.
        kind: see `kinds.KINDS`.
        version: of the kind's schema.
        digest: sha256 over names, dtypes, shapes and bytes of its arrays.
        history: the commands that led to it, oldest first.
        attributes: all others.
        arrays: name -> (dtype, shape).
    """

    path: Path
    kind: str
    version: int
    digest: str
    history: tuple[Step, ...]
    attributes: Mapping[str, Any]
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]


def as_json(summary: Summary) -> dict[str, Any]:
    """A summary as JSON has it: path, kind, version, digest, arrays, attributes, history."""
    return {
        "path": str(summary.path),
        "kind": summary.kind,
        "version": summary.version,
        "digest": summary.digest,
        "arrays": {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in summary.arrays.items()},
        "attributes": dict(summary.attributes),
        "history": histories.to_json(summary.history),
    }


@dataclass(frozen=True)
class Header:
    """The checked attributes of one artifact: those of a `Summary`, and the hashes of its blocks."""

    kind: Kind
    version: int
    digest: str
    history: tuple[Step, ...]
    attributes: Mapping[str, Any]
    blocks: Mapping[str, tuple[str, ...]] = field(repr=False)

    def summary(self, path: Path, arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> Summary:
        """Without the hashes, with the arrays."""
        return Summary(path, self.kind.name, self.version, self.digest, self.history, self.attributes, dict(arrays))


def build(
    kind: Kind,
    attributes: Mapping[str, Any],
    history: Sequence[Step],
    arrays: Mapping[str, tuple[str, tuple[int, ...]]],
    blocks: Mapping[str, Sequence[str]],
    path: Path,
) -> dict[str, Any]:
    """All attributes of an artifact to be written, digest and seal included.

    Raises:
        ArtifactError: arrays or attributes that the kind does not allow.
    """
    own = own_attributes(attributes, path)
    complaint = kind.complaint_about_arrays(arrays) or kind.complaint_about_attributes(own)
    if complaint:
        raise ArtifactError(f"{path} cannot be written: it {complaint}")
    whole = {
        **own,
        "kind": kind.name,
        "version": kind.version,
        "digest": digest_of({name: (*arrays[name], blocks[name]) for name in arrays}),
        "history": histories.to_json(histories.unfinished(history)),
        "blocks": {name: list(blocks[name]) for name in arrays},
    }
    return {**whole, "seal": seal_of(whole)}


def own_attributes(attributes: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The caller's attributes in JSON's types; ArtifactError if JSON cannot hold them or a name is reserved."""
    for name in RESERVED:
        if name in attributes:
            raise ArtifactError(f"{path} cannot be written: the attribute {name!r} is set by the writer alone")
    own: dict[str, Any] = plain(attributes, f"{path} cannot be written: attribute")
    return own


def read(attributes: object, file: Path, path: Path, kind: str | Collection[str] | None) -> Header:
    """Check the attributes found in ``file`` of the artifact ``path``.

    Kind and version come first, because another version may define all the rest differently.

    Raises:
        ArtifactError: they are not those of an artifact, of another kind or version, or were altered.
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
        raise ArtifactError(f"{path} is {_named(schema.name)}, where {' or '.join(map(_named, kinds))} is needed")
    try:
        if not isinstance(attributes.get("digest"), str):
            raise ValueError("it has no digest")
        steps = histories.from_json(attributes.get("history"), attributes["digest"])
        blocks = _blocks(attributes.get("blocks"))
    except ValueError as error:
        raise ArtifactError(f"{file} was not written by datarobust: {error}") from error
    own = {name: value for name, value in attributes.items() if name not in RESERVED}
    complaint = schema.complaint_about_attributes(own)
    if complaint:
        raise ArtifactError(f"{file} {complaint}")
    return Header(schema, version, attributes["digest"], steps, own, blocks)


def _named(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _blocks(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not value:
        raise ValueError("it lists no blocks")
    for name, hashes in value.items():
        if not isinstance(hashes, list) or not all(isinstance(item, str) for item in hashes):
            raise ValueError(f"its list of the blocks of {name!r} is no list of hashes")
    return {name: tuple(hashes) for name, hashes in value.items()}


def confirm(header: Header, arrays: Mapping[str, tuple[str, tuple[int, ...]]], file: Path) -> None:
    """Compare the arrays that are there with the kind and with the digest.

    Raises:
        ArtifactError: they do not belong together.
    """
    complaint = header.kind.complaint_about_arrays(arrays)
    if complaint:
        raise ArtifactError(f"{file} {complaint}")
    if digest_of({name: (*arrays[name], header.blocks[name]) for name in arrays}) != header.digest:
        raise ArtifactError(f"{file} was altered (its digest does not fit its arrays): {RESTORE}")
