"""Diffusion models (Section 4, Appendix B; Karras et al. 2022): denoisers, sampling, cloning, search and training.

::

    precondition  c_skip, c_out, c_in, c_noise     denoiser   a network under them; its cost
    sampler       Algorithm 2 of Karras et al.     starts     what a clone begins with
    cloning       images -> clones                 search     the grid of Appendix B
    augmenting    for training                     training   EDM's loss, averaging, resuming
"""
