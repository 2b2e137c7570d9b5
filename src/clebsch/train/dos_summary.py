"""What a phonon-DoS run shows at its end: spectra beside each other, errors, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clebsch.figures import COLOURS, figure
from clebsch.phonons import FrequencyGrid
from clebsch.phonons.dataset import PhononDataset
from clebsch.train.data import Parts
from clebsch.train.dos_metrics import (
    DosPredictions,
    max_normalized,
    published_heat_capacity,
    shares,
)
from clebsch.train.report import Picture, Section, Table
from clebsch.train.summary import (
    PARTS,
    configuration_section,
    data_section,
    training_section,
)

if TYPE_CHECKING:
    from clebsch.train.fit import RunResult

MEASURES = (
    ("dos_mae", "DoS MAE (maximum 1)"),
    ("dos_mse", "DoS MSE (maximum 1)"),
    ("dos_wasserstein_cm1", "Wasserstein (cm⁻¹)"),
    ("mean_frequency_mae_cm1", "mean frequency MAE (cm⁻¹)"),
    ("heat_capacity_mae_J_per_K_mol", "C_v(300 K) MAE (J/(K mol of cells))"),
    ("heat_capacity_mae_J_per_K_mol_atoms", "C_v(300 K) MAE (J/(K mol of atoms))"),
)


def draw_dos_figures(
    predictions: Mapping[str, DosPredictions],
    dataset: PhononDataset,
    grid: FrequencyGrid,
    history: Sequence[Mapping[str, float]],
    folder: Path,
) -> dict[str, Path]:
    """Draw every figure into ``folder``; returns their paths by name."""
    judged = predictions.get("test") or predictions.get("valid") or predictions["train"]
    pictures = {"spectra": folder / "spectra.png", "parity": folder / "parity.png"}
    plot_spectra(judged, dataset, grid, pictures["spectra"])
    plot_parity(judged, grid, pictures["parity"])
    if history:
        pictures["learning"] = folder / "learning_curves.png"
        plot_learning(history, pictures["learning"])
    return pictures


def plot_spectra(
    p: DosPredictions, dataset: PhononDataset, grid: FrequencyGrid, path: Path
) -> None:
    """Three crystals each from the best, second, third and worst quarter of the errors."""
    k = len(grid)
    a, b = max_normalized(p.states[:, :k]), max_normalized(p.label[:, :k])
    order = np.argsort(np.abs(a - b).mean(-1))
    rows = min(4, len(order))
    with figure(path, 9.5, 1.9 * rows + 0.4) as canvas:
        axes = canvas.subplots(rows, 3, squeeze=False)
        for row, quarter in enumerate(np.array_split(order, rows)):
            chosen = quarter[np.linspace(0, len(quarter) - 1, 3).round().astype(int)]
            for column, i in enumerate(chosen):
                panel = axes[row, column]
                panel.fill_between(grid.centres, b[i], color="#bbbbbb", lw=0, label="reference")
                panel.plot(grid.centres, a[i], color=COLOURS[0], label="predicted")
                atoms = dataset[int(p.frame[i])]
                error = np.abs(a - b)[i].mean()
                panel.set_title(
                    f"{atoms.get_chemical_formula(empirical=True)}, MAE {error:.3f}", fontsize=8
                )
                panel.set_yticks([])
                end = np.flatnonzero(np.maximum(a[i], b[i]) > 0.01).max(initial=1)
                panel.set_xlim(grid.start, grid.centres[min(end + 2, k - 1)])
            axes[row, 0].set_ylabel(("best", "second", "third", "worst")[row] + " quarter")
        for panel in axes[-1]:
            panel.set_xlabel("wavenumber (cm⁻¹)")
        axes[0, 0].legend(loc="upper right", fontsize=7)


def plot_parity(p: DosPredictions, grid: FrequencyGrid, path: Path) -> None:
    """Mean frequency and heat capacity, predicted against reference, and the errors' spread."""
    k, w = len(grid), grid.centres
    spectra = [p.label[:, :k], p.states[:, :k]]
    difference = np.abs(max_normalized(spectra[1]) - max_normalized(spectra[0])).mean(-1)
    with figure(path, 10.5, 3.4) as canvas:
        left, middle, right = canvas.subplots(1, 3)
        for axes, values, title in (
            (left, [shares(s) @ w for s in spectra], "Mean frequency (cm⁻¹)"),
            (
                middle,
                [published_heat_capacity(s, grid) for s in spectra],
                "C_v(300 K) (J/(K mol of atoms))",
            ),
        ):
            low, high = min(v.min() for v in values), max(v.max() for v in values)
            axes.plot([low, high], [low, high], color="#999999", lw=0.8)
            axes.scatter(*values, s=7, color=COLOURS[0], alpha=0.5, lw=0)
            mae = np.abs(values[0] - values[1]).mean()
            axes.set_title(f"{title}: MAE {mae:.3g}")
            axes.set_xlabel("reference")
            axes.set_ylabel("predicted")
        right.hist(difference, bins=30, color=COLOURS[0])
        right.set_title(f"Spectra: mean MAE {difference.mean():.4f}")
        right.set_xlabel("MAE of a spectrum with maximum 1")
        right.set_ylabel("crystals")


