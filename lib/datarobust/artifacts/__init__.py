"""Artifacts: what the commands pass to one another. The contract is in ARTIFACTS.md.

::

    kinds      the schemas                          history    the steps behind an artifact
    format     JSON, hashes, rows in files          headers    attributes, checked alike for all
    store      reading zarr artifacts, verified     writer     creating them
    tensors    safetensors artifacts                durable    whole or absent, one writer each
    resume     the state of a long computation

The only package that knows zarr and safetensors. Importing it is cheap: NumPy and the standard library; zarr is
imported when the first row is written.
"""

from datarobust.artifacts.durable import Lock, whole_or_absent
from datarobust.artifacts.format import fingerprint
from datarobust.artifacts.headers import Summary, as_json
from datarobust.artifacts.history import Step
from datarobust.artifacts.kinds import KINDS, Attribute, Field, Kind
from datarobust.artifacts.resume import Resume
from datarobust.artifacts.store import Column, Store, check, open_store, peek, same_digest
from datarobust.artifacts.tensors import Tensors, load_tensors, save_tensors
from datarobust.artifacts.writer import Writer, abandon, create, demand_vacant, finished

Journal = Resume
"""Its earlier name, until the last caller is moved."""

__all__ = [
    "KINDS",
    "Attribute",
    "Field",
    "Kind",
    "Step",
    "Summary",
    "as_json",
    "Store",
    "Column",
    "open_store",
    "peek",
    "check",
    "finished",
    "fingerprint",
    "create",
    "abandon",
    "Writer",
    "Tensors",
    "save_tensors",
    "load_tensors",
    "same_digest",
    "whole_or_absent",
    "demand_vacant",
    "Lock",
    "Journal",
    "Resume",
]
