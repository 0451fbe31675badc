"""The robustness of labelled data: Section 3, Equation (1) and Algorithm 1 of the paper, exactly and fast.

======================  =====================================================================================
:mod:`.ranking`         what callers use: :func:`rank`, robustness r(x), sensitivity s_y
:mod:`.search`          encode, seed, and the tournament of blocks; resuming, shards
:mod:`.schedule`        who meets whom
:mod:`.encoding`        from rows to codes
:mod:`.kernels`         the inner loops, the same for both norms
:mod:`.l2`              bounds from principal directions; :mod:`.l2_kernels` measures squared distances
:mod:`.linf`            bounds from telling coordinates; :mod:`.linf_kernels` measures largest differences
:mod:`.projection`      orthonormal coordinates with a proven error bound
:mod:`.panels`          rows in memory, or panel by panel
:mod:`.tables`          the arrays kernels work on
:mod:`.simd`            vector code: :mod:`.simd_dots`, :mod:`.simd_gaps`; :mod:`.portable` twins
======================  =====================================================================================
"""

from .compiled import when_compiling
from .panels import ArrayRows, Rows, padded_width, panel_rows
from .ranking import Duplicates, Labelled, Ranking, least_robust_first, rank, sensitivity_of
from .schedule import Round
from .search import Checkpoint, Options, Progress
from .workers import available_threads

__all__ = [
    "rank",
    "Labelled",
    "Ranking",
    "Options",
    "Checkpoint",
    "Progress",
    "Round",
    "Duplicates",
    "Rows",
    "ArrayRows",
    "padded_width",
    "panel_rows",
    "least_robust_first",
    "sensitivity_of",
    "when_compiling",
    "available_threads",
]
