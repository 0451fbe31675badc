"""Random numbers of images: functions of seed, purpose, place and part."""

from __future__ import annotations

import numpy as np

from datarobust.diffusion.draws import image_keys, normals, random_labels, uniforms


def test_keys_depend_on_seed_row_and_repeat_alone() -> None:
    rows, repeats = np.array([5, 0, 1_000_000, 5]), np.array([0, 0, 3, 1])
    keys = image_keys(7, repeats, rows)
    assert keys.dtype == np.uint64
    for place in range(4):
        assert image_keys(7, repeats[place : place + 1], rows[place : place + 1])[0] == keys[place]
    assert len(set(keys.tolist()) | set(image_keys(8, repeats, rows).tolist())) == 8


def test_numbers_depend_on_key_and_part_alone() -> None:
    keys = image_keys(0, np.zeros(3, np.int64), np.arange(3))
    drawn = normals(keys, 4, (2, 3, 3))
    assert drawn.shape == (3, 2, 3, 3)
    np.testing.assert_array_equal(normals(keys[[2, 0]], 4, (2, 3, 3)), drawn[[2, 0]])
    assert not np.array_equal(normals(keys, 5, (2, 3, 3)), drawn)
    assert not np.array_equal(normals(keys[:1], 4, (2, 3, 3)), drawn[1:2])


def test_they_are_normal_and_uniform() -> None:
    keys = image_keys(1, np.zeros(50, np.int64), np.arange(50))
    drawn = normals(keys, 0, (400,)).astype(np.float64)
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03
    between = np.corrcoef(drawn)[~np.eye(50, dtype=bool)]
    assert np.abs(between).max() < 0.3
    numbers = uniforms(keys, 0, 400)
    assert 0 <= numbers.min() < 0.01 < 0.99 < numbers.max() < 1


def test_random_labels() -> None:
    rows = np.arange(3000)
    labels = random_labels(0, rows, 10)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(random_labels(0, rows[[7, 3]], 10), labels[[7, 3]])
    assert np.bincount(labels, minlength=10).min() > 230
    assert not np.array_equal(random_labels(1, rows, 10), labels)
