"""Freed memory is kept for the next step.

A step makes and frees tensors of tens of megabytes. glibc returns such blocks to the system, so
that the next step takes a page fault for every 4 KiB of them; these faults cost several times the
kernels that fill the pages. Importing ``clebsch`` also asks torch for huge pages, which spares the
kernels that jump between rows most of their address translations. With ``CLEBSCH_KEEP_MEMORY=0``
in the environment nothing of this is done.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3)
KEPT = 2**31 - 4096  # bytes of free memory at the end of the heap, the most that fits an int


def keep_freed() -> bool:
    """Tell malloc to keep freed blocks; whether it obeys (only glibc knows these options)."""
    if os.environ.get("CLEBSCH_KEEP_MEMORY") == "0":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))
