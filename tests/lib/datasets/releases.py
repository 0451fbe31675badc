"""Pickles as other programs write them, and small releases of CIFAR in every form, by the formats' definitions."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datarobust.datasets.sources import Source

FINE = tuple(f"fine {number}" for number in range(100))
COARSE = tuple(f"coarse {number}" for number in range(20))
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Dumps = Callable[[object], bytes]


def python3(protocol: int) -> Dumps:
    """As Python 3 writes it, with the NumPy that is here."""
    return lambda value: pickle.dumps(value, protocol)


def python2(protocol: int, *, fortran: bool = False) -> Dumps:
    """As Python 2 wrote it: every string a ``str``, arrays by the names of NumPy 1."""
    return lambda value: (b"\x80\x02" if protocol == 2 else b"") + _old(value, protocol, fortran) + b"."


def _old(value: Any, protocol: int, fortran: bool) -> bytes:
    def old(inner: Any) -> bytes:
        return _old(inner, protocol, fortran)

    match value:
        case None:
            return b"N"
        case bool():
            return b"I%02d\n" % value if protocol < 2 else (b"\x88" if value else b"\x89")
        case int():
            return b"I%d\n" % value if protocol == 0 else _small(value)
        case str():
            return old(value.encode())
        case bytes():
            return _str(value, protocol)
        case tuple():
            return b"(" + b"".join(map(old, value)) + b"t"
        case list():
            if protocol == 0:
                return b"(l" + b"".join(old(item) + b"a" for item in value)
            return b"](" + b"".join(map(old, value)) + b"e"
        case dict():
            if protocol == 0:
                return b"(d" + b"".join(old(key) + old(item) + b"s" for key, item in value.items())
            return b"}(" + b"".join(old(key) + old(item) for key, item in value.items()) + b"u"
        case np.ndarray():
            dtype = b"cnumpy\ndtype\n" + old((value.dtype.str[1:].encode(), 0, 1)) + b"R"
            order = value.dtype.str[:1].encode()
            dtype += old((3, order, None, None, None, -1, -1, 0)) + b"b"
            data = value.tobytes("F" if fortran else "C")
            state = b"(" + old(1) + old(value.shape) + dtype + old(fortran) + old(data) + b"t"
            made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + old((0,)) + old(b"b") + b"tR"
            return made + state + b"b"
    raise TypeError(type(value))


def _small(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"J" + struct.pack("<i", value)


def _str(value: bytes, protocol: int) -> bytes:
    if protocol == 0:
        return b"S" + repr(value).encode()[1:] + b"\n"
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


class Cifar:
    """Random rows of a CIFAR: five files of ``rows`` and a test file (CIFAR-10), or one and one (CIFAR-100)."""

    def __init__(self, classes: int, rows: int = 7, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.classes = classes
        self.train = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
        self.test = ["test_batch"]
        if classes == 100:
            self.train, self.test = ["train"], ["test"]
        self.images = {name: random.integers(0, 256, (rows, 3072), dtype=np.uint8) for name in self.train + self.test}
        self.labels = {name: random.integers(0, classes, rows) for name in self.images}
        self.coarse = {name: labels % 20 for name, labels in self.labels.items()}

    def rows(self, split: str = "train") -> tuple[Any, Any, Any]:
        """Images (N, 3, 32, 32), labels and coarse labels as an import should have them."""
        names = self.train if split == "train" else self.test
        images = np.concatenate([self.images[name] for name in names]).reshape(-1, 3, 32, 32)
        return (
            images,
            np.concatenate([self.labels[name] for name in names]),
            np.concatenate([self.coarse[name] for name in names]),
        )

    def python(self, dumps: Dumps) -> dict[str, bytes]:
        """The files of the python release."""
        files = {}
        for name, images in self.images.items():
            labels = self.labels[name].tolist()
            held: dict[str, Any] = {"batch_label": f"batch {name}"}
            if self.classes == 10:
                held |= {"labels": labels}
            else:
                held |= {"fine_labels": labels, "coarse_labels": self.coarse[name].tolist()}
            files[name] = dumps({**held, "data": images, "filenames": [f"{name}_{i}.png" for i in range(len(labels))]})
        if self.classes == 10:
            files["batches.meta"] = dumps({"num_cases_per_batch": 7, "label_names": list(TEN), "num_vis": 3072})
        else:
            files["meta"] = dumps({"fine_label_names": list(FINE), "coarse_label_names": list(COARSE)})
        return files

    def binary(self) -> dict[str, bytes]:
        """The files of the binary release."""
        files = {}
        for name, images in self.images.items():
            columns = [self.labels[name]] if self.classes == 10 else [self.coarse[name], self.labels[name]]
            files[f"{name}.bin"] = np.column_stack([*(c.astype(np.uint8) for c in columns), images]).tobytes()
        if self.classes == 10:
            files["batches.meta.txt"] = ("\n".join(TEN) + "\n\n").encode()
        else:
            files["fine_label_names.txt"] = ("\n".join(FINE) + "\n").encode()
            files["coarse_label_names.txt"] = ("\n".join(COARSE) + "\n").encode()
        return files


def folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """A folder of these files."""
    path.mkdir(parents=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def archive(path: Path, files: Mapping[str, bytes], top: str = "release/", mode: str = "w:gz", **options: Any) -> Path:
    """A tar archive of these files in a folder, those that are read first standing last, as in the published ones."""
    with tarfile.open(path, mode, **options) as tar:
        entry = tarfile.TarInfo(top.rstrip("/"))
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        for name, data in reversed(files.items()):
            entry = tarfile.TarInfo(top + name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def read(source: Source, start: int = 0, stop: int | None = None) -> list[Any]:
    """images, labels, index, and coarse labels where there are some."""
    blocks = list(source.blocks(start, stop))
    assert all(len(block["labels"]) <= source.spec.step for block in blocks)
    names = [source.spec.kind, "labels", "index", *(["coarse"] if source.spec.coarse else [])]
    return [np.concatenate([block[name] for block in blocks]) for name in names]
