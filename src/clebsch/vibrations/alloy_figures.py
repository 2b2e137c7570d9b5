"""Figures of an alloy: its density of states over the composition, and beside a reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clebsch.figures import COLOURS, figure
from clebsch.vibrations.alloy_comparison import TITLES, Comparison, Reference
from clebsch.vibrations.alloy_sweep import SweepPoint

Array = NDArray[np.float64]
_SHOWN = 0.99  # share of the states that a figure shows
_KINDS = {"virtual": COLOURS[0], "sqs": COLOURS[1], "random": COLOURS[2]}
_LINES = {"virtual": "-", "sqs": "--", "random": ":"}
_MARKS = {"virtual": "o", "sqs": "s", "random": "^"}


def draw_sweep(points: Sequence[SweepPoint], title: str, temperature: float, path: Path) -> None:
    """Maps of the density of states over x, and the figures that follow from it."""
    if len(points) == 1:
        _draw_point(points[0], temperature, path)
        return
    kinds = ["virtual", *points[0].averages]
    x = np.array([point.x for point in points], dtype=np.float64)
    spectra = {kind: np.stack([_states(point, kind) for point in points])[:, :-1] for kind in kinds}
    centres, edges = points[0].virtual.grid.centres, points[0].virtual.grid.edges
    end = _end(np.concatenate(list(spectra.values())), len(centres))
    top = max(float(s.max()) for s in spectra.values())
    columns = max(len(kinds), 3 if len(kinds) > 1 else 2)
    with figure(path, 3.9 * columns, 7.0) as canvas:
        grid = canvas.add_gridspec(2, columns)
        borders = np.concatenate([x[:1], 0.5 * (x[1:] + x[:-1]), x[-1:]])
        image: Any = None
        maps = []
        for place, kind in enumerate(kinds):
            cells = grid[0, :] if len(kinds) == 1 else grid[0, place]
            axes = canvas.add_subplot(cells)
            image = axes.pcolormesh(
                borders,
                edges[: end + 1],
                spectra[kind][:, :end].T,
                vmin=0,
                vmax=top,
                cmap="magma_r",
            )
            axes.grid(False)
            axes.set_xlabel("x")
            axes.set_ylabel("wavenumber (cm⁻¹)")
            axes.set_title(f"{TITLES[kind].capitalize()}", fontsize=9)
            maps.append(axes)
        canvas.colorbar(image, ax=maps, label="states per atom and bin", shrink=0.9)
        names = list(points[0].figures(temperature)["virtual"])
        labels = ("mean frequency (cm⁻¹)", f"C_v({temperature:g} K) (J/(K mol of atoms))")
        for place, (name, label) in enumerate(zip(names, labels, strict=False)):
            axes = canvas.add_subplot(grid[1, place])
            _plot_figures(axes, points, x, kinds, name, temperature)
            axes.set_xlabel("x")
            axes.set_ylabel(label)
            axes.ticklabel_format(useOffset=False)
            if place == 0 and len(kinds) > 1:
                canvas.legend(
                    *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3
                )
        if len(kinds) > 1:
            axes = canvas.add_subplot(grid[1, 2])
            for kind in kinds[1:]:
                apart = [point.averages[kind].distance() for point in points]  # type: ignore[index]
                axes.plot(
                    _exact_x(points, kind),
                    apart,
                    marker=_MARKS[kind],
                    ms=4,
                    color=_KINDS[kind],
                )
            axes.set_xlabel("x")
            axes.set_ylabel("Wasserstein distance to\nthe virtual crystal (cm⁻¹)")
            axes.set_ylim(bottom=0)
        canvas.suptitle(title, fontsize=10)


def draw_comparison(comparisons: Sequence[Comparison], reference: Reference, path: Path) -> None:
    """Every curve over the reference."""
    shown = np.max([reference.density, *(c.density for c in comparisons)], axis=0)
    end = reference.frequencies[
        min(int(np.flatnonzero(shown > 0.03).max(initial=1)) + 2, len(shown) - 1)
    ]
    rows = -(-len(comparisons) // 2)
    with figure(path, 8.5, 2.3 * rows + 0.4) as canvas:
        panels = canvas.subplots(rows, 2, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(panels.flat):
            if place >= len(comparisons):
                axes.set_visible(False)
                continue
            curve = comparisons[place]
            axes.fill_between(
                reference.frequencies,
                reference.density,
                color="#bbbbbb",
                lw=0,
                label=f"reference ({reference.formula or reference.name})",
            )
            axes.plot(
                reference.frequencies,
                curve.density,
                color=COLOURS[place % len(COLOURS)],
                marker=".",
                ms=4,
            )
            axes.set_title(f"{curve.title}: MAE {curve.mae:.3f}", fontsize=8)
            axes.set_xlim(0, end)
            axes.set_ylim(0, 1.05)
            if place + 2 >= len(comparisons):
                axes.set_xlabel("wavenumber (cm⁻¹)")
                axes.tick_params(labelbottom=True)
            if place % 2 == 0:
                axes.set_ylabel("DoS (maximum 1)")
        panels[0, 0].legend(fontsize=7, loc="upper right")


def _draw_point(point: SweepPoint, temperature: float, path: Path) -> None:
    grid = point.virtual.grid
    found = point.figures(temperature)
    states = {kind: _states(point, kind)[:-1] for kind in found}
    end = _end(np.stack(list(states.values())), len(grid))
    with figure(path, 6.5, 3.6) as canvas:
        axes = canvas.subplots()
        for kind, curve in states.items():
            names = list(found[kind])
            mean, capacity = (found[kind][name].value for name in names[:2])
            label = f"{TITLES[kind]}: mean {mean:.1f} cm⁻¹, C_v {capacity:.2f} J/(K mol)"
            axes.plot(
                grid.centres[:end],
                curve[:end],
                color=_KINDS[kind],
                linestyle=_LINES[kind],
                label=label,
            )
            average = point.averages.get(kind)  # type: ignore[call-overload]
            if average is not None and average.spread is not None:
                low, high = curve - average.spread[:-1], curve + average.spread[:-1]
                axes.fill_between(
                    grid.centres[:end], low[:end], high[:end], color=_KINDS[kind], alpha=0.25, lw=0
                )
        axes.set_xlim(grid.start, grid.centres[end - 1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("wavenumber (cm⁻¹)")
        axes.set_ylabel("states per atom and bin")
        axes.set_title(f"{point.crystal.text}, C_v at {temperature:g} K per mol of atoms")
        axes.legend(fontsize=7, loc="upper right")
        axes.margins(y=0.2)


def _plot_figures(
    axes: Any,
    points: Sequence[SweepPoint],
    x: Array,
    kinds: Sequence[str],
    name: str,
    temperature: float,
) -> None:
    found = [point.figures(temperature) for point in points]
    for kind in kinds:
        values = [f[kind][name].value for f in found]
        places = x if kind == "virtual" else _exact_x(points, kind)
        std = [f[kind][name].std or 0.0 for f in found]
        axes.errorbar(
            places,
            values,
            yerr=std if any(std) else None,
            marker=_MARKS[kind],
            ms=4,
            capsize=2,
            color=_KINDS[kind],
            label=TITLES[kind],
        )


def _exact_x(points: Sequence[SweepPoint], kind: str) -> list[float | None]:
    """x of what the supercells hold, as far as there is one."""
    found = [point.averages[kind].x for point in points]  # type: ignore[index]
    return [point.x if x is None else x for x, point in zip(found, points, strict=True)]


def _states(point: SweepPoint, kind: str) -> Array:
    if kind == "virtual":
        return point.virtual.states
    return point.averages[kind].states  # type: ignore[index]


def _end(spectra: Array, bins: int) -> int:
    """Bins up to which nearly all states lie."""
    below = np.cumsum(spectra.mean(0))
    return min(int(np.searchsorted(below, _SHOWN * below[-1])) + 3, bins)
