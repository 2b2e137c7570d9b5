"""What a density run shows at its end: errors by size, dipoles, learning, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clebsch.figures import COLOURS, figure
from clebsch.train.data import Parts
from clebsch.train.density_metrics import MOST, PartErrors
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
    ("density_error_percent", "density error, of the fitted reference (%)"),
    ("dft_density_error_percent", "density error, of the Kohn-Sham density (%)"),
    ("free_atoms_error_percent", "superposed free atoms instead (%)"),
    ("dipole_error_D", "dipole error (D)"),
    ("dipole_error_D_per_molecule", "dipole error (D per molecule)"),
    ("self_energy_of_error_eV", "electrostatic self-energy of the error (eV)"),
    ("electron_count_error", "largest error of the electron count"),
    ("surplus_electrons_per_atom", "the same per atom, before it is set right"),
)


def draw_density_figures(
    errors: Mapping[str, PartErrors],
    history: Sequence[Mapping[str, float]],
    folder: Path,
) -> dict[str, Path]:
    """Draw every figure into ``folder``; returns their paths by name."""
    pictures = {"size": folder / "error_by_size.png"}
    plot_by_size(errors, pictures["size"])
    if history:
        pictures["learning"] = folder / "learning_curves.png"
        plot_learning(history, pictures["learning"])
    return pictures


def plot_by_size(errors: Mapping[str, PartErrors], path: Path) -> None:
    """Density and dipole errors of every structure over its number of molecules."""
    with figure(path, 9.5, 3.6) as canvas:
        left, right = canvas.subplots(1, 2)
        shown = [n for n in PARTS if n in errors]
        for k, name in enumerate(shown):
            e = errors[name]
            across = e.molecules + 0.12 * (k - (len(shown) - 1) / 2)
            colour = COLOURS[k % len(COLOURS)]
            left.plot(across, e.density_percent, "o", ms=3, color=colour, label=PARTS[name])
            right.plot(across, e.dipole / e.molecules, "o", ms=3, color=colour, label=PARTS[name])
        largest = max(int(e.molecules.max()) for e in errors.values())
        for axes in (left, right):
            axes.set_xlabel("molecules in the structure")
            axes.set_ylim(bottom=0)
            if largest <= 12:
                axes.set_xticks(range(1, largest + 1))
        left.set_title("Density error (%)")
        right.set_title("Dipole error (D per molecule)")
        left.legend()


def plot_learning(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and what the network's electron count is off by, epoch by epoch."""
    epochs = [row["epoch"] for row in history]
    with figure(path, 10.5, 3.2) as canvas:
        panels = canvas.subplots(1, 3)
        for axes, names, title in (
            (panels[0], {"train_loss": "training", "valid_loss": "validation"}, "Loss"),
            (panels[1], {"valid_distance_percent": "validation"}, "Distance (%)"),
            (
                panels[2],
                {"valid_surplus_electrons_per_atom": "validation"},
                "Surplus of electrons per atom",
            ),
        ):
            for name, label in names.items():
                values = [row.get(name, np.nan) for row in history]
                if np.isfinite(values).any():
                    axes.semilogy(epochs, values, label=label)
            axes.set_title(title)
            axes.set_xlabel("epoch")
        if panels[0].lines:
            panels[0].legend()


def density_sections(
    result: RunResult,
    parts: Parts,
    sources: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, Path],
    machine: Mapping[str, str],
) -> list[Section]:
    """The sections of the run's report, the errors first."""
    metrics, config = result.metrics, result.model.config
    names = [n for n in PARTS if f"{n}_density_error_percent" in metrics]
    rows: list[list[object]] = [["error", *(PARTS[n] for n in names)]]
    rows += [
        [label, *(metrics.get(f"{n}_{key}", "") for n in names)]
        for key, label in MEASURES
        if any(f"{n}_{key}" in metrics for n in names)
    ]
    sized: list[list[object]] = [["part", "molecules", "structures", "density error (%)", "D"]]
    for n in names:
        for size, e in metrics[f"{n}_by_molecules"].items():
            values = (e["density_error_percent"], e["dipole_error_D_per_molecule"])
            sized.append([PARTS[n], int(size), int(e["n"]), *values])
    errors = Section(
        "Errors",
        "The density error is 100 ∫|ρ - ρ_ref| / N_e, integrated for at most "
        + ", ".join(f"{MOST[n]} structures of the {PARTS[n]} part" for n in names)
        + ".",
        [Table(rows), Table(sized, "By the number of molecules; dipole error per molecule.")],
        [Picture(pictures["size"], "Each point is a structure.")],
    )
    level = result.model.header["level"]
    model: list[list[object]] = [
        ["", ""],
        ["parameters", str(metrics["n_parameters"])],
        ["layers, highest l, channels", f"{config.layers}, {config.lmax}, {config.channels}"],
        ["cutoff", f"{config.cutoff:g} Å, {config.mean_neighbours:.1f} neighbours on average"],
        ["elements", ", ".join(config.species)],
        ["auxiliary basis", config.basis],
        ["reference", " ".join(str(level[k]) for k in ("xc", "basis") if k in level)],
    ]
    return [
        errors,
        training_section(metrics, pictures, machine),
        data_section(parts, sources, "structures"),
        Section("Model", tables=[Table(model)]),
        configuration_section(result),
    ]
