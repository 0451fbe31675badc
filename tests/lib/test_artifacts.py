"""The contract of ARTIFACTS.md, as a stranger would use it: only from what is written there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from datarobust import artifacts
from datarobust.artifacts import KINDS
from datarobust.errors import ArtifactError

COLUMNS = {"features": ("float32", (5,)), "labels": ("int64", ()), "index": ("int64", ())}
STEP = artifacts.Step("dataset features", ("c10.zarr",), "0.1.0", 3, "cpu, 2 threads", {"dataset": "0" * 64})


def write(path: Path, rows: int = 40_000, **options: Any) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {
        "features": np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32),
        "labels": np.arange(rows) % 7,
        "index": np.arange(rows)[::-1].copy(),
    }
    attributes = {"name": "é\u2028\x1b", "classes": ["a", "\ud800"], "rate": 0.1, "big": 2**70}
    attributes |= {"list": [1, 2.5, None, True]}
    with artifacts.create(path, "dataset", COLUMNS, attributes=attributes, history=[STEP], **options) as writer:
        for name, array in arrays.items():
            writer.append(name, array[writer.done(name) :])
    return arrays


def stranger(path: Path) -> str:
    """The digest of a zarr artifact, computed with the code in ARTIFACTS.md."""
    text = (Path(__file__).parents[2] / "ARTIFACTS.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?# recompute.*?)```", text, re.DOTALL)
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_stranger_can_verify_a_store(tmp_path: Path) -> None:
    arrays = write(tmp_path / "d.zarr")
    assert stranger(tmp_path / "d.zarr") == artifacts.check(tmp_path / "d.zarr").digest
    group = zarr.open_group(tmp_path / "d.zarr", mode="r", zarr_format=3)
    for name, array in arrays.items():
        np.testing.assert_array_equal(group[name][:], array)  # type: ignore[index]


def test_attributes_and_history_come_back_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "d.zarr")
    store = artifacts.open_store(tmp_path / "d.zarr")
    assert store.attributes == {
        "name": "é\u2028\x1b",
        "classes": ["a", "\ud800"],
        "rate": 0.1,
        "big": 2**70,
        "list": [1, 2.5, None, True],
    }
    assert store.history == (replace(STEP, output=store.digest),)
    assert json.loads(json.dumps(artifacts.as_json(store.summary)))["history"][0]["argv"] == ["c10.zarr"]


def test_every_kind_is_documented() -> None:
    text = (Path(__file__).parents[2] / "ARTIFACTS.md").read_text(encoding="utf-8")
    for kind in KINDS.values():
        (section,) = re.findall(
            rf"^{kind.name} +version {kind.version}\b.*?(?=\n\n|```)", text, re.DOTALL | re.MULTILINE
        )
        for name, field in kind.fields.items():
            shape = re.escape("(" + ", ".join(field.dims) + ")")
            needed = "one of" if name in kind.one_of else "required" if name in kind.required else "optional"
            assert re.search(rf"── {name} +{' or '.join(field.dtypes)} +{shape} +{needed}", section), (kind.name, name)
        for name, attribute in {**kind.attributes, **kind.optional_attributes}.items():
            needed = "required" if name in kind.attributes else "optional"
            null = " or null" if attribute.null else ""
            words = " or ".join(attribute.choices) or attribute.type
            assert re.search(rf"── @{name} +{words}{null} +{needed}", section), (kind.name, name)
        entries = (kind.required, kind.optional, kind.attributes, kind.optional_attributes)
        assert section.count("── ") == sum(map(len, entries)), kind.name


def test_the_same_work_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr")
    time.sleep(0.01)
    write(tmp_path / "b.zarr")
    for file in (tmp_path / "a.zarr").rglob("*"):
        twin = tmp_path / "b.zarr" / file.relative_to(tmp_path / "a.zarr")
        assert file.is_dir() or file.read_bytes() == twin.read_bytes()


def test_kill_at_random_moments_and_go_on(tmp_path: Path) -> None:
    """Real processes, real signals: the same work until it succeeds."""
    started = time.monotonic()
    write(tmp_path / "reference.zarr", rows=600_000)  # two blocks of features
    whole = time.monotonic() - started
    random, path = np.random.default_rng(7), tmp_path / "d.zarr"
    for kill in (True,) * 6 + (False,):
        process = os.fork()
        if process == 0:
            try:
                write(path, rows=600_000, resume_key="k")
            finally:
                os._exit(0)
        if kill:
            time.sleep(whole * random.random())
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        if path.exists():
            break
    assert artifacts.check(path).digest == artifacts.check(tmp_path / "reference.zarr").digest
    hashes = [
        {
            str(file.relative_to(top)): hashlib.sha256(file.read_bytes()).digest()
            for file in top.rglob("*")
            if file.is_file()
        }
        for top in (path, tmp_path / "reference.zarr")
    ]
    assert hashes[0] == hashes[1]
    assert artifacts.finished(path, "nothing") is False
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d.zarr", "reference.zarr"]


def test_importing_is_cheap() -> None:
    code = "import datarobust.artifacts, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "zarr", "safetensors", "pydantic", "rich", "scipy"} & set(loaded)


def test_memory_is_bounded_while_streaming(tmp_path: Path) -> None:
    """250 MB are written and read in blocks with at most 150 MB more than the interpreter has."""
    code = f"""
import re
from pathlib import Path
import numpy as np
from datarobust import artifacts
status = lambda name: int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
used = status("VmRSS")
rows = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), dtype=np.uint8)
path = Path({str(tmp_path / "d.zarr")!r})
columns = {{"images": ("uint8", (3, 64, 64)), "labels": ("int64", ()), "index": ("int64", ())}}
with artifacts.create(path, "dataset", columns, attributes={{"name": "", "classes": []}}, history=[]) as writer:
    for start in range(0, 20_000, 1000):
        writer.append("images", rows)
        writer.append("labels", np.zeros(1000, np.int64))
        writer.append("index", np.arange(start, start + 1000))
total = sum(len(part) for _, part in artifacts.open_store(path).column("images").blocks())
artifacts.check(path)
print(total, (status("VmHWM") - used) >> 10)
"""
    total, more = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert int(total) == 20_000
    assert int(more) < 150


def test_a_reader_needs_no_right_to_write(tmp_path: Path) -> None:
    """Who may only read, reads and checks everything; and is told that nothing can be written."""
    write(tmp_path / "d.zarr", rows=10)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555)
    artifacts.check(tmp_path / "d.zarr")
    assert artifacts.open_store(tmp_path / "d.zarr").column("labels").read().size == 10
    assert not artifacts.finished(tmp_path / "d.zarr", "x")
    with pytest.raises(ArtifactError, match="permission denied"):
        write(tmp_path / "e.zarr", rows=10)


def test_huge_claims_are_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path / "d.zarr", rows=10)
    file = tmp_path / "d.zarr" / "features" / "zarr.json"
    file.write_text(file.read_text().replace("10,", f"{10**15},", 1))
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match=r"features/zarr\.json"):
        artifacts.open_store(tmp_path / "d.zarr")
    assert time.monotonic() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
