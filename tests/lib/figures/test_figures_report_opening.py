"""What a report says first: sentences that follow from the artifacts, and pairs with their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.datasets.sources import as_names, name_bytes
from datarobust.figures import report, report_opening
from datarobust.figures.report import collect, page
from datarobust.figures.report_opening import Opening

from . import pages
from . import report_inputs as made

pytestmark = pytest.mark.usefixtures("undrawn")
N = 200
HOSTILE = "a/<b>\x1b[1m.png"


def opening(folder: Path, *names: str, pairs: int = 60) -> Opening:
    cards, _ = collect([folder / name for name in names])
    return report_opening.opening([card.item for card in cards], pairs)


def said(folder: Path, *names: str) -> str:
    root = pages.check(page("t", *collect([folder / name for name in names]), "1"))
    found = [finding for each in root.classes("findings") for finding in each.all("li")]
    return "\n".join(finding.all("p")[0].text.removesuffix(" more") for finding in found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Points of two classes with names; distances in two norms, where class dog is nearer."""
    names = [HOSTILE, *(f"cat/{row:04}.png" for row in range(1, N))]
    made.dataset(tmp_path / "d.zarr", rows=N, names=as_names(names, name_bytes(names)))
    distance = np.linspace(0.2, 1.0, N) + 2.0 * (np.arange(N) % 2 == 0)
    ranking(tmp_path, "r-linf.zarr", distance)
    ranking(tmp_path, "r-l2.zarr", distance[::-1].copy() * 3, norm="l2")
    return tmp_path


def ranking(folder: Path, name: str, distance: Any, **more: Any) -> None:
    made.ranking(folder / name, folder / "d.zarr", distance, **more)


def test_distances_the_closest_pair_classes_and_norms(folder: Path) -> None:
    distance = artifacts.open_store(folder / "r-l2.zarr").column("distance").read()
    words = said(folder, "d.zarr", "r-linf.zarr", "r-l2.zarr")
    assert np.median(distance) == pytest.approx(4.8)
    assert "Half of the 200 points of cat lie within 4.8 (l2) of a point of another class, or 1.6 (l" in words
    row = int(distance.argmin())
    near = N - 1 - row
    pair = f"cat/{row:04}.png (row {row}, class cat) and cat/{near:04}.png (row {near}, class dog)"
    assert f"The closest pair is {distance[row]:.4f} apart (l2): {pair}." in words
    assert "Class cat stands out: it has 100.0 % of the 10 least robust points (l2), but 50.0 % of all." in words
    assert "agree on 0 of the 10 least robust points; chance alone gives about 0" in words


def test_equal_points_and_no_class_that_stands_out(folder: Path) -> None:
    distance = np.random.default_rng(0).random(N) + 0.1
    distance[[3, 4]] = 0
    ranking(folder, "z.zarr", distance)
    words = said(folder, "d.zarr", "z.zarr")
    assert "2 points equal a point with another label" in words
    assert "closest pair" not in words
    assert "No class stands out among the 10 least robust points" in words


def test_networks_and_maps(folder: Path) -> None:
    taken = np.where(np.arange(N) < 100, 0, -1)
    made.evaluation(folder / "a.zarr", folder / "d.zarr", "1" * 64, [0] * N)
    made.evaluation(folder / "b.zarr", folder / "d.zarr", "2" * 64, taken.tolist())
    words = said(folder, "a.zarr", "b.zarr")
    assert "b.zarr is right on 50.0 % of 200 points and a.zarr on 0.0 %: a difference of +50.0" in words
    assert words.endswith("more than chance explains.")
    words = said(folder, "b.zarr", "d.zarr", "r-linf.zarr")
    assert "b.zarr is right on 100.0 % of 200 points, and on 50.0 % (95 % interval 43.1 % to 56.9 %)" in words
    distance = artifacts.open_store(folder / "r-linf.zarr").column("distance").read()
    least, most = (np.mean(taken[part] < 0) for part in np.array_split(np.argsort(distance), 5)[::4])
    assert f"on {least:.1%} of the least".replace("%", " %") in words
    assert f"on {most:.1%} of the most".replace("%", " %") in words
    made.evaluation(folder / "c.zarr", folder / "d.zarr", "2" * 64, taken.tolist())
    assert "difference" not in said(folder, "b.zarr", "c.zarr"), "these are the same weights"


def test_a_table_of_issues(folder: Path) -> None:
    lines = ["kind,score,index", "label,2.0,3", "label,1.5,4", "duplicate,inf,5", "other,1,6"]
    (folder / "issues.csv").write_text("\n".join(lines))
    assert said(folder, "issues.csv") == "issues.csv lists 1 duplicate, 2 labels that look wrong."
    (folder / "long.csv").write_text("\n".join([*lines, "label,1," + "1" * 200_000]))
    assert not said(folder, "long.csv")
    (folder / "other.csv").write_text("kind,score\nlabel,1\n")
    assert not said(folder, "other.csv")


