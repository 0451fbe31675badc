"""Evaluation of classifiers under attack: the clean and the AutoAttack accuracies of Tables 2 to 4 of the paper.

==========================  ==============================================================================
:mod:`.driver`              what callers run: :func:`.driver.evaluate`, attack after attack, batch after batch
:mod:`.protocol`            which attacks, with which parameters
:mod:`.adapter`             the official attacks; :mod:`.projections` makes FAB quicker, bit for bit
:mod:`.network`             the network under attack: frozen, in parts, its random numbers its own
:mod:`.judging`             whether what an attack made fools the network, and lies where it may
:mod:`.checks`              what cannot be evaluated; :mod:`.flags` what cannot be relied on
:mod:`.state`               what is known of each point: resuming, sharing
:mod:`.compare`             statistics of two evaluations, and of several seeds
==========================  ==============================================================================

Importing the package is cheap: what needs torch is imported with its module.
"""

from .protocol import ATTACKS, BATCH, EPS, Attack, Protocol, Wishes, eps_text, plan

__all__ = ["ATTACKS", "BATCH", "EPS", "Attack", "Protocol", "Wishes", "eps_text", "plan"]
