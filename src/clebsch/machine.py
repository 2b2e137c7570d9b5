"""The machine that a result is made on: its processor, and where to keep what is built for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_folder() -> Path:
    """Where kernels and compiled models are kept: ``$CLEBSCH_CACHE``, else the user's cache."""
    if "CLEBSCH_CACHE" in os.environ:
        return Path(os.environ["CLEBSCH_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clebsch"
