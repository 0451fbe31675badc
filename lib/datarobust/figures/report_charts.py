"""Small charts as inline SVG that take their colours from the page, so that they are right in light, dark and print.

All are 320 units wide, which is what a narrow page has room for, and grow to at most 1.4 times that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datarobust.figures.report_html import Content, Markup, amount, clipped, count, cut, element, percent, spelled

WIDTH: Final = 320.0
_LEFT, _RIGHT, _TOP, _FOOT = 38.0, 8.0, 10.0, 24.0
_NAMED: Final = 26
"""Bars of which each has its name beneath it, as far as it is short."""
_BINS: Final = 40


def figure(drawing: Content, caption: Content, class_: str = "chart") -> Markup:
    """A drawing with the words beneath it."""
    return element("figure", drawing, element("figcaption", cut(caption)), class_=class_)


def _svg(height: float, told: str, *parts: Content) -> Markup:
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        width=WIDTH,
        height=height,
        role="img",
        aria_label=clipped(spelled(told)),
        class_="drawn",
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", class_: str | None = None) -> Markup:
    return element("text", clipped(words, 60), x=x, y=y, text_anchor=anchor, class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def nice(top: float) -> list[float]:
    """Two to five round numbers from 0 to about ``top``."""
    if not 0 < top < math.inf:
        return [0.0, 1.0]
    raw = top / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [place * step for place in range(round(top / step * 1e6) // 1000000 + 1)]


def _rules(top: float, high: float, told: str = "") -> list[Markup]:
    """Horizontal lines at round values, with their numbers."""
    found = []
    for value in nice(top):
        y = _TOP + high * (1 - value / top)
        found.append(_line(_LEFT, y, WIDTH - _RIGHT, y, "axis" if value == 0 else "rule"))
        found.append(_text(_LEFT - 5, y + 3.5, f"{amount(value)}{told}" if value < 1e4 else f"{value:.0e}", "end"))
    return found


def bars(
    names: Sequence[str], values: Sequence[int], told: str, short: Sequence[str] | None = None, height: float = 140.0
) -> Markup:
    """A bar a class.

    Args:
        names: (K) of the classes.
        values: (K) how many.
        told: what the chart shows, for who cannot see it.
        short: (K) what stands beneath the bars where there is no room for all names.
        height: of all.
    """
    top = float(max([*values, 1]))
    high, wide = height - _TOP - _FOOT, WIDTH - _LEFT - _RIGHT
    step = wide / max(1, len(values))
    parts = _rules(top, high)
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        tall = high * value / top
        x = _LEFT + place * step
        bar = element(
            "rect",
            element("title", f"{clipped(spelled(name), 80)}: {count(value)}"),
            x=x + step * 0.12,
            y=_TOP + high - tall,
            width=step * 0.76,
            height=tall,
            class_="fill",
        )
        parts.append(bar)
    room = int(step / 6.2)
    for beneath in (names, short or ()):
        if beneath and len(values) <= _NAMED and max(len(spelled(name)) for name in beneath) <= room:
            spots = [_LEFT + (place + 0.5) * step for place in range(len(beneath))]
            parts += [_text(x, height - _FOOT + 15, spelled(name)) for x, name in zip(spots, beneath, strict=True)]
            break
    return _svg(height, told, *parts)


def histogram(values: NDArray[np.float64], told: str, axis: str, height: float = 168.0) -> Markup:
    """How often each distance occurs, with a line at the median.

    Args:
        values: float64 (N), all finite, N at least 1.
        told: what the chart shows, for who cannot see it.
        axis: what stands beneath.
        height: of all.
    """
    low, top_value = float(values.min()), float(values.max())
    if not low < top_value:
        low, top_value = low - 0.5, top_value + 0.5
    high, wide = height - _TOP - _FOOT - 12, WIDTH - _LEFT - _RIGHT
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _BINS:  # such as whole steps of a byte: a bar for each value, where it is
        apart = float(np.median(np.diff(distinct))) if len(distinct) > 1 else top_value - low
        half = 0.5 * min(14.0, max(4.0, 0.8 * apart / (top_value - low) * wide)) / wide * (top_value - low)
        low, top_value = low - half, top_value + half
        starts, ends = distinct - half, distinct + half
    else:
        counts, edges = np.histogram(values, bins=_BINS, range=(low, top_value))
        starts, ends = edges[:-1], edges[1:]
    top = float(counts.max())
    parts = _rules(top, high)

    def across(value: float) -> float:
        return _LEFT + wide * (value - low) / (top_value - low)

    for number, start, end in zip(counts.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if not number:
            continue
        tall = high * number / top
        said = f"{amount(start)} to {amount(end)}" if len(distinct) > _BINS else amount((start + end) / 2)
        bar = element(
            "rect",
            element("title", f"{said}: {count(number)}"),
            x=across(start) + 0.4,
            y=_TOP + high - tall,
            width=max(0.5, across(end) - across(start) - 0.8),
            height=tall,
            class_="fill",
        )
        parts.append(bar)
    middle = across(float(np.median(values)))
    parts.append(_line(middle, _TOP - 4, middle, _TOP + high, "mark"))
    marks = [(float(values.min()), "start"), ((low + top_value) / 2, "middle"), (float(values.max()), "end")]
    parts += [_text(across(value), _TOP + high + 14, amount(value, 3), anchor) for value, anchor in marks]
    parts.append(_text(_LEFT + wide / 2, height - 5, axis))
    return _svg(height, told, *parts)


def shares(parts: Sequence[tuple[str, float, str]], told: str) -> Markup:
    """One bar cut into parts.

    Args:
        parts: name, share of 0..1, and class of the colour, of each; together 1.
        told: what the chart shows, for who cannot see it.
    """
    drawn: list[Markup] = []
    x = 0.0
    for name, share, colour in parts:
        wide = WIDTH * share
        title = element("title", f"{clipped(spelled(name), 80)}: {percent(share)}")
        drawn.append(element("rect", title, x=x, y=0.0, width=max(0.0, wide - 1), height=26.0, class_=colour))
        if wide > 44:
            drawn.append(_text(x + wide / 2, 17.5, percent(share), class_="on"))
        x += wide
    return _svg(26, told, *drawn)


def curve(values: Sequence[float | None], told: str, axis: str, height: float = 160.0) -> Markup:
    """Values by epoch, from 1 on; None leaves a gap."""
    there = [(place, value) for place, value in enumerate(values, 1) if value is not None and math.isfinite(value)]
    top = max([value for _, value in there], default=1.0) or 1.0
    last = max(2, len(values))
    high, wide = height - _TOP - _FOOT - 12, WIDTH - _LEFT - _RIGHT
    step = max(1, len(there) // 600)
    points = [
        (_LEFT + wide * (place - 1) / (last - 1), _TOP + high * (1 - max(0.0, value) / top))
        for place, value in [*there[:-1:step], *there[-1:]]
    ]
    path = " ".join(f"{'M' if number == 0 else 'L'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(points))
    parts = [*_rules(top, high), element("path", d=path or "M0 0", class_="curve")]
    if points:
        parts.append(element("circle", cx=points[-1][0], cy=points[-1][1], r=2.6, class_="fill"))
    parts += [_text(_LEFT, _TOP + high + 14, "1"), _text(WIDTH - _RIGHT, _TOP + high + 14, count(last), "end")]
    parts.append(_text(_LEFT + wide / 2, height - 5, axis))
    return _svg(height, told, *parts)
