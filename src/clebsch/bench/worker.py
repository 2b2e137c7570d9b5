"""The process that measures: ``python worker.py SIDE.py [SIDE.py ...]``, driven by JSON lines.

It imports the standard library only and is run by path, so that a peer's process holds nothing
of ours: the peer runs as it does at its users'.

A side is a file with

- ``versions() -> dict``: name and versions of what it measures;
- ``prepare(case) -> dict``: functions without arguments by name; each is one task. One named
  ``facts`` is no task: it returns what else to report, and to compare, of the case.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def load(path: str) -> ModuleType:
    """The module in that file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def status(field: str) -> int:
    """A size from /proc/self/status in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def limit_memory(fraction: float = 0.85) -> None:
    """Let an allocation fail where it would need more than the machine has left.

    An error can be reported; the kernel's killing of processes would take others with it.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        left = (
            next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
        )
        bound = status("VmSize") + int(fraction * left)
        resource.setrlimit(resource.RLIMIT_AS, (bound, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (OSError, StopIteration, ValueError):
        pass  # not Linux: no bound


def peak_bytes(task: Callable[[], object]) -> int:
    """Increase of the process's peak memory while the task runs."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        before = status("VmRSS")
        task()
        return status("VmHWM") - before
    except OSError:  # not Linux: the peak since the start, above what there was
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        task()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit


class Worker:
    """The sides of this process and the tasks that are prepared."""

    def __init__(self, paths: list[str]) -> None:
        self.sides = [load(path) for path in paths]
        self.tasks: dict[tuple[int, str], Callable[[], object]] = {}

    def versions(self, side: int) -> dict[str, Any]:
        """Name and versions of a side."""
        return dict(self.sides[side].versions())

    def prepare(self, side: int, case: dict[str, Any]) -> list[str]:
        """Build a case in place of the one before; names of its tasks."""
        for key in [key for key in self.tasks if key[0] == side]:
            del self.tasks[key]
        tasks = self.sides[side].prepare(case)
        self.tasks.update({(side, name): task for name, task in tasks.items()})
        return sorted(tasks)

    def facts(self, side: int) -> Any:
        """What the prepared case tells about itself."""
        limit_memory()
        return self.tasks[side, "facts"]()

    def run(self, side: int, task: str, times: int) -> list[float]:
        """Seconds of each of ``times`` runs."""
        function = self.tasks[side, task]
        limit_memory()
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            result = function()
            seconds.append(time.perf_counter() - start)
            del result  # outside the time: results are freed by both sides alike
        return seconds

    def memory(self, side: int, task: str, case: dict[str, Any], small: dict[str, Any]) -> int:
        """Peak bytes of the task above its inputs, with kernels and libraries loaded before."""
        limit_memory()
        for _ in range(3):
            self.sides[side].prepare(small)[task]()
        tasks = self.sides[side].prepare(case)
        return peak_bytes(tasks[task])


def main() -> None:
    """Answer one line of JSON per line of JSON."""
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print does not enter the channel
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if worker is None:
                worker = Worker(sys.argv[1:])
            answer = {"value": getattr(worker, request.pop("do"))(**request)}
        except ModuleNotFoundError as error:
            answer = {"missing": error.name}
        except Exception as error:
            if "can't allocate memory" in str(error) or isinstance(error, MemoryError):
                answer = {"error": "out of memory"}
            else:
                first = (str(error).strip() or "no message").splitlines()[0]
                answer = {"error": f"{type(error).__name__}: {first[:200]}"}
        print(json.dumps(answer), file=channel)


if __name__ == "__main__":
    main()
