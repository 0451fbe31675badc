"""Artifacts: what the commands pass to one another. The contract is in ARTIFACTS.md.

::

    kinds     the schemas                      history   what an artifact says about itself, and its past
    store     zarr artifacts                   durable   whole or absent, one writer each; states to resume
    tensors   safetensors artifacts            runs      the folders of trainings

The only package that knows zarr and safetensors. Importing it is cheap: NumPy and the standard library; zarr is
imported when the first row is written.
"""

from datarobust.artifacts.durable import Resume, locked, whole_or_absent
from datarobust.artifacts.history import Step, Summary, as_json, fingerprint, row_by_row
from datarobust.artifacts.kinds import KINDS
from datarobust.artifacts.store import (
    Column,
    Store,
    Writer,
    abandon,
    check,
    create,
    demand_same_points,
    demand_vacant,
    finished,
    open_store,
    peek,
)
from datarobust.artifacts.tensors import Tensors, load_tensors, save_tensors

__all__ = [
    "KINDS",
    "Column",
    "locked",
    "Resume",
    "Step",
    "Store",
    "Summary",
    "Tensors",
    "Writer",
    "abandon",
    "as_json",
    "check",
    "create",
    "demand_vacant",
    "fingerprint",
    "finished",
    "load_tensors",
    "open_store",
    "peek",
    "row_by_row",
    "demand_same_points",
    "save_tensors",
    "whole_or_absent",
]
