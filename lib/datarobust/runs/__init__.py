"""Runs of ``advtrain``, from stores to stores: what is read, what is asked for, and the folder that is written.

::

    sets      stores and selections -> images, labels, points in focus; the network that fits them
    job       a recipe on these sets: its cost, and how it is done
    events    the log for TensorBoard
    folder    RUN/: weights, log, and the state to go on from
"""

from datarobust.runs.events import demand_tensorboard
from datarobust.runs.folder import Run, read_log
from datarobust.runs.job import Job
from datarobust.runs.sets import Inputs, augmentation, named, select

__all__ = ["Inputs", "Job", "Run", "augmentation", "demand_tensorboard", "named", "read_log", "select"]
