"""All numbers of a comparison, against plain computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.errors import ArtifactError, DataError, ExistsError, UsageError
from datarobust.fidelity import Comparison, Result, open_sides
from datarobust.fidelity.keeping import Keeper
from datarobust.fidelity.measuring import Measure, measure_of
from datarobust.fidelity.pixels import pair_distances
from datarobust.fidelity.streams import growing, halves
from datarobust.frechet import Moments, Sums, extrapolated
from datarobust.kid import mmd

from .stores import clones, dataset, images

CPU = torch.device("cpu")
STEP = Step("fid", (), "0.1.0", 0, "cpu", {})
PIXELS = measure_of("pixels", images(1), CPU)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return dataset(tmp_path_factory.mktemp("a") / "a.zarr", images(60))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return dataset(tmp_path_factory.mktemp("b") / "b.zarr", images(45, 1) // 2)


def compared(a: Store, b: Store | None, measure: Measure | None = PIXELS, **options: Any) -> Comparison:
    one, two, paired, _ = open_sides(a, b, options.pop("whole", False))
    return Comparison(one, two, paired, measure, options.pop("batch", 7), **options)


def found(a: Store, b: Store, measure: Measure | None = PIXELS, **options: Any) -> Result:
    result = compared(a, b, measure, **options).run(None, STEP)
    assert result is not None
    return result


def flat(store: Store) -> np.ndarray:
    return store.column("images").read().reshape(-1, 16).astype(np.float32) / np.float32(255)


def between(x: np.ndarray, y: np.ndarray) -> float:
    return Moments.of(x).distance(Moments.of(y))


def test_two_sets(whole: Store, other: Store) -> None:
    result = found(whole, other)
    assert result.frechet == pytest.approx(between(flat(whole), flat(other)), rel=1e-9)
    told = result.as_json()
    assert "fid" not in told, "only distances of Inception's features are called FID"
    assert (told["features"], told["mode"], told["weights"]) == ("pixels", "v/255", None)
    assert (told["n"], told["dimensions"], told["paired"]) == ({"a": 60, "b": 45}, 16, False)
    assert (told["oc"], told["cc"], told["extrapolated"]) == (None, None, None)
    assert told["kid"]["subsets"] == 100
    assert told["kid"]["value"] == pytest.approx(mmd(flat(whole), flat(other)), abs=4 * told["kid"]["deviation"])
    half = halves(60, 0)
    wanted = between(flat(whole)[half == 0], flat(whole)[half == 1])
    assert told["calibration"] == {"frechet": pytest.approx(wanted, rel=1e-9), "points": 30, "seed": 0}
    for batch in (1, 60, 1000):
        assert found(whole, other, batch=batch).frechet == pytest.approx(result.frechet, rel=1e-12)
    assert next(iter(result.remarks())).startswith("Two random halves of A, 30 points each")


def test_of_a_set_with_itself_all_is_nothing(whole: Store) -> None:
    result = found(whole, whole)
    assert result.frechet == 0.0
    assert result.pairs["oc"] == {"l2": 0.0, "linf": 0.0, "pairs": 60}
    assert result.kid is not None
    assert result.kid.value == 0.0


def test_clones_are_paired_with_the_images_they_were_made_of(whole: Store, tmp_path: Path) -> None:
    chosen = [50, 3, 17, 31, 8]
    made = clones(tmp_path / "k.zarr", whole, chosen, 3)
    result = found(whole, made)
    originals, copies = whole.column("images").read()[chosen], made.column("images").read()
    assert result.frechet == pytest.approx(between(flat(whole)[chosen], flat(made)), rel=1e-9)
    assert (result.counts, result.paired) == ((5, 15), True)
    apart = [(copies[i, r].astype(int) - originals[i]) / 255 for i in range(5) for r in range(3)]
    steps = [(copies[i, r + 1].astype(int) - copies[i, r]) / 255 for i in range(5) for r in range(2)]
    for key, differences in (("oc", apart), ("cc", steps)):
        told = result.pairs[key]
        assert told is not None
        assert told["pairs"] == len(differences)
        assert told["l2"] == pytest.approx(np.mean([np.sqrt(np.square(d).sum()) for d in differences]), rel=1e-12)
        assert told["linf"] == pytest.approx(np.mean([np.abs(d).max() for d in differences]), rel=1e-12)
    assert any("biased upwards" in remark for remark in result.remarks())
    loose = found(whole, made, whole=True)
    assert (loose.counts, loose.paired, loose.pairs["oc"]) == ((60, 15), False, None)
    assert loose.pairs["cc"] == result.pairs["cc"]


def test_kid_of_pairs_leaves_them_out(whole: Store, tmp_path: Path) -> None:
    made = clones(tmp_path / "k.zarr", whole, range(40), 1)
    result = found(whole, made)
    assert result.kid is not None
    assert result.kid.value == pytest.approx(mmd(flat(whole)[:40], flat(made), paired=True), rel=1e-9)
    assert found(whole, made, kid_subsets=0).kid is None


def test_few_pixels_at_a_time_change_nothing(whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clones(tmp_path / "k.zarr", whole, [50, 3, 17, 31, 8], 3)
    a, b, _, _ = open_sides(whole, made)
    assert b is not None
    at_once = pair_distances(a, b)
    monkeypatch.setattr("datarobust.fidelity.pixels._AT_A_TIME", 100)
    assert pair_distances(a, b) == at_once


def test_extrapolation_is_over_growing_parts_of_b(whole: Store, other: Store) -> None:
    result = found(whole, other, extrapolate=True)
    groups = growing(45, 0)
    sizes = np.bincount(groups).cumsum()
    assert (sizes[0], sizes[-1], len(sizes)) == (22, 45, 15)
    parts = [flat(other)[groups <= number] for number in range(15)]
    wanted = extrapolated([(len(p), between(flat(whole), p)) for p in parts])
    assert result.extrapolated == pytest.approx(wanted, rel=1e-7)
    assert result.frechet == pytest.approx(found(whole, other).frechet, rel=1e-12)


def test_moments_are_made_once_and_take_the_place_of_a_set(
    whole: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.zarr"
    assert compared(whole, None).run(path, STEP) is None
    stored = artifacts.open_store(path, "moments")
    assert stored.attributes["count"] == 60
    assert stored.attributes["dataset"] == whole.digest
    direct = found(whole, other)
    from_moments = found(stored, other)
    assert from_moments.frechet == pytest.approx(direct.frechet, rel=1e-12)
    assert from_moments.calibration == direct.calibration
    assert (from_moments.kid, from_moments.pairs["oc"]) == (None, None)
    second = tmp_path / "n.zarr"
    compared(other, None).run(second, STEP)
    both = found(stored, artifacts.open_store(second), None)
    assert both.frechet == pytest.approx(direct.frechet, rel=1e-12)
    assert found(stored, stored, None).frechet == 0.0

    seen: list[int] = []
    counting = Measure("pixels", lambda batch: (seen.append(len(batch)), PIXELS.of(batch))[1])
    again = compared(whole, other, counting, kid_subsets=0).run(path, STEP)
    assert again is not None
    assert again.frechet == pytest.approx(direct.frechet, rel=1e-12)
    assert sum(seen) == 45, "A was not looked at"
    assert compared(whole, other, counting).run(path, STEP) == direct
    with pytest.raises(ExistsError, match=r"m\.zarr"):
        compared(other, None).run(path, STEP)
    compared(other, None).run(path, STEP, overwrite=True)
    assert artifacts.open_store(path).attributes["count"] == 45


class Killed(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("saving", [0.0, 1e9])
@pytest.mark.parametrize("after", [1, 4, 12])
def test_a_run_that_was_stopped_goes_on(whole: Store, other: Store, tmp_path: Path, after: int, saving: float) -> None:
    calls: list[int] = []

    def extract(batch: np.ndarray) -> np.ndarray:
        if len(calls) == after:
            calls.append(0)
            raise Killed
        calls.append(len(batch))
        return PIXELS.of(batch)

    asked = compared(whole, other, Measure("pixels", extract), extrapolate=True)
    output = tmp_path / "line.json"
    with pytest.raises(Killed):
        asked.run(None, STEP, keeper=Keeper(output, asked.request, saving))
    assert list(tmp_path.iterdir()), "the state is there"
    keeper = Keeper(output, asked.request)
    again = asked.run(None, STEP, keeper=keeper)
    assert again == found(whole, other, extrapolate=True)
    assert sum(calls) == 60 + 45, "no image was looked at twice"
    keeper.discard()
    assert not list(tmp_path.iterdir())
    stranger = Keeper(output, compared(whole, other, seed=1).request)
    assert stranger.load("a") is None


def test_a_run_that_was_stopped_after_it_saved_moments(whole: Store, other: Store, tmp_path: Path) -> None:
    calls: list[int] = []

    def extract(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if sum(calls) > 80:
            raise Killed
        return PIXELS.of(batch)

    output = tmp_path / "m.zarr"
    asked = compared(whole, other, Measure("pixels", extract), batch=20)
    with pytest.raises(Killed):
        asked.run(output, STEP, keeper=Keeper(output, asked.request))
    before = (output / "zarr.json").stat().st_mtime_ns
    calls[:] = []
    again = asked.run(output, STEP, keeper=Keeper(output, asked.request))
    assert again == found(whole, other)
    assert sum(calls) == 25, "neither A nor the first batch of B"
    assert (output / "zarr.json").stat().st_mtime_ns == before


def test_a_signal_while_sums_are_added_keeps_the_state_before(
    whole: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else half a batch would be counted twice."""
    asked, output, calls = compared(whole, other), tmp_path / "line.json", [0]
    add = Sums.add

    def torn(self: Sums, features: np.ndarray) -> None:
        calls[0] += 1
        if calls[0] == 8:
            raise Killed
        add(self, features)

    monkeypatch.setattr(Sums, "add", torn)
    with pytest.raises(Killed):
        asked.run(None, STEP, keeper=Keeper(output, asked.request, 0.0))
    monkeypatch.undo()
    assert asked.run(None, STEP, keeper=Keeper(output, asked.request)) == found(whole, other)


