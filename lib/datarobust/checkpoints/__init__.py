"""Checkpoints of others, read without running anything of theirs, and networks by name.

::

    models       artifacts and a user's own ``module:factory``, as networks
    torchfiles   files of torch.save: classifiers of Wang et al. 2023 and of RobustBench; Inception, for the FID
    edm          denoisers of Karras et al. 2022 and Wang et al. 2023
"""
