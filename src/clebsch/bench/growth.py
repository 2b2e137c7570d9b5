"""The figure of cost over size, on two logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clebsch.bench.density import exponent
from clebsch.bench.settings import Content

_FURTHEST = 64  # molecules, to which the SCF's line is drawn on


def draw_growth(content: Content, path: Path) -> None:
    """Seconds over the number of molecules: network, density on points, and SCF.

    Lines are the fits that the exponents are of, over the sizes that they are of; the SCF's
    beyond its sizes is dashed.
    """
    from clebsch.figures import COLOURS, figure

    label = content["density/growth/predict"]["peer"]
    kinds = (
        ("predict", "ours", "density/growth/predict", "network", "o", COLOURS[0]),
        (
            "cube",
            "ours",
            "density/growth/cube",
            "its density on points 0.3 Å apart",
            "^",
            COLOURS[2],
        ),
        ("predict", "peer", "density/growth/predict", f"SCF, {label}", "s", COLOURS[1]),
    )
    with figure(path, 6.0, 4.2) as canvas:
        axis = canvas.subplots()
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        for what, side, key, name, marker, colour in kinds:
            times = _seconds(content, what, side)
            if not times:
                continue
            fit = content[key]
            p, sizes = fit[f"{side}_exponent"], fit[f"{side}_molecules"]
            if p is not None:
                name += f": n$^{{{p:.2f}}}$ from {sizes[0]} to {sizes[-1]}"
            axis.plot(list(times), list(times.values()), marker, color=colour, ms=5, label=name)
            if p is None:
                continue
            slope, factor = exponent({n: times[n] for n in sizes})
            axis.plot(sizes, [factor * n**slope for n in sizes], color=colour)
            if side == "peer" and sizes[-1] < _FURTHEST:
                beyond = [sizes[-1], _FURTHEST]
                y = [factor * n**slope for n in beyond]
                axis.plot(beyond, y, "--", color=colour, label="SCF, extrapolated, not measured")
        _ticks(axis)
        axis.set_xlabel("water molecules")
        axis.set_ylabel("time (s)")
        m = content["machine"]["threads"]
        threads = f"{m} thread{'s' if m > 1 else ''}"
        axis.set_title(f"Electron density of water clusters, {threads}", loc="left")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16))


def _seconds(content: Content, what: str, side: str) -> dict[int, float]:
    """Medians by the number of molecules."""
    start = f"density/{what}/n"
    found = {
        int(key.removeprefix(start)): entry.get(f"{side}_s")
        for key, entry in content.items()
        if key.startswith(start)
    }
    return {n: seconds for n, seconds in sorted(found.items()) if seconds is not None}


def _ticks(axis: Any) -> None:
    """Plain numbers below."""
    from matplotlib.ticker import FuncFormatter

    axis.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
