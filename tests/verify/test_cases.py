"""The built-in structures, and what is said of a user's that have no energy."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from clebsch.errors import UserError
from clebsch.structures import read_dataset
from clebsch.structures.graph import AtomGraph
from clebsch.verify import built_in_cases, given_cases
from clebsch.verify.cases import (
    bond_length,
    check_structure,
    closest_pair,
    full_cell,
    pair_cutoff,
    species_pairs,
)

from .conftest import small_potential


def test_the_built_in_cases_are_the_hard_ones(model):
    cases = {case.name: case for case in built_in_cases(model)}
    assert list(cases) == [
        "isolated atom", "pair Si-Si", "pair Si-C", "pair C-C", "cell smaller than the cutoff",
        "triclinic cell", "slab", "wire", "molecule", "cluster and a lone atom in a large box",
        "1,000 atoms",
    ]  # fmt: skip
    assert [str(a.symbols) for a in cases["isolated atom"].structures] == ["Si", "C"]
    distances = [a.get_distance(0, 1) for a in cases["pair Si-C"].structures]
    assert distances[0] == pytest.approx(0.5)
    assert 0 < model.cutoff - distances[-1] < 1e-4
    for atoms in cases["cell smaller than the cutoff"].structures:
        graph = AtomGraph.from_atoms(atoms, model.cutoff)
        assert graph.n_edges > 0
        assert (graph.src == graph.dst).all()  # its own images
        assert atoms.cell.lengths().max() < model.cutoff
    (triclinic,) = cases["triclinic cell"].structures
    assert np.abs(triclinic.cell.angles() - 90).max() > 10
    assert cases["slab"].structures[0].pbc.tolist() == [True, True, False]
    assert cases["wire"].structures[0].pbc.tolist() == [False, False, True]
    assert not cases["molecule"].structures[0].pbc.any()
    (void,) = cases["cluster and a lone atom in a large box"].structures
    assert not (AtomGraph.from_atoms(void, model.cutoff).dst == len(void) - 1).any()
    (large,) = cases["1,000 atoms"].structures
    assert len(large) == 1000
    for case in cases.values():
        if not case.name.startswith("pair"):
            assert all(closest_pair(atoms, model) > 1 for atoms in case.structures), case.name
        if case.n_atoms > 6:
            assert {s for a in case.structures for s in a.get_chemical_symbols()} <= {"Si", "C"}


def test_quick_cases_are_fewer(model):
    quick = built_in_cases(model, quick=True)
    assert sum(case.n_atoms for case in quick) < 300
    assert [case.name for case in quick][:-1] == [c.name for c in built_in_cases(model)][:-1]


def test_pairs_of_a_model_with_many_species_are_sampled():
    assert len(species_pairs(["H", "C", "O"])) == 6
    many = species_pairs([f"X{i}" for i in range(60)])
    assert len(many) == len(set(many)) == 28


def test_pair_cutoffs_end_the_pairs():
    model = small_potential(pair_cutoffs={"C-Si": 2.5})
    assert pair_cutoff(model, "Si", "C") == pair_cutoff(model, "C", "Si") == 2.5
    assert pair_cutoff(model, "C", "C") == 3.5
    case = next(case for case in built_in_cases(model) if case.name == "pair Si-C")
    assert case.structures[-1].get_distance(0, 1) < 2.5
    assert bond_length(model, "Si", "C") == pytest.approx(1.87)  # 1.1 times the closest in training


def test_a_full_cell_keeps_what_is_periodic():
    cell = full_cell([[3, 0, 0], [1, 4, 0], [9, 9, 9]], [True, True, False])
    np.testing.assert_allclose(cell, [[3, 0, 0], [1, 4, 0], [0, 0, 1]])
    np.testing.assert_allclose(np.linalg.det(full_cell(np.zeros((3, 3)), [False] * 3)), 1.0)


def test_given_structures_are_evenly_spaced(model, tmp_path):
    frames = [bulk("SiC", "zincblende", a=4.3 + 0.01 * i) for i in range(7)]
    ase.io.write(tmp_path / "sic.extxyz", frames, format="extxyz")
    cases = given_cases(read_dataset(tmp_path / "sic.extxyz"), model, 3)
    assert [case.name.split("frame ")[1] for case in cases] == ["0", "3", "6"]
    assert all(case.given for case in cases)
    assert len(given_cases(read_dataset(tmp_path / "sic.extxyz"), model, 100)) == 7
    ase.io.write(tmp_path / "alone.extxyz", Atoms("Si"), format="extxyz")
    assert len(given_cases(read_dataset(tmp_path / "alone.extxyz"), model, 3)) == 1


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]]), "frame 0: the model does not know Au"),
        (Atoms(), "frame 0: has no atoms"),
        (
            Atoms("Si2", positions=[[0, 0, 0], [0, 0, np.nan]]),
            "frame 0: a position or the cell is not a number",
        ),
        (
            Atoms("SiCSi", positions=[[0, 0, 0], [1, 1, 1], [1, 1, 1]]),
            "frame 0: atoms 1 and 2 are on top of each other",
        ),
        (
            Atoms("Si2", positions=[[0, 0, 0], [4, 0, 0]], cell=[4, 4, 4], pbc=True),
            "frame 0: atoms 0 and 1 are on top of each other",
        ),
        (
            Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2]], cell=[[4, 0, 0]] * 3, pbc=True),
            "frame 0: the cell has no volume",
        ),
    ],
)
def test_structures_without_an_energy(model, atoms, message):
    with pytest.raises(UserError, match=message):
        check_structure(atoms, model, "bad.traj, frame 0")


def test_a_bad_structure_is_named_with_its_file(model, tmp_path):
    frames = [bulk("SiC", "zincblende", a=4.3), Atoms("Si2", positions=[[0, 0, 0], [0, 0, 1e-4]])]
    ase.io.write(tmp_path / "bad.traj", frames)
    with pytest.raises(UserError, match=r"bad\.traj, frame 1: atoms 0 and 1 are on top"):
        given_cases(read_dataset(tmp_path / "bad.traj"), model, 3)
