"""The work of ``clebsch density properties``: computing, printing and writing."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clebsch.cli.density.input import Densities, NamedDensity, open_densities
from clebsch.density.data import DensityDataset, read_density, structure_key
from clebsch.density.errors import DensityErrors, density_errors
from clebsch.density.properties import DensityProperties, density_properties
from clebsch.errors import UserError
from clebsch.files import atomic_path, check_place

_SUFFIXES = (".json", ".csv")
_LISTED = 40  # rows of the table on the screen
_NEAR = 1e-4  # Å within which positions are the same


@dataclass(frozen=True)
class _Row:
    number: int
    name: str
    properties: DensityProperties
    errors: DensityErrors | None


def tabulate_properties(
    file: str,
    structures: list[str],
    out: Path | None,
    reference: str | None,
    hartree: bool,
    forces: bool,
    split: str | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Compute, print and write.

    Args:
        file: of densities, or a model.
        structures: for a model.
        out: ``.json`` or ``.csv``, or None.
        reference: file of densities to compare with.
        hartree: the Hartree energy too.
        forces: of Hellmann and Feynman too; only in the file.
        split: only this part of the molecules.
        device: where a model runs.
        quiet: no progress bar.

    Raises:
        UserError: a wrong file or option; nothing has been written then.
    """
    if out is not None and out.suffix not in _SUFFIXES:
        raise UserError(f"{out}: the result is a .json or a .csv file; give it such a name.")
    if forces and out is None:
        raise UserError("--forces are not in the table; name a file for them with --out.")
    if out is not None:
        check_place(out)
    densities = open_densities(file, structures, device, split)
    match = None if reference is None else _Reference(read_density(reference), densities)
    rows = []
    for place, item in enumerate(
        track(densities, "properties", total=len(densities), disable=quiet)
    ):
        if item.density.cell is not None:
            raise UserError(
                f"{item.name}: is periodic, but these are properties of molecules; leave it out."
            )
        errors = None if match is None else match.errors(place, item)
        rows.append(
            _Row(item.number, item.name, density_properties(item.density, hartree, forces), errors)
        )
    _print(rows)
    if out is not None:
        with atomic_path(out) as temporary:
            (_write_json if out.suffix == ".json" else _write_csv)(temporary, rows)
        print(f"Properties: {out}")


class _Reference:
    """Finds the reference of a molecule: the same structure, or the same place in the file."""

    def __init__(self, data: DensityDataset, densities: Densities) -> None:
        self.data = data
        self.of_key = {record.key: i for i, record in enumerate(data)}
        self.same_count = len(data) == len(densities)

    def errors(self, place: int, item: NamedDensity) -> DensityErrors:
        numbers, positions = item.density.numbers.numpy(), item.density.positions.numpy()
        i = self.of_key.get(structure_key(numbers, positions))
        if i is None and self.same_count and self._alike(self.data[place], numbers, positions):
            i = place
        if i is None:
            raise UserError(
                f"{item.name}: {self.data.path} has no density of this molecule (the same elements "
                "at the same positions); give the reference of the same structures."
            )
        return density_errors(item.density, self.data[i], self.data.density(i))

    @staticmethod
    def _alike(record: Any, numbers: Any, positions: Any) -> bool:
        same = np.array_equal(record.numbers, numbers)
        return same and bool(np.abs(record.positions - positions).max() < _NEAR)


def _print(rows: list[_Row]) -> None:
    compared = rows[0].errors is not None
    hartree = rows[0].properties.hartree_energy is not None
    table = Table()
    table.add_column("", justify="right")
    table.add_column("formula", overflow="fold")
    titles = ["electrons", "dipole\nD"] + ["Hartree\neV"] * hartree
    if compared:
        titles += ["error, %\nof fit", "error, %\nof DFT", "dipole\nerror, D"]
    for title in titles:
        table.add_column(title, justify="right")
    for row in rows[:_LISTED]:
        p = row.properties
        cells = [f"{p.electrons:.5f}", f"{np.linalg.norm(p.dipole):.4f}"]
        if p.hartree_energy is not None:
            cells.append(f"{p.hartree_energy:.3f}")
        if row.errors is not None:
            e = row.errors
            cells += [
                f"{e.against_fit:.3f}",
                "" if e.against_grid is None else f"{e.against_grid:.3f}",
                f"{e.dipole:.4f}",
            ]
        table.add_row(str(row.number), p.formula, *cells)
    Console().print(table)
    if len(rows) > _LISTED:
        print(f"... and {len(rows) - _LISTED} more")
    if compared:
        errors = [row.errors for row in rows if row.errors is not None]
        fit, dipole = (
            np.mean([getattr(e, name) for e in errors]) for name in ("against_fit", "dipole")
        )
        on_grid = [e.against_grid for e in errors if e.against_grid is not None]
        beside = f", {np.mean(on_grid):.3f} % from the DFT density" if on_grid else ""
        print(
            f"mean of {len(errors)}: {fit:.3f} % from the fitted density{beside}, "
            f"dipole error {dipole:.4f} D"
        )


def _write_json(path: Path, rows: list[_Row]) -> None:
    molecules = []
    for row in rows:
        entry = {"number": row.number, "name": row.name, **asdict(row.properties)}
        if row.errors is not None:
            entry["errors"] = asdict(row.errors)
        molecules.append(
            {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in entry.items()}
        )
    units = {
        "dipole": "D", "quadrupole": "D A, traceless, about the centre of mass",
        "hartree_energy": "eV", "forces": "eV/A, Hellmann-Feynman",
        "errors": "against_fit and against_grid in percent, dipole in D",
    }  # fmt: skip
    path.write_text(json.dumps({"units": units, "molecules": molecules}, indent=1) + "\n")


def _write_csv(path: Path, rows: list[_Row]) -> None:
    """One line per molecule; vectors in columns, per-atom values as text with spaces."""
    axes, pairs = "xyz", ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        titles = ["number", "name", "formula", "electrons", *(f"dipole_{a}_D" for a in axes)]
        titles += [f"quadrupole_{axes[i]}{axes[j]}_D_A" for i, j in pairs]
        titles += ["hartree_energy_eV", "atomic_electrons", "forces_eV_per_A"]
        titles += ["error_of_fit_percent", "error_of_dft_percent", "dipole_error_D"]
        writer.writerow(titles)
        for row in rows:
            p, e = row.properties, row.errors
            writer.writerow(
                [row.number, row.name, p.formula, p.electrons, *p.dipole]
                + [p.quadrupole[i, j] for i, j in pairs]
                + [p.hartree_energy, _spaced(p.atomic_electrons), _spaced(p.forces)]
                + ([None] * 3 if e is None else [e.against_fit, e.against_grid, e.dipole])
            )


def _spaced(values: Any) -> str | None:
    return None if values is None else " ".join(f"{v:.8g}" for v in np.ravel(values))
