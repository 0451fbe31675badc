"""Recipes of maps: Figures 2 (c, d), 6 and 17 have the paper's panels in the paper's places."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CIFAR = ("cifar10_train.npz", "cifar-100-python.tar.gz")
EMNIST = tuple(f"emnist-{name}-train-images-idx3-ubyte.gz" for name in ("mnist", "letters", "balanced"))


def plan(folder: Path, recipe: str, *files: str, **variables: str) -> list[list[str]]:
    """The commands that make would run with these files in DATA, as words."""
    for name in files:
        (folder / name).touch()
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    given = [f"{name}={value}" for name, value in {"BIN": "", "DATA": str(folder), "OUT": "out", **variables}.items()]
    done = subprocess.run(
        ["make", "-n", recipe, *given], cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line)) and words[0] in ("embed", "figure")]


def after(words: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == flag]


@pytest.mark.parametrize(
    ("recipe", "files", "sets", "names"),
    [
        ("figure6", CIFAR, ["c10", "c100", "c100s"], ["CIFAR-10", "CIFAR-100", "CIFAR-100s"]),
        ("figure17", EMNIST, ["M", "L", "B"], ["M", "L", "B"]),
    ],
)
def test_panels_are_the_papers(
    tmp_path: Path, recipe: str, files: tuple[str, ...], sets: list[str], names: list[str]
) -> None:
    commands = plan(tmp_path, recipe, *files, POINTS="50", SEED="3")
    rows = [(method, norm) for method in ("mds", "rte") for norm in ("l2", "linf")]
    grid = [f"out/{name}-{method}-{norm}.zarr" for method, norm in rows for name in sets]
    drawn = [words for words in commands if words[:2] == ["figure", "map"]]
    assert [words[2:14] for words in drawn] == [grid] * len(drawn)
    assert drawn
    for words in drawn:
        assert after(words, "--name") == names * 4
        assert after(words, "--columns") == ["3"]
        assert after(words, "--color") == ["robustness"], "the captions of Figures 6 and 17"
    made = {after(words, "-o")[0]: words for words in commands if words[0] == "embed"}
    assert sorted(made) == sorted(grid)
    for name in sets:
        for method, norm in rows:
            words = made[f"out/{name}-{method}-{norm}.zarr"]
            assert words[1] == f"out/{name}.zarr"
            assert after(words, "--ranking") == [f"out/{name}-{norm}.zarr"]
            assert after(words, "--method") == [method]
            assert (after(words, "--n"), after(words, "--seed")) == (["50"], ["3"])


def test_figure_2_has_a_map_of_each_cifar_set(tmp_path: Path) -> None:
    commands = plan(tmp_path, "figure2", *CIFAR)
    maps = [words for words in commands if words[:2] == ["figure", "map"]]
    drawn = {after(words, "-o")[0]: words[2] for words in maps}
    assert drawn == {"out/figure2c.svg": "out/c10-mds-l2.zarr", "out/figure2d.svg": "out/c100-mds-l2.zarr"}
    assert [after(words, "--color") for words in maps] == [["sensitivity"]] * 2, "the caption of Figure 2"
    assert not [words for words in commands if words[0] == "embed" and "--n" in words], "1,000, as in the paper"


def test_with_one_set_the_norms_stand_side_by_side(tmp_path: Path) -> None:
    drawn = plan(tmp_path, "figure6", CIFAR[0])[-1]
    assert drawn[2:6] == [f"out/c10-{method}-{norm}.zarr" for method in ("mds", "rte") for norm in ("l2", "linf")]
    assert after(drawn, "--columns") == ["2"]
