"""Checkpoints of others, read without running anything of theirs, and networks by name.

::

    models        artifacts and a user's own ``module:factory``, as networks
    edm           denoisers of Karras et al. 2022 and Wang et al. 2023
    robustbench   classifiers of Wang et al. 2023 and of RobustBench; what RobustBench takes
    torchfiles    files of torch.save, without running them and in bounded memory
    inception     the network of the FID, known by its sha256
"""
