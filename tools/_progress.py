"""How far a loop is: a bar on a terminal, else a plain line now and then; rate, time left, and the figure that matters.

The figure is the command's: the loss of a training, the accuracy that is left in an evaluation. It is asked for in the
main thread, between two items, and only when it is about to be shown.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import TYPE_CHECKING, TypeVar

from ._talk import Voice, escape, leader, say

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
Unit = tuple[str, Callable[[int], float]]
"""What a rate counts, and how many of it an item is where there are so many items: ``("images", lambda items: 8)``."""
Note = Callable[[], str]

#: Seconds of silence before a plain line; the first comes after this time, so short work says nothing.
LINE_EVERY = 10.0
#: Seconds between two looks at the figure on a terminal.
LOOK_EVERY = 0.5
#: Seconds that an item takes at most where a loop that goes on passes over what was done before.
PASSED = 1e-3


def progress(quiet: bool, label: str, unit: Unit | None = None, note: Note | None = None) -> Loop:
    """Progress of a loop; with ``-q`` nothing.

    Args:
        quiet: the ``-q`` of the command.
        label: what is being done, as in ``ranking``; shown before the numbers.
        unit: what the rate counts; items if not given.
        note: the figure that matters, such as ``loss 1.234``.

    Returns:
        A function that yields the items it is given, and counts them. It shows the rate, and where the items have a
        length the share and the time left. What took long is told once more at its end.
    """
    return Loop(label, quiet or Voice.quiet or not leader(), unit, note)


class Loop:
    """A loop that shows how far it is."""

    def __init__(self, label: str, silent: bool, unit: Unit | None, note: Note | None) -> None:
        self._label, self._silent, self._unit, self._note = label, silent, unit, note
        self._begin(())

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        """The items, counted."""
        if self._silent:
            return items
        terminal = sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}
        return self._bar(items) if terminal else self._lines(items)

    # ------------------------------------------------------------------------------------------------- counting

    def _begin(self, items: Iterable[object]) -> None:
        self._total = length_hint(items, 0)
        self._done, self._passing = 0, True
        self._began = self._now = time.monotonic()
        self._base = (0, self._began)

    def _take(self, done: int) -> None:
        """So many are done. What was passed over at the start is done, but says nothing about the rate."""
        before, self._done, self._now = self._now, done, time.monotonic()
        self._passing = self._passing and self._now - before < PASSED
        if self._passing:
            self._base = (done, self._now)

    @property
    def _rate(self) -> float:
        """Items a second; 0 where that is not known yet."""
        done, began = (0, self._began) if self._base[0] == self._done else self._base
        return (self._done - done) / (self._now - began) if self._now > began else 0.0

    # --------------------------------------------------------------------------------------------------- telling

    @property
    def left(self) -> str:
        """``0:00:23 left``; nothing where that is not known."""
        return f"{clock(max(self._total - self._done, 0) / self._rate)} left" if self._total and self._rate else ""

    @property
    def _count(self) -> str:
        return f"{self._done}/{self._total}" if self._total else str(self._done)

    def _speed(self) -> str:
        name, size = self._unit or ("", lambda _: 1.0)
        rate = self._rate * size(self._total)
        number = f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"
        return f"{number} {name}/s".replace(" /", "/") if rate else ""

    def _figure(self) -> str:
        return self._note() if self._note else ""

    def _standing(self, share: bool) -> str:
        """``120/450 (27%), 14.2/s, 0:00:23 left, loss 1.234``."""
        part = f" ({self._done / self._total:.0%})" if share and self._total else ""
        return _joined(f"{self._count}{part}", self._speed(), self.left, self._figure())

    def _end(self) -> None:
        """Tell what took long once more."""
        self._take(self._done + 1)
        if self._now - self._began >= LINE_EVERY:
            took = clock(self._now - self._began)
            say(_joined(f"{self._label} {self._count} in {took}", self._speed(), self._figure()))

    def _lines(self, items: Iterable[T]) -> Iterator[T]:
        self._begin(items)
        Voice.spoken = max(Voice.spoken, self._began)
        one = False
        for done, item in enumerate(items):
            one = True
            self._take(done)
            if done and self._now - Voice.spoken >= LINE_EVERY:
                say(f"{self._label} {self._standing(share=True)}")
            yield item
        if one:
            self._end()

    def _bar(self, items: Iterable[T]) -> Iterator[T]:
        from rich import progress as rich_progress
        from rich.console import Console
        from rich.table import Column

        console = Console(stderr=True)
        columns = (
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(10),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("{task.fields[standing]}", markup=False, table_column=Column()),  # may wrap
        )
        # Unless told not to, rich takes hold of stdout and prints the product on the terminal.
        with rich_progress.Progress(
            *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as bar:
            Voice.bars.callback(_drop_console, console)
            Voice.bars.callback(bar.stop)
            Voice.console = console
            self._begin(items)
            task = bar.add_task(escape(self._label), total=self._total or None, standing="")
            looked, one = -LOOK_EVERY, False
            try:
                for done, item in enumerate(items):
                    one = True
                    self._take(done)
                    if self._now - looked >= LOOK_EVERY:
                        looked = self._now
                        bar.update(task, completed=done, standing=escape(self._standing(share=False)))
                    yield item
            finally:
                _drop_console(console)
        if one:
            self._end()


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _drop_console(console: Console) -> None:
    if Voice.console is console:
        Voice.console = None


def clock(seconds: float) -> str:
    """``0:04:27``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
