"""Evaluation of classifiers under attack: the clean and the AutoAttack accuracies of Tables 2 to 4 of the paper.

==========================  ==============================================================================
:mod:`.protocol`            which attacks, with which parameters
:mod:`.attacks`             the official attacks, and the network as they see it
:mod:`.driver`              what callers run: :func:`.driver.evaluate`, attack after attack, batch after batch
:mod:`.checks`              what cannot be evaluated; signs that an evaluation may not be reliable
:mod:`.statistics`          an evaluation in numbers; two of them compared, and groups of several seeds
==========================  ==============================================================================

Importing the package is cheap: what needs torch is imported with its module.
"""

from .protocol import ATTACKS, BATCH, Attack, Protocol, Version, eps_text, plan

__all__ = ["ATTACKS", "BATCH", "Attack", "Protocol", "Version", "eps_text", "plan"]
