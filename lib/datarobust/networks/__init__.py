"""Networks: classifiers, the U-Nets of diffusion models, the network of the FID, and those of others.

=========================  ===================================================================================
:mod:`.classifier`         ``wrn-28-10`` (the paper's), any depth and width, and ``preact-resnet-18``, by name
:mod:`.song_unet`          the diffusion models' U-Nets
:mod:`.inception`          the network of the FID
:mod:`.foreign`            networks of others, run and tried
:mod:`.precision`          of what networks multiply
=========================  ===================================================================================
"""

from .classifier import build, forward_operations, shapes

__all__ = ["build", "forward_operations", "shapes"]
