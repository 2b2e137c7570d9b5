"""Cells become boxes without a change of what is in them."""

from __future__ import annotations

import numpy as np
import pytest
from ase.geometry import get_distances

from clebsch.errors import UserError
from clebsch.lammps.box import Box
from lammps_structures import structures


@pytest.mark.parametrize("name", list(structures()))
def test_distances_stay(name: str) -> None:
    atoms = structures()[name]
    box = Box.around(atoms)
    _, before = get_distances(atoms.positions, cell=atoms.cell.complete(), pbc=atoms.pbc)
    _, after = get_distances(box.positions, cell=box.cell, pbc=atoms.pbc)
    np.testing.assert_allclose(after, before, atol=1e-10)
    np.testing.assert_allclose(box.rotation @ box.rotation.T, np.eye(3), atol=1e-14)
    assert (box.cell.diagonal() > 0).all()
    np.testing.assert_array_equal(np.triu(box.cell, 1), 0.0)


@pytest.mark.parametrize("name", list(structures()))
def test_atoms_are_inside_where_nothing_is_periodic(name: str) -> None:
    atoms = structures()[name]
    box = Box.around(atoms)
    scaled = box.positions @ np.linalg.inv(box.cell)
    open_ = ~atoms.pbc
    assert (scaled[:, open_] > 0).all()
    assert (scaled[:, open_] < 1).all()


def test_a_skewed_box_is_periodic_where_it_is_skewed() -> None:
    """LAMMPS's own rule: xy needs y periodic, xz and yz need z."""
    atoms = structures()["triclinic"]
    for pbc in np.ndindex(2, 2, 2):
        atoms.pbc = pbc
        xy, xz, yz = Box.around(atoms).tilts
        assert abs(xy) < 1e-12 or pbc[1]
        assert max(abs(xz), abs(yz)) < 1e-12 or pbc[2]


def test_vectors_and_tensors_come_back(rng: np.random.Generator) -> None:
    box = Box.around(structures()["triclinic"])
    vectors, tensor = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    np.testing.assert_allclose(box.back(vectors @ box.rotation), vectors, atol=1e-14)
    turned = box.rotation.T @ tensor @ box.rotation
    np.testing.assert_allclose(box.tensor_back(turned), tensor, atol=1e-14)


def test_an_upright_slab_keeps_its_axes() -> None:
    slab = structures()["slab"]
    np.testing.assert_allclose(Box.around(slab).rotation, np.eye(3), atol=1e-12)


def test_cells_and_positions_that_are_none() -> None:
    atoms = structures()["crystal"]
    atoms.cell[1] = 2 * atoms.cell[0]
    with pytest.raises(UserError, match="span no volume"):
        Box.around(atoms)
    atoms = structures()["molecule"]
    atoms.positions[2, 1] = np.nan
    with pytest.raises(UserError, match="a position or a cell vector is not a number"):
        Box.around(atoms)
