"""Rankings of features act on the images whose features they are, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.lib import stored

from datarobust import artifacts, selection
from datarobust.artifacts import Step, Store
from datarobust.artifacts.history import row_by_row
from datarobust.errors import ArtifactError
from datarobust.jobs import aacompare, figure
from datarobust.jobs.dataset import NewLabels, Representation
from datarobust.jobs.embed import Embedding, options_of
from datarobust.jobs.make import MakeStep, make
from datarobust.jobs.sens_rank import Sensitivity


def step(*words: str) -> MakeStep:
    def made(inputs: Mapping[str, str]) -> Step:
        return Step(words[0], words[1:], "0", inputs=dict(inputs))

    return made


def opened(path: Path) -> Store:
    return artifacts.open_store(path, "dataset")


@pytest.fixture
def images(tmp_path: Path) -> Store:
    return stored.dataset(tmp_path / "d.zarr")[0]


def features(dataset: Store, path: Path, limit: int | None = None) -> Store:
    width = dataset.column("images" if "images" in dataset else "features").flat().shape[1]
    sums = Representation(lambda x: x.reshape(len(x), -1).cumsum(1, dtype=np.float32), width, "model", "a", 8)
    stored.represent(dataset, sums, path, step("dataset", "features", str(dataset.path)), limit=limit)
    return opened(path)


def ranking(dataset: Store, path: Path, others: Store | None = None) -> Store:
    make(Sensitivity(dataset, others, "l2", 1, False, "inf", 1 << 28), path, step("sens-rank"))
    return artifacts.open_store(path, "ranking")


def test_it_is_a_ranking_of_the_images(images: Store, tmp_path: Path) -> None:
    ranked = ranking(features(images, tmp_path / "f.zarr"), tmp_path / "r.zarr")
    distance, nearest = ranked.column("distance").read(), ranked.column("neighbour").read()
    chosen = selection.choose(f"{tmp_path / 'r.zarr'}:least:5", images)
    assert chosen.rows.tolist() == np.argsort(distance, kind="stable")[:5].tolist()
    drawing = figure.pairs(images, ranked, None, None)
    lines = [line.split("\t") for line in drawing.table()][1:]
    for line in lines:  # distances of features, not of the images beside them
        assert (float(line[1]), int(line[2])) == (distance[int(line[0])], nearest[int(line[0])])
    words = [text.get_text() for text in drawing.figure.findobj() if hasattr(text, "get_text")]
    assert any("of features" in word for word in words)
    job = Embedding(images, ranked, 8, "mds", options_of("mds", {}))
    assert make(job, tmp_path / "e.zarr", step("embed"))
    figure.labels([ranked], images, 4, 0)


def test_features_of_features_and_of_both_sets(images: Store, tmp_path: Path) -> None:
    twice = features(features(images, tmp_path / "f.zarr"), tmp_path / "ff.zarr")
    other = stored.dataset(tmp_path / "o.zarr", rows=9)[0]
    ranked = ranking(twice, tmp_path / "r.zarr", features(features(other, tmp_path / "g.zarr"), tmp_path / "gg.zarr"))
    assert row_by_row(ranked.history, twice.digest)[-1] == images.digest
    figure.pairs(images, ranked, other, None)
    with pytest.raises(ArtifactError, match="was made against another dataset"):
        figure.pairs(images, ranked, images, None)


def test_evaluations_of_the_images_are_ordered_by_it(images: Store, tmp_path: Path) -> None:
    index = np.arange(12)
    correct = np.ones(12, np.bool_)
    which = aacompare.Evaluation(tmp_path / "e.zarr", {"dataset": images.digest}, index, correct, correct)
    ranked = ranking(features(images, tmp_path / "f.zarr"), tmp_path / "r.zarr")
    assert sum(row["points"] for row in aacompare.deciles(which, ranked, 3)) == 12
    short = ranking(features(images, tmp_path / "s.zarr", limit=10), tmp_path / "sr.zarr")
    with pytest.raises(ArtifactError, match="ranks another dataset"):
        aacompare.deciles(which, short, 3)


def test_what_has_other_rows_or_labels_is_refused(images: Store, tmp_path: Path) -> None:
    some = np.array([4, 2, 9, 7, 11, 0])
    stored.subset(images, some, tmp_path / "s.zarr", step("dataset", "subset"))
    part, whole = opened(tmp_path / "s.zarr"), features(images, tmp_path / "f.zarr")
    stored.subset(whole, some, tmp_path / "fs.zarr", step("dataset", "subset"))
    labels = NewLabels(("a", "b", "c"), {"new": 1}, lambda *_: np.arange(20) % 3)
    stored.relabel(whole, labels, tmp_path / "fr.zarr", step("dataset", "relabel"))
    other = stored.dataset(tmp_path / "o.zarr")[0]
    of_part = ranking(features(part, tmp_path / "sf.zarr"), tmp_path / "1.zarr")
    artifacts.demand_same_points(of_part, part)
    for number, (made, dataset) in enumerate(
        [
            (features(part, tmp_path / "sf2.zarr"), images),  # features of a subset
            (opened(tmp_path / "fs.zarr"), images),  # a subset of features
            (opened(tmp_path / "fs.zarr"), part),
            (opened(tmp_path / "fr.zarr"), images),  # features with other labels
            (whole, other),  # another set
            (images, whole),  # the other way round: images are not what is made of features
        ]
    ):
        ranked = ranking(made, tmp_path / f"ranking-{number}.zarr")
        with pytest.raises(ArtifactError, match="was made from another dataset"):
            artifacts.demand_same_points(ranked, dataset)
    short = ranking(features(images, tmp_path / "first.zarr", limit=12), tmp_path / "first-l2.zarr")
    with pytest.raises(ArtifactError, match=r"has 12 points, but .* has 20: make it again from features of all"):
        artifacts.demand_same_points(short, images)


def test_a_step_that_does_not_name_its_output_proves_nothing() -> None:
    made = Step("dataset", ("features", "d.zarr"), "0", inputs={"dataset": "parent"}, output="child")
    assert row_by_row([made], "child") == ["child", "parent"]
    assert row_by_row([Step("dataset", made.argv, "0", inputs=made.inputs)], "child") == ["child"]
    assert row_by_row([Step("clone", made.argv, "0", inputs=made.inputs, output="child")], "child") == ["child"]
