"""Diffusion models (Section 4, Appendix B; Karras et al. 2022): denoisers, sampling, cloning, search and training.

::

    precondition  a denoiser of a network            denoisers   built, prepared for speed, counted
    sampler       Algorithm 2 of Karras et al.       starts      what a clone begins with
    draws         random numbers of images           cloning     images -> clones
    augmenting    for training                       training    EDM's loss, averaging, resuming
    timing        what a dry run measures            search      the grid of Appendix B
"""
