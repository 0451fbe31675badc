"""Looking at artifacts of any kind: what one is, whether all of it is intact, whether a request was already served."""

from __future__ import annotations

import os
from pathlib import Path

from datarobust.artifacts import durable
from datarobust.artifacts.durable import Lock
from datarobust.artifacts.headers import Summary
from datarobust.artifacts.journal import leftovers
from datarobust.artifacts.resume import Resume
from datarobust.artifacts.store import absent, open_store
from datarobust.artifacts.tensors import load_tensors, peek_tensors
from datarobust.artifacts.writer import sweep
from datarobust.errors import ArtifactError


def peek(path: Path) -> Summary:
    """What an artifact says about itself, cheaply: metadata, presence and sizes are verified, data are not read.

    Raises:
        ArtifactError: there is none at ``path``, or what was looked at is not intact.
    """
    path = Path(path)
    return open_store(path).summary() if _is_folder(path) else peek_tensors(path)


def check(path: Path) -> Summary:
    """Verify every byte of an artifact.

    Raises:
        ArtifactError: the first file that is not as it was written, and why.
    """
    path = Path(path)
    if not _is_folder(path):
        return load_tensors(path).summary
    store = open_store(path)
    store.verify()
    return store.summary()


def _is_folder(path: Path) -> bool:
    """Whether a zarr or a safetensors artifact is to be expected at ``path``; ArtifactError where there is neither."""
    with durable.os_errors(path, "read"):
        if path.is_dir():
            return True
        if not path.is_file():
            raise ArtifactError(f"{path} is no file and no folder" if path.exists() else absent(path))
    return False


def finished(path: Path, request: str) -> bool:
    """Whether ``path`` is the artifact that this very request has made: then there is nothing to do.

    Args:
        path: the output.
        request: `digests.fingerprint` of the inputs' digests and the options; tools store it as attribute ``request``.

    Returns:
        False where there is nothing, something else, or something damaged; `create` then says what is in the way.

    Raises:
        LockedError: killed runs left traces to be removed, but another process is writing ``path``.
    """
    path = Path(path)
    states = {durable.hidden(path, role) for role in ("journal", "resume")}
    if set(leftovers(path)) - states:
        with Lock(path), durable.os_errors(path):
            sweep(path)
    if not os.path.lexists(path):
        return False
    try:
        same = peek(path).attributes.get("request") == request
    except ArtifactError:
        return False
    if same and (resume := Resume(path, request)).left:  # of a run that was killed when its result was whole
        with Lock(path):
            resume.discard()
    return same
