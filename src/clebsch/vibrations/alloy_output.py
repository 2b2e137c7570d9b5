"""What a sweep over an alloy leaves: tables, structures and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from clebsch.errors import UserError
from clebsch.files import atomic_path, write_text
from clebsch.phonons.alloys import Alloy
from clebsch.vibrations.alloy_comparison import Comparison, Reference
from clebsch.vibrations.alloy_figures import draw_comparison, draw_sweep
from clebsch.vibrations.alloy_sweep import SweepPoint, SweepSettings


def write_sweep(
    points: Sequence[SweepPoint],
    alloy: Alloy,
    settings: SweepSettings,
    out: Path,
    facts: dict[str, Any],
) -> list[Path]:
    """Write ``sweep.csv``, ``spectra.csv``, ``sweep.json``, ``sweep.png`` and the supercells.

    Args:
        points: of `clebsch.vibrations.alloy_sweep.sweep`.
        alloy: what was swept.
        settings: of the sweep.
        out: folder; files of these names are replaced.
        facts: what goes into the JSON file besides (model, lattices).

    Raises:
        UserError: the folder cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder for the results.")
    rows = sweep_rows(points, settings)
    files = [out / name for name in ("sweep.csv", "spectra.csv", "sweep.json", "sweep.png")]
    _write_table(files[0], rows)
    _write_spectra(files[1], points)
    content = {
        **facts,
        "alloy": alloy.text,
        "lattice": alloy.lattice_rule,
        "positions": "scaled with the cell, not relaxed",
        "settings": asdict(settings),
        "definitions": DEFINITIONS,
        "rows": rows,
    }
    write_text(files[2], json.dumps(content, indent=1) + "\n")
    draw_sweep(points, alloy.text, settings.temperature, files[3])
    atoms = []
    for point in points:
        for kind, average in point.averages.items():
            for number, cell in enumerate(average.supercells):
                structure = cell.atoms.copy()
                structure.info = {
                    "composition": average.text,
                    "kind": kind,
                    "number": number,
                    "mismatch": cell.mismatch,
                }
                if point.x is not None:
                    structure.info["x"] = point.x
                atoms.append(structure)
    if atoms:
        files.append(out / "supercells.extxyz")
        with atomic_path(files[-1]) as temporary:
            ase.io.write(temporary, atoms, format="extxyz", columns=["symbols", "positions"])
    return files


DEFINITIONS = {
    "x_exact": "of the whole numbers of atoms in the supercells",
    "std": "over the supercells; of the virtual crystal over the networks of an ensemble",
    "wasserstein_to_virtual_cm1": "of the mean of the supercells and the virtual crystal with "
    "exactly their composition, each normalised to one",
    "mae_to_virtual": "of the same two on the grid, each with maximum 1",
    "mismatch": "weighted sum over shells of what shares of pairs and triplets differ from the "
    "random alloy's, mean over the supercells",
}


def sweep_rows(points: Sequence[SweepPoint], settings: SweepSettings) -> list[dict[str, Any]]:
    """One row for each composition and treatment."""
    rows = []
    for point in points:
        for treatment, figures in point.figures(settings.temperature).items():
            average = point.averages.get(treatment)  # type: ignore[call-overload]
            atoms = point.crystal.atoms if average is None else average.supercells[0].atoms
            row: dict[str, Any] = {
                "x": point.x,
                "x_exact": point.x if average is None else average.x,
                "treatment": treatment,
                "composition": point.crystal.text if average is None else average.text,
                "structures": 1 if average is None else len(average.supercells),
                "atoms": len(atoms),
                "volume_A3_per_atom": atoms.get_volume() / len(atoms),
            }
            for name, figure in figures.items():
                row[name] = figure.value
                row[f"{name}_std"] = figure.std
            if average is not None:
                row["wasserstein_to_virtual_cm1"] = average.distance()
                row["mae_to_virtual"] = average.mae()
                row["mismatch"] = float(np.mean([s.mismatch for s in average.supercells]))
            rows.append(row)
    return rows


def write_comparison(
    comparisons: Sequence[Comparison], reference: Reference, out: Path, facts: dict[str, Any]
) -> list[Path]:
    """Write ``reference.json`` and ``reference.png``."""
    files = [out / "reference.json", out / "reference.png"]
    content = {
        **facts,
        "reference": reference.name,
        "formula": reference.formula,
        "points": len(reference.frequencies),
        "definition": "mae: mean over the reference's frequencies of the absolute difference, both "
        "curves with maximum 1",
        "frequencies_cm1": reference.frequencies.tolist(),
        "reference_density": reference.density.tolist(),
        "reference_mean_frequency_cm1": reference.mean_frequency,
        "curves": [
            {
                "title": c.title,
                "mae": c.mae,
                "wasserstein_cm1": c.wasserstein,
                "mean_frequency_cm1": c.mean_frequency,
                "density": c.density.tolist(),
            }
            for c in comparisons
        ],
    }
    write_text(files[0], json.dumps(content, indent=1) + "\n")
    draw_comparison(comparisons, reference, files[1])
    return files


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.8g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


def _write_spectra(path: Path, points: Sequence[SweepPoint]) -> None:
    """States per atom in each bin; the last row is what lies beyond the grid."""
    columns: dict[str, Any] = {}
    for point in points:
        tag = "" if point.x is None else f" x={point.x:g}"
        columns[f"virtual{tag}"] = point.virtual.states
        for kind, average in point.averages.items():
            columns[f"{kind}{tag}"] = average.states
            if average.spread is not None:
                columns[f"{kind}{tag} std"] = average.spread
    grid = points[0].virtual.grid
    places = [f"{w:g}" for w in grid.centres] + [f"above {grid.edges[-1]:g}"]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["wavenumber_cm1", *(f"{name} (states per atom)" for name in columns)])
        for k, place in enumerate(places):
            writer.writerow([place, *(f"{values[k]:.6g}" for values in columns.values())])
