"""The recipes of examples/: sane when make only says what it would do, and run at small scale on sets of that shape."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts

ROOT = Path(__file__).resolve().parent.parent
MAPS = ("figure6", "figure17")  # test_examples_maps.py runs them
RECIPES = ("figure2", "figure4", "figure5", "figure16", *MAPS, "claims")
RUN = [recipe for recipe in RECIPES if recipe not in MAPS]
TRAININGS = ("glitch", "figure1", "table2", "table3", "table4")  # their tests are in test_examples_training.py
CLONINGS = ("figure3", "table1", "small", "mnist-denoiser")  # in test_examples_cloning.py, test_examples_small.py
DIGITS = ("digits-clones", "digits-focus", "digits-maps")
COMMAND = re.compile(r"(?:dataset|sens-rank|embed|figure|awk|sort) ")
Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def make(quick: Path) -> Make:
    """Run make in examples/ as a user would: ``make("figure2", DATA=..., OUT=...)``."""
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}

    def run(*arguments: str, folder: Path = ROOT / "examples", **variables: object) -> subprocess.CompletedProcess[str]:
        given = [f"{name}={value}" for name, value in {"BIN": quick, **variables}.items()]
        return subprocess.run(
            ["make", *arguments, *given],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    return run


def images(count: int, seed: int, side: int = 8, channels: int = 3) -> np.ndarray:
    """Random images, so that all of them lie about equally far apart."""
    shape = (count, side, side, channels)[: 4 if channels > 1 else 3]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's and MNIST's names and arrays; every third test image is nearly a training image."""
    folder = tmp_path_factory.mktemp("data")
    x, labels = images(90, 0), np.arange(90) % 10
    test = images(30, 1)
    test[::3] = x[:10] ^ 1
    np.savez(folder / "cifar10_train.npz", x=x, y=labels)
    np.savez(folder / "cifar10_test.npz", x=test, y=np.arange(30) % 10)
    np.savez(folder / "mnist_train.npz", x=images(80, 2, channels=1), y=np.arange(80) % 10)
    return folder


