"""Crystals with spectra that follow from mass and distance: files for tests, made here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import write

ELEMENTS = ("Na", "K", "Mg", "Ca", "Cl", "Br", "O", "S")


def crystals() -> list[Atoms]:
    """32 rocksalt crystals, two lattice constants for each pair."""
    found = []
    for cation in ELEMENTS[:4]:
        for anion in ELEMENTS[4:]:
            for a in (5.0, 5.6):
                found.append(bulk(cation + anion, "rocksalt", a=a))
    return found


def spectrum(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (cm^-1) and states per eV and cell: a peak for each atom, sqrt(k/m) high."""
    w = np.arange(0.0, 801.0)
    stiffness = (5.0 / atoms.cell.cellpar()[0]) ** 3
    centres = 1200 * np.sqrt(stiffness / atoms.get_masses())
    g = np.exp(-0.5 * ((w[:, None] - centres) / 25) ** 2).sum(-1)
    return w, g * 3 * len(atoms) / np.trapezoid(g, w * units.invcm)


def write_dfpt(path: Path) -> Path:
    """The crystals as JSON lines."""
    lines = []
    for i, atoms in enumerate(crystals()):
        cif = io.BytesIO()
        write(cif, atoms, format="cif")
        w, g = spectrum(atoms)
        record = {
            "metadata": {"material_id": f"c-{i}", "structure": cif.getvalue().decode()},
            "phonon": {"dos_frequencies": w.tolist(), "ph_dos": g.tolist()},
        }
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines) + "\n")
    return path
