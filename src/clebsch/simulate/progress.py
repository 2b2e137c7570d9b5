"""The progress bar of a run."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from clebsch.simulate.settings import MDSettings


class RunBar:
    """Simulated time, speed, temperature and the time that is left.

    Args:
        settings: of the run.
        shown: nothing is printed otherwise.
    """

    def __init__(self, settings: MDSettings, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.2f}/{task.total:g} ps"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[temperature]}"),
            TimeRemainingColumn(),
            disable=not shown,
        )
        self._task = self._progress.add_task(
            f"{settings.ensemble.upper()} {settings.temperature_K:g} K",
            total=settings.time_ps,
            speed="",
            temperature="",
        )

    def __enter__(self) -> RunBar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def start(self, time_ps: float) -> None:
        """Begin at this time; what was simulated before does not count for the speed."""
        self._progress.update(self._task, completed=time_ps)

    def update(self, time_ps: float, temperature_K: float, ns_per_day: float) -> None:
        """Show a state of the run."""
        self._progress.update(
            self._task,
            completed=time_ps,
            speed=f"{ns_per_day:.3g} ns/day",
            temperature=f"{temperature_K:.0f} K",
        )
