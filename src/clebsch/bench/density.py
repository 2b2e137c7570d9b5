"""Electron densities of water: the network beside the SCF that it learns from, over size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clebsch.bench.pair import Clock, Effort, NotMeasured, Side, both_sides, memory
from clebsch.bench.result import (
    EXPONENT_BARS,
    alone,
    comparison,
    one_side,
    rounded,
    surroundings,
)
from clebsch.bench.settings import INSTALL, SIDES, Content, Settings

OURS, PEER = SIDES / "ours_density.py", SIDES / "pyscf_density.py"

Times = dict[int, list[float] | NotMeasured]


@dataclass(frozen=True)
class Sizes:
    """Numbers of water molecules.

    Attributes:
        scf: of the SCF; they are also predicted.
        predict: of the network.
        cube: of the density on points.
        memory: of the network's peak memory.
        growth: the exponents are fitted from the first to the last.
        large: a second exponent of the network, beyond the fixed costs of a call.
    """

    scf: tuple[int, ...] = (1, 2, 3, 4)
    predict: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    cube: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    memory: tuple[int, ...] = (128, 1000)
    growth: tuple[int, int] = (8, 64)
    large: tuple[int, int] = (64, 512)


FULL = Sizes()
QUICK = Sizes(
    scf=(1, 2, 3), predict=(1, 2, 4, 8, 16, 32, 64, 128), cube=(8, 16, 32, 64), large=(64, 128)
)
SPACING, MARGIN = 0.3, 4.0  # Å, of the points of a cube file
_SCF_GROWTH = 3.0  # to guess whether the time that is left is enough
_ROUNDS = 3


@dataclass
class _Task:
    """What one side does at every size, and the seconds that it took."""

    side: Side
    name: str
    case: dict[str, Any]
    sizes: tuple[int, ...]
    times: Times = field(default_factory=dict)

    def run(self, size: int, effort: Effort, clock: Clock, keep: bool = True) -> None:
        """One block of runs; a size that failed at once is not tried again."""
        known = self.times.get(size, [])
        if isinstance(known, NotMeasured):
            return
        try:
            expected = known[-1] if known else self._guess(size)
            clock.need(expected)
            self.side.prepare({**self.case, "molecules": size})
            block = max(1, min(10, round(effort.block / expected))) if known else 1
            new = self.side.run(self.name, block)
            if keep:
                self.times[size] = [*known, *new]
        except NotMeasured as reason:
            self.times[size] = known or reason

    def _guess(self, size: int) -> float:
        """Seconds from the size before, at least; without one 0."""
        before = [(n, t) for n, t in self.times.items() if not isinstance(t, NotMeasured)]
        if not before:
            return 0.0
        n, seconds = max(before)
        return min(seconds) * (size / n) ** (_SCF_GROWTH if self.name == "scf" else 1.0)


def run(settings: Settings, sizes: Sizes | None = None, rounds: int | None = None) -> Content:
    """The network at all its sizes before every SCF, round after round.

    Args:
        settings: how.
        sizes: numbers of molecules; by default ``FULL``, or ``QUICK`` in a quick run.
        rounds: by default 3, or 1 in a quick run.

    Returns:
        Entries by name, ``parameters``, ``network`` (its configuration) and ``machine``.
    """
    sizes = sizes or (QUICK if settings.quick else FULL)
    rounds = rounds or (1 if settings.quick else _ROUNDS)
    content = Content()
    pair = both_sides(OURS, PEER, settings.threads, settings.clock, settings.same_process)
    with pair as (ours, peer):
        about, network, torch = _facts(ours, sizes.growth[1])
        label, absent = _peer(peer)
        cube = {"what": "cube", "spacing": SPACING, "margin": MARGIN}
        predicted = tuple(sorted({*sizes.scf, *sizes.predict}))
        predict = _Task(ours, "predict", {"what": "predict"}, predicted)
        evaluate = _Task(ours, "cube", cube, sizes.cube)
        scf = _Task(peer, "scf", {}, sizes.scf)
        _measure(predict, evaluate, scf, absent, rounds, settings)
    peaks = _memory(sizes, settings)
    for n, times in predict.times.items():
        key = f"density/predict/n{n}"
        if n in sizes.scf:
            content[key] = comparison(key, label, times, scf.times[n], unit="s")
        else:
            content[key] = alone(times)
    for n, times in evaluate.times.items():
        content[f"density/cube/n{n}"] = alone(times)
    for n, peak in peaks.items():
        content[f"density/memory/n{n}"] = alone(peak, unit="MB")
    content["density/growth/predict"] = _growth(
        label, predict.times, _between(predict.times, sizes.growth), scf.times
    )
    content["density/growth/predict_large"] = _growth(
        None, predict.times, _between(predict.times, sizes.large)
    )
    content["density/growth/cube"] = _growth(
        None, evaluate.times, _between(evaluate.times, sizes.growth)
    )
    bar = EXPONENT_BARS["density/growth/predict"]
    exponent = content["density/growth/predict"]["ours_exponent"]
    content["density/growth/predict"] |= {
        "bar_exponent": bar,
        "met": None if exponent is None else exponent <= bar,
    }
    if about:
        content |= {"parameters": about, "network": network}
    content["machine"] = surroundings(settings.threads, torch, settings.quick)
    return content


def exponent(times: Mapping[int, float]) -> tuple[float, float]:
    """p and c of c n^p, by least squares of log(seconds) over log(n).

    Raises:
        ValueError: fewer than two sizes.

    >>> p, c = exponent({1: 0.5, 2: 2.0, 4: 8.0})
    >>> round(p, 9), round(c, 9)
    (2.0, 0.5)
    """
    line = statistics.linear_regression(
        [math.log(n) for n in times], [math.log(t) for t in times.values()]
    )
    return line.slope, math.exp(line.intercept)


def _measure(
    predict: _Task,
    evaluate: _Task,
    scf: _Task,
    absent: NotMeasured | None,
    rounds: int,
    settings: Settings,
) -> None:
    """Fill the times of all three."""
    effort, clock = settings.effort, settings.clock
    total = rounds * len(scf.sizes) + 1

    def sweep(keep: bool = True) -> None:
        for task in (predict, evaluate):
            for n in task.sizes:
                task.run(n, effort, clock, keep)

    settings.progress("first calls, not counted", 0, total)
    sweep(keep=False)
    if absent:
        scf.times = dict.fromkeys(scf.sizes, absent)
    else:
        scf.run(scf.sizes[0], effort, clock, keep=False)
    for round_ in range(rounds):
        for place, n in enumerate(scf.sizes):
            settings.progress(f"density/predict/n{n}", 1 + round_ * len(scf.sizes) + place, total)
            sweep()
            if not absent:
                scf.run(n, effort, clock)


def _facts(ours: Side, molecules: int) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Size of the network and of a cluster, the network's configuration, and torch's version."""
    try:
        torch = ours.versions()["torch"]
        ours.prepare({"what": "predict", "molecules": molecules})
        facts = ours.facts()
    except NotMeasured:
        return {}, {}, None
    about = {
        "clebsch": facts["parameters"],
        "molecules": molecules,
        "atoms": facts["atoms"],
        "edges": facts["edges"],
    }
    return about, facts["network"], torch