def plot_learning(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss, DoS error and mean-frequency error, epoch by epoch."""
    epochs = [row["epoch"] for row in history]
    with figure(path, 10.5, 3.2) as canvas:
        panels = canvas.subplots(1, 3)
        for axes, names, title in (
            (panels[0], {"train_loss": "training", "valid_loss": "validation"}, "Loss"),
            (panels[1], {"valid_dos_mae": "validation"}, "DoS MAE (maximum 1)"),
            (panels[2], {"valid_mean_frequency_mae_cm1": "validation"}, "Mean frequency (cm⁻¹)"),
        ):
            for name, label in names.items():
                values = [row.get(name, np.nan) for row in history]
                if np.isfinite(values).any():
                    axes.semilogy(epochs, values, label=label)
            axes.set_title(title)
            axes.set_xlabel("epoch")
        if panels[0].lines:
            panels[0].legend()


def dos_sections(
    result: RunResult,
    parts: Parts,
    sources: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, Path],
    machine: Mapping[str, str],
) -> list[Section]:
    """The sections of the run's report, the errors first."""
    metrics, config = result.metrics, result.model.config
    names = [n for n in PARTS if f"{n}_dos_mae" in metrics]
    rows: list[list[object]] = [["error", *(PARTS[n] for n in names)]]
    rows += [[label, *(metrics[f"{n}_{key}"] for n in names)] for key, label in MEASURES]
    errors = Section(
        "Errors",
        "Spectra are compared on the grid with maximum 1, mean over crystals and bins. "
        "Heat capacities are those of the spectra on the grid, scaled to the number of modes.",
        [Table(rows)],
        [
            Picture(pictures["spectra"], "Reference (grey) and prediction, from best to worst."),
            Picture(pictures["parity"], "The line is perfect agreement."),
        ],
    )
    model: list[list[object]] = [
        ["", ""],
        ["parameters", str(metrics["n_parameters"])],
        ["layers, highest l, channels", f"{config.layers}, {config.lmax}, {config.channels}"],
        ["cutoff", f"{config.cutoff:g} Å, {config.mean_neighbours:.1f} neighbours on average"],
        ["grid", f"{config.start:g} to {config.stop:g} by {config.step:g} cm⁻¹"],
        ["networks", str(config.members)],
        ["elements", ", ".join(config.species)],
    ]
    return [
        errors,
        training_section(metrics, pictures, machine),
        data_section(parts, sources, "crystals"),
        Section("Model", tables=[Table(model)]),
        configuration_section(result),
    ]
