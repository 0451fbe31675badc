"""Which images make which batch: functions of (seed, epoch, step), so that nothing depends on who resumed when."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datarobust.randomness import Domain, permutation

Rows = npt.NDArray[np.int64]


def real_rows(seed: int, epoch: int, available: Rows, count: int, focus: Rows | None = None) -> Rows:
    """The base set's rows that an epoch trains on, in order.

    A fresh permutation of ``available`` every epoch, drawn without replacement; where an epoch needs more than there
    are, a second permutation follows the first. With ``focus`` (rows among the available ones) every one of those is
    part of the epoch, and the rest is drawn from the others.

    Args:
        seed: of the training.
        epoch: from 0.
        available: rows that are not held out.
        count: images of an epoch.
        focus: rows to oversample.
    """
    if focus is None or not len(focus):
        return _cycled(seed, Domain.EPOCH_REAL, epoch, available, count)
    others = np.setdiff1d(available, focus)
    rest = _cycled(seed, Domain.EPOCH_REAL, epoch, others if len(others) else available, count - len(focus))
    mixed = np.concatenate([focus, rest])
    return mixed[permutation(seed, Domain.EPOCH_OVERSAMPLE.of(epoch), count)]


def focus_rows(seed: int, epoch: int, focus: int, count: int) -> Rows:
    """Places 0..focus-1 in the focus set for an epoch's injections, ``count`` of them: permutations, one after another.

    With 1,024 points, 32 a batch and 25 steps, 800 of them are used in an epoch, others in the next.
    """
    return _cycled(seed, Domain.EPOCH_FOCUS, epoch, np.arange(focus, dtype=np.int64), count)


def mixed(seed: int, step: int, total: int) -> Rows:
    """The order of the images within a batch, so that every group of batch statistics has its share of all kinds."""
    return permutation(seed, Domain.BATCH_MIX.of(step), total)


def _cycled(seed: int, purpose: Domain, epoch: int, rows: Rows, count: int) -> Rows:
    """``count`` rows of as many permutations as it takes."""
    rounds = max(1, -(-count // len(rows)))
    if rounds >= 1 << 16:
        raise ValueError(f"{count} draws from {len(rows)} rows")
    drawn = [rows[permutation(seed, purpose.of(epoch << 16 | turn), len(rows))] for turn in range(rounds)]
    return np.concatenate(drawn)[:count]


class StreamOrder:
    """An endless order over N rows that lie in blocks, for sets too large to be drawn from at random.

    Each pass visits the blocks in a random order and the rows of a block in a random order. On a set that was shuffled
    when it was imported, the rows of a pass are a uniform sample without replacement; on one in memory, ``block`` is
    N and a pass is a uniform permutation of the whole set.
    """

    def __init__(self, seed: int, rows: int, block: int) -> None:
        self.rows = rows
        self.block = block
        self._seed = seed
        self._pass = -1
        self._blocks: Rows = np.empty(0, np.int64)
        self._ends: Rows = np.empty(0, np.int64)

    def pieces(self, start: int, count: int) -> list[tuple[int, int, int, int]]:
        """The draws ``start .. start + count`` as pieces (pass, block, from, to) of blocks' random orders."""
        found = []
        while count:
            turn, place = divmod(start, self.rows)
            self._enter(turn)
            at = int(np.searchsorted(self._ends, place, side="right"))
            begin = int(self._ends[at]) - self.size(int(self._blocks[at]))
            low = place - begin
            high = min(low + count, self.size(int(self._blocks[at])))
            found.append((turn, int(self._blocks[at]), low, high))
            start += high - low
            count -= high - low
        return found

    def size(self, block: int) -> int:
        """Rows of a block."""
        return min(self.block, self.rows - block * self.block)

    def within(self, turn: int, block: int) -> Rows:
        """The random order of a block's rows in a pass, counted from the block's first row."""
        blocks = -(-self.rows // self.block)
        return permutation(self._seed, Domain.STREAM_WITHIN.of(turn * blocks + block), self.size(block))

    def _enter(self, turn: int) -> None:
        if turn == self._pass:
            return
        blocks = -(-self.rows // self.block)
        self._blocks = permutation(self._seed, Domain.STREAM_BLOCKS.of(turn), blocks)
        self._ends = np.cumsum(np.array([self.size(int(block)) for block in self._blocks], np.int64))
        self._pass = turn
