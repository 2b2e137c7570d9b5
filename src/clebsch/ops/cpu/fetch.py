"""Fetching the next edge's rows while this one is computed.

Rows of an edge are too short, and those it names too scattered, for the processor to see a stream
in them. Fetches pay when they are spread evenly over the work and run along the rows in the order
of memory, whatever the order of the paths: in bursts, or in jumps, they cost as much as they save.
"""

from __future__ import annotations

from clebsch.ops.cpu.kernel import Kernel

LINE = 64  # bytes of a line of the cache
_VECTOR = 32  # bytes: loops over fewer channels have no vectors to fetch along


def fetches(kernel: Kernel, loops: list[list[int]]) -> list[list[str]]:
    """What each loop of a pass fetches, as statements.

    Args:
        kernel: the kernel.
        loops: numbers of the paths of each loop.

    Returns:
        For each loop; they name ``next``, the channel ``c`` and the channels of a step ``lanes``.
    """
    spec = kernel.spec
    channels = [spec.x[spec.paths[paths[0]].x].mul for paths in loops]
    every = [number for paths in loops for number in paths]
    found: list[list[str]] = [[] for _ in loops]
    for row, slot in _rows(kernel).items():
        runs = _runs(kernel, slot, every)
        # Each loop as much of the row as it reads of its own.
        shares = [_size(_runs(kernel, slot, paths)) for paths in loops]
        done, before = 0, 0
        for place, mul in enumerate(channels):
            done += shares[place]
            after = _size(runs) * done // max(1, sum(shares))
            for start, stop in _part(runs, before, after):
                found[place].append(_along(kernel, row, start, stop - start, mul))
            before = after
    return found


def short(kernel: Kernel, mul: int) -> bool:
    """Whether a loop over so many channels has no vectors."""
    return mul * kernel.item < _VECTOR


def _rows(kernel: Kernel) -> dict[str, str]:
    """Row to fetch (a member of ``Next``) -> the slot whose layout it has.

    Not the row that all edges of a sum have in common.
    """
    found = {}
    if not kernel.splined:
        found["w"] = "w"
        if "w" in kernel.targets and not kernel.streamed:
            found["gw"] = "w"
    if "w" in kernel.tangents:
        found["aw"] = "w"
    if "x" in kernel.targets:
        return found | {"z": "z"}
    found["x"] = "x"
    return found | ({"ax": "x"} if "x" in kernel.tangents else {})


def _runs(kernel: Kernel, slot: str, paths: list[int]) -> list[tuple[int, int]]:
    """What these paths touch of a row, in the order of memory, as few ranges."""
    spec = kernel.spec
    if slot == "w":
        parts = {(s.start, s.stop) for s in (spec.weight_slices[number] for number in paths)}
    else:
        slices = (spec.x if slot == "x" else spec.z).slices()
        blocks = {getattr(spec.paths[number], slot) for number in paths}
        parts = {(slices[block].start, slices[block].stop) for block in blocks}
    runs: list[tuple[int, int]] = []
    for start, stop in sorted(parts):
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], stop)
        elif stop > start:
            runs.append((start, stop))
    return runs


def _size(runs: list[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in runs)


def _part(runs: list[tuple[int, int]], begin: int, end: int) -> list[tuple[int, int]]:
    """The pieces of *runs*, put end to end, between two places."""
    pieces, offset = [], 0
    for start, stop in runs:
        low, high = max(begin - offset, 0), min(end - offset, stop - start)
        if high > low:
            pieces.append((start + low, start + high))
        offset += stop - start
    return pieces


def _along(kernel: Kernel, row: str, start: int, size: int, mul: int) -> str:
    """Fetch a piece of a row along a loop; at once where the loop is short."""
    line = LINE // kernel.item
    if short(kernel, mul):
        return (
            f"for (int j = 0; j < {size + line - 1}; j += {line})"
            f" __builtin_prefetch(next.{row} + {start} + j);"
        )
    step = -(-size // mul)
    return (
        f"for (int j = 0; j < {step} * lanes; j += {line})"
        f" __builtin_prefetch(next.{row} + {start} + c * {step} + j);"
    )