def test_moments_of_other_features_modes_and_weights_are_refused(whole: Store, other: Store, tmp_path: Path) -> None:
    compared(whole, None).run(tmp_path / "m.zarr", STEP)
    stored = artifacts.open_store(tmp_path / "m.zarr")
    weighed = Measure("inception", PIXELS.extract, "another", "2" * 64)
    for measure, says in (
        (weighed, "moments of the features pixels, but those asked for are inception"),
        (Measure("pixels", PIXELS.extract, "another"), "of the mode v/255, but those asked for are another"),
        (Measure("pixels", PIXELS.extract, weights="2" * 64), "of the weights None"),
    ):
        with pytest.raises(ArtifactError, match=says):
            compared(stored, other, measure)
    compared(whole, None, weighed).run(tmp_path / "w.zarr", STEP)
    with pytest.raises(ArtifactError, match=r"features inception, but those of .*m.zarr are pixels"):
        compared(stored, artifacts.open_store(tmp_path / "w.zarr"), None)
    assert "fid" in found(whole, other, weighed).as_json()


def test_sets_that_are_too_small_or_too_different(whole: Store, tmp_path: Path) -> None:
    one = dataset(tmp_path / "1.zarr", images(1, 2))
    with pytest.raises(DataError, match=r"1.zarr gives 1 images, but a Fréchet distance takes two"):
        compared(whole, one)
    two = dataset(tmp_path / "2.zarr", images(2, 3))
    result = found(two, whole)
    assert result.calibration is None, "halves of two points are no sets"
    coloured = dataset(tmp_path / "c.zarr", images(5, shape=(3, 4, 4)))
    with pytest.raises(DataError, match=r"1 channels and .* of 3: only `features` inception"):
        compared(whole, coloured)
    with pytest.raises(UsageError, match="`extrapolate`"):
        compared(whole, two, extrapolate=True)


