"""Robustness of labelled data, and what it does to adversarial training: the map from the paper to the code.

Every command is a thin file in ``tools/`` around one module of the same subject here.  What exists now:

=============================================  ==============================  ===================
In the paper                                   Module                          Command
=============================================  ==============================  ===================
Section 3, Equation 1, Algorithm 1,            :mod:`datarobust.sensitivity`   ``sens-rank``
Appendix B (sensitivity of a labelled point)
Section 3 (the norms)                          :mod:`datarobust.norms`         ``--norm``
Figures 2 (a), 5 (a), 16 (sensitivity curves)  :mod:`datarobust.figures`       ``figure sensitivity``
Nearest neighbours with another label          :mod:`datarobust.figures`       ``figure pairs``
Sets "s", "v" of the Tables                    :mod:`datarobust.selection`     ``--select``
Data sets                                      :mod:`datarobust.datasets`      ``dataset``
=============================================  ==============================  ===================

Beneath all of it: :mod:`datarobust.artifacts` (what commands hand to each other; see ``ARTIFACTS.md``) and
:mod:`datarobust.errors` (what can go wrong, as a tree).

What is planned and not here yet:

=============================================  ==============================  ===================
In the paper                                   Module                          Command
=============================================  ==============================  ===================
Section 3 (perceived curvature)                ``curvature``                   ``sens-rank``
Section 4, Figures 3, 7-15 (cloning)           ``diffusion``                   ``clone``
Table 1 (Fréchet and pixel distances)          ``frechet``, ``features``       ``fid``
Tables 2-4, Figures 1, 4 (training)            ``training``, ``trades``,       ``advtrain``
                                               ``attacks``, ``schedules``
Tables 2-5 (AutoAttack)                        ``evaluation``                  ``aaeval``
Figures 2 (c, d), 6, 17 (maps)                 ``embedding``                   ``embed``
=============================================  ==============================  ===================
"""

__version__ = "0.1.0"
