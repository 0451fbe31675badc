"""Clones as artifacts: what is asked, what is written, what goes on after a kill (Section 4).

::

    job       points of a dataset to be cloned by a denoiser
"""

from datarobust.clones.job import Job, Request, labels_of, remarks

__all__ = ["Job", "Request", "labels_of", "remarks"]
