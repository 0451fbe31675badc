"""Readers of the formats people already have, and datasets made of datasets.

:func:`open_source` recognises a format and gives a :class:`Source`, which states what it holds and hands out checked
rows in blocks of bounded memory. :func:`import_dataset` writes it as a store; :func:`subset` and :func:`merge` make
stores of stores; :func:`describe` says what one holds. A new format is one module with a Source and one line in
:mod:`datarobust.datasets.recognise`.
"""

from datarobust.datasets.derive import merge, subset
from datarobust.datasets.importing import import_dataset, read_names
from datarobust.datasets.recognise import open_source, recognise
from datarobust.datasets.sources import Block, Source, Spec
from datarobust.datasets.summary import describe, lines

__all__ = [
    "Block",
    "Source",
    "Spec",
    "describe",
    "import_dataset",
    "lines",
    "merge",
    "open_source",
    "read_names",
    "recognise",
    "subset",
]
