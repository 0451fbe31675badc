"""The paper's figures, one module a kind: arrays in, a :class:`matplotlib.figure.Figure` out.

==================================  =====================================  ======================
In the paper                        Module                                 Command
==================================  =====================================  ======================
Figures 2 (a), 5 (a), 16            :mod:`datarobust.figures.sensitivity`  ``figure sensitivity``
Figures 2 (b), 5 (b)                :mod:`datarobust.figures.difference`   ``figure difference``
Figures 4 (a), 4 (b)                :mod:`datarobust.figures.labels`       ``figure labels``
Figures 4 (c), 4 (d)                :mod:`datarobust.figures.schedules`    ``figure schedules``
Figure 1 (b)                        :mod:`datarobust.figures.training`     ``figure training``
Figure 1 (b), for a whole set       :mod:`datarobust.figures.deciles`      ``figure deciles``
Tables 2 to 4, as Markdown          :mod:`datarobust.figures.table`        ``figure table``
Figures 2 (c, d), 6, 17             :mod:`datarobust.figures.map`          ``figure map``
Section 3, r(x) and its neighbour   :mod:`datarobust.figures.pairs`        ``figure pairs``
Figures 3, 7 to 15                  :mod:`datarobust.figures.clones`       ``figure clones``
Appendix B, the grid                :mod:`datarobust.figures.search`       ``figure search``
Any artifacts, as one page          :mod:`datarobust.figures.report`       ``figure report``
==================================  =====================================  ======================

Beneath them: :mod:`datarobust.figures.curves` (values in the order of their curve),
:mod:`datarobust.figures.compare` (one set's values minus another's), :mod:`datarobust.figures.legend`,
:mod:`datarobust.figures.formats`, and :mod:`datarobust.figures.style`, the shared look and the only way to the bytes
of a picture: the same figure gives the same bytes as png, svg and pdf, however matplotlib is configured at the place.
"""
