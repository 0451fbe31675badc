"""Evaluations as artifacts, behind ``aaeval`` and ``aacompare``.

::

    job        from a dataset and a model to verdicts, and to a store
    lines      an evaluation as a line of JSON, and back from a store
    comparing  two evaluations, or two groups of them, and accuracy by robustness of the points
"""
