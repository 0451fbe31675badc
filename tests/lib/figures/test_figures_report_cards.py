"""From files to cards: what is shown of each kind, what is refused, and that order and place do not matter."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.datasets.sources import as_names, name_bytes
from datarobust.errors import ArtifactError, DataError, DatarobustError
from datarobust.figures import report, report_parts
from datarobust.figures.report import SECTIONS, Card, collect, page

from . import pages
from . import report_inputs as made

SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of everything."""
    folder = tmp_path_factory.mktemp("report")
    data = folder / "d.zarr"
    made.dataset(data, ["cat</style>", "\x1b[31mdog", "c" * 5000])
    made.ranking(folder / "r.zarr", data, [0.25, 0.25, 0.5, 0.0, np.inf, np.nan, *[0.75] * 6])
    made.run(folder / "run", data)
    made.run(folder / "edm", data, denoiser=True, lines=1)
    model = made.weights(folder / "w.safetensors", "classifier", data)
    made.evaluation(folder / "e.zarr", data, model, [-1, -1, 0, 1, -2], flags={"randomised": True})
    made.clones(folder / "c.zarr", data)
    made.moments(folder / "m.zarr", data)
    made.embedding(folder / "map.zarr", data, folder / "r.zarr")
    (folder / "p.svg").write_text(SVG)
    (folder / "t.tsv").write_text("name\tvalue\na\t1\n")
    return folder


def cards(folder: Path, *names: str) -> dict[str, Card]:
    return {card.item.name: card for card in collect([folder / name for name in names])[0]}


def test_the_figures_of_every_kind(place: Path) -> None:
    found = cards(place, *sorted(path.name for path in place.iterdir()))
    assert dict(found["d.zarr"].big) == {"Points": "12", "Pixels": "1 x 4 x 4", "Classes": "3"}
    big = dict(found["r.zarr"].big)
    assert (big["Least robust"], big["Median"], big["Most robust"]) == ("0.00", "0.75", "0.75")
    told = dict(found["r.zarr"].facts)
    assert told["Ties"] == "8 points share a distance; 4 distances in all"
    assert (told["No point of another label"], told["Dropped"], told["Equal to a point of another label"]) == ("1",) * 3
    assert dict(found["run"].big)["Tracked, PGD-40"] == "12.5 %"
    assert "epoch 2" in dict(found["run"].facts)["Best weights"]
    assert dict(found["edm"].big) == {"Network": "wrn-10-1", "Epochs": "1 of 3", "Last loss": "1"}
    assert "not finished" in found["edm"].gist
    assert dict(found["e.zarr"].big) == {"Clean accuracy": "80.0 %", "AutoAttack": "40.0 %", "Points": "5"}
    assert "randomised" in dict(found["e.zarr"].facts)["Signs of unreliability"]
    assert dict(found["w.safetensors"].big)["Numbers"] == "13"
    assert dict(found["c.zarr"].big)["Clones of each"] == "2"
    assert "originals" not in found["c.zarr"].charts
    assert dict(found["m.zarr"].facts)["Trace of the covariance"] == "3"
    assert dict(found["map.zarr"].big)["Stress"] == "0.25"


@pytest.mark.usefixtures("undrawn")
def test_misclassified_points_are_listed(tmp_path: Path) -> None:
    names = [f"file {row}.png" for row in range(12)]
    made.dataset(tmp_path / "d.zarr", names=as_names(names, name_bytes(names)))
    made.evaluation(tmp_path / "e.zarr", tmp_path / "d.zarr", "1" * 64, [-1, -1, 0, 1, -2])
    [(heading, content)] = [one for one in cards(tmp_path, "e.zarr", "d.zarr")["e.zarr"].folded if "point" in one[0]]
    assert heading == "3 misclassified points"
    rows = [[cell.text for cell in row.all("td")] for row in pages.read(content).all("tr")][1:]
    assert rows == [
        ["2", "file 2.png", "cat", "cat", "dog", "apgd-ce"],
        ["3", "file 3.png", "cat", "cat", "dog", "square"],
        ["4", "file 4.png", "cat", "dog", "dog", "none"],
    ]
    [(_, content)] = [one for one in cards(tmp_path, "e.zarr")["e.zarr"].folded if "point" in one[0]]
    assert [cell.text for cell in pages.read(content).all("tr")[1].all("td")] == ["2", "0", "0", "1", "apgd-ce"]


