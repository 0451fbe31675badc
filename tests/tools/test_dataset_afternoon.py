"""The afternoon of a data owner: 2,000 files with wrong labels, copies and leaks, found by name with four commands.

Its images are those of the CIFAR-10 test set, as PNG and JPEG files in a folder for each class.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NETS = """
import os, pathlib, sys
sys.path.insert(0, {root!r})
from tests.lib.evaluation import real

def net():
    return real.resnet2b(pathlib.Path(os.environ["DATAROBUST_SHARED"]))
"""


class Folder:
    """Image files in folders of classes, some of them wrong; what was done is by name."""

    def __init__(self, root: Path, shared: Path) -> None:
        with np.load(shared / "data" / "cifar10_test.npz") as data:
            self.images, self.labels, self.classes = data["x"][:2100], data["y"][:2100], data["classes"].tolist()
        self.photos, self.tests = root / "photos", root / "tests"
        self.random = np.random.default_rng(0)
        for row in range(2000):
            self.save(row)
        for row in range(2000, 2100):
            self.save(row, folder=self.tests)
        chosen = iter(self.random.permutation(2000).tolist())
        self.wrong = [self.moved(next(chosen)) for _ in range(12)]
        self.exact = [self.copied(next(chosen), other=True) for _ in range(5)]
        self.near = [self.copied(next(chosen), other=n < 5, near=True) for n in range(10)]
        self.leaks = [self.leaked(row, near=row % 2 == 1) for row in range(2000, 2010)]
        self.rotated = self.turned(next(chosen))
        self.large = self.enlarged(next(chosen))
        self.broken = "cat/broken.jpg"
        (self.photos / self.broken).write_bytes((self.photos / "cat").glob("*.jpg").__next__().read_bytes()[:300])

    def save(
        self, row: int, *, name: str = "", label: int | None = None, folder: Path | None = None, near: bool = False,
        scale: int = 1, turn: bool = False,
    ) -> str:  # fmt: skip
        """Save an image, every third as a JPEG; returns its path below the folder."""
        image = Image.fromarray(self.images[row])
        if near:
            file = io.BytesIO()
            image.point(lambda value: min(255, value + 4)).save(file, "JPEG", quality=92)
            image = Image.open(file)
        image = image.resize((32 * scale, 32 * scale))
        options: dict[str, object] = {"quality": 95}
        if turn:  # a camera that was held upright
            image, exif = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
            exif[0x0112] = 6
            options["exif"] = exif
        ending = "jpg" if row % 3 == 0 or turn else "png"
        path = f"{self.classes[self.labels[row] if label is None else label]}/{name or f'{row:05d}.{ending}'}"
        (target := (folder or self.photos) / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(target, **options)  # type: ignore[arg-type]
        return path

    def other(self, row: int) -> int:
        return int((self.labels[row] + self.random.integers(1, 10)) % 10)

    def path_of(self, row: int, folder: Path | None = None) -> str:
        [path] = (folder or self.photos).glob(f"*/{row:05d}.*")
        return path.relative_to(folder or self.photos).as_posix()

    def moved(self, row: int) -> str:
        """Move a file to a wrong class."""
        before = self.path_of(row)
        after = f"{self.classes[self.other(row)]}/{Path(before).name}"
        shutil.move(self.photos / before, self.photos / after)
        return after

    def copied(self, row: int, other: bool, near: bool = False) -> frozenset[str]:
        """Copy a file, to another class or its own, exactly or not quite."""
        before, label = self.path_of(row), self.other(row) if other else int(self.labels[row])
        if near:
            return frozenset([before, self.save(row, name=f"near-{row}.png", label=label, near=True)])
        after = f"{self.classes[label]}/copy-of-{Path(before).name}"
        shutil.copy(self.photos / before, self.photos / after)
        return frozenset([before, after])

    def leaked(self, row: int, near: bool) -> tuple[str, str]:
        """Copy a file of the tests to the photos."""
        before = self.path_of(row, self.tests)
        if near:
            return self.save(row, name=f"leak-{row}.png", near=True), before
        shutil.copy(self.tests / before, self.photos / before)
        return before, before

    def enlarged(self, row: int) -> frozenset[str]:
        """Add a copy of another size."""
        return frozenset([self.path_of(row), self.save(row, name="large.png", scale=3)])

    def turned(self, row: int) -> frozenset[str]:
        """Add a copy that is stored on its side."""
        return frozenset([self.path_of(row), self.save(row, name=f"turned-{row}.jpg", turn=True)])


@pytest.mark.timeout(300)
def test_the_afternoon_of_a_data_owner(
    command: Callable[..., subprocess.CompletedProcess[str]], shared: Path, tmp_path: Path
) -> None:
    files = Folder(tmp_path, shared)
    (tmp_path / "nets.py").write_text(NETS.format(root=str(ROOT)))
    options = ("--features", "features.zarr", "--against", "tests.zarr")
    import_ = ("dataset", "import", "--resize", "32x32", "--channels", "3")
    said = []
    for words in (
        (*import_, "photos", "--skip-broken", "-o", "photos.zarr"),
        (*import_, "tests", "-o", "tests.zarr"),
        ("dataset", "features", "photos.zarr", "--model", "nets.py:net", "-o", "features.zarr"),
        ("dataset", "issues", "photos.zarr", *options, "-o", "issues.csv"),
    ):  # fmt: skip
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert files.broken in said[0]
    found = defaultdict(list)
    with (tmp_path / "issues.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["kind"]].append((row["name"], row["other_name"]))
    pairs = {kind: {frozenset(names) for names in rows} for kind, rows in found.items()}
    assert pairs["duplicate"] == set(files.exact)
    assert pairs["near duplicate"] == {*files.near, files.rotated, files.large}
    assert set(found["leak"]) == set(files.leaks)
    suspects = [name for name, _ in found["label"]]  # the network is right on 69 % of the images
    assert len(suspects) < 140
    assert len(set(suspects) & set(files.wrong)) >= 8
    assert len(set(suspects[:25]) & set(files.wrong)) >= 4
