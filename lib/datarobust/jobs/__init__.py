"""The work of each command, from artifacts to artifacts: one module a command, named as the command is.

A job is a frozen dataclass of all that decides the result's bits. It calls the packages that compute, which know arrays
and modules only. :func:`datarobust.jobs.make.make` does the rest for all of them: done before? vacant? locked? resumed?
run, whole, cleaned. ``run_folder`` has what the two trainings make.
"""
