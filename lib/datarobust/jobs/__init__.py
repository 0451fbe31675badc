"""The work of each command, from stores to stores: one module a command, named as the command is.

::

    make        how every job becomes an output: done before? vacant? locked? resumed? run, whole, cleaned
    embed       maps of points                sens_rank   rankings by robustness
    aaeval      evaluations under attack      aacompare   two of them, or two groups, side by side
    figure      pictures and tables of artifacts
    dataset     imports, subsets, merges, other labels, features

A job is a frozen dataclass of all that decides the result's bits. It calls the packages that compute, which know arrays
and modules only; :func:`datarobust.jobs.make.make` does the rest, once for all.
"""
