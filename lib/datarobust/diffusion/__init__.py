"""Diffusion models (Section 4, Appendix B; Karras et al. 2022): denoisers, sampling, cloning, search and training.

::

    denoiser   a network under a preconditioning; its cost     sampler    where a clone starts, and Algorithm 2
    cloning    images -> clones; their noise                   search     the grid of Appendix B
    training   EDM's loss, augmentation, averaging, resuming
"""
