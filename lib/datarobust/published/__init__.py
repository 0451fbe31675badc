"""Checkpoints that others publish, read without running anything of theirs.

::

    edm           checkpoints of Karras et al. 2022 and Wang et al. 2023: architecture and state dict
    classifiers   checkpoints of Wang et al. 2023 and of RobustBench
    inception     the network of the FID, known by its sha256
    persistence   their pickles: classes that carry their source along, which is never run
    storages      tensors in them: streams of PyTorch within the pickle
"""

from datarobust.published.edm import EdmCheckpoint, read_edm_pickle

__all__ = ["EdmCheckpoint", "read_edm_pickle"]
