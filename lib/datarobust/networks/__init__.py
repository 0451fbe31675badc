"""Networks, and the registry of classifiers: from a name and arguments to a network with initial weights, and back.

=========================  ===================================================================================
:mod:`.wide_resnet`        wide residual networks with SiLU: ``wrn-28-10`` (the paper's), any depth and width
:mod:`.preact_resnet`      ``preact-resnet-18``
:mod:`.classifier`         what they share: normalisation within, batch norms in groups
:mod:`.song_unet`          the diffusion models' U-Nets (not in the registry of classifiers)
:mod:`.inception`          the network of the FID (nor is this)
:mod:`.foreign`            networks of others, run and tried
=========================  ===================================================================================
"""

from .registry import build, describe, forward_operations, shapes

__all__ = ["build", "describe", "forward_operations", "shapes"]