def _peer(peer: Side) -> tuple[str, NotMeasured | None]:
    """The SCF's name, and why it is left out."""
    try:
        return peer.versions()["name"], None
    except NotMeasured as reason:
        hint = f" ({INSTALL['pyscf']})" if "not installed" in str(reason) else ""
        return "PySCF", NotMeasured(f"{reason}{hint}")


def _memory(sizes: Sizes, settings: Settings) -> dict[int, list[float] | NotMeasured]:
    """Peak bytes of a prediction above its input, each in a fresh process."""
    found: dict[int, list[float] | NotMeasured] = {}
    for n in sizes.memory:
        settings.progress(f"density/memory/n{n}", 0, 1)
        case, small = ({"what": "predict", "molecules": m} for m in (n, 8))
        try:
            peak = memory(OURS, settings.threads, settings.clock, "predict", case, small)
            found[n] = [float(peak)]
        except NotMeasured as reason:
            found[n] = reason
    return found


def _between(times: Iterable[int], ends: tuple[int, int]) -> list[int]:
    return [n for n in sorted(times) if ends[0] <= n <= ends[1]]


def _growth(
    peer: str | None, ours: Times, sizes: list[int], theirs: Times | None = None
) -> dict[str, Any]:
    """Exponents of the medians, and of the fastest runs; None unless all sizes were measured.

    Of the peer's sizes those count that were measured, if there are two.
    """
    entry: dict[str, Any] = {} if peer is None else {"peer": peer}
    entry |= _exponents("ours", ours, sizes)
    if theirs is not None:
        known = [n for n, times in theirs.items() if not isinstance(times, NotMeasured)]
        entry |= _exponents("peer", theirs, known)
    return entry


def _exponents(name: str, times: Times, sizes: list[int]) -> dict[str, Any]:
    part: dict[str, Any] = {f"{name}_exponent": None, f"{name}_molecules": sizes}
    rows = [times[n] for n in sizes]
    known = {
        n: one_side("of", row, "s")
        for n, row in zip(sizes, rows, strict=True)
        if not isinstance(row, NotMeasured)
    }
    if len(known) < max(2, len(sizes)):
        return part
    for kind in ("", "fastest_"):
        p, _ = exponent({n: e[f"of_{kind}s"] for n, e in known.items()})
        part[f"{name}_{kind}exponent"] = rounded(p)
    return part
