"""All numbers of a comparison, against plain computations; what is kept for the next run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lib.stored import Interrupt

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.distributed import Group
from datarobust.errors import ArtifactError, DataError, ExistsError, LockedError, UsageError
from datarobust.fid import Moments, Sums, extrapolated, mmd
from datarobust.jobs.fid import (
    Comparison,
    KeptMoments,
    Printed,
    SideFeatures,
    feature_space,
    findings,
    growing,
    halves,
    open_sides,
    pair_distances,
    side_of,
    space_of,
)
from datarobust.jobs.make import make
from datarobust.networks.features import PIXELS, FeatureSpace, sparing

from .stores import clones, dataset, images

CPU = torch.device("cpu")
Line = dict[str, Any]


def step(inputs: Mapping[str, str]) -> Step:
    return Step("fid", (), "0.1.0", 0, "cpu", inputs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return dataset(tmp_path_factory.mktemp("a") / "a.zarr", images(60))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return dataset(tmp_path_factory.mktemp("b") / "b.zarr", images(45, 1) // 2)


def compared(a: Store, b: Store, space: FeatureSpace = PIXELS, batch: int = 7, **options: Any) -> Comparison:
    return Comparison(a, b, replace(space, batch=batch), **options)


def numbers(a: Store, b: Store, space: FeatureSpace = PIXELS, **options: Any) -> Line:
    line: Line = json.loads(compared(a, b, space, **options).line())
    return line


def keep(store: Store, path: Path, space: FeatureSpace = PIXELS, **options: Any) -> bool:
    """Keep the moments of a set."""
    return make(KeptMoments(store, SideFeatures(side_of(store), replace(space, batch=7))), path, step, **options)


def spying(see: Callable[[np.ndarray], object]) -> FeatureSpace:
    """Pixels, of which somebody sees every batch."""
    return replace(PIXELS, extract=lambda batch: (see(batch), PIXELS.of(batch))[1])


def flat(store: Store) -> np.ndarray:
    return store.column("images").read().reshape(-1, 16).astype(np.float32) / np.float32(255)


def between(x: np.ndarray, y: np.ndarray) -> float:
    return Moments.of(x).distance(Moments.of(y))


def test_two_sets(whole: Store, other: Store) -> None:
    result = numbers(whole, other)
    assert result["frechet"] == pytest.approx(between(flat(whole), flat(other)), rel=1e-9)
    told = result
    assert told["fid"] is None, "only distances of Inception's features are called FID"
    assert (told["features"], told["mode"], told["weights"]) == ("pixels", "v/255", None)
    assert (told["n"], told["dimensions"], told["paired"]) == ({"a": 60, "b": 45}, 16, False)
    assert (told["oc"], told["cc"], told["extrapolated"]) == (None, None, None)
    assert told["kid"]["subsets"] == 100
    assert told["kid"]["value"] == pytest.approx(mmd(flat(whole), flat(other)), abs=4 * told["kid"]["deviation"])
    half = halves(60, 0)
    wanted = between(flat(whole)[half == 0], flat(whole)[half == 1])
    assert told["calibration"] == {"frechet": pytest.approx(wanted, rel=1e-9), "points": 30, "seed": 0}
    for batch in (1, 60, 1000):
        assert numbers(whole, other, batch=batch)["frechet"] == pytest.approx(result["frechet"], rel=1e-12)
    assert next(findings(result)).startswith("Noise floor: two random halves of A (30 images each)")


def test_of_a_set_with_itself_all_is_nothing(whole: Store) -> None:
    result = numbers(whole, whole)
    assert result["frechet"] == 0.0
    assert result["oc"] == {"l2": 0.0, "linf": 0.0, "pairs": 60}
    assert result["kid"] is not None
    assert result["kid"]["value"] == 0.0


def test_clones_are_paired_with_the_images_they_were_made_of(whole: Store, tmp_path: Path) -> None:
    chosen = [50, 3, 17, 31, 8]
    made = clones(tmp_path / "k.zarr", whole, chosen, 3)
    result = numbers(whole, made)
    originals, copies = whole.column("images").read()[chosen], made.column("images").read()
    assert result["frechet"] == pytest.approx(between(flat(whole)[chosen], flat(made)), rel=1e-9)
    assert (result["n"], result["paired"]) == ({"a": 5, "b": 15}, True)
    apart = [(copies[i, r].astype(int) - originals[i]) / 255 for i in range(5) for r in range(3)]
    steps = [(copies[i, r + 1].astype(int) - copies[i, r]) / 255 for i in range(5) for r in range(2)]
    for key, differences in (("oc", apart), ("cc", steps)):
        told = result[key]
        assert told is not None
        assert told["pairs"] == len(differences)
        assert told["l2"] == pytest.approx(np.mean([np.sqrt(np.square(d).sum()) for d in differences]), rel=1e-12)
        assert told["linf"] == pytest.approx(np.mean([np.abs(d).max() for d in differences]), rel=1e-12)
    assert any("biased upwards" in remark for remark in findings(result))
    loose = numbers(whole, made, whole=True)
    assert (loose["n"], loose["paired"], loose["oc"]) == ({"a": 60, "b": 15}, False, None)
    assert loose["cc"] == result["cc"]


def test_kid_of_pairs_leaves_them_out(whole: Store, tmp_path: Path) -> None:
    made = clones(tmp_path / "k.zarr", whole, range(40), 1)
    result = numbers(whole, made)
    assert result["kid"] is not None
    assert result["kid"]["value"] == pytest.approx(mmd(flat(whole)[:40], flat(made), paired=True), rel=1e-9)
    assert numbers(whole, made, kid_subsets=0)["kid"] is None


def test_few_pixels_at_a_time_change_nothing(whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clones(tmp_path / "k.zarr", whole, [50, 3, 17, 31, 8], 3)
    a, b, _, _ = open_sides(whole, made)
    at_once = pair_distances(a, b)
    monkeypatch.setattr("datarobust.jobs.fid._CLONE_BYTES", 100)
    assert pair_distances(a, b) == at_once


def test_extrapolation_is_over_growing_parts_of_b(whole: Store, other: Store) -> None:
    result = numbers(whole, other, extrapolate=True)
    groups = growing(45, 0)
    sizes = np.bincount(groups).cumsum()
    assert (sizes[0], sizes[-1], len(sizes)) == (22, 45, 15)
    parts = [flat(other)[groups <= number] for number in range(15)]
    wanted = extrapolated([(len(p), between(flat(whole), p)) for p in parts])
    assert result["extrapolated"] == pytest.approx(wanted, rel=1e-7)
    assert result["frechet"] == pytest.approx(numbers(whole, other)["frechet"], rel=1e-12)


def test_moments_are_made_once_and_take_the_place_of_a_set(whole: Store, other: Store, tmp_path: Path) -> None:
    path, second = tmp_path / "m.zarr", tmp_path / "n.zarr"
    assert keep(whole, path)
    assert not keep(whole, path)
    stored = artifacts.open_store(path, "moments")
    assert stored.attributes["count"] == 60
    assert stored.attributes["dataset"] == whole.digest
    direct = numbers(whole, other)
    from_moments = numbers(stored, other)
    assert from_moments["frechet"] == pytest.approx(direct["frechet"], rel=1e-12)
    assert from_moments["calibration"] == direct["calibration"]
    assert (from_moments["kid"], from_moments["oc"]) == (None, None)
    keep(other, second)
    both = numbers(stored, artifacts.open_store(second), space_of(stored))
    assert both["frechet"] == pytest.approx(direct["frechet"], rel=1e-12)
    assert numbers(stored, stored, space_of(stored))["frechet"] == 0.0
    with pytest.raises(ExistsError, match=r"m\.zarr"):
        keep(other, path)
    assert keep(other, path, overwrite=True)
    assert artifacts.open_store(path).attributes["count"] == 45


@pytest.mark.parametrize("to_a_file", [True, False])
def test_moments_are_kept_beside_a_line_and_taken_again(
    whole: Store, other: Store, tmp_path: Path, to_a_file: bool
) -> None:
    seen: list[int] = []
    path, output = tmp_path / "m.zarr", tmp_path / "l.json"
    direct = numbers(whole, other, save_moments=path)

    def line(**options: Any) -> Line:
        seen.clear()
        more: Line = {} if to_a_file else {"form": Printed()}
        job = compared(whole, other, spying(lambda b: seen.append(len(b))), save_moments=path, **options, **more)
        assert make(job, output if to_a_file else path, step, overwrite="kid_subsets" in options)
        numbers: Line = json.loads(job.product(output if to_a_file else path, lambda label: iter))
        return numbers

    assert line() == direct
    assert sum(seen) == 60 + 45, "no image was looked at twice"
    assert artifacts.open_store(path, "moments").attributes["count"] == 60
    output.unlink(missing_ok=True)
    again = line()
    assert (again, sum(seen)) == (direct, 60 + 45), "features that KID takes"
    path.rename(tmp_path / "other.zarr")
    keep(other, path)
    output.unlink(missing_ok=True)
    with pytest.raises(ExistsError, match=r"m\.zarr"):
        line()
    assert {entry.name for entry in tmp_path.iterdir()} == {"m.zarr", "other.zarr"}


def killing(after: int, calls: list[int]) -> FeatureSpace:
    """Pixels, but a signal comes once, in batch number ``after``."""

    def see(batch: np.ndarray) -> None:
        if len(calls) == after:
            calls.append(0)
            raise Interrupt
        calls.append(len(batch))

    return spying(see)


@pytest.mark.parametrize("saving", [0.0, 1e9])
@pytest.mark.parametrize("after", [1, 4, 12])
def test_a_run_that_was_stopped_goes_on(whole: Store, other: Store, tmp_path: Path, after: int, saving: float) -> None:
    calls: list[int] = []
    job, output = compared(whole, other, killing(after, calls), extrapolate=True), tmp_path / "line.json"
    with pytest.raises(Interrupt):
        make(job, output, step, save_every=saving)
    assert not output.exists()
    assert list(tmp_path.iterdir()), "the state is there"
    assert make(job, output, step)
    assert json.loads(output.read_text()) == numbers(whole, other, extrapolate=True)
    assert sum(calls) == 60 + 45, "no image was looked at twice"
    assert [path.name for path in tmp_path.iterdir()] == ["line.json"]


@pytest.mark.parametrize("stopped", [None, 0, 1, 2])
def test_processes_share_the_batches_and_each_goes_on_where_it_was(
    whole: Store, tmp_path: Path, stopped: int | None
) -> None:
    """Three processes, of which one is stopped once in its second batch; they have the bits of one."""
    groups, kept = halves(60, 0), np.array([41, 2, 30])
    alone, pool = compared(whole, whole).features["a"].sums(groups, kept, None, iter)
    sent: list[dict[str, np.ndarray]] = []

    class InTurn(Group):
        def to_main(self, arrays: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
            return iter([arrays, *sent]) if self.is_main else iter(sent.append(arrays) or [])

    looked = 0
    for rank in (1, 2, 0):  # the first comes last, because it takes what the others send
        calls = list[int]()
        space = killing(1 if rank == stopped else 10**9, calls)
        state = artifacts.Resume(tmp_path / "line.json", "request", every=1e9).part(f"a-{rank}of3")
        part = compared(whole, whole, space).features["a"]
        if rank == stopped:
            with pytest.raises(Interrupt):
                part.sums(groups, kept, state, iter, InTurn(rank, 3))
        sums, features = part.sums(groups, kept, state, iter, InTurn(rank, 3))
        looked += sum(calls)
    assert looked == 60, "no image was looked at twice"
    for one, other in zip(alone, sums, strict=True):
        np.testing.assert_array_equal(one.moments().covariance, other.moments().covariance)
        np.testing.assert_array_equal(one.moments().mean, other.moments().mean)
    np.testing.assert_array_equal(features, pool)
    np.testing.assert_array_equal(features, flat(whole)[kept])


def test_a_state_is_of_one_request(whole: Store, other: Store, tmp_path: Path) -> None:
    calls: list[int] = []
    output = tmp_path / "line.json"
    with pytest.raises(Interrupt):
        make(compared(whole, other, killing(4, calls)), output, step)
    assert make(compared(whole, other, seed=1), output, step)
    assert json.loads(output.read_text()) == numbers(whole, other, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["line.json"]


def test_a_run_that_was_stopped_after_it_saved_moments(whole: Store, other: Store, tmp_path: Path) -> None:
    calls: list[int] = []
    path = tmp_path / "m.zarr"
    job = compared(whole, other, killing(4, calls), batch=20, save_moments=path, form=Printed())
    with pytest.raises(Interrupt):
        make(job, path, step)
    before = (path / "zarr.json").stat().st_mtime_ns
    calls.clear()
    assert make(job, path, step)
    assert json.loads(job.product(path, lambda label: iter)) == numbers(whole, other, batch=20, save_moments=path)
    assert sum(calls) == 25, "neither A nor the first batch of B"
    assert (path / "zarr.json").stat().st_mtime_ns == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.zarr"]


def test_a_signal_while_sums_are_added_keeps_the_state_before(
    whole: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else half a batch would be counted twice."""
    job, output, calls = compared(whole, other), tmp_path / "line.json", [0]
    of = Sums.of

    def torn(points: torch.Tensor) -> Sums:
        calls[0] += 1
        if calls[0] == 8:
            raise Interrupt
        return of(points)

    monkeypatch.setattr(Sums, "of", torn)
    with pytest.raises(Interrupt):
        make(job, output, step, save_every=0.0)
    monkeypatch.undo()
    make(job, output, step)
    assert json.loads(output.read_text()) == numbers(whole, other)


