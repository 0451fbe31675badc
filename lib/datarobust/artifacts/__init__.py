"""Artifacts: what the commands pass to one another. The contract is in ARTIFACTS.md.

::

    kinds      the schemas                          history    the steps behind an artifact
    digests    canonical JSON, digest, seal         headers    attributes, checked alike for all
    layout     rows in files (zarr v3)              shards     the zarr library reads and writes them
    files      whole files, on the disk             locks      one writer for each output
    durable    whole or absent                      journal    resume of long computations (old)
    resume     resume of long computations
    columns    reading rows, verified               store      opening zarr artifacts
    writer     creating them                        progress   resume of writing
    tensors    safetensors artifacts                inspect    peek, check, finished
    views      clones as a dataset

The only package that knows zarr and safetensors. Importing it is cheap: NumPy and the standard library; zarr is
imported when the first row is read or written.
"""

from datarobust.artifacts.columns import Column
from datarobust.artifacts.digests import fingerprint
from datarobust.artifacts.durable import Lock, whole_or_absent
from datarobust.artifacts.headers import Summary, as_json
from datarobust.artifacts.history import Step
from datarobust.artifacts.inspect import check, finished, peek
from datarobust.artifacts.journal import Journal
from datarobust.artifacts.kinds import KINDS, Attribute, Field, Kind
from datarobust.artifacts.resume import Resume
from datarobust.artifacts.store import Store, open_store, same_digest
from datarobust.artifacts.tensors import Tensors, load_tensors, save_tensors
from datarobust.artifacts.writer import Writer, abandon, create, demand_vacant

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
