"""From files to cards: what is shown of each kind, what is refused, and that order and place do not matter."""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.datasets.sources import as_names, name_bytes
from datarobust.errors import ArtifactError, DataError, DatarobustError
from datarobust.figures import report, report_parts
from datarobust.figures.report import SECTIONS, collect, page

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


@dataclass
class Shown:
    """A card on the page."""

    node: pages.Node
    what: str  # it is, in the list of files

    def _pairs(self, name: str) -> dict[str, pages.Node]:
        entries = [entry for each in self.node.classes(name) for entry in each.all("div")]
        return {entry.all("dt")[0].text: entry.all("dd")[0] for entry in entries}

    @property
    def big(self) -> dict[str, str]:
        return {name: node.text for name, node in self._pairs("big").items()}

    @property
    def facts(self) -> dict[str, str]:
        return {name: node.text for name, node in self._pairs("facts").items()}

    def links(self, name: str) -> list[str | None]:
        return [node.attributes["href"] for node in self._pairs("facts")[name].all("a")]


def cards(folder: Path, *names: str) -> dict[str, Shown]:
    found, commands = collect([folder / name for name in names])
    root = pages.read(page("t", found, commands, "1"))
    articles = {node.attributes.get("id"): node for node in root.all("article")}
    (files,) = (node for node in root.all("section") if node.attributes["id"] == "files")
    what = [row.all("td")[2].text for row in files.all("tr")[1:]]
    return {card.item.name: Shown(articles[card.item.anchor], words) for card, words in zip(found, what, strict=True)}


def test_the_figures_of_every_kind(place: Path) -> None:
    found = cards(place, *sorted(path.name for path in place.iterdir()))
    assert found["d.zarr"].big == {"Points": "12", "Pixels": "1 x 4 x 4", "Classes": "3"}
    assert found["d.zarr"].what == "12 points of 3 classes, 1 x 4 x 4"
    big = found["r.zarr"].big
    assert (big["Least robust"], big["Median"], big["Most robust"]) == ("0.00", "0.75", "0.75")
    told = found["r.zarr"].facts
    assert told["Ties"] == "8 points share a distance; 4 distances in all"
    assert (told["No point of another label"], told["Dropped"], told["Equal to a point of another label"]) == ("1",) * 3
    assert found["r.zarr"].what == "12 points in l∞, distances 0 to 0.75"
    assert found["run"].big["Tracked, PGD-40"] == "12.5 %"
    assert "epoch 2" in found["run"].facts["Best weights"]
    assert found["edm"].big == {"Network": "wrn-10-1", "Epochs": "1 of 3", "Last loss": "1"}
    assert found["edm"].what == "wrn-10-1, a denoiser, 1 epoch, not finished"
    assert found["e.zarr"].big == {"Clean accuracy": "80.0 %", "AutoAttack": "40.0 %", "Points": "5"}
    assert found["e.zarr"].what == "clean 80.0 %, l∞ 8/255: 40.0 %"
    assert "randomised" in found["e.zarr"].facts["Signs of unreliability"]
    assert found["w.safetensors"].big["Numbers"] == "13"
    assert found["w.safetensors"].what == "wrn-10-1, last weights after epoch 2"
    assert found["c.zarr"].big["Clones of each"] == "2"
    assert found["c.zarr"].what == "2 clones of 5 points, 1 x 4 x 4"
    assert "originals" not in found["c.zarr"].node.text
    assert found["m.zarr"].facts["Trace of the covariance"] == "3"
    assert found["m.zarr"].what == "mean and covariance of 12 points in classifier"
    assert found["map.zarr"].big["Stress"] == "0.25"
    assert found["map.zarr"].what == "9 points in the plane, multidimensional scaling"


@pytest.mark.usefixtures("undrawn")
def test_misclassified_points_are_listed(tmp_path: Path) -> None:
    names = [f"file {row}.png" for row in range(12)]
    made.dataset(tmp_path / "d.zarr", names=as_names(names, name_bytes(names)))
    made.evaluation(tmp_path / "e.zarr", tmp_path / "d.zarr", "1" * 64, [-1, -1, 0, 1, -2])
    content = cards(tmp_path, "e.zarr", "d.zarr")["e.zarr"].node.all("details")[0]
    assert content.all("summary")[0].text == "3 misclassified points"
    rows = [[cell.text for cell in row.all("td")] for row in content.all("tr")][1:]
    assert rows == [
        ["2", "file 2.png", "cat", "cat", "dog", "apgd-ce"],
        ["3", "file 3.png", "cat", "cat", "dog", "square"],
        ["4", "file 4.png", "cat", "dog", "dog", "none"],
    ]
    content = cards(tmp_path, "e.zarr")["e.zarr"].node.all("details")[0]
    assert [cell.text for cell in content.all("tr")[1].all("td")] == ["2", "0", "0", "1", "apgd-ce"]


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
    big = cards(tmp_path, "e.zarr")["e.zarr"].big
    assert big["Under attack"] == "≤ 50.0 %"


@pytest.mark.usefixtures("undrawn")
def test_cards_refer_to_one_another_by_digest(place: Path) -> None:
    alone, together = cards(place, "r.zarr")["r.zarr"], cards(place, "r.zarr", "d.zarr")["r.zarr"]
    assert not alone.links("Dataset")
    assert together.links("Dataset")[0].startswith("#dataset-")  # type: ignore[union-attr]
    assert "The least robust points." in alone.node.text
    assert "The least robust points." not in together.node.text, "its pairs are in a gallery"
    assert not cards(place, "c.zarr")["c.zarr"].node.all("img")
    assert cards(place, "c.zarr", "d.zarr")["c.zarr"].node.all("img")
    assert cards(place, "e.zarr", "run")["e.zarr"].links("Model")[0].startswith("#run-")  # type: ignore[union-attr]


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
    assert found["f.zarr"].big["Classes"] == "2"
    assert not [name for name in found if "first point of each class" in found[name].node.text]
    assert len(found["r.zarr"].node.all("img")) == 1, "the histogram"
    made.store(tmp_path / "none.zarr", "ranking", {"distance": np.zeros(0), "neighbour": np.zeros(0, np.int64)}, [],
               norm="l2", labels="hard", dataset="0", against=None, duplicates="inf", k=1)  # fmt: skip
    empty = cards(tmp_path, "none.zarr")["none.zarr"]
    assert empty.what == "0 points in l2"
    assert "ranking, version 2" in empty.node.text, "an artifact without rows is one"


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
