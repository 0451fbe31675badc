"""What each path of a report is: an artifact, the folder of a run, a picture, or text."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from datarobust import artifacts
from datarobust.artifacts import Step, Store, Summary, files
from datarobust.errors import ArtifactError, DataError
from datarobust.figures.report import KINDS
from datarobust.figures.report_history import slug
from datarobust.figures.report_pictures import MOST_BYTES, Picture, looks_like, opened
from datarobust.text import shown

MOST_TEXT: Final = 16 << 20
MOST_PICTURES: Final = 64 << 20
_RECIPE, _LOG, _WEIGHTS = "recipe.json", "log.jsonl", ("best", "last")
_HEAD: Final = 1 << 12


@dataclass(frozen=True)
class Folder:
    """A run of ``advtrain`` or ``edmtrain``, as far as it is.

    Attributes:
        recipe: the content of ``recipe.json``.
        log: one mapping an epoch.
        weights: ``best`` and ``last``, those that are there.
    """

    recipe: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    weights: Mapping[str, Summary]


@dataclass(frozen=True)
class Item:
    """One of the things a report is about.

    Attributes:
        kind: of the card.
        name: of the file or folder.
        digest: of an artifact; of other files the sha256.
        history: of an artifact, oldest first.
        subject: what was read.
        anchor: identifier in the page.
    """

    kind: str
    name: str
    digest: str
    history: tuple[Step, ...]
    subject: Store | Summary | Folder | Picture | str
    anchor: str = ""

    @property
    def is_artifact(self) -> bool:
        """Whether the digest is that of an artifact."""
        return isinstance(self.subject, Store | Summary)


def read(paths: Iterable[Path]) -> list[Item]:
    """All of them, in an order and with identifiers that do not depend on the order of the paths; equal ones once.

    Raises:
        ArtifactError: an artifact or a run that is not intact.
        DataError: a file that has no place in a report, or is too large for it.
    """
    found = [_item(Path(path)) for path in paths]
    held = 0
    for one, path in zip(found, paths, strict=False):
        held += len(one.subject.content) if isinstance(one.subject, Picture) else 0
        if held > MOST_PICTURES:
            raise DataError(f"{shown(path)} is one picture too many: a page holds {MOST_PICTURES:,} bytes of pictures")
    unique: dict[tuple[Any, ...], Item] = {}
    for one in found:
        unique.setdefault((KINDS.index(one.kind), one.name, one.digest, repr(one.history)), one)
    anchored: list[Item] = []
    taken: dict[str, int] = {}
    for _, one in sorted(unique.items(), key=lambda entry: entry[0]):
        base = f"{one.kind}-{slug(one.digest[:12] or one.name)}"
        taken[base] = taken.get(base, 0) + 1
        anchored.append(replace(one, anchor=base if taken[base] == 1 else f"{base}-{taken[base]}"))
    return anchored


def _item(path: Path) -> Item:
    name = path.resolve().name
    with files.told(path, "read"):
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            return _run(path, name) if (path / _RECIPE).is_file() else _store(path, name)
        if not stat.S_ISREG(state.st_mode):
            raise DataError(
                f"{shown(path)} is no file and no folder: a report is about artifacts, runs, pictures and text"
            )
        if path.suffix == ".safetensors":
            return _weights(artifacts.peek(path), name)
        with path.open("rb") as file:
            head = file.read(_HEAD)
        kind = looks_like(head)
        limit = MOST_TEXT if kind is None else MOST_BYTES
        if state.st_size > limit:
            what = "text" if kind is None else "a picture"
            raise DataError(f"{shown(path)} has {state.st_size:,} bytes, more than the {limit:,} of {what} in a report")
        content = path.read_bytes()
    sha = hashlib.sha256(content).hexdigest()
    if kind is not None:
        return Item("picture", name, sha, (), opened(content, shown(path)))
    return Item("text", name, sha, (), _text(content, path))


def _text(content: bytes, path: Path) -> str:
    if not content.strip():
        raise DataError(f"{shown(path)} is empty: the command that writes it has failed or has not run")
    try:
        words = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        words = "\0"
    if "\0" in words:
        raise DataError(
            f"{shown(path)} is no artifact, no run, no png or svg picture and no text: a report has no place for it"
        )
    return words


def _store(path: Path, name: str) -> Item:
    store = artifacts.open_store(path)
    return Item(store.kind, name, store.digest, store.history, store)


def _weights(found: Summary, name: str) -> Item:
    return Item(found.kind, name, found.digest, found.history, found)


def _run(path: Path, name: str) -> Item:
    from datarobust.runs.folder import read_log  # brings torch along, which other reports do without

    recipe = path / _RECIPE
    if recipe.stat().st_size > MOST_TEXT:
        raise ArtifactError(f"{shown(recipe)} is too large for a recipe")
    content = recipe.read_bytes()
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{shown(recipe)} is no recipe of a training ({error})") from error
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), dict) for key in ("recipe", "arch", "inputs")
    ):
        raise ArtifactError(f"{shown(recipe)} is no recipe of a training: it lacks recipe, arch or inputs")
    log = read_log(path) if (path / _LOG).is_file() else []
    weights = {}
    for which in _WEIGHTS:
        if (file := path / f"{which}.safetensors").is_file():
            weights[which] = artifacts.peek(file)
    last = weights.get("last") or weights.get("best")
    sha = hashlib.sha256(content).hexdigest() if last is None else last.digest
    return Item("run", name, sha, () if last is None else last.history, Folder(document, log, weights))