def test_every_kind_has_a_section() -> None:
    assert set(artifacts.KINDS) <= set(SECTIONS)


def test_a_log_with_an_accuracy_that_is_none_is_refused(tmp_path: Path) -> None:
    made.dataset(tmp_path / "d.zarr")
    made.run(tmp_path / "run", tmp_path / "d.zarr")
    (tmp_path / "run" / "log.jsonl").write_text('{"epoch": 1, "loss": 1, "train_accuracy": "high"}\n')
    with pytest.raises(DataError, match="run, line 1: train_accuracy"):
        cards(tmp_path, "run")


@pytest.mark.usefixtures("undrawn")
def test_an_upper_bound_is_called_so(place: Path, tmp_path: Path) -> None:
    made.evaluation(tmp_path / "e.zarr", place / "d.zarr", "1" * 64, [-1, 0], protocol={"upper_bound": True})
    big = dict(cards(tmp_path, "e.zarr")["e.zarr"].big)
    assert big["Under attack"] == "≤ 50.0 %"


@pytest.mark.usefixtures("undrawn")
def test_cards_refer_to_one_another_by_digest(place: Path) -> None:
    alone, together = cards(place, "r.zarr")["r.zarr"], cards(place, "r.zarr", "d.zarr")["r.zarr"]
    assert "<a href" not in dict(alone.facts)["Dataset"]
    assert 'href="#dataset-' in dict(together.facts)["Dataset"]
    assert "<table" in alone.wide
    assert not together.wide, "its pairs are in a gallery"
    assert "<img" not in cards(place, "c.zarr")["c.zarr"].charts
    assert "<img" in cards(place, "c.zarr", "d.zarr")["c.zarr"].charts
    assert 'href="#run-' in dict(cards(place, "e.zarr", "run")["e.zarr"].facts)["Model"]


@pytest.mark.usefixtures("undrawn")
def test_neither_order_nor_place_nor_repetition_matters(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.name for path in place.iterdir())
    first = page("t", *collect([place / name for name in names]), "1")
    shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    second = page("t", *collect([Path(name) for name in [*names[::-1], names[0]]]), "1")
    assert second == first
    assert str(place) not in first
    shutil.copytree("d.zarr", "same.zarr")
    both = collect([Path("d.zarr"), Path("same.zarr")])[0]
    assert len({card.item.anchor for card in both}) == 2


@pytest.mark.usefixtures("undrawn")
def test_features_and_sets_without_classes_have_no_images(tmp_path: Path) -> None:
    columns = {"features": np.ones((3, 2), np.float32), "labels": np.array([0, 7, 7]), "index": np.arange(3)}
    made.store(tmp_path / "f.zarr", "dataset", columns, [], name="f", classes=[])
    columns = {"images": np.zeros((2, 4, 3, 3), np.uint8), "labels": np.zeros(2, np.int64), "index": np.arange(2)}
    made.store(tmp_path / "four.zarr", "dataset", columns, [], name="f", classes=["x"])
    made.ranking(tmp_path / "r.zarr", tmp_path / "four.zarr", [0.1, 0.2])
    made.clones(tmp_path / "c.zarr", tmp_path / "f.zarr")
    found = cards(tmp_path, "f.zarr", "four.zarr", "r.zarr", "c.zarr")
    assert dict(found["f.zarr"].big)["Classes"] == "2"
    assert "<img" not in found["f.zarr"].wide + found["four.zarr"].wide + found["r.zarr"].wide
    made.store(tmp_path / "none.zarr", "ranking", {"distance": np.zeros(0), "neighbour": np.zeros(0, np.int64)}, [],
               norm="l2", labels="hard", dataset="0", against=None, duplicates="inf", k=1)  # fmt: skip
    (empty,), commands = collect([tmp_path / "none.zarr"])
    assert empty.gist == "0 points in l2"
    assert "ranking, version 2" in page("t", [empty], commands, "1"), "an artifact without rows is one"