def cifar100(folder: Path, rows: np.ndarray) -> None:
    """CIFAR-100's Python release with these 100 training images, each of a class of its own."""
    fine = list(range(100))
    batch = {"data": rows, "fine_labels": fine, "coarse_labels": [label // 5 for label in fine]}
    meta = {
        "fine_label_names": [f"fine {label}" for label in range(100)],
        "coarse_label_names": [f"coarse {label}" for label in range(20)],
    }
    with tarfile.open(folder / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, content in (("train", batch), ("test", batch), ("meta", meta)):
            text = pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))


def state(folder: Path) -> dict[str, int]:
    """When every file was last changed."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def commands(done: subprocess.CompletedProcess[str], quick: Path) -> list[str]:
    """What make ran or would run of ours."""
    lines = done.stdout.replace("\\\n", " ").splitlines()
    return [line for line in (line.replace(f"{quick}/", "") for line in lines) if COMMAND.match(line)]


SMALL = {"N": 9, "SAMPLE": 50, "WITHIN": "0.5"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_make_says_what_it_would_do(make: Make, quick: Path, data: Path, tmp_path: Path, recipe: str) -> None:
    done = make("-n", recipe, DATA=data, OUT=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    planned = commands(done, quick)
    assert planned[0].startswith("dataset import ")
    assert len(planned) == len(set(planned)), "nothing is made twice"
    assert not list(tmp_path.iterdir()), "saying is not doing"
    alone = make("-n", "-f", str(ROOT / "examples" / f"{recipe}.mk"), folder=data, DATA=data, OUT=tmp_path / "out")
    by_itself = [line.replace(f"{ROOT}/examples/", "./") for line in commands(alone, quick)]
    assert by_itself == planned, "a recipe is whole without the others"
    fetched = make("-n", recipe, DATA=tmp_path, OUT=tmp_path / "out", FETCH="yes")
    assert fetched.returncode == 0, fetched.stderr
    assert commands(fetched, quick)[0].startswith("dataset fetch ")


def test_help_names_every_recipe(make: Make) -> None:
    shown = make().stdout
    assert re.findall(r"^make (\S+)", shown, re.MULTILINE) == ["digits", *RECIPES, *TRAININGS, *CLONINGS, *DIGITS]
    recipes = {path.stem for path in (ROOT / "examples").glob("*.mk")}
    shared = {"sets", "rows", "clones", "maps", "digits-sets"}
    assert recipes == {"digits", "demo", *shared, *RECIPES, *TRAININGS, *CLONINGS, *DIGITS}


@pytest.fixture(scope="module")
def made(make: Make, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which all recipes ran, and what was said."""
    folder = tmp_path_factory.mktemp("made")
    done = make("-j2", *RUN, DATA=data, OUT=folder, **SMALL)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def test_recipes_run_and_run_again_does_nothing(make: Make, quick: Path, data: Path, made: tuple[Path, str]) -> None:
    out, said = made
    for name in ("figure2a", "figure5a", "figure16", "claims", "claims-difference-l2", "claims-difference-linf"):
        assert (out / f"{name}.svg").read_bytes().startswith(b"<?xml")
        header, *rows = (out / f"{name}.tsv").read_text().splitlines()
        assert header.split("\t")[:4] == ["set", "norm", "points", "0"]
        assert {len(row.split("\t")) for row in rows} == {13}
    assert "left out: CIFAR-100, no cifar-100-python.tar.gz" in said
    assert "left out: Figure 2 (b), which is about CIFAR-100" in said
    assert len((out / "figure4.tsv").read_text().splitlines()) == 21
    near = (out / "c10-near.txt").read_text().split()
    assert sorted(map(int, near)) == list(range(10)), "the planted near-duplicates of test images"
    found = (out / "claims.txt").read_text()
    assert "linf: perceived curvature puts 0 of 90 points out of the order" in found
    points = [row.split("\t")[2] for row in (out / "claims.tsv").read_text().splitlines()[1:6]]
    assert points == ["90", "90", "90", "80", "80"]
    before = state(out)
    again = make("-j2", *RUN, DATA=data, OUT=out, **SMALL)
    assert again.returncode == 0, again.stderr
    assert commands(again, quick) == []
    assert state(out) == before


@pytest.fixture(scope="module")
def later(
    make: Make, data: Path, made: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Figure 2 once more, with CIFAR-100 and 1m, which were not there before: its folder, and how that went.

    Rows 0 to 39 of CIFAR-100 are pairs 20/255 apart in l_inf (4.3 in l2), rows 40 to 79 pairs 200/255 apart in both.
    """
    folder, out = tmp_path_factory.mktemp("more"), tmp_path_factory.mktemp("later") / "out"
    (folder / "cifar10_train.npz").symlink_to(data / "cifar10_train.npz")
    shutil.copytree(made[0], out)  # when files were changed stays
    np.savez(folder / "1m.npz", image=images(120, 4), label=np.sort(np.arange(120) % 10))
    cifar100(folder, pairs())
    sets = [f"{out}/{name}.zarr" for name in ("c100-l2", "c100s-linf")]
    return out, make("figure2", *sets, DATA=folder, OUT=out, **SMALL)


def pairs() -> np.ndarray:
    rows = np.random.default_rng(5).integers(50, 200, (100, 3072), dtype=np.uint8)
    rows[1:40:2] = rows[:40:2] + 20
    rows[41:80:2] = rows[40:80:2]
    rows[40:80:2, 0], rows[41:80:2, 0] = 0, 200
    return rows


def test_a_set_that_comes_later_is_drawn_too(
    quick: Path, made: tuple[Path, str], later: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    """With CIFAR-100 both halves of the figure are there, and 1m is sampled; nothing finished is made again."""
    out, done = later
    assert done.returncode == 0, done.stderr
    assert not [line for line in commands(done, quick) if "c10.zarr" in line]
    assert (out / "figure2a.svg").read_bytes() != (made[0] / "figure2a.svg").read_bytes()
    table = [row.split("\t") for row in (out / "figure2a.tsv").read_text().splitlines()]
    assert [(row[0], row[2]) for row in table[1:]] == [
        ("CIFAR-10", "90"),
        ("CIFAR-100", "60"),
        ("CIFAR-100s", "60"),
        ("1m", "50"),
    ]
    table = [row.split("\t") for row in (out / "figure2b.tsv").read_text().splitlines()]
    assert [row[0] for row in table[1:]] == ["CIFAR-100 - CIFAR-10", "CIFAR-100 - CIFAR-100s"]
    assert float(table[2][3]) >= 0, "fewer points have another label among super-classes"
    assert re.findall("left out: (.*), no", done.stderr) == ["TI500K"], done.stderr


def test_both_norms_lack_the_40_points_of_cifar_100_that_are_least_robust_in_linf(
    later: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = later
    assert done.returncode == 0, done.stderr
    for name in ("c100", "c100s"):
        images = artifacts.open_store(out / f"{name}.zarr").column("images").read()
        np.testing.assert_array_equal(images.reshape(60, 3072), pairs()[40:])
    nearest = artifacts.open_store(out / "c100-l2.zarr").column("distance").read()[:40]
    np.testing.assert_allclose(nearest, 200 / 255)
    assert len(artifacts.open_store(out / "c100s-linf.zarr")) == 60


def test_the_letters_are_the_first_88800_of_the_published_file(make: Make, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(1, 27, 124_800, dtype=np.uint8)
    for what, rank, values in (("images", 3, labels * 9), ("labels", 1, labels)):
        shape = (len(labels), 1, 1)[:rank]
        header = bytes([0, 0, 8, rank]) + b"".join(extent.to_bytes(4, "big") for extent in shape)
        name = f"emnist-letters-train-{what}-idx{rank}-ubyte.gz"
        (tmp_path / name).write_bytes(gzip.compress(header + values.tobytes()))
    done = make(f"{tmp_path}/L.zarr", DATA=tmp_path, OUT=tmp_path)
    assert done.returncode == 0, done.stderr
    store = artifacts.open_store(tmp_path / "L.zarr")
    np.testing.assert_array_equal(store.column("labels").read(), labels[:88_800] - 1)
    np.testing.assert_array_equal(store.column("images").read().ravel(), labels[:88_800] * 9)
    planned = make("-n", "figure16", DATA=tmp_path / "none", OUT=tmp_path / "out", FETCH="yes").stdout
    limited = [line for line in planned.splitlines() if "dataset fetch" in line and "--limit" in line]
    assert [line.split()[-1] for line in limited] == [f"{tmp_path}/out/L.zarr"], "the other sets are complete"


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_data_is_a_failure_that_says_what_is_missing(make: Make, tmp_path: Path, recipe: str) -> None:
    done = make(recipe, DATA=tmp_path, OUT=tmp_path / "out")
    assert done.returncode != 0
    assert f"nothing to make: no set of this recipe is in DATA={tmp_path}" in done.stderr
    assert re.search(r"left out: (CIFAR-10|M), no (cifar-10-python.tar.gz|emnist-mnist-\S+) in DATA=", done.stderr)
    direct = make(f"{tmp_path}/c10.zarr", DATA=tmp_path, OUT=tmp_path)
    assert direct.returncode != 0
    assert "CIFAR-10: no cifar-10-python.tar.gz in DATA=" in direct.stderr


def test_quantiles_are_those_of_sorted_values(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = {"a b": random.normal(size=1000), "c": random.normal(size=7), "d": np.array([5.0])}
    table = tmp_path / "t.tsv"
    rows = [f"{value!r}\tbase\t{name}\tl2" for name, column in values.items() for value in column.tolist()]
    table.write_text("\n".join(["difference\tbase\tset\tnorm", *rows]) + "\n")
    script = ROOT / "examples" / "quantiles.awk"
    done = subprocess.run(
        ["awk", "-v", "of=difference", "-f", script, table], capture_output=True, text=True, check=True
    )
    header, *lines = (line.split("\t") for line in done.stdout.splitlines())
    assert [line[:3] for line in lines] == [[f"base - {name}", "l2", f"{len(v)}"] for name, v in values.items()]
    for line, column in zip(lines, values.values(), strict=True):
        ascending = sorted(column.tolist())
        for level, found in zip(header[3:], line[3:], strict=True):
            expected = next(v for i, v in enumerate(ascending, 1) if i >= float(level) * len(ascending) - 1e-9)
            assert float(found) == pytest.approx(expected, rel=1e-3)


def test_no_recipe_redirects_into_its_target(root: Path) -> None:
    """A make that is killed with ``kill -9`` would leave an empty target, which the next one takes for finished."""
    for path in [*(root / "examples").glob("*.mk"), root / "examples" / "Makefile"]:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"(> ?|\tcp [^&]* )\$\$?@($|[ ;)])", line), (path.name, line)
