"""What a benchmark reports: figures by the name of their case."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clebsch import __version__, machine
from clebsch.bench.pair import NotMeasured
from clebsch.files import write_text

#: Ratios of medians, peer's over ours, that the project holds itself to on two cores.
RATIO_BARS: dict[str, float] = {
    "operator/l2/c64/forward": 60.0,
    "operator/l2/c64/forward+backward": 40.0,
    "operator/l2/c64/double_backward": 25.0,
    "operator/l2/c64/memory": 6.0,
    "operator/l3/c64/forward": 100.0,
    "model/si512/frozen": 10.0,
    "model/si512/frozen_vs_compiled": 6.0,
    "model/si512/training_step": 5.0,
    "framework/wigner_D/l8/n10000/float32": 20.0,
    "framework/wigner_D/l8/n10000/float64": 20.0,
}

#: Seconds at most; an import counts what it takes above torch's own.
SECONDS_BARS: dict[str, float] = {
    "build/import/clebsch": 0.3,
    "build/import/clebsch.models": 0.3,
    "build/construct": 0.2,
    "framework/product130/build": 0.1,
    "framework/elasticity/warm": 0.05,
    "framework/cube/cold": 0.3,
}

#: Exponent, at most, with which time grows with size.
EXPONENT_BARS: dict[str, float] = {"density/growth/predict": 1.15}


def has_bar(key: str) -> bool:
    """Whether the project holds itself to a bar in this case."""
    return any(key in bars for bars in (RATIO_BARS, SECONDS_BARS, EXPONENT_BARS))


def comparison(
    key: str,
    peer: str,
    ours: list[float] | NotMeasured,
    theirs: list[float] | NotMeasured,
    unit: str = "ms",
) -> dict[str, Any]:
    """One entry: both medians, the ratio, the fastest runs; None where nothing was measured.

    Args:
        key: name of the case.
        peer: name of the other side.
        ours, theirs: seconds of the runs, or why there are none; bytes where ``unit`` is MB.
        unit: ms, s or MB.
    """
    entry: dict[str, Any] = {"peer": peer}
    missing = []
    for name, values, label in (("ours", ours, "clebsch"), ("peer", theirs, peer)):
        entry |= one_side(name, values, unit)
        if isinstance(values, NotMeasured):
            missing.append(f"{label}: {values}")
    entry["ratio"] = None
    if not isinstance(ours, NotMeasured) and not isinstance(theirs, NotMeasured):
        smaller = statistics.median(ours)
        entry["ratio"] = rounded(statistics.median(theirs) / smaller) if smaller > 0 else None
    if missing:
        entry["not_measured"] = "; ".join(missing)
    if key in RATIO_BARS:
        entry["bar"] = RATIO_BARS[key]
        entry["met"] = None if entry["ratio"] is None else entry["ratio"] >= RATIO_BARS[key]
    return entry


def one_side(name: str, values: list[float] | NotMeasured, unit: str) -> dict[str, Any]:
    """Median, fastest and number of the runs of one side, ``ours`` or ``peer``."""
    if isinstance(values, NotMeasured):
        return {f"{name}_{unit}": None}
    factor = {"ms": 1e3, "s": 1.0, "MB": 1e-6}[unit]
    part: dict[str, Any] = {f"{name}_{unit}": rounded(statistics.median(values) * factor)}
    if unit != "MB":
        part[f"{name}_fastest_{unit}"] = rounded(min(values) * factor)
        part[f"{name}_runs"] = len(values)
    return part


def alone(values: list[float] | NotMeasured, unit: str = "s") -> dict[str, Any]:
    """An entry of ours for which there is no peer."""
    entry = one_side("ours", values, unit)
    if isinstance(values, NotMeasured):
        entry["not_measured"] = f"clebsch: {values}"
    return entry


def with_seconds_bar(key: str, entry: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    """The entry with its bar in seconds, where the case has one."""
    if key in SECONDS_BARS:
        entry["bar_s"] = SECONDS_BARS[key]
        entry["met"] = None if seconds is None else seconds <= SECONDS_BARS[key]
    return entry


def rounded(value: float) -> float:
    """Four digits: more are noise."""
    return float(f"{value:.4g}")


def surroundings(threads: int, torch: str | None, quick: bool) -> dict[str, Any]:
    """Machine, versions, date and kind of the run."""
    return {
        "processor": machine.processor(),
        "cores": machine.cores(),
        "threads": threads,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch,
        "clebsch": __version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "quick": quick,
    }


def write(path: Path, content: Mapping[str, Any]) -> str:
    """Write a result file whole or not at all; its text."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_text(path, text)
    return text
