"""What a command says: the product on stdout; talk and errors on stderr. Progress is in ``_progress.py``.

stdout carries nothing but the product, so a pipe can rely on it; ``-q`` silences talk and progress, never the product.
Under ``torchrun`` only the process of rank 0 speaks.
"""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Characters that move the cursor, start an escape sequence, end a line or turn the direction of writing.
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]},
    **{code: f"\\u{code:04x}" for code in [0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},  # bytes of a file name that are no text
    **{ord(char): name for char, name in {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.items()},
}
_RENAMED = {"lam": "lambda"}
"""Options that have another name than their argument, because Python has a use for it."""


class Voice:
    """How this process talks; one to a process, as stderr is."""

    name = "datarobust"
    quiet = False
    json = False  # errors as JSON objects
    bars = ExitStack()  # live bars: stopped before an error is shown, also where a loop was left halfway
    console: Console | None = None
    spoken = 0.0  # when something was said last, on the clock of time.monotonic


def leader() -> bool:
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
    return re.sub(r"`([a-z]\w*)`", lambda found: "--" + _RENAMED.get(found[1], found[1]).replace("_", "-"), text)


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
        tell(f"{Voice.name}: {as_options(text)}")
        Voice.spoken = time.monotonic()


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