def spoil(folder: Path, what: str) -> Path:
    """A file or folder that has no place in a report."""
    path = folder / what
    if what == "absent.zarr":
        return path
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "recipe":
        path.mkdir()
        (path / "recipe.json").write_text("{}")
    elif what == "torn":
        path.mkdir()
        (path / "recipe.json").write_text('{"recipe": {}, "arch"')
    elif what == "log":
        made.run(path, folder / "d.zarr")
        (path / "log.jsonl").write_text("[]\n")
    else:
        path.write_bytes({"empty.txt": b" \n", "binary": b"\0\1", "latin": b"\xe9", "x.pdf": b"%PDF\xff",
                          "x.safetensors": b"no", "cut.png": b"\x89PNG\r\n\x1a\n"}[what])  # fmt: skip
    return path


REFUSED = ["absent.zarr", "folder", "pipe", "recipe", "torn", "log", "empty.txt", "binary", "latin", "x.pdf"]


@pytest.mark.parametrize("what", [*REFUSED, "x.safetensors", "cut.png"])
def test_what_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    made.dataset(tmp_path / "d.zarr")
    path = spoil(tmp_path, what)
    with pytest.raises(DatarobustError) as caught:
        collect([tmp_path / "d.zarr", path])
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.svg").write_text(SVG)
    (tmp_path / "t.txt").write_text("x" * 50)
    monkeypatch.setattr(report, "MOST_PICTURES", len(SVG) - 1)
    with pytest.raises(DataError, match=r"a\.svg is one picture too many"):
        collect([tmp_path / "t.txt", tmp_path / "a.svg"])
    (tmp_path / "big.svg").write_text(SVG.replace("/>", ">" + " " * report_parts.MOST_BYTES + "</svg>"))
    with pytest.raises(DataError, match=r"big\.svg has 8,.* bytes, more than the 8,388,608 of a picture"):
        collect([tmp_path / "big.svg"])
    monkeypatch.setattr(report, "MOST_TEXT", 49)
    with pytest.raises(DataError, match=r"t\.txt has 50 bytes"):
        collect([tmp_path / "t.txt"])


@pytest.mark.usefixtures("undrawn")
def test_artifacts_of_version_1_have_their_lineage_too(root: Path, tmp_path: Path) -> None:
    with tarfile.open(root / "tests/data/before/artifacts.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    names = ["digits.zarr", "r.zarr", "map.zarr", "clones.zarr", "denoiser", "run", "attacked.zarr", "moments.zarr"]
    found, commands = collect([tmp_path / name for name in names])
    assert {card.item.artifact.version for card in found if card.item.artifact} == {1}
    arrows = {(commands[one.step].tool, to.tool) for to in commands for one in to.sources if one.step is not None}
    readers = ("sens-rank", "embed", "clone", "edmtrain", "advtrain", "aaeval", "fid")
    links = {("sens-rank", "embed"), ("edmtrain", "clone"), ("advtrain", "aaeval")}
    assert arrows == links | {("dataset import", reader) for reader in readers}
    assert pages.check(page("t", found, commands, "1")).classes("edge")


@pytest.mark.usefixtures("undrawn")
def test_rows_that_the_dataset_does_not_have_are_refused(place: Path, tmp_path: Path) -> None:
    made.ranking(tmp_path / "long.zarr", place / "d.zarr", [0.1] * 13)
    with pytest.raises(DataError, match=r"long\.zarr names rows that its dataset does not have"):
        collect([place / "d.zarr", tmp_path / "long.zarr"])


def test_an_altered_artifact_is_refused(tmp_path: Path) -> None:
    made.dataset(tmp_path / "d.zarr")
    file = tmp_path / "d.zarr" / "labels" / "c.0"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"c\.0 was altered"):
        collect([tmp_path / "d.zarr"])
