"""The robustness of labelled data: Section 3, Equation (1) and Algorithm 1 of the paper, exactly and fast.

==================  ==============================================================================================
:mod:`.ranking`     what callers use: :func:`rank`, robustness r(x), sensitivity s_y
:mod:`.search`      which engine, and the compiled one's plan: encode, seed, and the tournament of blocks: who meets
                    whom; resuming, shards
:mod:`.generic`     the plain engine: Algorithm 1 block by block, in any norm, on any device
:mod:`.tiles`       its kernels of Triton, on CUDA
:mod:`.native`      the compiled engine's loops, ``native.c``, what processors they are for, and threads
:mod:`.codes`       a few bytes a point that bound every distance from below
:mod:`.panels`      points in memory, or panel by panel
==================  ==============================================================================================
"""

from .generic import farthest, kernels_of
from .native import available_threads
from .panels import Checkpoint, Labelled, Rows, padded_width, panel_rows
from .ranking import (
    Duplicates,
    Ranking,
    check,
    check_same,
    demand_neighbours,
    least_robust_first,
    rank,
    refuse_equal,
    sensitivity_of,
)
from .search import COMPILED, Options, division, engine_of, nearest

__all__ = [
    "rank",
    "check",
    "check_same",
    "demand_neighbours",
    "refuse_equal",
    "Labelled",
    "Ranking",
    "Options",
    "COMPILED",
    "Checkpoint",
    "Duplicates",
    "Rows",
    "nearest",
    "division",
    "engine_of",
    "kernels_of",
    "farthest",
    "padded_width",
    "panel_rows",
    "least_robust_first",
    "sensitivity_of",
    "available_threads",
]
