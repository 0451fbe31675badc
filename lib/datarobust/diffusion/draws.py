"""Random numbers of images: functions of (seed, purpose, place), whoever asks, in whatever batch, on whatever device.

They are drawn on the CPU, so that a GPU gets the same ones. Place i of a purpose has a key of 64 bits
(:mod:`datarobust.randomness`); the numbers of its part s are those of a Philox generator under the key (i's key, s).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datarobust.randomness import Domain, row_keys

Keys = npt.NDArray[np.uint64]
Normals = npt.NDArray[np.float32]


def image_keys(seed: int, repeats: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Keys:
    """The keys uint64 (B) of clones: number ``repeats`` (B) of the images ``rows`` (B) of a dataset."""
    found = np.empty(len(rows), np.uint64)
    for place, (repeat, row) in enumerate(zip(repeats.tolist(), rows.tolist(), strict=True)):
        found[place] = row_keys(seed, Domain.CLONE.of(repeat), row, row + 1)[0]
    return found


def normals(keys: Keys, part: int, shape: tuple[int, ...]) -> Normals:
    """Standard normal numbers float32 (B, *shape) of one part: a step, the start, a noise level; shape is not ()."""
    found = np.empty((len(keys), *shape), np.float32)
    for row, key in zip(found, keys.tolist(), strict=True):
        philox = np.random.Philox(key=np.array([key, part], np.uint64))
        np.random.Generator(philox).standard_normal(dtype=np.float32, out=row)
    return found


def uniforms(keys: Keys, part: int, count: int) -> npt.NDArray[np.float64]:
    """Numbers float64 (B, count), uniform in [0, 1), of one part."""
    found = np.empty((len(keys), count))
    for row, key in zip(found, keys.tolist(), strict=True):
        philox = np.random.Philox(key=np.array([key, part], np.uint64))
        np.random.Generator(philox).random(out=row)
    return found


def random_labels(seed: int, rows: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """A label int64 (B) from 0 to classes - 1 for each row of a dataset."""
    keys = [int(row_keys(seed, Domain.CLONE_LABEL.of(0), row, row + 1)[0]) % classes for row in rows.tolist()]
    return np.array(keys, np.int64)
