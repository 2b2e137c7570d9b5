"""The convolution and its derivatives against e3nn."""

from __future__ import annotations

from typing import Any

from clebsch.bench.pair import NotMeasured, Side, alternate, both_sides, memory
from clebsch.bench.result import comparison, rounded, surroundings
from clebsch.bench.settings import INSTALL, SIDES, Content, Settings
from clebsch.errors import UserError

OURS, PEER = SIDES / "ours_operator.py", SIDES / "e3nn_operator.py"
TASKS = ("forward", "forward+backward", "double_backward")
SIZES: dict[str, int] = {"atoms": 500, "edges": 20_000}
SMALL: dict[str, int] = {"atoms": 20, "edges": 400}

# What carries bars comes first.
FIRST = [
    (2, 64, "forward"),
    (2, 64, "forward+backward"),
    (2, 64, "double_backward"),
    (3, 64, "forward"),
    (2, 64, "memory"),
]
QUICK_REST = [(1, 64, task) for task in TASKS] + [(3, 64, "forward+backward")]


def cases(quick: bool) -> list[tuple[int, int, str]]:
    """(lmax, channels, task) in the order of measurement."""
    if quick:
        return FIRST + QUICK_REST
    grid = [(l, c) for l in (1, 2, 3, 4) for c in (16, 32, 64, 128)]
    rest = [(l, c, task) for l, c in grid for task in (*TASKS, "memory")]
    compiled = [(l, 64, "forward_compiled") for l in (1, 2, 3)]
    return FIRST + [case for case in rest if case not in FIRST] + compiled


def _key(lmax: int, channels: int, task: str) -> str:
    return f"operator/l{lmax}/c{channels}/{task}"


def run(
    settings: Settings,
    chosen: list[tuple[int, int, str]] | None = None,
    sizes: dict[str, int] = SIZES,
) -> Content:
    """Measure the cases (by default those of a quick or full run) at the sizes.

    Returns:
        Entries by name, and ``machine``.

    Raises:
        UserError: no case is called as ``settings.only`` says.
    """
    chosen = cases(settings.quick) if chosen is None else chosen
    if settings.only:
        every = chosen
        chosen = [c for c in every if any(text in _key(*c) for text in settings.only)]
        if not chosen:
            raise UserError(
                f"no case contains {' or '.join(settings.only)}: the first is {_key(*every[0])}."
            )
    clock, content = settings.clock, Content()
    with both_sides(OURS, PEER, settings.threads, clock, settings.same_process) as pair:
        ours, peer = pair
        torch, name, absent = _names(ours, peer)
        prepared: list[dict[str, Any] | None] = [None, None]
        for number, (lmax, channels, task) in enumerate(chosen):
            key = _key(lmax, channels, task)
            settings.progress(key, number, len(chosen))
            compiled = task == "forward_compiled"
            case: dict[str, Any] = {"lmax": lmax, "channels": channels, **sizes}
            label = f"{name} {'torch.compile' if compiled else 'eager'}"
            if task == "memory":
                mine, theirs = _memory(settings, case, absent)
                content[key] = comparison(key, label, mine, theirs, unit="MB")
                continue
            task = "forward" if compiled else task
            results: list[list[float] | NotMeasured] = [absent or NotMeasured("")] * 2
            usable = []
            wanted = [case, {**case, "compiled": True} if compiled else case]
            for place, side in enumerate(pair):
                if place == 1 and absent:
                    continue
                try:
                    if prepared[place] != wanted[place]:
                        prepared[place] = None
                        side.prepare(wanted[place])
                        prepared[place] = wanted[place]
                    usable.append((place, side))
                except NotMeasured as reason:
                    results[place] = reason
            measured = alternate([(side, task) for _, side in usable], settings.effort, clock)
            for (place, _), times in zip(usable, measured, strict=True):
                results[place] = times
                if isinstance(times, NotMeasured):
                    prepared[place] = None  # its process may have ended
            content[key] = comparison(key, label, results[0], results[1])
        if not absent:
            content["agreement"] = _agreement(
                pair, sorted({(l, c) for l, c, _ in chosen}), settings
            )
    content["machine"] = surroundings(settings.threads, torch, settings.quick)
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


def _memory(
    settings: Settings, case: dict[str, Any], absent: NotMeasured | None
) -> list[list[float] | NotMeasured]:
    """Peak bytes of forward + backward of both sides, each in a process of its own."""
    results: list[list[float] | NotMeasured] = []
    for file in (OURS, PEER):
        try:
            if file == PEER and absent:
                raise absent
            small = {**case, **SMALL}
            peak = memory(file, settings.threads, settings.clock, "forward+backward", case, small)
            results.append([float(peak)])
        except NotMeasured as reason:
            results.append(reason)
    return results


def _agreement(
    pair: tuple[Side, Side], shapes: list[tuple[int, int]], settings: Settings
) -> dict[str, Any]:
    """Largest relative difference of the two sides' results and second derivatives."""
    found: dict[str, Any] = {}
    for lmax, channels in shapes:
        key = f"l{lmax}/c{channels}"
        try:
            settings.clock.need(4.0)
            values = []
            for side in pair:
                side.prepare({"lmax": lmax, "channels": channels, **SMALL})
                values.append(side.facts()["values"])
            found[key] = rounded(
                max(abs(a - b) / max(abs(b), 1.0) for a, b in zip(*values, strict=True))
            )
        except NotMeasured as reason:
            found[key] = f"not measured: {reason}"
    return found
