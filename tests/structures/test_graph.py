"""Neighbour lists against ASE's own; batches against single graphs."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

from clebsch.errors import UserError
from clebsch.structures import AtomGraph, collate, neighbour_list


def skewed(pbc, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    cell = scale * np.array([[2.0, 0, 0], [1.5, 2.0, 0], [-1.0, 0.7, 2.2]])
    # Spread over several cells: many atoms lie outside of the box.
    return Atoms("Si5", positions=rng.normal(size=(5, 3)) * 6, cell=cell, pbc=pbc)


def wire():
    atoms = Atoms("Au2", positions=[[0, 0, 0], [1.0, 2.0, 1.3]], pbc=(False, False, True))
    atoms.set_cell([[0, 0, 0], [0, 0, 0], [0, 0, 2.7]])
    return atoms


STRUCTURES = {
    "molecule": (molecule("CH3CH2OH"), 5.0),
    "isolated atom": (Atoms("H"), 5.0),
    "one atom, cutoff beyond the cell": (bulk("Cu"), 7.0),
    "crystal": (bulk("Si", cubic=True), 5.0),
    "slab": (fcc111("Al", (2, 2, 3), vacuum=8.0), 6.0),
    "slab without a third vector": (skewed((True, True, False)), 5.0),
    "wire without two vectors": (wire(), 6.0),
    "tiny triclinic cell": (skewed(True), 4.0),
    "triclinic slab": (skewed((True, False, True)), 5.0),
    "triclinic wire": (skewed((False, True, False)), 5.0),
    "larger triclinic": (skewed(True, scale=4.0), 5.0),
    "far fragment of a planar molecule": (
        Atoms("H3", positions=[[0, 0, 0], [0, 0, 3000.0], [3000.0, 0, 0.5]]),
        4.0,
    ),
}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_edges_and_vectors_as_ase(name, dtype):
    atoms, cutoff = STRUCTURES[name]
    if name == "slab without a third vector":
        atoms = atoms.copy()
        atoms.cell[2] = 0
    graph = AtomGraph.from_atoms(atoms, cutoff, dtype)
    i, j, shift, vector = neighbor_list("ijSD", atoms, cutoff)
    order = np.lexsort((*shift.T[::-1], j, i))
    np.testing.assert_array_equal(graph.dst, i[order])
    np.testing.assert_array_equal(graph.src, j[order])
    np.testing.assert_array_equal(graph.shifts, shift[order])
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    assert graph.vectors().dtype == dtype
    np.testing.assert_allclose(graph.vectors(), vector[order], atol=tolerance)
    batched = collate([graph, graph])
    np.testing.assert_allclose(batched.vectors()[graph.n_edges :], vector[order], atol=tolerance)


def test_no_atom_is_its_own_neighbour_but_its_images_are():
    graph = AtomGraph.from_atoms(bulk("Cu"), 3.0)
    assert graph.n_atoms == 1
    assert graph.n_edges == 12
    assert (graph.shifts.abs().sum(dim=1) > 0).all()


def test_vectors_are_differentiable_in_positions_and_cell():
    a = AtomGraph.from_atoms(skewed(True), 1.8, torch.float64)
    b = AtomGraph.from_atoms(wire(), 3.0, torch.float64)
    assert a.n_edges > 0
    assert b.n_edges > 0
    graph = collate([a, b])

    def vectors(positions, cell):
        graph.positions, graph.cell = positions, cell
        return graph.vectors()

    inputs = (graph.positions.clone().requires_grad_(), graph.cell.clone().requires_grad_())
    assert torch.autograd.gradcheck(vectors, inputs)


def test_batch_is_its_parts():
    rng = np.random.default_rng(1)
    graphs = []
    for k, name in enumerate(("molecule", "isolated atom", "slab", "tiny triclinic cell")):
        atoms, cutoff = STRUCTURES[name]
        atoms = atoms.copy()
        atoms.info["config_type"] = name
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(k), forces=rng.normal(size=(len(atoms), 3))
        )
        graphs.append(AtomGraph.from_atoms(atoms, cutoff, torch.float64, frame=10 + k))
    batch = collate(graphs)
    assert batch.n_graphs == 4
    assert batch.config_type == ("molecule", "isolated atom", "slab", "tiny triclinic cell")
    assert batch.frame.tolist() == [10, 11, 12, 13]
    assert batch.energy.tolist() == [0, 1, 2, 3]
    assert batch.stress.isnan().all()
    assert (batch.dst.diff() >= 0).all()
    assert (batch.batch[batch.src] == batch.batch[batch.dst]).all()
    torch.testing.assert_close(batch.vectors(), torch.cat([g.vectors() for g in graphs]))
    torch.testing.assert_close(batch.forces, torch.cat([g.forces for g in graphs]))
    single = batch.to(dtype=torch.float32)
    assert batch.to(torch.float32).positions.dtype == torch.float32  # as of a tensor
    assert batch.to(torch.float32).energy.dtype == torch.float64
    assert single.positions.dtype == single.forces.dtype == torch.float32
    assert single.energy.dtype == torch.float64  # total energies need the digits
    assert single.src.dtype == torch.int64
    assert single.config_type == batch.config_type


def test_labels_and_the_order_of_stress_components():
    atoms = bulk("Ar", cubic=True) * 2
    atoms.rattle(0.1, seed=0)
    atoms.set_cell(atoms.cell @ np.array([[1, 0.02, 0.01], [0, 1.01, 0.03], [0, 0, 0.98]]), True)
    live = LennardJones(sigma=3.4, epsilon=0.01, rc=8.0)
    atoms.calc = live
    voigt, full = atoms.get_stress(), atoms.get_stress(voigt=False)
    forces = atoms.get_forces()
    # The results of a live calculator are not reference data.
    assert AtomGraph.from_atoms(atoms, 4.0).energy.isnan().all()
    for stress in (voigt, full):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=forces, stress=stress)
        graph = AtomGraph.from_atoms(atoms, 4.0, torch.float64)
        np.testing.assert_allclose(graph.stress[0], full, atol=1e-15)
        np.testing.assert_allclose(graph.forces, forces)


def test_impossible_structures_are_refused():
    flat = Atoms("H", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True)
    with pytest.raises(UserError, match="no volume"):
        AtomGraph.from_atoms(flat, 3.0)
    # Here the squared volume is rounded to 1e-13, not to 0.
    rounded = Atoms("H", cell=5.43 * np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]]), pbc=True)
    with pytest.raises(UserError, match="no volume"):
        AtomGraph.from_atoms(rounded, 3.0)
    flat.pbc = (True, False, True)
    assert AtomGraph.from_atoms(flat, 3.5).n_edges > 0
    with pytest.raises(UserError, match="atom 1 is not finite"):
        neighbour_list([[0, 0, 0], [0, np.nan, 0]], np.zeros((3, 3)), [0, 0, 0], 3.0)
    with pytest.raises(UserError, match="cutoff"):
        AtomGraph.from_atoms(Atoms("H"), 0.0)
    assert neighbour_list(np.zeros((0, 3)), np.zeros((3, 3)), [0, 0, 0], 3.0)[0].size == 0


@pytest.mark.parametrize(
    ("atoms", "cutoff"),
    [
        (bulk("Si"), 100.0),
        (fcc111("Al", (2, 2, 3), vacuum=8.0), 500.0),
        (wire(), 1e5),
        (Atoms("H12000", positions=np.arange(36000.0).reshape(12000, 3) % 61), 1000.0),
    ],
    ids=["crystal", "slab", "wire", "cluster"],
)
def test_a_cutoff_with_absurdly_many_neighbours_is_refused_before_they_are_looked_for(
    atoms, cutoff, monkeypatch
):
    monkeypatch.setattr("clebsch.structures.graph.NeighborList", None)  # is not reached
    with pytest.raises(UserError, match=f"A cutoff of {cutoff:g} Å gives an atom about "):
        AtomGraph.from_atoms(atoms, cutoff)


def test_a_wide_cutoff_is_allowed_where_few_atoms_are_within_it():
    assert AtomGraph.from_atoms(molecule("CH3CH2OH"), 1000.0).n_edges == 72
    grid = 7.0 * np.stack(np.meshgrid(*[np.arange(23.0)] * 3), axis=-1).reshape(-1, 3)
    assert AtomGraph.from_atoms(Atoms("H12167", grid), 8.0).n_edges == 3 * 2 * 22 * 23**2
