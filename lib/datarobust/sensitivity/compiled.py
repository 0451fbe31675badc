"""Machine code that is compiled once and kept, and thrown away whenever any source file of this package changes.

numba's own cache of a function looks at the one file the function stands in. A kernel here is made of parts from
several files, so its cache key also holds a digest of them all: an edited or upgraded package can never run
yesterday's machine code.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache


def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


SOURCES: str = _sources_digest()


_when_compiling: list[Callable[[], object]] = []


def when_compiling(notice: Callable[[], object]) -> None:
    """Call ``notice`` once, should a kernel have to be compiled: the first use on a machine takes half a minute."""
    _when_compiling[:] = [notice]


class _PackageCache(FunctionCache):  # type: ignore[misc]
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None and _when_compiling:
            _when_compiling.pop()()
        return found

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), SOURCES)


def cached(function: Callable[..., Any]) -> Any:
    """Compile ``function`` for threads that run side by side (no GIL), and keep the machine code on disk."""
    dispatcher = njit(nogil=True)(function)
    # Where no folder can be written there is no cache (NUMBA_CACHE_DIR names one): each process compiles for itself.
    with contextlib.suppress(RuntimeError):
        dispatcher._cache = _PackageCache(function)
    return dispatcher
