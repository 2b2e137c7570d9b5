"""A potential of equal hyper-parameters against nequip: energies with forces, training step."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from clebsch.bench.pair import NotMeasured, Side, alternate, both_sides
from clebsch.bench.result import comparison, rounded, surroundings
from clebsch.bench.settings import INSTALL, SIDES, Content, Settings

OURS, PEER = SIDES / "ours_model.py", SIDES / "nequip_model.py"

CASE: dict[str, Any] = {
    "repeat": 4,
    "layers": 4,
    "lmax": 2,
    "channels": 64,
    "n_basis": 8,
    "radial_depth": 2,
    "radial_width": 64,
    "cutoff": 5.0,
    "neighbours": 28.0,
}

#: Cubic cells of eight atoms along each edge, for the cost per atom.
REPEATS = (4, 8, 16)


def run(
    settings: Settings,
    case: dict[str, Any] = CASE,
    repeats: tuple[int, ...] = REPEATS,
    compiled_folder: Path | None = None,
) -> Content:
    """Measure the model of the case, and its frozen form at several sizes (full run only).

    Args:
        settings: how.
        case: hyper-parameters and size.
        repeats: sizes for the cost per atom.
        compiled_folder: where nequip's compiled model is kept between runs; a quick run uses it
            where it is there and has no time to make it.

    Returns:
        Entries by name, ``parameters`` and ``machine``.
    """
    clock, content = settings.clock, Content()
    name = f"model/si{8 * case['repeat'] ** 3}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        both_sides(OURS, PEER, settings.threads, clock, settings.same_process) as (ours, peer),
    ):
        total = 4 + (0 if settings.quick else len(repeats))
        settings.progress("building both models", 0, total)
        about = _prepare(ours, case)
        kept = str(compiled_folder or scratch)
        about_peer = _prepare(peer, {**case, "folder": kept})
        torch, label = None, "nequip"
        if not isinstance(about_peer, NotMeasured):
            label = about_peer["name"]
        if not isinstance(about, NotMeasured):
            torch = about["torch"]
            content["parameters"] = {
                "clebsch": about["parameters"],
                label: None if isinstance(about_peer, NotMeasured) else about_peer["parameters"],
                "atoms": about["atoms"],
                "edges": about["edges"],
            }

        def measure(*wanted: str) -> dict[str, list[float] | NotMeasured]:
            """Tasks side by side, ours first; ``peer:`` marks those of the other side."""
            results: dict[str, list[float] | NotMeasured] = {}
            usable: list[tuple[str, Side, str]] = []
            for task in wanted:
                side, state = (peer, about_peer) if task.startswith("peer:") else (ours, about)
                if isinstance(state, NotMeasured):
                    results[task] = state
                else:
                    usable.append((task, side, task.removeprefix("peer:")))
            measured = alternate([(s, t) for _, s, t in usable], settings.effort, clock)
            results.update({task: r for (task, _, _), r in zip(usable, measured, strict=True)})
            return results

        settings.progress(f"{name}/energy+forces", 1, total)
        found = measure("frozen", "energy+forces", "peer:energy+forces")
        eager, theirs = f"{label} eager", found["peer:energy+forces"]
        for key, task in (("frozen", "frozen"), ("energy+forces", "energy+forces")):
            content[f"{name}/{key}"] = comparison(f"{name}/{key}", eager, found[task], theirs)
        if not isinstance(found["frozen"], NotMeasured):
            with suppress(NotMeasured):
                content["frozen"] = ours.facts()["frozen"]

        settings.progress(f"{name}/training_step", 2, total)
        steps = measure("training_step", "peer:training_step")
        key = f"{name}/training_step"
        content[key] = comparison(key, eager, steps["training_step"], steps["peer:training_step"])

        settings.progress(f"{name}/frozen_vs_compiled", 3, total)
        ready = not isinstance(about_peer, NotMeasured) and about_peer["compiled_before"]
        if settings.quick and not ready and not isinstance(about_peer, NotMeasured):
            late: dict[str, list[float] | NotMeasured] = {
                task: found[task] for task in ("frozen", "energy+forces")
            }
            late["peer:compiled"] = NotMeasured("compiling takes longer than --quick")
        else:
            late = measure("frozen", "energy+forces", "peer:compiled")
        compiled = f"{label} compiled (AOTInductor)"
        for task in ("frozen", "energy+forces"):
            key = f"{name}/{task}_vs_compiled"
            content[key] = comparison(key, compiled, late[task], late["peer:compiled"])

        if not settings.quick:
            peer.close()
            for number, repeat in enumerate(repeats):
                key = f"model/frozen/si{8 * repeat**3}"
                settings.progress(key, 4 + number, total)
                content[key] = _cost_per_atom(ours, {**case, "repeat": repeat}, settings)
    content["machine"] = surroundings(settings.threads, torch, settings.quick)
    return content


def _prepare(side: Side, case: dict[str, Any]) -> dict[str, Any] | NotMeasured:
    """Build the model; its versions and facts, or why there are none."""
    try:
        versions = side.versions()
        side.prepare(case)
        return {**versions, **side.facts()}
    except NotMeasured as reason:
        hint = f" ({INSTALL['nequip']})" if "not installed" in str(reason) else ""
        return NotMeasured(f"{reason}{hint}")


def _cost_per_atom(ours: Side, case: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The frozen model alone, as large as it comes."""
    try:
        ours.prepare(case)
        (times,) = alternate([(ours, "frozen")], settings.effort, settings.clock)
        if isinstance(times, NotMeasured):
            raise times
        facts = ours.facts()
    except NotMeasured as reason:
        return {"ours_ms": None, "not_measured": f"clebsch: {reason}"}
    middle = sorted(times)[len(times) // 2]
    return {
        "ours_ms": rounded(1e3 * middle),
        "us_per_atom": rounded(1e6 * middle / facts["atoms"]),
        "atoms": facts["atoms"],
        "edges": facts["edges"],
        "ours_runs": len(times),
    }
