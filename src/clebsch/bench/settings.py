"""How a benchmark is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clebsch import machine
from clebsch.bench.pair import FULL, QUICK, Clock, Effort

#: Seconds of a quick run until its last measurement ends; the figure and Python need the rest.
QUICK_SECONDS = 42.0

#: How to get a peer that is not there.
INSTALL = {
    "e3nn": "pip install e3nn==0.6.0",
    "nequip": "pip install nequip==0.19.0",
    "pyscf": 'pip install "clebsch[density]"',
}

SIDES = Path(__file__).parent / "sides"

Progress = Callable[[str, int, int], None]


@dataclass
class Settings:
    """Options of one run.

    Attributes:
        quick: bars first, few repetitions, an end after ``QUICK_SECONDS``.
        threads: of each side.
        same_process: measure both sides in one process instead of two.
        clock: time that is left.
        only: texts, one of which a case of ``operator`` or ``framework`` must contain; empty for
            all.
        progress: is told (case, number, of how many).
    """

    quick: bool = False
    threads: int = field(default_factory=machine.cores)
    same_process: bool = False
    clock: Clock = field(default_factory=Clock)
    only: tuple[str, ...] = ()
    progress: Progress = lambda case, number, total: None

    @property
    def effort(self) -> Effort:
        """How long to measure one task."""
        return QUICK if self.quick else FULL


Content = dict[str, dict[str, Any]]