def test_a_second_writer_is_refused_or_finds_it_done(whole: Store, other: Store, tmp_path: Path) -> None:
    output, refused = tmp_path / "line.json", list[BaseException]()

    def second(batch: np.ndarray) -> None:
        if not refused:
            with ThreadPoolExecutor(1) as pool:
                error = pool.submit(make, compared(whole, other), output, step).exception()
            assert error is not None
            refused.append(error)

    assert make(compared(whole, other, spying(second)), output, step)
    assert isinstance(refused[0], LockedError)
    assert not make(compared(whole, other), output, step)


def test_what_a_run_leaves_that_was_killed_in_its_last_calls_is_cleared(
    whole: Store, other: Store, tmp_path: Path
) -> None:
    output, job = tmp_path / "line.json", compared(whole, other)
    make(job, output, step)
    line = output.read_bytes()
    resume = artifacts.Resume(output, artifacts.fingerprint(job.request()))
    for state in (resume, resume.part("a"), resume.part("b")):
        state.save({"done": 3})
    (tmp_path / ".line.json.lock").write_text("1 here\n")
    (tmp_path / ".line.json.partial").write_text("{")
    assert not make(job, output, step)
    assert [path.name for path in tmp_path.iterdir()] == ["line.json"]
    assert output.read_bytes() == line