def test_features_that_are_not_finite_are_named(whole: Store, other: Store) -> None:
    def broken(batch: np.ndarray) -> np.ndarray:
        values = PIXELS.of(batch)
        values[(batch == whole.column("images").read(11, 12)).all((1, 2, 3))] = np.nan
        return values

    with pytest.raises(DataError, match=r"a\.zarr: the features of row 11 are not finite"):
        found(whole, other, Measure("pixels", broken))


def test_features_from_a_file(whole: Store, tmp_path: Path) -> None:
    made = clones(tmp_path / "k.zarr", whole, [50, 3, 17, 31], 2)
    random = np.random.default_rng(0)
    a, b = random.normal(size=(60, 3)), random.normal(size=(8, 3)).astype(np.float32)
    path = tmp_path / "f.npz"
    np.savez(path, a=a, b=b)
    measure = measure_of(f"file:{path}", images(1), CPU)
    result = found(whole, made, measure)
    assert result.frechet == pytest.approx(between(a[[50, 3, 17, 31]], b), rel=1e-9)
    assert result.as_json()["features"].startswith("file:")
    np.savez(path, a=a[:59], b=b)
    with pytest.raises(DataError, match=r"59 rows in a, but .*a.zarr has 60 images"):
        compared(whole, made, measure_of(f"file:{path}", images(1), CPU))


