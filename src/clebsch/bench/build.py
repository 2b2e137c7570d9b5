"""Time until a program can work: imports, building the model, its first call."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

from clebsch.bench import model
from clebsch.bench.pair import NotMeasured, environment
from clebsch.bench.result import comparison, rounded, surroundings, with_seconds_bar
from clebsch.bench.settings import INSTALL, SIDES, Content, Settings

_IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
IMPORTS = {
    "torch": "import torch",
    "clebsch": "import clebsch",
    "clebsch.models": "from clebsch.models import Potential",
}
STEPS = ("construct", "first_call", "second_call")


def run(
    settings: Settings, case: dict[str, Any] = model.CASE, rounds: int | None = None
) -> Content:
    """Fresh processes in turn, after one round that warms the disk's and the kernels' caches.

    Args:
        settings: how.
        case: hyper-parameters and size of the model.
        rounds: of each process after the first; by default 7, or 3 in a quick run.

    Returns:
        Entries by name, and ``machine``.
    """
    rounds = rounds or (3 if settings.quick else 7)
    imports: dict[str, list[float]] = {name: [] for name in IMPORTS}
    ours: dict[str, list[float]] = {step: [] for step in ("import", *STEPS)}
    theirs: dict[str, list[float]] = {step: [] for step in ("import", *STEPS)}
    our_reason = peer_reason = import_reason = NotMeasured("no time left")
    peer_runs, total = True, rounds + 1
    for number in range(rounds + 1):
        settings.progress("imports and our model", number, total)
        try:
            for name, statement in IMPORTS.items():
                printed = _python(["-c", _IMPORT.format(statement)], settings)
                imports[name].append(float(printed))
        except NotMeasured as reason:
            import_reason = reason
        try:
            _add(ours, "ours_build.py", case, settings)
        except NotMeasured as reason:
            our_reason = reason
        # A quick run asks the slow peer once, after our own figures.
        if peer_runs and (not settings.quick or number == rounds):
            settings.progress("nequip's model", number, total)
            try:
                _add(theirs, "nequip_build.py", case, settings)
            except NotMeasured as reason:
                hint = f" ({INSTALL['nequip']})" if "not installed" in str(reason) else ""
                peer_reason, peer_runs = NotMeasured(f"{reason}{hint}"), False
    content = Content()
    for times in (*imports.values(), *ours.values(), *theirs.values()):
        if len(times) > 1:
            del times[0]  # the round that warmed the caches
    for name in ("clebsch", "clebsch.models"):
        key = f"build/import/{name}"
        mine, torch = imports[name] or import_reason, imports["torch"] or import_reason
        entry = comparison(key, "import torch", mine, torch, unit="s")
        extra = None
        if not isinstance(mine, NotMeasured) and not isinstance(torch, NotMeasured):
            extra = rounded(statistics.median(mine) - statistics.median(torch))
        entry["above_torch_s"] = extra
        content[key] = with_seconds_bar(key, entry, extra)
    for step in STEPS:
        key = f"build/{step}"
        mine, other = ours[step] or our_reason, theirs[step] or peer_reason
        entry = comparison(key, "nequip 0.19 eager", mine, other, unit="s")
        content[key] = with_seconds_bar(key, entry, entry["ours_s"])
    content["machine"] = surroundings(settings.threads, _torch_version(), settings.quick)
    return content


def _add(into: dict[str, list[float]], file: str, case: dict[str, Any], settings: Settings) -> None:
    """Run a build script; append its seconds."""
    found = json.loads(_python([str(SIDES / file), json.dumps(case)], settings))
    if "missing" in found:
        raise NotMeasured(f"{found['missing']} is not installed")
    for step, seconds in found.items():
        into[step].append(seconds)


def _python(arguments: list[str], settings: Settings) -> str:
    """Last line that a fresh interpreter prints."""
    settings.clock.need(1.0)
    try:
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            capture_output=True,
            text=True,
            timeout=settings.clock.left(),
            env=environment(settings.threads),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured("no time left") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotMeasured(f"its process ended: {words[-1][:200]}")
    return done.stdout.strip().splitlines()[-1]


def _torch_version() -> str:
    from importlib.metadata import version

    return version("torch")
