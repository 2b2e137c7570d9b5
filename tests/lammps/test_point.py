"""LAMMPS against the ASE calculator, on one rank and several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from clebsch.lammps import single_point
from clebsch.models import load_model, save_model
from lammps_structures import structures

_FOUND: dict[int, list[dict[str, Any]]] = {}


def _of_lammps(model_file: Path, ranks: int) -> list[dict[str, Any]]:
    if ranks not in _FOUND:
        _FOUND[ranks] = single_point(model_file, list(structures().values()), ranks)
    return _FOUND[ranks]


@pytest.mark.usefixtures("lammps")
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", list(structures()))
def test_as_the_ase_calculator(model_file: Path, name: str, ranks: int) -> None:
    found = _of_lammps(model_file, ranks)[list(structures()).index(name)]
    atoms = structures()[name]
    atoms.calc = load_model(model_file).calculator()
    assert abs(found["energy"] - atoms.get_potential_energy()) < 1e-9
    np.testing.assert_allclose(found["forces"], atoms.get_forces(), atol=1e-9)
    np.testing.assert_allclose(found["atomic_energy"], atoms.get_potential_energies(), atol=1e-9)
    if atoms.pbc.all():
        np.testing.assert_allclose(found["stress"], atoms.get_stress(voigt=False), atol=1e-10)
    np.testing.assert_allclose(found["atomic_virial"].sum(0), found["virial"], atol=1e-9)
    assert ("stress" in found) == bool(atoms.pbc.all())


@pytest.mark.usefixtures("lammps")
def test_virial_where_there_is_no_stress(model_file: Path) -> None:
    """Of a molecule it is sum r F, whatever the origin."""
    index = list(structures()).index("molecule")
    for ranks in (1, 2):
        found = _of_lammps(model_file, ranks)[index]
        atoms = structures()["molecule"]
        virial = -np.einsum("ni,nj->ij", atoms.positions, found["forces"])
        np.testing.assert_allclose(found["virial"], virial, atol=1e-9)


@pytest.mark.usefixtures("lammps")
@pytest.mark.parametrize("kind", ["frozen", "single precision"])
def test_frozen_and_single_precision(model_file: Path, tmp_path: Path, kind: str) -> None:
    chosen = [structures()["crystal"], structures()["slab"]]
    model = load_model(model_file)
    path, dtype, tolerance = model_file, None, 1e-9
    if kind == "frozen":
        path = tmp_path / "a name with blanks.clebsch"
        model = model.freeze(1e-4)
        save_model(model, path)
    else:
        model, dtype, tolerance = model.float(), torch.float32, 2e-4
    for found, atoms in zip(single_point(path, chosen, 2, dtype), chosen, strict=True):
        atoms.calc = model.calculator()
        size = np.abs(atoms.get_forces()).max()
        assert abs(found["energy"] - atoms.get_potential_energy()) < tolerance * size
        np.testing.assert_allclose(found["forces"], atoms.get_forces(), atol=tolerance * size)


@pytest.mark.usefixtures("lammps")
def test_atoms_outside_the_cell_and_a_shifted_origin(model_file: Path) -> None:
    """Where atoms lie beyond the periodic box, LAMMPS wraps them; results do not notice."""
    atoms: Atoms = structures()["triclinic"]
    moved = atoms.copy()
    moved.positions += [17.0, -23.0, 5.0]
    there, here = single_point(model_file, [moved, atoms], 1)
    np.testing.assert_allclose(there["forces"], here["forces"], atol=1e-9)