def test_moments_of_other_features_modes_and_weights_are_refused(whole: Store, other: Store, tmp_path: Path) -> None:
    keep(whole, tmp_path / "m.zarr")
    stored = artifacts.open_store(tmp_path / "m.zarr")
    weighed = FeatureSpace("inception", "another", PIXELS.extract, "2" * 64)
    for space, says in (
        (weighed, "moments of the features pixels, but those asked for are inception"),
        (replace(PIXELS, mode="another"), "of the mode v/255, but those asked for are another"),
        (replace(PIXELS, weights="2" * 64), "of the weights None"),
    ):
        with pytest.raises(ArtifactError, match=says):
            compared(stored, other, space)
    keep(whole, tmp_path / "w.zarr", weighed)
    with pytest.raises(ArtifactError, match=r"features inception, but those of .*m.zarr are pixels"):
        compared(stored, artifacts.open_store(tmp_path / "w.zarr"), space_of(stored))
    weighed_line = numbers(whole, other, weighed)
    assert weighed_line["fid"] == weighed_line["frechet"]


def test_sets_that_are_too_small_or_too_different(whole: Store, tmp_path: Path) -> None:
    one = dataset(tmp_path / "1.zarr", images(1, 2))
    with pytest.raises(DataError, match=r"1.zarr gives 1 images, but a Fréchet distance takes two"):
        compared(whole, one)
    two = dataset(tmp_path / "2.zarr", images(2, 3))
    result = numbers(two, whole)
    assert result["calibration"] is None, "halves of two points are no sets"
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
        numbers(whole, other, replace(PIXELS, extract=broken))


