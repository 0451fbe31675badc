"""Where finished clones go: into the store, and what it has not on the disk yet into a journal."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Writer
from datarobust.artifacts.layout import Layout
from datarobust.types import Images


@dataclass(frozen=True)
class Tail:
    """Clones that the store does not have on the disk: those from number ``first`` on."""

    first: int
    images: Images

    @property
    def end(self) -> int:
        """Number after the last one."""
        return self.first + len(self.images)


class Sink:
    """Clones on their way into the store: points whose clones are complete are appended, the rest is kept.

    A store holds whole blocks until it is finished. What comes after its last block is in the journal.
    """

    def __init__(self, writer: Writer, journal: artifacts.Journal, row: tuple[int, ...], save_every: float) -> None:
        self.journal = journal
        self._writer, self._row, self._save_every = writer, row, save_every
        self._block = Layout("uint8", (0, *row)).block * row[0]
        self._appended = writer.done("images") * row[0]
        self._tail = Tail(self._appended, np.zeros((0, *row[1:]), np.uint8))  # replaced whole, never changed
        self._saved = time.monotonic()
        found = journal.load()
        if found is not None and int(found["first"]) <= self._appended:
            self._take(found["images"][self._appended - int(found["first"]) :])

    @property
    def done(self) -> int:
        """How many clones there are."""
        return self._tail.end

    def take(self, number: int, images: Images) -> None:
        """Clones from number ``number`` on, some of which may be there already."""
        self._take(images[max(0, self.done - number) :])
        if time.monotonic() - self._saved >= self._save_every:
            self.save()

    def save(self) -> None:
        """Bring all clones to the disk."""
        tail = self._tail
        self.journal.save({"first": tail.first, "images": tail.images})
        self._saved = time.monotonic()

    def _take(self, images: Images) -> None:
        repeats, tail = self._row[0], self._tail
        tail = Tail(tail.first, np.concatenate([tail.images, images]))
        ready = tail.end // repeats * repeats
        if ready > self._appended:
            rows = tail.images[self._appended - tail.first : ready - tail.first]
            self._writer.append("images", np.ascontiguousarray(rows).reshape(-1, *self._row))
            self._appended = ready
        durable = self._appended // self._block * self._block
        self._tail = Tail(durable, tail.images[durable - tail.first :])
