"""Distances between images and their clones (O:C) and between clones that follow one another (C:C), Tables 1 and 5."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust.fidelity.sides import Side, spans
from datarobust.norms import L2, LINF

Images = npt.NDArray[np.uint8]
_AT_A_TIME = 1 << 24
"""Bytes of clones."""


def pair_distances(
    a: Side | None, b: Side, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> dict[str, dict[str, float] | None]:
    """Mean l2 and linf distances in [0, 1] units; differences and their squares are summed in whole numbers.

    Args:
        a: the images that b was made of, one for each of its points; None where they are not known.
        b: clones, or other images.
        progress: wraps the batches.

    Returns:
        ``oc``: between each image and each of its clones; None without a. ``cc``: between each clone and the next one
        of the same image, R - 1 pairs for each image; None for one clone of each. Both have l2, linf and pairs.
    """
    apart: dict[str, list[npt.NDArray[np.int64]]] = {"oc": [], "cc": []}
    repeats = b.repeats
    size = max(1, _AT_A_TIME // (repeats * int(np.prod(b.shape))))
    if a is None and repeats == 1:
        return {"oc": None, "cc": None}
    for points in progress(list(spans(len(b.rows), size))):
        items = (points[:, None] * repeats + np.arange(repeats)).ravel()
        clones = b.images(items).reshape(len(points), repeats, *b.shape)
        if a is not None:
            originals = np.broadcast_to(a.images(points)[:, None], clones.shape)
            apart["oc"].append(_keys(originals, clones))
        if repeats > 1:
            apart["cc"].append(_keys(clones[:, :-1], clones[:, 1:]))
    return {name: _means(parts) for name, parts in apart.items()}


def _keys(one: Images, two: Images) -> npt.NDArray[np.int64]:
    """Squared l2 and linf distances (N, 2) of images (M, R, C, H, W), in units of a pixel's steps."""
    flat = [part.reshape(-1, *part.shape[2:]) for part in (one, two)]
    return np.stack([norm.keys(*flat) for norm in (L2, LINF)], 1)


def _means(parts: list[npt.NDArray[np.int64]]) -> dict[str, float] | None:
    if not parts:
        return None
    keys = np.concatenate(parts)
    means = [float(norm.distances(keys[:, place], np.uint8).mean()) for place, norm in enumerate((L2, LINF))]
    return {"l2": means[0], "linf": means[1], "pairs": len(keys)}
