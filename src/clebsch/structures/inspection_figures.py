"""Figures of an inspection; each function draws one and returns it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clebsch.files import atomic_path
from clebsch.structures.consistency import WorkCheck
from clebsch.structures.inspection import Inspection, covalent_sum

_MOST_SERIES = 8  # more colours than this cannot be told apart


def energies(found: Inspection) -> Figure | None:
    """Energy per atom over the frames, and its distribution by configuration type."""
    if not np.isfinite(found.energy).any():
        return None
    figure, (left, right) = _pair_of_axes()
    for name, rows in _types(found).items():
        left.plot(found.frames[rows], found.energy[rows], ".", ms=3, label=name)
        right.hist(
            found.energy[rows][np.isfinite(found.energy[rows])],
            bins=np.histogram_bin_edges(found.energy[np.isfinite(found.energy)], 60).tolist(),
            histtype="step",
            label=name,
        )
    left.set(xlabel="frame", ylabel="energy after atomic energies / eV per atom")
    right.set(xlabel="energy after atomic energies / eV per atom", ylabel="frames", yscale="log")
    right.xaxis.set_major_locator(MaxNLocator(6))
    _mark(found, left, found.energy, "energy")
    _legend_below(figure, right)
    return figure


def forces(found: Inspection) -> Figure | None:
    """Longest force over the frames, and the distribution of forces by element."""
    if not found.forces:
        return None
    figure, (left, right) = _pair_of_axes()
    for name, rows in _types(found).items():
        left.plot(found.frames[rows], found.force_max[rows], ".", ms=3, label=name)
    left.set(xlabel="frame", ylabel="longest force / (eV/Å)", yscale="log")
    _mark(found, left, found.force_max, "force")
    _legend_below(figure, left)
    top = max(f.max() for f in found.forces.values())
    edges = np.linspace(0, top or 1.0, 101).tolist()
    common = sorted(found.forces, key=lambda s: -len(found.forces[s]))[:_MOST_SERIES]
    for symbol in sorted(common):
        right.hist(found.forces[symbol], bins=edges, histtype="step", density=True, label=symbol)
    right.set(xlabel="force / (eV/Å)", ylabel="probability density / (Å/eV)", yscale="log")
    _legend(right)
    return figure


def distances(found: Inspection) -> Figure | None:
    """Distances of all pairs of elements, and the shortest of each against covalent radii."""
    if not found.distances:
        return None
    figure, (left, right) = _pair_of_axes()
    common = sorted(found.distances, key=lambda p: -int(found.distances[p].sum()))[:_MOST_SERIES]
    for pair in sorted(common):
        counts = found.distances[pair]
        left.stairs(counts / max(counts.max(), 1), found.bins, label=pair)
    left.set(xlabel="distance / Å", ylabel="number / largest number", ylim=(0, 1.05))
    left.set_xlim(max(0.0, min(found.statistics.shortest.values()) - 0.3), found.bins[-1])
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", fontsize=8, ncols=4)
    shortest = found.statistics.shortest
    shown = sorted(shortest, key=lambda p: shortest[p] / covalent_sum(p))[:16]
    rows = np.arange(len(shown))
    right.barh(rows, [shortest[p] for p in shown], color="C0", label="shortest in the data")
    right.plot([covalent_sum(p) for p in shown], rows, "k|", ms=9, label="covalent radii")
    right.set_yticks(rows, shown)
    right.invert_yaxis()
    right.set(xlabel="distance / Å")
    if len(shown) < len(shortest):
        right.set_title(f"the {len(shown)} tightest of {len(shortest)} pairs", fontsize=9)
    figure.legend(
        *right.get_legend_handles_labels(), loc="outside lower right", fontsize=8, ncols=2
    )
    return figure


def work(found: Inspection) -> Figure | None:
    """Energy differences of near frames against the work of forces and of stress."""
    named = ((found.work, "forces", "stress"), (found.stress, "stress", "forces"))
    checks = [(c, name, other) for c, name, other in named if np.isfinite(c.error)]
    if not checks:
        return None
    figure = Figure(figsize=(4.6 * len(checks), 4.4), layout="constrained")
    for k, (check, name, other) in enumerate(checks):
        axes = figure.add_subplot(1, len(checks), k + 1)
        _parity(axes, check)
        rest = f" less work of {other}" if len(checks) > 1 else ""
        axes.set(xlabel=f"work of the {name} / eV", ylabel=f"energy difference{rest} / eV")
    return figure


def _parity(axes: Axes, check: WorkCheck) -> None:
    ends = np.array([check.work.min(), check.work.max()])
    axes.plot(ends, ends, "k-", lw=0.8, label="labels that belong together")
    axes.plot(check.work, check.energy, ".", ms=3, label=f"{len(check.work)} pairs of frames")
    _legend(axes)


FIGURES: dict[str, Callable[[Inspection], Figure | None]] = {
    "energies": energies,
    "forces": forces,
    "distances": distances,
    "work": work,
}


def save_figures(found: Inspection, folder: Path) -> list[Path]:
    """Draw all figures into ``folder`` as PNG; those without data are left out."""
    written = []
    for name, draw in FIGURES.items():
        figure = draw(found)
        if figure is not None:
            with atomic_path(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=150)
            written.append(folder / f"{name}.png")
    return written


def _pair_of_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


def _types(found: Inspection) -> dict[str, np.ndarray]:
    """Rows of each configuration type; the rare ones together where there are too many."""
    names, inverse, counts = np.unique(found.config_types, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    several = len(names) > _MOST_SERIES
    own = order[: _MOST_SERIES - 1] if several else order
    rows = {str(names[k]): np.flatnonzero(inverse == k) for k in own}
    if several:
        rows[f"{len(names) - len(own)} others"] = np.flatnonzero(~np.isin(inverse, own))
    return rows


def _mark(found: Inspection, axes: Axes, values: np.ndarray, word: str) -> None:
    """Name the worst outliers by their frame index."""
    place = {int(i): row for row, i in enumerate(found.frames)}
    named = [i for i, why in found.outliers.items() if any(w.startswith(word) for w in why)]
    named.sort(key=lambda i: -abs(values[place[i]]))
    for i in named[:6]:
        axes.annotate(
            str(i), (i, values[place[i]]), textcoords="offset points", xytext=(4, -3), fontsize=7
        )


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1 or labels != ["default"]:
        figure.legend(handles, labels, loc="outside lower left", fontsize=8, ncols=4, markerscale=2)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1 or (labels and labels[0] != "default"):
        axes.legend(fontsize=8)
