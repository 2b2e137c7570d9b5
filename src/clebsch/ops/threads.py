"""How many threads a step deserves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SHARED_ABOVE = 3000  # edges; below this a second thread gains nothing, and where another
# process wants its core, waiting for it makes every step several times slower


@contextmanager
def threads_for(edges: float) -> Iterator[None]:
    """One thread inside this context where steps have few edges; else torch's own number.

    ``OMP_NUM_THREADS`` in the environment has the last word.

    Example:
        >>> with threads_for(edges=72):
        ...     pass
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ and edges < SHARED_ABOVE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