def test_features_from_a_file(whole: Store, tmp_path: Path) -> None:
    made = clones(tmp_path / "k.zarr", whole, [50, 3, 17, 31], 2)
    random = np.random.default_rng(0)
    a, b = random.normal(size=(60, 3)), random.normal(size=(8, 3)).astype(np.float32)
    path = tmp_path / "f.npz"
    np.savez(path, a=a, b=b)
    space = feature_space(f"file:{path}", images(1), CPU)
    result = numbers(whole, made, space)
    assert result["frechet"] == pytest.approx(between(a[[50, 3, 17, 31]], b), rel=1e-9)
    assert result["features"].startswith("file:")
    np.savez(path, a=a[:59], b=b)
    with pytest.raises(DataError, match=r"59 rows for .*a.zarr, which has 60 images"):
        compared(whole, made, feature_space(f"file:{path}", images(1), CPU))


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
            feature_space(f"file:{path}", images(1), CPU)
    path.write_text("<html>")
    with pytest.raises(DataError, match="npz"):
        feature_space(f"file:{path}", images(1), CPU)
    with pytest.raises(DataError, match="not a file"):
        feature_space(f"file:{tmp_path}", images(1), CPU)


def test_spellings_of_features() -> None:
    for wrong in ("dino", "classifier:", "pixels:x", "file:", "inception:x"):
        with pytest.raises(UsageError, match="choose inception, classifier:M, pixels or file:F"):
            feature_space(wrong, images(1), CPU)
    with pytest.raises(UsageError, match="`weights` is of `features` inception"):
        feature_space("pixels", images(1), CPU, Path("w.pth"))
    with pytest.raises(UsageError) as raised:
        feature_space("inception", images(1), CPU)
    for word in ("pt_inception-2015-12-05-6726825d.pth", "95,628,359 bytes", "6726825d0af5", "pytorch-fid"):
        assert word in str(raised.value)
    with pytest.raises(DataError, match="1 or 3 channels, not with 2"):
        feature_space("inception", images(1, shape=(2, 4, 4)), CPU, Path("w.pth"))


def test_where_memory_runs_out_features_are_of_fewer_images_at_a_time(whole: Store, other: Store) -> None:
    sizes = []

    def extract(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        if len(images) > 3:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return PIXELS.of(images)

    expected = numbers(whole, other, batch=16)
    assert numbers(whole, other, replace(PIXELS, extract=sparing(extract)), batch=16)["frechet"] == expected["frechet"]
    assert [size for size in sizes if size > 3] == [16, 8, 4]  # what did not fit once is not tried again


def test_growing_sets_and_halves() -> None:
    sizes = np.bincount(growing(20_000, 0)).cumsum()
    assert (sizes[0], sizes[-1], len(sizes)) == (5000, 20_000, 15)
    assert len(set(np.diff(1 / sizes))) > 1
    for count in (2, 3, 8, 9):
        half = halves(count, 1)
        assert abs(int((half == 0).sum()) - int((half == 1).sum())) <= 1
