"""Points in the plane: multidimensional scaling and random trees, for the maps of Figures 2 (c, d), 6 and 17.

A map shows whether points that are alike are about equally robust, as Theorem 1 says, without a look at labels. It has
a sample of the points (:func:`stratified`), placed by one of two methods:

MDS (Kruskal 1964)
    Distances on the map come as close to those of the points as two dimensions allow: :func:`scaled`, by the SMACOF
    iteration of scikit-learn's ``MDS``, or by :func:`classical` scaling.
RTE (Geurts et al. 2006; Moosmann et al. 2006)
    A forest of totally random trees tells each point by the leaves that it falls into; two singular vectors of points
    and leaves are the map (:func:`random_trees`).

Whether patterns emerge is measured too: :func:`coherence`. All of it computes in one thread, so that the same arguments
give the same bits on one machine. Maps have no direction of their own; those of MDS are turned to their principal axes.
"""

from datarobust.embedding.coherence import PERMUTATIONS, Coherence, coherence
from datarobust.embedding.sample import FEWEST, demand_points, demand_seed, stratified
from datarobust.embedding.scaling import EPS, Init, Scaled, Scaling, classical, dissimilarities, scaled, stress_of
from datarobust.embedding.trees import random_trees

__all__ = [
    "EPS",
    "FEWEST",
    "PERMUTATIONS",
    "Coherence",
    "Init",
    "Scaled",
    "Scaling",
    "classical",
    "coherence",
    "demand_points",
    "demand_seed",
    "dissimilarities",
    "random_trees",
    "scaled",
    "stratified",
    "stress_of",
]
