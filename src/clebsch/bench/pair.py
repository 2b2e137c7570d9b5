"""Two processes that measure in turn, and the clock that they share."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HERE = Path(__file__).parent


class NotMeasured(Exception):
    """Why a figure is missing; the message goes into the result."""


@dataclass
class Clock:
    """Time that is left; ``seconds`` None is for ever."""

    seconds: float | None = None
    start: float = field(default_factory=time.monotonic)

    def left(self) -> float | None:
        """Seconds left, or None where there is no end."""
        return None if self.seconds is None else self.start + self.seconds - time.monotonic()

    def need(self, seconds: float) -> None:
        """Raises NotMeasured where that much time is not left."""
        left = self.left()
        if left is not None and left < seconds:
            raise NotMeasured("no time left")


def environment(threads: int) -> dict[str, str]:
    """For processes that take turns: those that wait leave the cores alone."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


class Worker:
    """A process with one or more sides, driven over pipes; see ``worker.py``."""

    def __init__(self, sides: list[Path], threads: int, clock: Clock) -> None:
        self.clock = clock
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # -P: the folder of worker.py is not searched for modules.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_HERE / "worker.py"), *map(str, sides)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(threads),
        )
        self._rest = b""

    def ask(self, do: str, **request: Any) -> Any:
        """The answer to one request: the method ``do`` of the worker, with its arguments.

        Raises:
            NotMeasured: no time left, the peer is not installed, or it failed; a worker that
                gave no answer in time is ended.
        """
        self.clock.need(0.0)
        if self._process.poll() is not None:
            raise NotMeasured("its process has ended")
        assert self._process.stdin is not None
        line = json.dumps({"do": do, **request}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
            answer = json.loads(self._line())
        except BrokenPipeError as error:
            raise NotMeasured(f"its process ended: {self._last_words()}") from error
        if "missing" in answer:
            raise NotMeasured(f"{answer['missing']} is not installed")
        if "error" in answer:
            raise NotMeasured(answer["error"])
        return answer["value"]

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            left = self.clock.left()
            wait = None if left is None else max(0.0, left)
            ready, _, _ = select.select([self._process.stdout], [], [], wait)
            if not ready:
                self.close()
                raise NotMeasured("no time left")
            read = os.read(self._process.stdout.fileno(), 1 << 16)
            if not read:
                self._process.wait()
                raise NotMeasured(f"its process ended: {self._last_words()}")
            self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {self._process.poll()}"

    @property
    def alive(self) -> bool:
        """Whether the process can be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Side:
    """One side of a comparison: prepares cases and runs tasks, in whichever process it lives.

    Args:
        file: the side.
        start: starts a worker with it (again, after one was ended).
        number: place of the side among the worker's.
    """

    def __init__(self, file: Path, start: Callable[[], Worker], number: int = 0) -> None:
        self.file, self._start, self._number = file, start, number
        self._worker = start()

    def versions(self) -> dict[str, Any]:
        """Name and versions; waits for the imports."""
        return self._ask("versions")

    def prepare(self, case: dict[str, Any]) -> list[str]:
        """Build a case; names of its tasks."""
        if not self._worker.alive:
            self._worker = self._start()
        return self._ask("prepare", case=case)

    def run(self, task: str, times: int) -> list[float]:
        """Seconds of each run."""
        return self._ask("run", task=task, times=times)

    def facts(self) -> dict[str, Any]:
        """What the case tells about itself."""
        return self._ask("facts")

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def _ask(self, do: str, **request: Any) -> Any:
        return self._worker.ask(do, side=self._number, **request)


@contextmanager
def both_sides(
    ours: Path, peer: Path, threads: int, clock: Clock, same_process: bool
) -> Iterator[tuple[Side, Side]]:
    """Both sides, importing at the same time; in two processes, or in one."""
    shared: list[Worker] = []

    def start() -> Worker:
        if not shared or not shared[-1].alive:
            shared.append(Worker([ours, peer], threads, clock))
        return shared[-1]

    if same_process:
        pair = Side(ours, start, 0), Side(peer, start, 1)
    else:
        pair = (
            Side(ours, lambda: Worker([ours], threads, clock)),
            Side(peer, lambda: Worker([peer], threads, clock)),
        )
    try:
        yield pair
    finally:
        for side in pair:
            side.close()


def memory(
    file: Path, threads: int, clock: Clock, task: str, case: dict[str, Any], small: dict[str, Any]
) -> int:
    """Peak bytes of a task above its inputs, in a process of its own.

    Args:
        file: the side.
        threads: its threads.
        clock: time that is left.
        task: what is run.
        case: at which size.
        small: a case that loads the same kernels and libraries first.

    Raises:
        NotMeasured: see ``Worker.ask``.
    """
    with Worker([file], threads, clock) as fresh:
        return fresh.ask("memory", side=0, task=task, case=case, small=small)


@dataclass(frozen=True)
class Effort:
    """How long to measure one task.

    Attributes:
        seconds: of both sides together, once warm.
        rounds: alternations at most; at least two.
        block: seconds of one side's block.
    """

    seconds: float
    rounds: int
    block: float


QUICK = Effort(seconds=2.5, rounds=6, block=0.15)
FULL = Effort(seconds=20.0, rounds=12, block=0.4)


def warm_up(side: Side, task: str, clock: Clock) -> float:
    """Seconds of a warm run; compilers and caches have had their first one or two."""
    first = side.run(task, 1)[0]
    clock.need(2 * first)
    return min(side.run(task, 2 if first < 0.4 else 1))


def alternate(
    pairs: list[tuple[Side, str]], effort: Effort, clock: Clock
) -> list[list[float] | NotMeasured]:
    """Seconds of the runs of each (side, task), block after block in turn.

    A side that fails or has no time left is a ``NotMeasured``; the others go on.
    """
    results: list[list[float] | NotMeasured] = []
    sizes: list[int] = []
    for side, task in pairs:
        try:
            warm = warm_up(side, task, clock)
            results.append([])
            sizes.append(max(1, min(50, round(effort.block / max(warm, 1e-6)))))
        except NotMeasured as reason:
            results.append(reason)
            sizes.append(0)
    start = time.monotonic()
    for round_ in range(effort.rounds):
        if round_ >= 2 and time.monotonic() - start > effort.seconds:
            break
        for place, (side, task) in enumerate(pairs):
            times = results[place]
            if isinstance(times, NotMeasured):
                continue
            try:
                if times:
                    clock.need(1.5 * sizes[place] * statistics.median(times))
                times += side.run(task, sizes[place])
            except NotMeasured as reason:
                if not times:
                    results[place] = reason
    return results
