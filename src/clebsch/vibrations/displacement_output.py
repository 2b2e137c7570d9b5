"""Files and figure of the phonons of one crystal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from clebsch.figures import COLOURS, figure
from clebsch.files import write_text
from clebsch.vibrations.finite_displacements import DisplacementSettings, LatticeDynamics

TEMPERATURES = (100.0, 200.0, 300.0, 500.0, 1000.0)


def file_names(names: Sequence[str]) -> list[str]:
    """Names of crystals as names of files, each there once.

    >>> file_names(["mp-1", "a/b", "mp-1"])
    ['mp-1', 'a_b', 'mp-1-2']
    """
    plain = [re.sub(r"[^\w.+-]", "_", name) or "crystal" for name in names]
    return [
        f"{name}-{plain[:i].count(name) + 1}" if name in plain[:i] else name
        for i, name in enumerate(plain)
    ]


def write_lattice_dynamics(
    phonons: LatticeDynamics,
    out: Path,
    name: str,
    settings: DisplacementSettings,
    temperatures: Sequence[float] = TEMPERATURES,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """``NAME.json``, ``NAME.csv`` and ``NAME.png`` in ``out``; returns the JSON's content.

    The CSV has the whole density of states and that of every element, per cm^-1 and cell.

    Args:
        phonons: of the crystal.
        out: folder.
        name: of the files.
        settings: that ``phonons`` were computed with.
        temperatures: K, of the thermodynamic figures.
        about: what else is to be known, such as the potential.
    """
    dos, atoms = phonons.dos, phonons.atoms
    parts = phonons.by_element
    content: dict[str, Any] = {
        "name": name,
        "formula": atoms.get_chemical_formula(empirical=True),
        **(about or {}),
        "n_atoms": len(atoms),
        "states": float(dos.states()),
        "imaginary_share": phonons.imaginary,
        "largest_cm1": phonons.largest,
        "zone_centre_cm1": phonons.gamma.tolist(),
        "thermodynamics": phonons.thermodynamics(temperatures),
        "supercell": phonons.supercell.matrix.tolist(),
        "supercell_atoms": phonons.supercell.n_atoms,
        "image_distance_A": phonons.supercell.image_distance,
        "displacements": phonons.displacements,
        "volume_change": phonons.volume_change,
        "seconds": dict(phonons.seconds),
        "settings": asdict(settings),
        "structure": {
            "cell_A": atoms.cell.array.tolist(),
            "symbols": atoms.get_chemical_symbols(),
            "positions_A": atoms.positions.tolist(),
        },
        "dos": {
            "wavenumber_cm1": dos.frequencies.tolist(),
            "states_per_cm1": dos.density.tolist(),
            "atoms": phonons.projected.density.tolist(),
        },
    }
    write_text(out / f"{name}.json", json.dumps(content) + "\n")
    lines = [",".join(["wavenumber_cm1", "states_per_cm1", *parts])]
    table = np.column_stack([dos.frequencies, dos.density, *(p.density for p in parts.values())])
    lines += [",".join(f"{x:.8g}" for x in row) for row in table]
    write_text(out / f"{name}.csv", "\n".join(lines) + "\n")
    draw_lattice_dynamics(phonons, out / f"{name}.png")
    return content


def draw_lattice_dynamics(phonons: LatticeDynamics, path: Path) -> None:
    """The density of states with the elements' parts, and C_v against temperature."""
    dos = phonons.dos
    T = np.linspace(5.0, 1000.0, 200)
    capacity = phonons.thermodynamics(T.tolist())["heat_capacity_J_per_K_mol_atoms"]
    with figure(path, 8.5, 3.2) as canvas:
        left, right = canvas.subplots(1, 2, width_ratios=[1.7, 1])
        left.fill_between(dos.frequencies, dos.density, color="#bbbbbb", lw=0, label="all")
        parts = phonons.by_element
        if len(parts) > 1:
            for number, (symbol, part) in enumerate(parts.items()):
                colour = COLOURS[number % len(COLOURS)]
                left.plot(part.frequencies, part.density, color=colour, label=symbol)
        formula = phonons.atoms.get_chemical_formula(empirical=True)
        imaginary = f", {phonons.imaginary:.1%} imaginary" if phonons.imaginary > 0 else ""
        left.set(
            xlabel="wavenumber (cm⁻¹)",
            ylabel="states per cm⁻¹ and cell",
            title=f"Phonon density of states of {formula}{imaginary}",
            xlim=(dos.frequencies[0], dos.frequencies[-1]),
            ylim=(0, None),
        )
        left.legend()
        right.plot(T, capacity)
        right.axhline(24.943, color="#999999", lw=0.8)
        right.set(
            xlabel="temperature (K)",
            ylabel="C_v (J/(K mol of atoms))",
            title="Heat capacity",
            xlim=(0, T[-1]),
            ylim=(0, None),
        )
