"""Readers of the formats people already have, and what can be said of datasets.

:func:`open_source` recognises a format and gives a source, which states what it holds and hands out checked rows in
blocks of bounded memory; :mod:`datarobust.jobs.dataset` makes stores of sources, and stores of stores. A new
format is one module with a Source and one line in :mod:`datarobust.datasets.recognise`. :func:`describe` says what a
dataset holds, :func:`equal_points` finds points that are there twice. :func:`from_arrays`, :func:`from_torch` and
:func:`from_hf` make sources of what is in memory.
"""

from datarobust.datasets.contents import (
    called,
    class_names,
    describe,
    equal_points,
    label_column,
    lines,
    names,
    point_column,
    remarks,
)
from datarobust.datasets.linefiles import read_names
from datarobust.datasets.memory import from_arrays, from_hf, from_torch
from datarobust.datasets.recognise import open_source

__all__ = [
    "called",
    "class_names",
    "describe",
    "equal_points",
    "from_arrays",
    "from_hf",
    "from_torch",
    "label_column",
    "lines",
    "names",
    "open_source",
    "point_column",
    "read_names",
    "remarks",
]
