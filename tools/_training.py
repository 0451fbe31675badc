"""What the commands that train share: how they tell of it, and the log for TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from . import _cli

if TYPE_CHECKING:
    from datarobust.training.loop import Line

T = TypeVar("T")
_SAY_EVERY = 10.0

TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write the log for TensorBoard, too: OUTPUT/tensorboard.")
]


class Listener:
    """Tells the user of an epoch now and then, and between them how the epoch stands.

    ``figures`` puts a line of the log into words, ``brief`` its first numbers; ``images`` are those of a step.
    """

    def __init__(
        self,
        epochs: int,
        images: int,
        figures: Callable[[Line], str],
        brief: Callable[[Line], str],
        stopped: Callable[[], bool],
        quiet: bool,
    ) -> None:
        self.stops = stopped
        self._epochs, self._figures, self._brief = epochs, figures, brief
        self._loop = _cli.progress(quiet, "training", ("images", lambda _: images), self._note)
        self._standing: Callable[[], Line] = dict
        self._last: Line = {}
        self._spoken = -math.inf

    def progress(self, steps: Iterable[T], standing: Callable[[], Line], /) -> Iterable[T]:
        """The steps, counted."""
        self._standing = standing
        return self._loop(steps)

    def remark(self, text: str) -> None:
        """Tell it."""
        _cli.say(text)

    def epoch(self, line: Line) -> None:
        """Tell of an epoch, unless that was done a moment ago."""
        self._last = line
        now = time.monotonic()
        if now - self._spoken < _SAY_EVERY and line["epoch"] < self._epochs:
            return
        self._spoken = now
        epoch = f"epoch {line['epoch']}/{self._epochs}: {self._figures(line)}"
        speed = f"{line['images_per_second']:,.0f} images/s"
        _cli.say(", ".join(filter(None, [epoch, speed, self._loop.left])))

    def _note(self) -> str:
        """The epoch so far; before its first step the last one."""
        line = self._standing()
        line = line if "loss" in line else self._last
        return self._brief(line) if line else ""
