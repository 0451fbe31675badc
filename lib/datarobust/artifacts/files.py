"""Earlier names of :mod:`.durable`, until the last caller is moved."""

from datarobust.artifacts.durable import checked_output, hidden, remove, replace_file, sync_folder, write_file
from datarobust.artifacts.durable import os_errors as told

__all__ = ["checked_output", "hidden", "remove", "replace_file", "sync_folder", "told", "write_file"]
