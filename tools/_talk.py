"""What a command says: the product on stdout; talk, progress and errors on stderr.

stdout carries nothing but the product, so a pipe can rely on it; ``-q`` silences talk and progress, never the product.
Under ``torchrun`` only the process of rank 0 speaks.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from operator import length_hint
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

#: Seconds between two plain lines of progress; the first comes after this time, so short work says nothing.
LINE_EVERY = 10.0

# Characters that move the cursor, start an escape sequence, end a line or turn the direction of writing.
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]},
    **{code: f"\\u{code:04x}" for code in [0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},  # bytes of a file name that are no text
    **{ord(char): name for char, name in {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.items()},
}


class Progress(Protocol):
    """What long loops of the library take: the same items, counted as they are taken."""

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        """Yield the items unchanged."""


class Voice:
    """How this process talks; one to a process, as stderr is."""

    name = "datarobust"
    quiet = False
    json = False  # errors as JSON objects
    bars = ExitStack()  # live bars: stopped before an error is shown, also where a loop was left halfway
    console: Console | None = None


def leader() -> bool:
    """Whether this process speaks: always, but under ``torchrun`` only rank 0."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


def escape(text: str) -> str:
    """Text from outside (names of files, of classes) as one harmless line for a terminal."""
    return text.translate(_UNSAFE)


def be_quiet(quiet: bool) -> bool:
    """Silence talk and progress from now on (the callback of ``-q``)."""
    Voice.quiet = Voice.quiet or quiet
    return quiet


def emit(line: str) -> None:
    """Write one line of the product to stdout.

    Raises:
        OSError: nobody reads it any more, or there is no room for it; :mod:`datarobust.tools._ending` tells them apart.
    """
    if leader() and sys.stdout is not None:
        try:
            sys.stdout.write(f"{line}\n")
        except OSError as error:
            error.filename = "stdout"
            raise


def say(text: str) -> None:
    """Tell the user one thing on stderr, unless ``-q`` was given."""
    if not Voice.quiet and leader():
        tell(f"{Voice.name}: {text}")


def tell(line: str) -> None:
    """Write one line to stderr, whatever ``-q`` says; above a live bar where there is one."""
    if Voice.console is not None:
        Voice.console.print(escape(line), markup=False, highlight=False, soft_wrap=True)
        return
    try:
        sys.stderr.write(f"{escape(line)}\n")
        sys.stderr.flush()
    except OSError:  # nobody reads the talk: the work and its product matter more
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - stays open until the end


def stop_bars() -> None:
    """Take live bars off the terminal and give the cursor back."""
    bars, Voice.bars = Voice.bars, ExitStack()
    bars.close()


def progress(quiet: bool, label: str) -> Progress:
    """Progress of a loop: a bar on a terminal, else a plain line now and then, with ``-q`` nothing.

    Args:
        quiet: the ``-q`` of the command.
        label: what is being done, as in ``ranking``; shown before the numbers.

    Returns:
        A function that yields the items it is given, and counts them. It shows the share and the time left where
        the items have a length.
    """
    if quiet or Voice.quiet or not leader():
        return _silent
    return _Loop(label, bar=sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"})


def _silent(items: Iterable[T], /) -> Iterable[T]:
    return items


class _Loop:
    """A loop that shows how far it is."""

    def __init__(self, label: str, *, bar: bool) -> None:
        self._label = label
        self._bar = bar

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        return _bar(items, self._label) if self._bar else _lines(items, self._label)


def _total(items: Iterable[object]) -> int | None:
    return length_hint(items, 0) or None


def _bar(items: Iterable[T], label: str) -> Iterator[T]:
    from rich import progress as rich_progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    # Unless told not to, rich takes hold of stdout and prints the product on the terminal.
    with rich_progress.Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        Voice.bars.callback(_drop_console, console)
        Voice.bars.callback(bar.stop)
        Voice.console = console
        try:
            yield from bar.track(items, total=_total(items), description=escape(label))
        finally:
            _drop_console(console)


def _drop_console(console: Console) -> None:
    if Voice.console is console:
        Voice.console = None


def _lines(items: Iterable[T], label: str) -> Iterator[T]:
    total = _total(items)
    started = spoken = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - spoken >= LINE_EVERY:
            spoken = now
            say(f"{label} {_standing(done, total, now - started)}")
        yield item


def _standing(done: int, total: int | None, seconds: float) -> str:
    """``120/450 (27 %), 14.2/s, 0:00:23 left``."""
    rate = done / seconds
    if total is None:
        return f"{done}, {rate:.3g}/s"
    left = round(max(total - done, 0) / rate)
    return f"{done}/{total} ({done / total:.0%}), {rate:.3g}/s, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
