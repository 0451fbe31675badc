"""Random numbers as functions of (seed, domain, place): nothing depends on who drew before, on batches or on processes.

Place i has the 64-bit key ``row_keys(seed, domain, i, i + 1)[0]``: the i-th output of the counter-based generator
Philox-4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011) under the key (seed, domain). A
*domain* names what the numbers are for, so that two uses of one seed are independent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IMPORT = 1
"""Domain of the shuffle of an import."""
SELECTION = 2
"""Domain of ``random:K:SEED``."""
RELABEL = 3
"""Domain of random labels."""
CORRUPTION = 4
"""Domain of which points get a random label."""
_SUBDOMAINS = 40


def domain(purpose: int, number: int) -> int:
    """A domain for each ``number`` (an epoch, a pass over a set) of a purpose; ``number`` from 0 to 2^40 - 1."""
    if not 0 <= number < 1 << _SUBDOMAINS or not 0 < purpose < 1 << 24:
        raise ValueError(f"no domain for purpose {purpose}, number {number}")
    return purpose << _SUBDOMAINS | number


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
