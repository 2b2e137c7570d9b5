"""The parts that every network is made of: Wigner D, harmonics, building products and bases."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from clebsch.bench.pair import NotMeasured, Side, alternate, both_sides, environment
from clebsch.bench.result import comparison, has_bar, rounded, surroundings, with_seconds_bar
from clebsch.bench.settings import INSTALL, SIDES, Content, Settings
from clebsch.errors import UserError

OURS, PEER = SIDES / "ours_framework.py", SIDES / "e3nn_framework.py"

#: Name of a case that is run again and again -> what the sides prepare, and their task.
STEADY: dict[str, tuple[dict[str, Any], str]] = {
    "wigner_D/l8/n10000/float32": ({"what": "wigner_D", "n": 10_000, "double": False}, "forward"),
    "wigner_D/l8/n10000/float64": ({"what": "wigner_D", "n": 10_000, "double": True}, "forward"),
    "harmonics/l8/n100000/forward": ({"what": "harmonics", "n": 100_000}, "forward"),
    "harmonics/l8/n100000/forward+backward": (
        {"what": "harmonics", "n": 100_000},
        "forward+backward",
    ),
}

#: Name of a case that needs a fresh process -> what its script builds, and whether our cache on
#: disk holds what an earlier process built.
COLD: dict[str, tuple[str, bool]] = {
    "product130/build": ("product", True),
    "product130/build+forward": ("product+forward", True),
    "product130/build+forward/empty_cache": ("product+forward", False),
    "elasticity/warm": ("elasticity_again", True),
    "elasticity/cold": ("elasticity", False),
    "cube/cold": ("cube", False),
}


def names() -> list[str]:
    """All cases; what carries a bar comes first."""
    every = [f"framework/{name}" for name in (*COLD, *STEADY)]
    return sorted(every, key=lambda name: not has_bar(name))


def run(settings: Settings, cases: list[str] | None = None, n: int | None = None) -> Content:
    """Measure the cases, all by default.

    Args:
        settings: how.
        cases: names of cases.
        n: rows of the steady cases, instead of their own.

    Returns:
        Entries by name, ``agreement`` and ``machine``.

    Raises:
        UserError: no case is called as ``settings.only`` says.
    """
    every = names()
    cases = every if cases is None else cases
    if settings.only:
        cases = [c for c in cases if any(text in c for text in settings.only)]
        if not cases:
            wanted = " or ".join(settings.only)
            raise UserError(f"no case contains {wanted}: the first is {every[0]}.")
    content = Content()
    pair = both_sides(OURS, PEER, settings.threads, settings.clock, settings.same_process)
    with tempfile.TemporaryDirectory() as scratch, pair as (ours, peer):
        about, label, absent = _names(ours, peer)
        for number, key in enumerate(cases):
            settings.progress(key, number, len(cases))
            name = key.removeprefix("framework/")
            if name in COLD:
                content[key] = _cold(key, *COLD[name], label, absent, settings, Path(scratch))
            else:
                case, task = STEADY[name]
                case = {**case, "n": n or case["n"]}
                content[key] = _steady(key, case, task, (ours, peer), label, absent, settings)
        if not absent:
            content["agreement"] = _agreement((ours, peer), settings)
    content["machine"] = surroundings(settings.threads, about, settings.quick)
    return content


def _names(ours: Side, peer: Side) -> tuple[str | None, str, NotMeasured | None]:
    """torch's version, the peer's name, and why the peer is left out."""
    try:
        torch = ours.versions()["torch"]
    except NotMeasured:
        torch = None
    try:
        return torch, peer.versions()["name"], None
    except NotMeasured as reason:
        hint = f" ({INSTALL['e3nn']})" if "not installed" in str(reason) else ""
        return torch, "e3nn", NotMeasured(f"{reason}{hint}")


def _steady(
    key: str,
    case: dict[str, Any],
    task: str,
    pair: tuple[Side, Side],
    label: str,
    absent: NotMeasured | None,
    settings: Settings,
) -> dict[str, Any]:
    """Both sides in turn, in processes that stay."""
    results: list[list[float] | NotMeasured] = [NotMeasured(""), absent or NotMeasured("")]
    usable = []
    for place, side in enumerate(pair):
        if place == 1 and absent:
            continue
        try:
            side.prepare(case)
            usable.append((place, side))
        except NotMeasured as reason:
            results[place] = reason
    measured = alternate([(side, task) for _, side in usable], settings.effort, settings.clock)
    for (place, _), times in zip(usable, measured, strict=True):
        results[place] = times
    ours, theirs = results
    return comparison(key, label, ours, theirs)


def _cold(
    key: str,
    what: str,
    kept: bool,
    label: str,
    absent: NotMeasured | None,
    settings: Settings,
    scratch: Path,
) -> dict[str, Any]:
    """Fresh processes in turn, timed after their imports.

    Where our cache is kept, a first round that is not counted fills it.
    """
    results: list[list[float] | NotMeasured] = [[], absent or []]
    rounds = 2 if settings.quick else 7
    if not kept and "forward" in what:
        rounds = min(rounds, 3)  # a compiler's minute each
    for number in range(-1 if kept else 0, rounds):
        for place, file in enumerate((OURS, PEER)):
            times = results[place]
            if isinstance(times, NotMeasured) or (place == 1 and number < 0):
                continue
            # A peer that takes seconds is asked as often as ours, but not in a quick run.
            if place == 1 and settings.quick and times:
                continue
            folder = None if kept else scratch / f"{key.replace('/', '_')}{number}"
            try:
                seconds = _seconds(file, what, folder, settings)
                if number >= 0:
                    times.append(seconds)
            except NotMeasured as reason:
                results[place] = times or reason
    final = [r if r else NotMeasured("no time left") for r in results]
    entry = comparison(key, label, final[0], final[1], unit="s")
    return with_seconds_bar(key, entry, entry["ours_s"])


def _seconds(file: Path, what: str, cache: Path | None, settings: Settings) -> float:
    """What the script of that side prints; with a cache folder of its own, or the user's."""
    settings.clock.need(1.0)
    variables = environment(settings.threads)
    if cache is not None:
        variables["CLEBSCH_CACHE"] = str(cache)
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(file), what],
            capture_output=True,
            text=True,
            timeout=settings.clock.left(),
            env=variables,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured("no time left") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotMeasured(f"its process ended: {words[-1][:200]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def _agreement(pair: tuple[Side, Side], settings: Settings) -> dict[str, Any]:
    """Largest relative difference of the two sides' results, in float64 where they have it."""
    found: dict[str, Any] = {}
    for what in ("wigner_D", "harmonics"):
        try:
            settings.clock.need(2.0)
            values = []
            for side in pair:
                side.prepare({"what": what, "n": 50, "double": True})
                values.append(side.facts()["values"])
            pairs = zip(*values, strict=True)
            found[what] = rounded(max(abs(a - b) / max(abs(b), 1.0) for a, b in pairs))
        except NotMeasured as reason:
            found[what] = f"not measured: {reason}"
    return found
