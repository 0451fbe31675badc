"""Readers of ours on bytes that nobody wrote: a DatarobustError or a value, whatever the bytes.

    python fuzz.py [--seconds 120] [--keep FOLDER] [TARGET...]

lets atheris (coverage-guided; ``pip install atheris``, no part of this project's environment) look for bytes that break
the promise, one reader after the other; FOLDER gets what it finds interesting, and what breaks. ``test_fuzz.py`` tries
`SEEDS`, mutations of them and the files of ``tests/data/fuzz`` without it.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Target = Callable[[bytes, Path], object]  # bytes, an empty folder


# ---------------------------------------------------------------------------------------------------------- targets


def _source(name: str, **options: Any) -> Target:
    """A file of a data set, read to its end."""

    def target(data: bytes, folder: Path) -> None:
        from datarobust.datasets.recognise import open_source

        path = folder / name
        path.write_bytes(data)
        source = open_source(str(path), **options)
        for _ in itertools.islice(source.blocks(), 50):
            pass

    return target


def _cifar_folder(data: bytes, folder: Path) -> None:
    from datarobust.datasets.recognise import open_source

    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(data)
    for _ in open_source(str(folder), format="cifar").blocks():
        pass


def _lines(data: bytes, folder: Path) -> None:
    from datarobust.datasets import linefiles
    from datarobust.errors import DatarobustError

    path = folder / ("a.npy" if data.startswith(b"\x93NUMPY") else "a.jsonl" if data.startswith(b"{") else "a.csv")
    path.write_bytes(data)
    for read in (
        lambda: linefiles.read_indices(io.BytesIO(data), "-", 9),
        lambda: linefiles.read_labels(path, 3, 4),
        lambda: linefiles.read_names(path),
        lambda: list(linefiles.read_table(path)),
    ):
        with contextlib.suppress(DatarobustError):
            read()


def _pickle(data: bytes, folder: Path) -> None:
    from datarobust.datasets import unpickle
    from datarobust.datasets.files import raw_file

    path = folder / "p"
    path.write_bytes(data)
    value = unpickle.load(raw_file(path))
    for each in value.values() if isinstance(value, dict) else [value]:
        unpickle.array_of(each, "p")


def _tar(data: bytes, folder: Path) -> None:
    from datarobust.datasets.files import tar_files

    path = folder / "a.tar"
    path.write_bytes(data)
    for raw in tar_files(path).values():
        with raw.open() as file:
            file.read()


def _torch(data: bytes, folder: Path) -> None:
    from datarobust.checkpoints.torchfiles import read_checkpoint

    path = folder / "w.pt"
    path.write_bytes(data)
    read_checkpoint(path)


def _edm(data: bytes, folder: Path) -> None:
    from datarobust.checkpoints.edm import read_edm_pickle

    path = folder / "e.pkl"
    path.write_bytes(data)
    read_edm_pickle(path)


def _tensors(data: bytes, folder: Path) -> None:
    from datarobust.artifacts import load_tensors

    path = folder / "m.safetensors"
    path.write_bytes(data)
    load_tensors(path)


def _store(data: bytes, folder: Path) -> None:
    """The first byte says which file of a store the others replace."""
    from datarobust import artifacts

    path = _small_store(folder / "d.zarr")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    files[data[0] % len(files) if data else 0].write_bytes(data[1:])
    artifacts.check(path)


def _sealed(data: bytes, folder: Path) -> None:
    """A head that is spelled and sealed as it should be, whatever it says."""
    from datarobust import artifacts
    from datarobust.artifacts.history import parse, pretty, seal_of

    try:
        document = parse(data)
        attributes = document["attributes"]
        attributes["seal"] = seal_of(attributes)
        text = pretty(document)
    except (ValueError, TypeError, LookupError, AttributeError):
        return
    path = _small_store(folder / "d.zarr")
    (path / "zarr.json").write_bytes(text)
    artifacts.check(path)


def _state(data: bytes, folder: Path) -> None:
    from datarobust.artifacts import Resume

    (folder / ".o.resume").write_bytes(data)
    Resume(folder / "o", "key").load()


def _run(data: bytes, folder: Path) -> None:
    from datarobust.artifacts import runs
    from datarobust.errors import DatarobustError
    from datarobust.figures import charts

    for name in ("recipe.json", "log.jsonl"):
        (folder / name).write_bytes(data)
    for read in (runs.recorded, runs.open_run, lambda run: charts.course("r", runs.read_log(run), "r")):
        with contextlib.suppress(DatarobustError):
            read(folder)


def _search(data: bytes, folder: Path) -> None:
    from datarobust.figures import charts
    from datarobust.jobs.clone_search import gather
    from datarobust.jobs.make import first_line

    path = folder / "s.jsonl"
    path.write_bytes(data)
    first_line(path)
    _, points, results = gather([path])
    for _ in charts.table_of_search(points, results):
        pass


def _table(data: bytes, folder: Path) -> None:
    """A table of findings, drawn; the first byte says in which format."""
    from datarobust import artifacts
    from datarobust.jobs import figure

    path = folder / f"a.{('csv', 'tsv', 'jsonl')[data[0] % 3 if data else 0]}"
    path.write_bytes(data[1:])
    figure.gallery(artifacts.open_store(_small_store(folder / "d.zarr")), path, None, (), 9)


def _report(data: bytes, folder: Path) -> None:
    """A page about a file; the first byte says which name it has."""
    from datarobust.figures import report

    path = folder / f"a.{('csv', 'tsv', 'json', 'md', 'txt', 'png', 'svg')[data[0] % 7 if data else 0]}"
    path.write_bytes(data[1:])
    report.page("page", *report.collect([path]), "0")


def _selection(data: bytes, folder: Path) -> None:
    from datarobust import selection

    text = data.decode("utf-8", "surrogateescape").replace("\0", "")
    store = _small_store(folder / "d.zarr")
    from datarobust import artifacts

    selection.choose(text, artifacts.open_store(store), io.BytesIO(data))


TARGETS: dict[str, Target] = {
    "pickle": _pickle,
    "cifar": _cifar_folder,
    "ti500k": _source("a.pickle", format="ti500k"),
    "npz": _source("a.npz"),
    "idx": _source("a-images-idx3-ubyte"),
    "parquet": _source("a.parquet"),
    "tar": _tar,
    "lines": _lines,
    "selection": _selection,
    "torch": _torch,
    "edm": _edm,
    "safetensors": _tensors,
    "zarr": _store,
    "zarr, sealed": _sealed,
    "state": _state,
    "run": _run,
    "search": _search,
    "table": _table,
    "report": _report,
    "zip": _source("a.zip"),
}


def _small_store(path: Path) -> Path:
    """A dataset of a few points; its files are written from memory."""
    if not _STORE:
        import numpy as np

        from datarobust import artifacts

        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "d.zarr"
            columns = {"images": ("uint8", (1, 2, 2)), "labels": ("int64", ()), "index": ("int64", ())}
            attributes = {"name": "small", "classes": ["a", "b"]}
            step = artifacts.Step("made", (), "0")
            with artifacts.create(made, "dataset", columns, attributes=attributes, history=[step]) as writer:
                writer.append("images", np.arange(20, dtype=np.uint8).reshape(5, 1, 2, 2))
                writer.append("labels", np.arange(5) % 2)
                writer.append("index", np.arange(5))
            for file in made.rglob("*"):
                if file.is_file():
                    _STORE[str(file.relative_to(made))] = file.read_bytes()
    for name, data in _STORE.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


_STORE: dict[str, bytes] = {}


def attempt(name: str, data: bytes, folder: Path) -> str | None:
    """Where a reader breaks the promise on these bytes: the exception and its place; None where it keeps it."""
    from datarobust.errors import DatarobustError

    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        TARGETS[name](data, place)
    except DatarobustError:
        return None
    except Exception as error:  # noqa: BLE001 - that is the question
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "datarobust" in frame.filename]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        return f"{type(error).__name__} at {where}: {str(error)[:150]}"
    finally:
        shutil.rmtree(place)
    return None


# ------------------------------------------------------------------------------------------------------------ seeds


def seeds(name: str) -> Iterator[bytes]:
    """Valid bytes for a reader, from which mutations begin."""
    import numpy as np
    from PIL import Image

    images = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    batch = {b"data": images, b"labels": [0, 1], b"batch_label": b"x", b"filenames": [b"a.png", b"b.png"]}
    match name:
        case "pickle" | "cifar":
            for protocol in (0, 2, 4):
                yield pickle.dumps({**batch, b"fine_labels": [1, 2], b"coarse_labels": np.array([1, 2])}, protocol)
            yield pickle.dumps({"a": np.array(["ab", "c"]), "b": np.arange(3.0), "c": np.float32(2)}, 2)
        case "ti500k":
            yield pickle.dumps({"data": images.reshape(2, 32, 32, 3), "extrapolated_targets": np.array([1, 2])}, 3)
        case "npz":
            for save in (np.savez, np.savez_compressed):
                file = io.BytesIO()
                save(file, x=images[:, :48].reshape(2, 4, 4, 3), y=np.array([0, 1]), classes=np.array(["a", "b"]))
                yield file.getvalue()
        case "idx":
            yield b"\0\0\x08\3\0\0\0\2\0\0\0\2\0\0\0\2" + bytes(8)
            yield gzip.compress(b"\0\0\x08\3\0\0\0\2\0\0\0\2\0\0\0\2" + bytes(8))
        case "parquet":
            import pyarrow
            from pyarrow import parquet

            file = io.BytesIO()
            Image.fromarray(images[0, :48].reshape(4, 4, 3)).save(file, "PNG")
            rows = [{"bytes": file.getvalue(), "path": "a.png"}] * 2
            for compression in ("snappy", "none"):
                file = io.BytesIO()
                table = pyarrow.table({"image": rows, "label": [0, 1]})
                parquet.write_table(table, file, compression=compression)
                yield file.getvalue()
        case "tar":
            for mode in ("w", "w:gz"):
                file = io.BytesIO()
                with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
                    for member in ("a/data_batch_1", "a/readme.html"):
                        entry = tarfile.TarInfo(member)
                        entry.size = 5
                        archive.addfile(entry, io.BytesIO(b"12345"))
                yield file.getvalue()
        case "lines":
            file = io.BytesIO()
            np.save(file, np.array([0, 1, 2]))
            yield from (file.getvalue(), b"0\n1\n2\n", b"# x\ncat\ndog\n", b"file_name,label\na.png,cat\n")
            yield b'{"file_name": "a", "label": 3}\n'
        case "selection":
            yield from (b"first:2", b"random:2:7", b"!r.zarr:least:3", b"-", b"0\n3\n", b"d.zarr:most:1")
        case "torch":
            import torch

            file = io.BytesIO()
            torch.save(
                {"state_dict": {"conv1.weight": torch.zeros(2, 3, 3, 3), "linear.weight": torch.ones(2, 4)}}, file
            )
            yield file.getvalue()
            file = io.BytesIO()
            torch.save({"a": torch.zeros(2)}, file, _use_new_zipfile_serialization=False)
            yield file.getvalue()
        case "edm":
            yield pickle.dumps({"ema": 1, "loss_fn": None}, 4)
            yield b"\x80\x04\x95\x20\0\0\0\0\0\0\0}\x94\x8c\x03ema\x94\x8c\x20torch_utils.persistence\x94s."
        case "safetensors":
            from datarobust import artifacts

            with tempfile.TemporaryDirectory() as place:
                path = Path(place) / "m.safetensors"
                about = {"arch": {"name": "wrn-10-1", "arguments": {}}, "weights": "last"}
                arrays = {"a": np.zeros((2, 2), np.float32), "b": np.array([True])}
                artifacts.save_tensors(
                    path, "classifier", arrays, attributes=about, history=[artifacts.Step("m", (), "0")]
                )
                yield path.read_bytes()
        case "zarr" | "zarr, sealed":
            with tempfile.TemporaryDirectory() as place:
                path = _small_store(Path(place) / "d.zarr")
                files = sorted(file for file in path.rglob("*") if file.is_file())
                if name == "zarr":
                    yield from (bytes([number]) + file.read_bytes() for number, file in enumerate(files))
                else:
                    yield (path / "zarr.json").read_bytes()
        case "state":
            from datarobust.artifacts import Resume

            with tempfile.TemporaryDirectory() as place:
                Resume(Path(place) / "o", "key").save({"a": np.arange(3), "b": 2.5})
                yield (Path(place) / ".o.resume").read_bytes()
        case "run":
            yield b'{"epoch": 1, "loss": 0.5, "tracked_accuracy": 0.5}\n{"epoch": 2, "loss": 0.25}\n'
            yield b'{"request": "ab", "recipe": {"epochs": 1}, "arch": {}, "inputs": {}}\n'
        case "search":
            first = {"request": "ab", "grid": {"rho": [1.5, 2.0], "S_max": [None]}, "features": "pixels"}
            line = {"point": 1, "seed": 0, "images": 4, "score": 0.5, "l2": 1.0, "linf": 0.1}
            yield json.dumps(first).encode() + b"\n" + json.dumps(line).encode() + b"\n"
        case "table":
            from datarobust.jobs.issues import COLUMNS

            row = dict.fromkeys(COLUMNS) | {"kind": "duplicate", "score": 0.5, "index": 1, "label": 1}
            row |= {"other_index": 3, "other_label": 1}
            yield b"\2" + json.dumps(row).encode() + b"\n"
            for number, space in enumerate(",\t"):
                cells = ("" if value is None else str(value) for value in row.values())
                yield bytes([number]) + f"{space.join(row)}\n{space.join(cells)}\n".encode()
        case "report":
            yield b"\0kind,score,index\nduplicate,0.5,1\nlabel,0.25,2\n"
            yield b"\1point\tdistance\n0\t0.123456789012\n1\tinf\n"
            yield b'\2{"a": 0.5, "b": {"c": [1, 2]}}\n{"a": 1e300, "b": null}\n'
            yield b"\3# Title\n\n| a | b |\n| --- | --- |\n| 1 | `x` |\n\n- one\n- [two](x)\n"
            yield b'\6<svg xmlns="http://www.w3.org/2000/svg" width="2in" height="9pt" viewBox="0 0 5 5"/>'
            file = io.BytesIO()
            Image.fromarray(images[0, :48].reshape(4, 4, 3)).save(file, "PNG", dpi=(200, 200))
            yield b"\5" + file.getvalue()
        case "zip":
            file = io.BytesIO()
            Image.fromarray(images[0, :48].reshape(4, 4, 3)).save(file, "PNG")
            for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                packed = io.BytesIO()
                with zipfile.ZipFile(packed, "w", compression) as archive:
                    archive.writestr("x/cat/a.png", file.getvalue())
                    archive.writestr("x/dog/b.png", file.getvalue())
                yield packed.getvalue()


def mutations(data: bytes, count: int, salt: int) -> Iterator[bytes]:
    """The bytes after a few random changes, the same in every run: flips, cuts, copies, numbers at their limits."""
    import numpy as np

    random = np.random.default_rng([salt, len(data)])
    limits = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        b"-1",
        b"1" + b"0" * 30,
        b"NaN",
        b"[" * 5000,  # beyond what Python's reader of JSON follows
        b"\x80",
    ]
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(int(random.integers(1, 4))):
            place = int(random.integers(0, len(changed) + 1))
            length = int(random.integers(1, 17))
            match int(random.integers(0, 5)):
                case 0 if changed:
                    changed[place % len(changed)] ^= 1 << int(random.integers(0, 8))
                case 1:
                    del changed[place : place + length]
                case 2:
                    changed[place:place] = changed[place : place + length]
                case 3:
                    limit = limits[int(random.integers(0, len(limits)))]
                    changed[place : place + len(limit)] = limit
                case _:
                    del changed[max(place, len(changed) // 8) :]
        yield bytes(changed)


# --------------------------------------------------------------------------------------------------------- atheris


def fuzz(name: str, seconds: int, keep: Path) -> None:
    """Look for bytes that break the promise; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["datarobust"], enable_loader_override=False):
        import datarobust.artifacts.runs
        import datarobust.artifacts.store
        import datarobust.checkpoints.edm
        import datarobust.checkpoints.torchfiles
        import datarobust.datasets.recognise
        import datarobust.figures.report
        import datarobust.jobs.clone_search
        import datarobust.jobs.figure
        import datarobust.selection  # noqa: F401
    slug = re.sub(r"\W+", "-", name)
    corpus = keep / slug
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    work = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    broken: set[str] = set()
    count, start = 0, time.monotonic()

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        began = time.monotonic()
        wrong = attempt(name, data, work)
        if wrong is None and time.monotonic() - began > 5:
            wrong = "slow"
        kind = wrong and wrong.partition(": ")[0]
        if kind and kind not in broken:
            broken.add(kind)
            (keep / f"broken-{slug}-{len(broken)}").write_bytes(data)
            print(f"BROKEN {name}: {wrong}", flush=True)
        if time.monotonic() - start > seconds:
            print(f"| {name} | {time.monotonic() - start:.0f} s | {count:,} | {len(broken)} |", flush=True)
            os._exit(0)

    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    atheris.Setup([sys.argv[0], str(corpus), "-verbosity=0", "-rss_limit_mb=4000", "-max_len=20000"], one)
    atheris.Fuzz()


def main() -> None:
    """Each target in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--keep", type=Path, default=Path("fuzz"))
    options = parser.parse_args()
    if len(options.targets) == 1:
        fuzz(options.targets[0], options.seconds, options.keep)
    for name in options.targets or TARGETS:
        words = [sys.executable, __file__, "--seconds", str(options.seconds), "--keep", options.keep, name]
        subprocess.run(words, check=False)


if __name__ == "__main__":
    main()
