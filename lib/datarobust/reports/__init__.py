"""Reports, from files to what a page shows; :mod:`datarobust.figures.report` makes the page.

::

    reading    what each path is: artifact, run, picture or text
    cards      a card for each of them
    points     cards of datasets and rankings
    derived    cards of clones, embeddings, moments
    models     cards of runs, classifiers, denoisers, evaluations
    lineage    the union of all histories as one graph
"""

from datarobust.reports.cards import collect

__all__ = ["collect"]
