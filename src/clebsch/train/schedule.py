"""The learning rate as a function of how much of the run is done."""

from __future__ import annotations

import math
import time
from typing import Literal


def learning_rate_factor(
    progress: float,
    schedule: Literal["cosine", "linear", "constant"],
    warmup: float = 0.01,
    final: float = 0.001,
) -> float:
    """The factor on the learning rate at ``progress`` in [0, 1] of the run.

    It rises linearly over the first ``warmup`` of the run, then falls to ``final``: along half a
    cosine (Loshchilov & Hutter, ICLR 2017) or a line; or it stays.
    """
    if progress < warmup:
        return final + (1 - final) * progress / warmup
    if schedule == "constant":
        return 1.0
    done = min(1.0, (progress - warmup) / (1 - warmup))
    shape = 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - done
    return final + (1 - final) * shape


class Budget:
    """How much of a run is done: the larger of the fractions of its epochs and of its time.

    A run limited by time so decays its learning rate to the end as well. The time spent before an
    interruption counts: it is kept in the checkpoint.

    Args:
        epochs: number of epochs, or None for no limit.
        max_time: seconds, or None for no limit.
    """

    def __init__(self, epochs: int | None, max_time: float | None) -> None:
        self.epochs = epochs
        self.max_time = max_time
        self.spent = 0.0
        self.this_call = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop the clock and keep what it shows."""
        if self._started is not None:
            self.this_call += time.monotonic() - self._started
        self.spent = self.elapsed()
        self._started = None

    def elapsed(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self.spent + running

    def wall(self, began: float) -> float:
        """Seconds of training so far and what this call, begun at ``began``, spent beside it."""
        return self.elapsed() + max(0.0, time.monotonic() - began - self.this_call)

    def progress(self, epochs_done: float) -> float:
        """Fraction of the run that is done, in [0, 1]."""
        by_epochs = 0.0 if self.epochs is None else epochs_done / self.epochs
        by_time = 0.0 if self.max_time is None else self.elapsed() / self.max_time
        return min(1.0, max(by_epochs, by_time))
