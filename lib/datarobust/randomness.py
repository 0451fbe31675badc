"""Random numbers as functions of (seed, domain, place): nothing depends on who drew before, on batches or on processes.

Place i has the 64-bit key ``row_keys(seed, domain, i, i + 1)[0]``: the i-th output of the counter-based generator
Philox-4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011) under the key (seed, domain). A
*domain* names what the numbers are for, so that two uses of one seed are independent.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

_SUBDOMAINS = 40


class Domain(IntEnum):
    """What random numbers are for. A number is never given to another use: it is part of every result drawn with it."""

    IMPORT = 1  # the shuffle of an import
    SELECTION = 2  # ``random:K:SEED``
    RELABEL = 3  # random labels
    CORRUPTION = 4  # which points get a random label
    EPOCH_REAL = 16  # the order of real images in an epoch
    EPOCH_FOCUS = 17  # which points in focus are injected
    STREAM_BLOCKS = 18  # the order of blocks of generated images
    STREAM_WITHIN = 19  # the order within a block of generated images
    BATCH_MIX = 20  # the order within a batch of real and generated images
    EPOCH_OVERSAMPLE = 21  # the order of an epoch with all points in focus
    AUGMENT = 32  # crops and flips
    TRAIN = 40  # random starts of training attacks
    TRACK = 41  # random starts of attacks on the tracked points
    TEST = 42  # random starts of attacks on the test set
    FOCUS = 43  # random starts of attacks on the points in focus
    CLONE = 48  # noise of a clone
    CLONE_LABEL = 49  # random classes of clones
    DENOISER_ORDER = 50  # the order of images in an epoch of a denoiser
    DENOISER_TRAINING = 51  # noise levels, noise and augmentation of a denoiser's training
    DENOISER_DROPOUT = 52  # dropout of a denoiser
    SEARCH_ORDER = 56  # the order in which the points of the grid are tried
    FID_HALVES = 60  # halves of a set that are held against each other
    FID_POOL = 61  # points whose kernel distances are taken
    FID_ORDER = 62  # points of the smaller sets that a distance is extrapolated from
    FID_REPEAT = 63  # which clone of a point is compared
    MAP_SAMPLE = 72  # the stratified sample of a map
    MAP_START = 73  # random starts of multidimensional scaling
    MAP_TREES = 74  # random trees
    MAP_SHUFFLE = 75  # permutations that show what chance gives on a map

    def of(self, number: int) -> int:
        """The domain of one ``number`` (an epoch, a pass over a set) of this use; ``number`` from 0 to 2^40 - 1."""
        if not 0 <= number < 1 << _SUBDOMAINS:
            raise ValueError(f"no domain for number {number} of {self.name}")
        return self.value << _SUBDOMAINS | number


def row_keys(seed: int, domain: int, start: int, stop: int) -> npt.NDArray[np.uint64]:
    """The keys uint64 (stop - start) of the places ``start:stop``; ``seed`` from 0 to 2**64 - 1."""
    skipped = start % 4  # Philox makes four outputs a step of its counter
    philox = np.random.Philox(key=np.array([seed, domain], dtype=np.uint64), counter=start // 4)
    drawn = philox.random_raw(stop - start + skipped)
    return np.asarray(drawn, dtype=np.uint64)[skipped:]


def permutation(seed: int, domain: int, rows: int) -> npt.NDArray[np.int64]:
    """The rows 0..rows-1 in random order, int64 (rows): sorted by (key, row), uniform but for equal keys.

    Equal keys have a chance below N^2 / 2^65.
    """
    return np.argsort(row_keys(seed, domain, 0, rows), kind="stable").astype(np.int64)
