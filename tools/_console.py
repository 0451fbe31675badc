"""What a command says: the product on stdout; talk, errors and progress on stderr.

stdout carries nothing but the product, so a pipe can rely on it; ``-q`` silences talk and progress, never the product.
Under ``torchrun`` only the process of rank 0 speaks. Progress is a bar on a terminal, else a plain line now and then:
rate, time left, and the figure that matters, such as a loss.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

T = TypeVar("T")
Unit = tuple[str, Callable[[int], float]]
"""What a rate counts, and how many of it an item is where there are so many items: ``("images", lambda items: 8)``."""

LINE_EVERY = 10.0
"""Seconds of silence before a plain line; the first comes after this time, so short work says nothing."""
LOOK_EVERY = 0.5
"""Seconds between two updates of a bar."""
PASSED = 1e-3
"""Seconds that an item takes at most where a loop that goes on passes over what was done before."""

# Characters that move the cursor, start an escape sequence, end a line or turn the direction of writing.
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]},
    **{code: f"\\u{code:04x}" for code in [0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},  # bytes of a file name that are no text
    **{ord(char): name for char, name in {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.items()},
}
_RENAMED = {"lam": "lambda"}
"""Options that have another name than their argument, because Python has a use for it."""


class Console:
    """How this process talks; one to a process, as stderr is."""

    name = "datarobust"
    quiet = False
    json = False  # errors as JSON objects
    bar: Bar | None = None  # the live one: stopped before an error is shown, also where a loop was left halfway
    spoken = 0.0  # when something was said last, on the clock of time.monotonic


def is_main() -> bool:
    """Whether this process speaks: always, but under ``torchrun`` only rank 0."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


def escape(text: str) -> str:
    """Text from outside (names of files, of classes) as one harmless line for a terminal."""
    return text.translate(_UNSAFE)


def as_options(text: str) -> str:
    """A sentence of the library as the command line has it: an argument in backticks becomes its option.

    >>> as_options("`hold_out` takes all points")
    '--hold-out takes all points'
    """
    return re.sub(r"`([a-z]\w*)`", lambda match: "--" + _RENAMED.get(match[1], match[1]).replace("_", "-"), text)


def be_quiet(quiet: bool) -> bool:
    """Silence talk and progress from now on (the callback of ``-q``)."""
    Console.quiet = Console.quiet or quiet
    return quiet


def emit(line: str) -> None:
    """Write one line of the product to stdout.

    Raises:
        OSError: nobody reads it any more, or there is no room for it; :mod:`datarobust.tools._ending` tells them apart.
    """
    if is_main() and sys.stdout is not None:
        try:
            sys.stdout.write(f"{line}\n")
        except OSError as error:
            error.filename = "stdout"
            raise


def say(text: str) -> None:
    """Tell the user one thing on stderr, unless ``-q`` was given."""
    if not Console.quiet and is_main():
        tell(f"{Console.name}: {as_options(text)}")
        Console.spoken = time.monotonic()


def tell(line: str) -> None:
    """Write one line to stderr, whatever ``-q`` says; above a live bar where there is one."""
    if Console.bar is not None:
        Console.bar.console.print(escape(line), markup=False, highlight=False, soft_wrap=True)
        return
    try:
        sys.stderr.write(f"{escape(line)}\n")
        sys.stderr.flush()
    except OSError:  # nobody reads the talk: the work and its product matter more
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - stays open until the end


def stop_bar() -> None:
    """Take a live bar off the terminal and give the cursor back."""
    bar, Console.bar = Console.bar, None
    if bar is not None:
        bar.stop()


def progress(quiet: bool, label: str, unit: Unit | None = None, note: Callable[[], str] | None = None) -> Loop:
    """Progress of a loop; with ``-q`` nothing.

    Args:
        quiet: the ``-q`` of the command.
        label: what is being done, as in ``ranking``; shown before the numbers.
        unit: what the rate counts; items if not given.
        note: the figure that matters, such as ``loss 1.234``; asked for between two items, when it is to be shown.

    Returns:
        A function that yields the items it is given, and counts them. It shows the rate, and where the items have a
        length the share and the time left. What took long is told once more at its end.
    """
    return Loop(label, quiet or Console.quiet or not is_main(), unit, note)


class Loop:
    """A loop that shows how far it is."""

    def __init__(self, label: str, silent: bool, unit: Unit | None, note: Callable[[], str] | None) -> None:
        self._label, self._silent, self._unit, self._note = label, silent, unit, note
        self._begin(())

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        """The items, counted."""
        return items if self._silent else self._shown(items)

    def _shown(self, items: Iterable[T]) -> Iterator[T]:
        terminal = sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}
        self._begin(items)
        Console.spoken = max(Console.spoken, self._began)
        bar = _bar(self._label, self._total) if terminal else None
        done, updated = -1, -LOOK_EVERY
        try:
            for done, item in enumerate(items):
                self._count(done)
                if bar is not None and self._now - updated >= LOOK_EVERY:
                    updated = self._now
                    bar.update(bar.task_ids[0], completed=done, state=escape(self._state(share=False)))
                elif bar is None and done and self._now - Console.spoken >= LINE_EVERY:
                    say(f"{self._label} {self._state(share=True)}")
                yield item
        finally:
            if bar is not None:
                bar.stop()
                Console.bar = None if Console.bar is bar else Console.bar
        if done >= 0:
            self._count(done + 1)
            if self._now - self._began >= LINE_EVERY:
                seconds = clock(self._now - self._began)
                say(_joined(f"{self._label} {self._share} in {seconds}", self._speed(), self._figure()))

    def _begin(self, items: Iterable[object]) -> None:
        self._total = length_hint(items, 0)
        self._done, self._passing = 0, True
        self._began = self._now = time.monotonic()
        self._base = (0, self._began)

    def _count(self, done: int) -> None:
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

    @property
    def left(self) -> str:
        """``0:00:23 left``; nothing where that is not known."""
        return f"{clock(max(self._total - self._done, 0) / self._rate)} left" if self._total and self._rate else ""

    @property
    def _share(self) -> str:
        return f"{self._done}/{self._total}" if self._total else str(self._done)

    def _speed(self) -> str:
        name, size = self._unit or ("", lambda _: 1.0)
        rate = self._rate * size(self._total)
        number = f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"
        return f"{number} {name}/s".replace(" /", "/") if rate else ""

    def _figure(self) -> str:
        return self._note() if self._note else ""

    def _state(self, share: bool) -> str:
        """``120/450 (27%), 14.2/s, 0:00:23 left, loss 1.234``."""
        percent = f" ({self._done / self._total:.0%})" if share and self._total else ""
        return _joined(f"{self._share}{percent}", self._speed(), self.left, self._figure())


def _bar(label: str, total: int) -> Bar:
    """A live bar on the terminal; lines that are said go above it."""
    from rich import progress as rich_progress
    from rich.console import Console as RichConsole
    from rich.table import Column

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(10),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[state]}", markup=False, table_column=Column()),  # may wrap
        console=RichConsole(stderr=True),
        transient=True,
        redirect_stdout=False,  # unless told not to, rich takes hold of stdout and prints the product on the terminal
        redirect_stderr=False,
    )
    bar.add_task(escape(label), total=total or None, state="")
    bar.start()
    Console.bar = bar
    return bar


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """``0:04:27``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
