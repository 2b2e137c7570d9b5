"""phonopy's YAML files: the cell of any of them, the spectrum of those with forces."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.read_curve import Curve
from clebsch.phonons.spectrum import PhononDos

#: Step of the computed curves, THz; 1 cm^-1 is 0.03 THz.
PITCH = 0.03
#: phonopy's measure of a mesh: about this many Å per q-point spacing (100 is its default).
MESH = 100.0

_BESIDE = ("FORCE_SETS", "FORCE_CONSTANTS", "force_constants.hdf5")
Mesh = float | Sequence[int]


def is_phonopy_yaml(file: Path) -> bool:
    """Whether phonopy wrote this file."""
    if file.suffix not in (".yaml", ".yml"):
        return False
    with file.open("rb") as stream:
        return re.search(rb"^phonopy:", stream.read(4000), re.MULTILINE) is not None


def has_forces(file: Path) -> bool:
    """Whether force constants or forces are in a phonopy YAML file, or beside it."""
    if any((file.parent / name).is_file() for name in _BESIDE):
        return True
    pattern = re.compile(rb"^\s*(- )?(force_constants|forces?):", re.MULTILINE)
    return pattern.search(file.read_bytes()) is not None


def phonopy_cell(file: Path) -> Atoms | None:
    """The primitive cell of a phonopy YAML file, or its unit cell where that is all there is.

    Raises:
        UserError: a broken file.
    """
    try:
        content: Any = yaml.load(_cells_only(file), _Loader)
        cell = content.get("primitive_cell") or content.get("unit_cell")
        if cell is None:
            return None
        return Atoms(
            [point["symbol"] for point in cell["points"]],
            cell=cell["lattice"],
            scaled_positions=[point["coordinates"] for point in cell["points"]],
            pbc=True,
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: is no phonopy file that can be read ({type(error).__name__}); write it "
            "again with phonopy."
        ) from None


def phonopy_record(file: Path, mesh: Mesh = MESH) -> tuple[Atoms, Curve]:
    """Primitive cell and density of states (tetrahedron method) from force constants or forces.

    What lies beside the file (FORCE_SETS, FORCE_CONSTANTS, BORN) is used as by phonopy.

    Args:
        file: ``phonopy.yaml``, ``phonopy_params.yaml``.
        mesh: three numbers of q-points, or phonopy's length in Å.

    Raises:
        UserError: phonopy is missing or refuses, or there are no force constants.
    """
    try:
        import phonopy
    except ImportError:
        raise UserError(
            f"{file}: holds force constants, for which phonopy is needed: "
            'pip install "clebsch[phonons]".'
        ) from None
    try:
        # phonopy looks for FORCE_SETS and BORN in the current folder only
        with contextlib.chdir(file.parent), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            phonons: Any = phonopy.load(file.name, log_level=0)
            if phonons.force_constants is None:
                raise UserError(
                    f"{file}: has neither force constants nor forces, in it or beside it; give "
                    "the phonopy_params.yaml."
                )
            phonons.run_mesh(mesh)
            low, high = (float(f(phonons.mesh.frequencies)) for f in (np.min, np.max))
            phonons.run_total_dos(
                freq_min=min(low, 0.0) - PITCH, freq_max=high + 2 * PITCH, freq_pitch=PITCH
            )
    except UserError:
        raise
    except Exception as error:  # phonopy's own
        raise UserError(f"{file}: phonopy refuses it ({type(error).__name__}: {error}).") from error
    cell, dos = phonons.primitive, phonons.total_dos
    atoms = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
    curve = PhononDos.from_units(dos.frequency_points, dos.dos, "THz")
    return atoms, Curve(curve.normalized(3 * len(atoms)), "THz")  # very flat bands lose states


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _cells_only(file: Path) -> str:
    """The part of the file with the cells: supercells and forces can be very long."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}).") from None
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return "".join(b for b in blocks if b.startswith(("primitive_cell:", "unit_cell:")))
