"""FAB's projections onto a hyperplane within the box [0, 1]: the library's, bit for bit, in a fraction of the time.

FAB (Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", Section 2)
projects each image onto the linearised boundary in every step. Along the way coordinates meet their bounds one after
the other; sorted by when they do, two running sums tell where to stop. For small networks on the CPU this takes most of
an evaluation. Here all that surrounds the sorting is one loop, and in l-infinity the sorting is by digits
(:mod:`.projection_kernels`).

To give the same bits, sums over rows are torch's own, running sums are in double precision as torch's are, and no
product is fused with a sum. What is left is the order of equal numbers, which torch's sorting leaves open: in
l-infinity it matters only where rounding decides, and such rows go to the library, as does input that is not finite,
not in single precision or not in main memory; in l2 torch sorts.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from . import projection_kernels as kernels

Projection = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Points (B, D), normals (B, D) and offsets (B) of hyperplanes to steps (B, D) that lead onto them."""

_ROWS_A_THREAD = 4


class Projections:
    """The projections of both norms.

    Args:
        threads: how many share the rows.
        linf: the library's projection in l-infinity.
        l2: the library's projection in l2.
    """

    def __init__(self, threads: int, linf: Projection, l2: Projection) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._library = {"linf": linf, "l2": l2}

    def linf(self, points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
        """The smallest step in l-infinity from each point onto its hyperplane, or as near to it as the box allows."""
        dot = (normals * points).sum(1)
        if not _plain(points, normals, offsets, dot):
            return self._library["linf"](points, normals, offsets)
        step, product = torch.empty_like(points), torch.empty_like(points)
        doubtful = torch.zeros(len(points), dtype=torch.bool)
        given = [tensor.numpy() for tensor in (points, normals, offsets, dot)]
        self._run(kernels.to_bounds, *given, step.numpy(), product.numpy())
        self._run(kernels.linf, *given, product.sum(1).numpy(), step.numpy(), doubtful.numpy())
        if doubtful.any():
            rows = doubtful.nonzero()[:, 0]
            if len(rows) == 1:
                rows = rows.repeat(2)  # torch may sum a row that is alone in another order
            step[rows] = self._library["linf"](points[rows], normals[rows], offsets[rows])
        return step

    def l2(self, points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
        """The same in l2."""
        above = (normals * points).sum(1) - offsets
        if not _plain(points, normals, offsets, above):
            return self._library["l2"](points, normals, offsets)
        step, product, squares, times = (torch.empty_like(points) for _ in range(4))
        given = [tensor.numpy() for tensor in (points, normals, above)]
        self._run(kernels.l2_times, *given, times.numpy(), step.numpy(), product.numpy())
        when, order = times.sort(dim=1)
        self._run(kernels.squares, normals.numpy(), order.numpy(), squares.numpy())
        sums = [squares.sum(dim=1).numpy(), product.sum(dim=1).numpy()]
        tables = [tensor.numpy() for tensor in (order, when, squares, step)]
        self._run(kernels.l2, normals.numpy(), above.numpy(), *sums, *tables)
        return step

    def _run(self, kernel: Callable[..., None], *arrays: Any) -> None:
        """Split the rows among threads, this one and those of the pool."""
        rows = len(arrays[0])
        if self._pool is None or rows < _ROWS_A_THREAD * self._threads:
            kernel(*arrays, 0, rows)
            return
        first, *others = pairwise(rows * number // self._threads for number in range(self._threads + 1))
        parts = [self._pool.submit(kernel, *arrays, *ends) for ends in others]
        kernel(*arrays, *first)
        for part in parts:
            part.result()


def _plain(points: Tensor, normals: Tensor, offsets: Tensor, dot: Tensor) -> bool:
    """Whether the kernels are made for this input."""
    given = (points, normals, offsets)
    return (
        all(each.dtype == torch.float32 and each.device.type == "cpu" and each.is_contiguous() for each in given)
        and not any(each.requires_grad for each in given)
        and points.dim() == 2
        and points.numel() > 0
        and bool(torch.isfinite(dot).all() and torch.isfinite(offsets).all())
        and bool((points.amin() >= 0) & (points.amax() <= 1))
    )