def test_what_is_no_file_of_features(tmp_path: Path) -> None:
    path, good = tmp_path / "f.npz", np.zeros((3, 2))
    nan = good.copy()
    nan[1, 1] = np.nan
    for arrays, says in (
        ({"a": good}, "has no array b"),
        ({"a": good, "b": np.zeros((3, 4))}, "a has 2 features a point, b has 4"),
        ({"a": np.zeros(3), "b": good}, r"a is float64 \(3,\)"),
        ({"a": good, "b": np.zeros((3, 2), np.uint8)}, "b is uint8"),
        ({"a": nan, "b": good}, "row 1 of a has features that are not finite"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=says):
            measure_of(f"file:{path}", images(1), CPU)
    path.write_text("<html>")
    with pytest.raises(DataError, match="npz"):
        measure_of(f"file:{path}", images(1), CPU)
    with pytest.raises(DataError, match="no file"):
        measure_of(f"file:{tmp_path}", images(1), CPU)


def test_spellings_of_features() -> None:
    for wrong in ("dino", "classifier:", "pixels:x", "file:", "inception:x"):
        with pytest.raises(UsageError, match="choose inception, classifier:M, pixels or file:F"):
            measure_of(wrong, images(1), CPU)
    with pytest.raises(UsageError, match="`weights` is of `features` inception"):
        measure_of("pixels", images(1), CPU, Path("w.pth"))
    with pytest.raises(UsageError) as raised:
        measure_of("inception", images(1), CPU)
    for word in ("pt_inception-2015-12-05-6726825d.pth", "95,628,359 bytes", "6726825d0af5", "pytorch-fid"):
        assert word in str(raised.value)
    with pytest.raises(DataError, match="1 or 3 channels, not with 2"):
        measure_of("inception", images(1, shape=(2, 4, 4)), CPU, Path("w.pth"))


def test_growing_sets_and_halves() -> None:
    sizes = np.bincount(growing(20_000, 0)).cumsum()
    assert (sizes[0], sizes[-1], len(sizes)) == (5000, 20_000, 15)
    assert len(set(np.diff(1 / sizes))) > 1
    for count in (2, 3, 8, 9):
        half = halves(count, 1)
        assert abs(int((half == 0).sum()) - int((half == 1).sum())) <= 1
