"""Artifacts of which one file is damaged, and the commands that use them: refused by name, or the same result.

`SUBJECTS` are artifacts that `faults.prepare` makes, each with the command that consumes it; `HARMS` is what may happen
to a file. `trial` is the promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts.history import canonical, pretty, seal_of
from datarobust.errors import ArtifactError

from .faults import Bench, contents


@dataclass(frozen=True)
class Subject:
    """An artifact ``x``, another one of its kind, and the command that uses it."""

    name: str
    other: str | None  # None: a file is the whole artifact, so another one is no damage
    line: str
    sealed: bool = True  # whether a checksum covers every byte that is read


SUBJECTS = {
    "dataset": Subject("d.zarr", "k1.zarr", "sens-rank x -q"),
    "ranking": Subject("r.zarr", "r2.zarr", "figure sensitivity x -o o.svg --tsv o.tsv"),
    "ranking, selected from": Subject("r.zarr", "r2.zarr", "dataset subset ../in/d.zarr --select x:least:5 -o o.zarr"),
    "ranking-part": Subject("part-0.zarr", "part-1.zarr", "artifact merge x ../in/part-1.zarr -o o.zarr"),
    "clones": Subject("k.zarr", "k2.zarr", "fid ../in/d.zarr x --features pixels -o o.json"),
    "moments": Subject("m.zarr", "m2.zarr", "fid x ../in/k.zarr --features pixels -o o.json"),
    "embedding": Subject("e.zarr", "e2.zarr", "figure map x -o o.svg --tsv o.tsv"),
    "evaluation": Subject("a.zarr", "a2.zarr", "aacompare x ../in/a.zarr"),
    "ranking, drawn": Subject("r.zarr", "r2.zarr", "figure gallery ../in/d.zarr x -o o.html"),
    "evaluation, reported": Subject("a.zarr", "a2.zarr", "figure report ../in/d.zarr x -o o.html"),
    "clones, drawn": Subject("k.zarr", "k2.zarr", "figure clones ../in/d.zarr x -o o.svg --tsv o.tsv"),
    "classifier": Subject("run/last.safetensors", None, "dataset relabel ../in/d.zarr --model x -o o.zarr"),
    "denoiser": Subject(
        "denoiser/last.safetensors", None, "clone ../in/d.zarr --model x --num-steps 2 --limit 2 -o o.zarr"
    ),
    "run": Subject("run", None, "figure training x -o o.svg --tsv o.tsv", sealed=False),
    "published": Subject("exported/weights.pt", None, "model import x --normalise none -o o.safetensors", sealed=False),
}
OTHERS = [
    "dataset import digits --limit 24 --shuffle 1 -o d2.zarr",
    "clone d.zarr --model denoiser/last.safetensors --num-steps 2 -o k1.zarr",
    "clone d.zarr --model denoiser/last.safetensors --num-steps 2 --limit 6 --seed 1 -o k2.zarr",
    "sens-rank d2.zarr --norm linf -o r2.zarr",
    "fid d2.zarr --limit 20 --features pixels --save-moments m2.zarr",
    "embed d2.zarr --ranking r2.zarr --n 10 -o e2.zarr",
    "aaeval d.zarr run/last.safetensors --attacks apgd-ce --iterations 2 --select first:5 --adversarial -o a2.zarr",
]


def prepare(bench: Bench) -> None:
    """Make other artifacts beside those of `faults.prepare`."""
    for line in OTHERS:
        name, *words = line.split()
        words = [bench.quick / name, *words, "-q"]
        done = subprocess.run(words, cwd=bench.folder / "in", capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)


# ----------------------------------------------------------------------------------------------------------- harms


def _flip(file: Path, other: Path | None, number: int) -> bool:
    data = bytearray(file.read_bytes())
    if data:
        place = (number * 2654435761) % (8 * len(data))
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(data)
    return bool(data)


def _truncate(file: Path, other: Path | None, number: int) -> bool:
    size = file.stat().st_size
    os.truncate(file, size * (1 + number % 7) // 8)
    return size > 0


def _empty(file: Path, other: Path | None, number: int) -> bool:
    os.truncate(file, 0)
    return True


def _delete(file: Path, other: Path | None, number: int) -> bool:
    file.unlink()
    return True


def _swap(file: Path, other: Path | None, number: int) -> bool:
    """Two parts of the file change places."""
    data = file.read_bytes()
    half = len(data) // 2
    changed = data[half : 2 * half] + data[:half] + data[2 * half :]
    file.write_bytes(changed)
    return changed != data


def _another(file: Path, other: Path | None, number: int) -> bool:
    """The file of another artifact of this kind takes its place."""
    if other is None or not other.is_file() or other.read_bytes() == file.read_bytes():
        return False
    shutil.copyfile(other, file)
    return True


def _future(file: Path, other: Path | None, number: int) -> bool:
    """The artifact is of a version that does not exist yet, and sealed as that."""
    return _with_head(file, lambda attributes: {**attributes, "version": 99})


def _forge(file: Path, other: Path | None, number: int) -> bool:
    """Something else stands somewhere in the attributes, or nothing, and they are sealed as they should be."""

    def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        keys = list(value) if isinstance(value, dict) else range(min(len(value), 2)) if isinstance(value, list) else ()
        for key in keys:
            yield (*above, key)
            yield from places(value[key], (*above, key))

    def forged(attributes: dict[str, Any]) -> dict[str, Any]:
        every = [place for place in places(attributes) if place != ("seal",)]
        *above, last = every[number * 2654435761 % len(every)]
        inner: Any = attributes
        for key in above:
            inner = inner[key]
        values: tuple[object, ...] = (None, True, "x", [], {}, [[1]], 10**30, -1)
        if (choice := number % (len(values) + 1)) < len(values):
            inner[last] = values[choice]
        else:
            del inner[last]
        return attributes

    return _with_head(file, forged)


def _strange(file: Path, other: Path | None, number: int) -> bool:
    """The arrays of a store have a number somewhere, or everywhere, that nobody expects, written as it should be."""
    if file.name != "zarr.json" or file.parent.name != "x":
        return False
    store = artifacts.open_store(file.parent)
    arrays = {name: store.column(name).read() for name in store.names()}
    values = [
        (name, value)
        for name, array in arrays.items()
        for value in {"f": (np.nan, np.inf, -np.inf, 1e300), "i": (10**6, 2**63 - 1)}.get(array.dtype.kind, ())
    ]
    name, value = values[number // 2 % len(values)]
    flat = arrays[name].reshape(-1)
    with np.errstate(over="ignore"):  # float32 makes it infinite
        flat[slice(None) if number % 2 else number % flat.size] = value
    columns = {name: (array.dtype.name, array.shape[1:]) for name, array in arrays.items()}
    shutil.rmtree(file.parent)
    with (
        contextlib.suppress(ArtifactError),
        artifacts.create(  # below 0: it is not written
            store.path, store.kind, columns, attributes=store.attributes, history=store.history
        ) as writer,
    ):
        for name, array in arrays.items():
            writer.append(name, array)
    return file.exists()


def _with_head(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
    """Change the attributes in a head and seal them; False where the file has no head."""

    def sealed(attributes: dict[str, Any]) -> dict[str, Any]:
        changed = change(attributes)
        return {**changed, "seal": seal_of(changed)}

    data = file.read_bytes()
    if file.suffix == ".safetensors":
        length = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + length])
        attributes = sealed(json.loads(head["__metadata__"]["datarobust"]))
        head["__metadata__"]["datarobust"] = canonical(attributes).decode()
        text = json.dumps(head, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        return True
    document = json.loads(data) if file.name == "zarr.json" else {}
    if document.get("node_type") != "group":
        return False
    document["attributes"] = sealed(document["attributes"])
    file.write_bytes(pretty(document))
    return True


def _link(file: Path, other: Path | None, number: int) -> bool:
    """A link to the very same bytes takes its place."""
    away = file.with_name("away")
    away = file.parents[1] / "away" if file.parent.name == "x" else away
    file.rename(away)
    file.symlink_to(away)
    return True


HARMS: dict[str, Callable[[Path, Path | None, int], bool]] = {
    "flip": _flip,
    "truncate": _truncate,
    "empty": _empty,
    "delete": _delete,
    "swap": _swap,
    "another": _another,
    "future": _future,
    "link": _link,
    "forge": _forge,
    "strange": _strange,
}
SEALED = {"forge": 40, "strange": 20}  # times in each head: another place, and another value


# --------------------------------------------------------------------------------------------------------- promise


@dataclass(frozen=True)
class Whole:
    """What a command gives of an artifact that is whole."""

    stdout: str
    outputs: dict[str, str]


def files(bench: Bench, subject: Subject) -> list[Path]:
    """The files of an artifact, by their place in it."""
    path = bench.folder / "in" / subject.name
    return sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file()) if path.is_dir() else [Path()]


def _used(
    bench: Bench, subject: Subject, harm: Callable[[Path], bool]
) -> tuple[Path, subprocess.CompletedProcess[str]] | None:
    folder, source = bench.fresh("harmed"), bench.folder / "in" / subject.name
    # A single file keeps the ending that tells what it is.
    copy = folder / f"x{'' if source.is_dir() else source.suffix}"
    shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy)
    if not harm(copy):
        return None
    name, *words = subject.line.replace(" x", f" {copy.name}").split()
    words = [str(bench.quick / name), *words]
    return folder, subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def undisturbed(bench: Bench, name: str) -> Whole:
    """What the command gives where nothing is damaged."""
    used = _used(bench, SUBJECTS[name], lambda _: True)
    assert used is not None
    folder, done = used
    assert done.returncode == 0, (name, done.stderr)
    return Whole(done.stdout, _outputs(folder))


def trial(bench: Bench, name: str, file: Path, harm: str, number: int, whole: Whole) -> str | None:
    """What is wrong after a file was damaged and used; None if nothing is, "" if it was not damaged."""
    subject = SUBJECTS[name]
    other = None if subject.other is None else bench.folder / "in" / subject.other / file
    used = _used(bench, subject, lambda path: HARMS[harm](path / file, other, number))
    if used is None:
        return ""
    folder, done = used
    if harm in SEALED and done.returncode == 2:  # it asks for another option
        return None if "Traceback" not in done.stderr else f"exit code 2: {done.stderr[-600:]}"
    if "Traceback" in done.stderr or done.returncode not in (0, 1):
        return f"exit code {done.returncode}: {done.stderr[-600:]}"
    if done.returncode == 1:
        lines = [line for line in done.stderr.splitlines() if ": error: " in line]
        if len(lines) != 1 or done.stdout:
            return f"not one sentence: {done.stderr[-600:]}"
        if not any(word in lines[0] for word in ("x/", "x.", " x ", "x:", "'x'")):
            return f"does not say where: {lines[0]}"
        return None if not _outputs(folder) else "refused, but there is an output"
    if harm in SEALED:  # it may be an artifact of its own
        return None
    if harm == "future" and subject.sealed:
        return "read, although it is of a version that is not known"
    if subject.sealed and (done.stdout, _outputs(folder)) != (whole.stdout, whole.outputs):
        return "another result, and not a word"
    return None


def _outputs(folder: Path) -> dict[str, str]:
    return contents(folder, "o.*")


def trials(bench: Bench, name: str) -> Iterator[tuple[Path, str]]:
    """Every file of an artifact, and every harm."""
    for file in files(bench, SUBJECTS[name]):
        for harm in HARMS:
            head = file in (Path(), Path("zarr.json"))
            yield from [(file, harm)] * (SEALED.get(harm, 1) if head else 1)
