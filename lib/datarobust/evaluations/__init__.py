"""Evaluations as artifacts, behind ``aaeval`` and ``aacompare``.

::

    job        from a dataset and a model to verdicts, and to a store
    lines      an evaluation as a line of JSON, and back from a store
    comparing  two evaluations, or two groups of them, and accuracy by robustness of the points
"""

from datarobust.evaluations.comparing import compare, deciles, opened
from datarobust.evaluations.job import Job, Points, Subject, classes_of, subject
from datarobust.evaluations.lines import accuracy_key, demand_distinct, line, stored

__all__ = [
    "Job",
    "Points",
    "Subject",
    "subject",
    "classes_of",
    "line",
    "stored",
    "accuracy_key",
    "demand_distinct",
    "opened",
    "compare",
    "deciles",
]