def test_what_is_not_there_is_not_said(folder: Path) -> None:
    nothing = opening(folder, "d.zarr")
    assert not [*nothing.findings, *nothing.galleries]
    assert not nothing.curves
    alone = opening(folder, "r-linf.zarr")
    assert not alone.galleries
    assert [finding.item.anchor for finding in alone.findings]
    assert "  " not in said(folder, "d.zarr", "r-linf.zarr")
    ranking(folder, "none.zarr", [np.inf] * N)
    assert opening(folder, "d.zarr", "none.zarr").findings == []
    ranking(folder, "same.zarr", [0.5] * N, neighbours="same")
    assert "another class" not in said(folder, "d.zarr", "same.zarr")


def test_pairs_have_rows_classes_and_names(folder: Path) -> None:
    first, second = opening(folder, "d.zarr", "r-linf.zarr", "r-l2.zarr").galleries
    assert (first.item.name, second.item.name) == ("r-l2.zarr", "r-linf.zarr")
    distance = artifacts.open_store(folder / "r-linf.zarr").column("distance").read()
    assert len(second.pairs) == 60
    for pair in second.pairs:
        left, right = pair.points
        assert right.row == N - 1 - left.row
        assert float(pair.distance) == pytest.approx(distance[left.row], abs=1e-3)
        assert pair.note == f"{round(distance[left.row] * 255)}/255"
        assert (left.called, left.name) == (["cat", "dog"][left.row % 2], f"cat/{left.row:04}.png")
    root = pages.check(page("t", *collect([folder / "d.zarr", folder / "r-linf.zarr"]), "1"))
    (shown,) = root.classes("nearest")
    assert [len(group.all("li")) for group in shown.classes("pairs")] == [12, 48]
    rows, names = (node.text.split("\n") for node in shown.all("code"))
    assert rows == [str(pair.points[0].row) for pair in second.pairs]
    assert names == [f"{one.name}\\t{other.name}" for one, other in (pair.points for pair in second.pairs)]
    assert len(opening(folder, "d.zarr", "r-linf.zarr", pairs=5).galleries[0].pairs) == 5


def test_names_are_words(folder: Path) -> None:
    ranking(folder, "h.zarr", [0.1, *np.linspace(0.5, 1, N - 1)])
    root = pages.check(page("t", *collect([folder / "d.zarr", folder / "h.zarr"]), "1"))
    (name,) = [node.text for node in root.classes("file") if "b>" in node.text][:1]
    assert name == "a/<b>\\x1b[1m.png"
    assert any("a/<b>" in node.text for node in root.classes("findings"))


def test_images_stand_for_their_features(folder: Path) -> None:
    history = [
        *made.history_of(folder / "d.zarr"),
        made.step("dataset", "features", dataset=artifacts.peek(folder / "d.zarr").digest),
    ]
    labels = np.arange(N) % 2
    columns = {
        "features": np.random.default_rng(0).random((N, 3)).astype(np.float32),
        "labels": labels,
        "index": np.arange(N),
    }
    made.store(folder / "f.zarr", "dataset", columns, history, name="f", classes=["cat", "dog"])
    made.ranking(folder / "f-l2.zarr", folder / "f.zarr", np.linspace(1, 2, N), norm="l2")
    (gallery,) = opening(folder, "d.zarr", "f-l2.zarr").galleries
    assert "l2 of features" in gallery.title
    assert not gallery.pairs[0].note
    assert not opening(folder, "f.zarr", "f-l2.zarr").galleries


def test_a_map_tells_of_every_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # points have their places only where the map is drawn
    made.embedding(folder / "map.zarr", folder / "d.zarr", folder / "r-linf.zarr")
    cards, commands = collect([folder / "d.zarr", folder / "map.zarr"])
    root = pages.check(page("t", cards, commands, "1"))
    (points,) = root.classes("points")
    titles = [node.text for node in points.all("title")]
    assert titles[1] == "cat/0001.png, row 1, dog, r = 0.213"
    assert len(titles) == len(points.all("use")) == 9
    width, height = map(float, (points.attributes["viewbox"] or "").split()[2:])
    places = [[float(node.attributes[name] or "") for name in ("cx", "cy")] for node in points.all("circle")]
    assert all(0 < x < width and 0 < y < height for x, y in places)
    position = artifacts.open_store(folder / "map.zarr").column("position").read()
    assert np.argsort(np.array(places)[:, 0]).tolist() == np.argsort(position[:, 0]).tolist()
    assert np.argsort(np.array(places)[:, 1]).tolist() == np.argsort(-position[:, 1]).tolist()
    boxes = [re.split(" ", node.attributes["viewbox"] or "") for node in points.all("svg") if "x" in node.attributes]
    assert len({tuple(box) for box in boxes}) == 9
    alone = pages.check(page("t", *collect([folder / "map.zarr"]), "1"))
    assert not alone.all("use")
    assert len(alone.classes("points")[0].all("circle")) == 9


def test_figures_have_the_captions_of_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datarobust.figures import style

    monkeypatch.undo()
    figure = style.new_figure(1, 1)
    for form in ("png", "svg"):
        (tmp_path / f"my-picture.{form}").write_bytes(style.picture(figure, form, "What it <shows>."))  # type: ignore[arg-type]
    root = pages.check(page("t", *collect([tmp_path / "my-picture.png", tmp_path / "my-picture.svg"]), "1"))
    for card in root.all("article"):
        assert card.all("h3")[0].text == "My picture"
        assert "What it <shows>." in card.classes("gist")[0].text
    assert report.SECTIONS["picture"] == "Figures"
