"""The figures of a training run: parity, learning curves, errors by element and type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from numpy.typing import NDArray

from clebsch.figures import COLOURS, figure
from clebsch.train.metrics import Predictions
from clebsch.train.report import format_number


def plot_parity(predictions: Predictions, path: Path) -> None:
    """Predicted against reference energy, forces and (if labelled) stress."""
    p = predictions
    shift = np.nanmean(p.energy_label) if np.isfinite(p.energy_label).any() else 0.0
    panels: list[tuple[str, str, str, float, Any, Any, Any]] = []
    kinds = np.array(p.config_type)
    elements = np.array([chemical_symbols[z] for z in p.numbers])
    for name, unit, short, label, value, groups in (
        ("Energy", "eV/atom", "meV/atom", p.energy_label - shift, p.energy - shift, kinds),
        ("Forces", "eV/Å", "meV/Å", p.forces_label, p.forces, np.repeat(elements, 3)),
        ("Stress", "eV/Å³", "meV/Å³", p.stress_label, p.stress, np.repeat(kinds, 9)),
    ):
        x, y = label.ravel(), value.ravel()
        known = ~np.isnan(x) & ~np.isnan(y)
        if known.any():
            mae = 1000 * float(np.abs(x - y)[known].mean())
            panels.append((name, unit, short, mae, x[known], y[known], groups[known]))
    with figure(path, 3.5 * max(1, len(panels)), 3.6) as canvas:
        for index, (name, unit, short, mae, x, y, groups) in enumerate(panels):
            axes = canvas.add_subplot(1, len(panels), index + 1)
            _scatter(axes, x, y, groups)
            what = f"{name.lower()} − mean" if name == "Energy" else name.lower()
            axes.set_xlabel(f"reference {what} ({unit})")
            axes.set_ylabel(f"predicted {what} ({unit})")
            axes.set_title(f"{name}: MAE {format_number(mae, 3)} {short}")
        if not panels:
            canvas.text(0.5, 0.5, "no labels to compare with", ha="center")


def plot_learning_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss, errors on the validation set and learning rate, epoch by epoch."""
    epochs = np.array([row["epoch"] for row in history])

    def column(name: str) -> NDArray[np.float64]:
        return np.array([row.get(name, np.nan) for row in history], dtype=np.float64)

    with figure(path, 10.5, 3.2) as canvas:
        loss, error, rate = canvas.subplots(1, 3)
        for name, label in (("train_loss", "training"), ("valid_loss", "validation (average)")):
            _curve(loss, epochs, column(name), label)
        loss.set_ylabel("loss")
        loss.set_title("Loss")
        for name, label in (
            ("valid_forces_mae_meV_per_A", "forces (meV/Å)"),
            ("valid_energy_mae_meV_per_atom", "energy (meV/atom)"),
            ("valid_stress_mae_meV_per_A3", "stress (meV/Å³)"),
        ):
            _curve(error, epochs, column(name), label)
        error.set_ylabel("mean absolute error")
        error.set_title("Validation error")
        _curve(rate, epochs, column("lr"), None)
        rate.set_ylabel("learning rate")
        rate.set_title("Learning rate at the end of the epoch")
        for axes in (loss, error, rate):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if axes.get_legend_handles_labels()[1]:
                axes.legend()


def plot_force_errors(
    predictions: Predictions, by_element: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Force MAE of each element, and the distribution of the force errors."""
    p = predictions
    names = [name for name, row in by_element.items() if "forces_mae_meV_per_A" in row]
    with figure(path, 8.0, 3.2) as canvas:
        bars, curve = canvas.subplots(1, 2)
        values = [by_element[name]["forces_mae_meV_per_A"] for name in names]
        drawn = bars.bar(range(len(names)), values, width=min(0.6, 0.15 * len(names) + 0.15))
        bars.bar_label(drawn, [format_number(v, 3) for v in values], fontsize=8, padding=2)
        bars.set_xticks(range(len(names)), names, rotation=90 if len(names) > 20 else 0)
        bars.set_xlim(-0.6, max(len(names), 3) - 0.4)
        bars.margins(y=0.12)
        bars.grid(axis="x", visible=False)
        bars.set_ylabel("force MAE (meV/Å)")
        bars.set_title("Force error by element")
        error = np.abs(1000 * (p.forces - p.forces_label))
        for name in names[: len(COLOURS)]:
            chosen = error[p.numbers == chemical_symbols.index(name)]
            chosen = np.sort(chosen[~np.isnan(chosen)])
            curve.plot(chosen, np.linspace(0, 1, len(chosen)), label=name)
        known = error[~np.isnan(error)]
        curve.set_xscale("log")
        curve.set_xlim(max(float(np.quantile(known, 0.01)), 1e-6), max(float(known.max()), 1e-5))
        curve.set_xlabel("|force error| per component (meV/Å)")
        curve.set_ylabel("fraction of components below")
        curve.set_title("Distribution of force errors")
        if names:
            curve.legend()


def _scatter(axes: Axes, x: Any, y: Any, groups: Any) -> None:
    names, counts = np.unique(groups, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    few = len(names) <= len(COLOURS)
    size = float(np.clip(4000 / len(x), 1.5, 14))
    for colour, name in zip(COLOURS, names if few else ["all"], strict=False):
        chosen = groups == name if few else np.ones(len(x), dtype=bool)
        axes.scatter(
            x[chosen], y[chosen], s=size, c=colour, alpha=0.6, linewidths=0, label=str(name),
            rasterized=True,
        )  # fmt: skip
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.04 * (high - low) or 0.1
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color="#444444", linewidth=0.8, zorder=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.locator_params(nbins=5)
    if few and len(names) > 1:
        legend = axes.legend(markerscale=max(1.0, 4 / size**0.5), handletextpad=0.1)
        for handle in legend.legend_handles:
            handle.set_alpha(1.0)


def _curve(axes: Axes, x: Any, y: Any, label: str | None) -> None:
    good = np.isfinite(y) & (y > 0)
    if good.any():
        axes.semilogy(x[good], y[good], label=label, marker="o" if good.sum() < 3 else None, ms=3)
