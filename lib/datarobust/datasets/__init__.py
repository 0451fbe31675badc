"""Readers of the formats people already have, and datasets made of datasets.

:func:`open_source` recognises a format and gives a :class:`Source`, which states what it holds and hands out checked
rows in blocks of bounded memory. :func:`import_dataset` writes it as a store; :func:`subset` and :func:`merge` make
stores of stores; :func:`describe` says what one holds. A new format is one module with a Source and one line in
:mod:`datarobust.datasets.recognise`. :func:`relabel` puts other labels to the points, :func:`represent` other numbers;
:func:`equal_points` finds those that are there twice.
"""

from datarobust.datasets.derive import merge, subset
from datarobust.datasets.duplicates import equal_points, label_column
from datarobust.datasets.featuring import Representation, represent
from datarobust.datasets.importing import import_dataset, read_names
from datarobust.datasets.recognise import open_source, recognise
from datarobust.datasets.relabelling import NewLabels, at_random, from_coarse, from_file, predicted, relabel
from datarobust.datasets.sources import Block, Source, Spec
from datarobust.datasets.summary import describe, lines, remarks

__all__ = [
    "Block",
    "NewLabels",
    "Representation",
    "Source",
    "Spec",
    "at_random",
    "describe",
    "equal_points",
    "from_coarse",
    "from_file",
    "import_dataset",
    "label_column",
    "lines",
    "merge",
    "open_source",
    "predicted",
    "read_names",
    "recognise",
    "relabel",
    "remarks",
    "represent",
    "subset",
]
