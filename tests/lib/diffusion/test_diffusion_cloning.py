"""Cloning: the same clone whatever the batch, the order, the number of processes, and wherever a run began."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.diffusion.cloning import Task, clones, image_keys, normals, shared_batch, to_bytes, to_model, uniforms
from datarobust.diffusion.denoiser import Denoiser, one_hot, prepare
from datarobust.diffusion.sampler import Sampler, sample, start
from datarobust.distributed import Group
from datarobust.errors import DatarobustError

from .helpers import in_two_processes, small

SHORT = Sampler(num_steps=4, S_churn=1.0)


def task(points: int = 5, repeats: int = 2, sampler: Sampler = SHORT, how: str = "paper", **changes: Any) -> Task:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    rows = random.permutation(20)[:points]
    begun, sampler = start(how, sampler)
    given: dict[str, Any] = {"images": images.__getitem__, "rows": rows, "labels": rows % 3, "repeats": repeats}
    return Task(**{**given, "start": begun, "sampler": sampler, "seed": 3, **changes})


def whole(denoiser: Denoiser, wanted: Task, batch: int, **options: Any) -> np.ndarray:
    found = np.zeros((wanted.count, *denoiser.shape), np.uint8)
    seen = np.zeros(wanted.count, bool)
    for number, images in clones(denoiser, wanted, batch, **options):
        found[number : number + len(images)] = images
        seen[number : number + len(images)] = True
    assert seen[options.get("first", 0) :].all()
    return found


def near(one: np.ndarray, other: np.ndarray) -> bool:
    """Rounding may move a byte to its neighbour."""
    return int(np.abs(one.astype(int) - other).max(initial=0)) <= 1


def obvious(denoiser: Denoiser, wanted: Task, number: int) -> np.ndarray:
    """One clone by itself, as the definitions have it."""
    point, repeat = divmod(number, wanted.repeats)
    row = wanted.rows[point]
    key = image_keys(wanted.seed, np.array([repeat]), np.array([row]))
    image = wanted.images(np.array([row])).astype(np.float64) / 127.5 - 1
    x = wanted.start.image * image + wanted.start.noise * normals(key, 0, (1, 8, 8))
    labels = one_hot(torch.tensor([wanted.labels[point]]), denoiser.classes)
    with torch.no_grad():
        found = sample(
            lambda x, sigma: denoiser(x, sigma, labels),
            torch.from_numpy(x),
            wanted.sampler.steps(),
            lambda step: torch.from_numpy(normals(key, step + 1, (1, 8, 8))),
        )
    return np.clip(np.round(found.numpy()[0] * 127.5 + 127.5), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["paper", "unit", "matched", "noise"])
def test_equals_one_clone_at_a_time(how: str) -> None:
    denoiser, wanted = small(), task(3, 2, how=how)
    expected = np.stack([obvious(denoiser, wanted, number) for number in range(wanted.count)])
    assert near(whole(prepare(denoiser), wanted, 4), expected)
    assert len({clone.tobytes() for clone in expected}) == wanted.count


@settings(max_examples=12)
@given(batch=st.integers(1, 12), repeats=st.integers(1, 3), first=st.integers(0, 15), pad=st.booleans())
def test_batches_and_beginnings_change_rounding_only(batch: int, repeats: int, first: int, pad: bool) -> None:
    denoiser, wanted = prepare(small()), task(5, repeats)
    first = min(first, wanted.count)
    expected = whole(denoiser, wanted, 64)
    found = whole(denoiser, wanted, batch, first=first, pad=pad)
    assert near(found[first:], expected[first:])


def test_a_later_beginning_has_the_same_bits() -> None:
    denoiser, wanted = prepare(small()), task(5, 3)
    expected = whole(denoiser, wanted, 4)
    for first in (1, 4, 7, 14, 15):
        np.testing.assert_array_equal(whole(denoiser, wanted, 4, first=first)[first:], expected[first:])


def test_processes_share_the_work() -> None:
    denoiser, wanted = prepare(small()), task(5, 2)
    expected = whole(denoiser, wanted, 3)
    found: dict[int, np.ndarray] = {}

    def work(group: Group) -> None:
        found[group.rank] = whole(denoiser, wanted, 3, group=group)

    in_two_processes(work)
    for rank in range(2):
        np.testing.assert_array_equal(found[rank], expected)


@given(st.integers(0, 5000), st.integers(1, 600), st.integers(1, 40))
def test_processes_have_equal_parts(count: int, batch: int, processes: int) -> None:
    size = shared_batch(count, batch, processes)
    if processes == 1:
        assert size == batch
    elif count:
        rounds = -(-count // (batch * processes))
        assert 1 <= size <= batch
        assert (size - 1) * processes * rounds < count <= size * processes * rounds  # no more rounds, no smaller part


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_where_memory_runs_out_fewer_are_cloned_at_a_time(most: int, pad: bool) -> None:
    denoiser, wanted = prepare(small()), task(5, 2)
    expected, sizes = whole(denoiser, wanted, 8), []

    def limited(_: object, arguments: tuple[Any, ...]) -> None:
        sizes.append(len(arguments[0]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    denoiser.register_forward_pre_hook(limited)
    assert near(whole(denoiser, wanted, 8, pad=pad), expected)
    too_large = [size for size in sizes if size > most]
    assert too_large == {1: [8, 4, 2], 2: [8, 4], 3: [8, 4], 8: []}[most]  # what did not fit once is not tried again


def test_other_failures_and_a_single_image_that_does_not_fit_are_told() -> None:
    for error, most in ((torch.OutOfMemoryError("CUDA out of memory"), 1), (RuntimeError("else"), 8)):
        denoiser, sizes = prepare(small()), []

        def failing(_: object, arguments: tuple[Any, ...], error: Exception = error, sizes: Any = sizes) -> None:
            sizes.append(len(arguments[0]))
            raise error

        denoiser.register_forward_pre_hook(failing)
        with pytest.raises(RuntimeError, match=str(error)):
            whole(denoiser, task(5, 2), 8)
        assert min(sizes) == most


def test_random_numbers_are_of_the_key_alone() -> None:
    keys = image_keys(3, np.array([0, 1, 0, 2]), np.array([5, 5, 6, 9]))
    drawn = normals(keys, 7, (2, 3)), uniforms(keys, 7, 5)
    for row, key in enumerate(keys):
        philox = [np.random.Generator(np.random.Philox(key=np.array([key, 7], np.uint64))) for _ in range(2)]
        np.testing.assert_array_equal(drawn[0][row], philox[0].standard_normal((2, 3), np.float32))
        np.testing.assert_array_equal(drawn[1][row], philox[1].random(5))


def test_labels_and_seeds_change_clones_and_images_come_through() -> None:
    denoiser = prepare(small())
    plain = whole(denoiser, task(), 8)
    other = whole(denoiser, task(labels=(np.arange(5) + 1) % 3), 8)
    reseeded = whole(denoiser, task(seed=4), 8)
    assert not near(plain, other)
    assert not near(plain, reseeded)


def test_progress_is_told_of_batches() -> None:
    seen: list[int] = []

    def progress(items: Iterable[int]) -> Iterable[int]:
        for item in items:
            seen.append(item)
            yield item

    whole(prepare(small()), task(5, 2), 4, progress=progress)
    assert seen == [0, 1, 2]


def test_without_classes_labels_say_nothing() -> None:
    denoiser = prepare(small(classes=0))
    found = [whole(denoiser, task(labels=np.array([0, 1, last, 0, 0])), 4) for last in (3, 0)]
    np.testing.assert_array_equal(*found)


def test_numbers_that_are_not_finite_name_the_point() -> None:
    denoiser, wanted = prepare(small()), task(5, 1)

    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
            return torch.where(torch.arange(len(x))[:, None, None, None] == 2, torch.nan, x)

    inner = denoiser.model
    broken = Broken()
    for name in ("img_channels", "img_resolution", "label_dim"):
        setattr(broken, name, getattr(inner, name))
    denoiser.model = broken  # type: ignore[assignment]
    denoiser.anchor = torch.nn.Parameter(torch.zeros(()))
    with pytest.raises(DatarobustError, match=f"clone of point {wanted.rows[2]} is not finite"):
        whole(denoiser, wanted, 8)


def test_bytes_to_the_model_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    inside = to_model(levels)
    assert (float(inside.min()), float(inside.max())) == (-1.0, 1.0)
    assert torch.equal(to_bytes(inside), levels)
    assert to_bytes(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]
