"""How near sets of images are to one another: Fréchet and kernel distances, distances of pairs (Tables 1 and 5).

::

    sides      two sets, and which points of the one the other was made of
    measuring  by which features they are held against each other
    moments    means and covariances as artifacts
    streams    features, a batch at a time
    pixels     distances of pairs
    job        all numbers of a comparison
    keeping    what a run that was killed goes on with
"""

from datarobust.fidelity.job import Comparison, Result
from datarobust.fidelity.sides import Side, open_sides

__all__ = ["Comparison", "Result", "Side", "open_sides"]
