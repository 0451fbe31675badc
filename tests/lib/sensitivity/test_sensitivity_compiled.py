"""Machine code is kept for as long as no source file of the package changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from numba.core import types

from datarobust.sensitivity import compiled
from datarobust.sensitivity.compiled import cached
from datarobust.sensitivity.kernels import match


def answer(x):  # type: ignore[no-untyped-def]
    return x + 42


def test_the_key_of_the_cache_holds_the_digest_of_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    function = cached(answer)
    signature = types.int64(types.int64)
    codegen = function.targetctx.codegen()
    key = function._cache._index_key(signature, codegen)
    assert compiled.SOURCES in key
    assert function._cache._index_key(signature, codegen) == key
    monkeypatch.setattr(compiled, "SOURCES", "0" * 64)
    assert function._cache._index_key(signature, codegen) != key


def test_the_digest_is_that_of_every_source_file() -> None:
    folder = Path(compiled.__file__).parent
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))))
    assert digest.hexdigest() == compiled.SOURCES


def test_an_edited_package_compiles_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "thing.py"
    source.write_text("def thing(x):\n    return x * 3\n", encoding="utf-8")
    namespace: dict[str, object] = {}
    exec(compile(source.read_text(encoding="utf-8"), source, "exec"), namespace)
    for hits, sources in ((0, "a"), (1, "a"), (0, "b"), (1, "b")):
        monkeypatch.setattr(compiled, "SOURCES", sources)
        function = cached(namespace["thing"])  # type: ignore[arg-type]
        assert function(14) == 42
        assert sum(function.stats.cache_hits.values()) == hits


def test_kernels_run_side_by_side() -> None:
    assert match.targetoptions["nogil"]
