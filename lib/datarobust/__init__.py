"""Robustness of labelled data, and what it does to adversarial training: the map from the paper to the code.

Every command is a thin file in ``tools/`` around one module of the same subject here:

=============================================  ==============================  =====================
In the paper                                   Module                          Command
=============================================  ==============================  =====================
Section 3, Equation 1, Algorithm 1,            :mod:`datarobust.sensitivity`,  ``sens-rank``
Appendix B (sensitivity of a labelled point)   :mod:`datarobust.arrays`
Section 3 (the norms)                          :mod:`datarobust.norms`         ``--norm``
Section 3 (curvature, perceived curvature)     :mod:`datarobust.curvature`     ``sens-rank --curvature``
Theorem 1, Appendix A                          :mod:`datarobust.lipschitz`     ``sens-rank --curvature``
Section 4, Appendix C (data sets)              :mod:`datarobust.datasets`      ``dataset import``, ``fetch``
Section 4 (duplicates, near-duplicates)        :mod:`datarobust.pairs`         ``dataset duplicates``
Section 3 (random labels)                      :mod:`datarobust.datasets`      ``dataset relabel``
Equation 1 in other metrics                    :mod:`datarobust.networks`      ``dataset features``
Figures 2 (a), 5 (a), 16 (sensitivity curves)  :mod:`datarobust.figures`       ``figure sensitivity``
Figures 2 (b), 5 (b) (differences)             :mod:`datarobust.figures`       ``figure difference``
Figures 4 (a, b) (label distributions)         :mod:`datarobust.figures`       ``figure labels``
Nearest neighbours with another label          :mod:`datarobust.figures`       ``figure pairs``
Sets "s", "v" of the Tables                    :mod:`datarobust.selection`     ``--select``, ``--focus``
Tables 2-4, Appendix B (training)              :mod:`datarobust.training`      ``advtrain``
TRADES, PGD                                    :mod:`datarobust.trades`,       ``advtrain``
                                               :mod:`datarobust.attacks`
Figure 1 (b) (accuracies by epoch)             :mod:`datarobust.figures`       ``figure training``
Figures 4 (c, d) (learning rates)              :mod:`datarobust.schedules`,    ``advtrain --schedule``,
                                               :mod:`datarobust.figures`       ``figure schedules``
Appendix B (networks)                          :mod:`datarobust.networks`      ``advtrain --arch``
Section 4, Figures 3, 7-15 (cloning)           :mod:`datarobust.diffusion`     ``clone``, ``edmtrain``
Appendix B (the grid of 729 points)            :mod:`datarobust.diffusion`     ``clone-search``
Tables 1, 5 (FID, pixel distances)             :mod:`datarobust.fid`           ``fid``
Tables 2-4 (AutoAttack)                        :mod:`datarobust.evaluation`    ``aaeval``, ``aacompare``
Tables 2-4; accuracy by robustness             :mod:`datarobust.jobs`,         ``figure table``,
                                               :mod:`datarobust.figures`       ``figure deciles``
Figures 2 (c, d), 6, 17 (maps)                 :mod:`datarobust.embedding`     ``embed``, ``figure map``
Any artifacts, as one page                     :mod:`datarobust.figures`       ``figure report``
Published checkpoints                          :mod:`datarobust.checkpoints`   ``model``
=============================================  ==============================  =====================

Beneath all of it: :mod:`datarobust.artifacts` (what commands hand to each other; see ``ARTIFACTS.md``),
:mod:`datarobust.jobs` (the work of each command, from stores to stores),
:mod:`datarobust.randomness`, and :mod:`datarobust.errors` (what can go wrong, as a tree).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarobust import datasets as datasets
    from datarobust.arrays import FoundIssues as FoundIssues
    from datarobust.arrays import Ranked as Ranked
    from datarobust.arrays import RobustnessRanker as RobustnessRanker
    from datarobust.arrays import find_issues as find_issues
    from datarobust.arrays import rank as rank

__all__ = ["FoundIssues", "Ranked", "RobustnessRanker", "datasets", "find_issues", "rank"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``rank`` and what goes with it, imported where they are used: commands start quickly."""
    if name == "datasets":
        return import_module("datarobust.datasets")
    if name in __all__:
        return getattr(import_module("datarobust.arrays"), name)
    raise AttributeError(f"module 'datarobust' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Also what is not imported yet, for those who complete names."""
    return sorted({*globals(), *__all__})
