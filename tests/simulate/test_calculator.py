import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from scipy.spatial.transform import Rotation

from clebsch.errors import UserError
from clebsch.simulate import Calculator


def triclinic(seed=0):
    cell = np.array([[7.0, 0.4, -0.3], [1.2, 6.6, 0.5], [-0.7, 0.9, 7.3]])
    scaled = np.random.default_rng(seed).random((4, 3)) * 0.3 + np.array(
        [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    return Atoms("Ar4", cell=cell, scaled_positions=scaled, pbc=True)


@pytest.mark.parametrize("pbc", [True, False, (True, True, False), (False, False, True)])
def test_equal_to_ase_lennard_jones(argon, pbc):
    atoms = triclinic()
    atoms.pbc = pbc
    atoms.calc = Calculator(argon)
    other = atoms.copy()
    other.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0, ro=5.0, smooth=True)
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-12)
    np.testing.assert_allclose(
        atoms.get_potential_energies(), other.get_potential_energies(), atol=1e-12
    )
    if atoms.pbc.all():
        np.testing.assert_allclose(atoms.get_stress(), other.get_stress(), atol=1e-14)


def test_forces_and_stress_against_finite_differences(argon):
    atoms = triclinic()
    atoms.calc = Calculator(argon)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-4), atol=1e-8)
    np.testing.assert_allclose(stress, calculate_numerical_stress(atoms, eps=1e-5), atol=1e-9)
    assert np.abs(forces).max() > 0.01


def test_free_energy_is_the_energy(argon, crystal):
    crystal.calc = Calculator(argon)
    assert crystal.get_potential_energy(force_consistent=True) == crystal.get_potential_energy()
    assert crystal.get_potential_energies().sum() == pytest.approx(crystal.get_potential_energy())


def test_rotation_translation_permutation(argon):
    atoms = triclinic()
    atoms.calc = Calculator(argon)
    energy, forces, stress = (
        atoms.get_potential_energy(),
        atoms.get_forces(),
        atoms.get_stress(voigt=False),
    )
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    order = np.array([2, 0, 3, 1])
    moved = atoms.copy()[order]
    moved.set_cell(moved.cell.array @ turn.T, scale_atoms=True)
    moved.positions += [13.0, -4.0, 0.7]
    moved.calc = Calculator(argon)
    assert moved.get_potential_energy() == pytest.approx(energy, abs=1e-12)
    np.testing.assert_allclose(moved.get_forces(), forces[order] @ turn.T, atol=1e-12)
    np.testing.assert_allclose(moved.get_stress(voigt=False), turn @ stress @ turn.T, atol=1e-13)


def test_supercell_is_extensive(argon):
    atoms = triclinic()
    atoms.calc = Calculator(argon)
    large = atoms.repeat((2, 1, 3))
    large.calc = Calculator(argon)
    assert large.get_potential_energy() == pytest.approx(6 * atoms.get_potential_energy())
    np.testing.assert_allclose(large.get_stress(), atoms.get_stress(), atol=1e-13)


def test_no_stress_without_a_volume(argon):
    slab = fcc111("Ar", (2, 2, 2), a=5.3, vacuum=8.0)
    slab.calc = Calculator(argon)
    assert np.isfinite(slab.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        slab.get_stress()


def test_single_atom_has_no_force(argon):
    atom = Atoms("Ar")
    atom.calc = Calculator(argon)
    assert atom.get_potential_energy() == 0.0
    assert (atom.get_forces() == 0).all()


def test_unknown_element_is_one_sentence(argon):
    atoms = Atoms("ArXe", positions=[[0, 0, 0], [0, 0, 4]])
    atoms.calc = Calculator(argon)
    with pytest.raises(UserError, match=r"does not know Xe \(it was trained on Ar\)"):
        atoms.get_potential_energy()


def test_element_changed_after_the_first_call(argon):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 4]])
    atoms.calc = Calculator(argon)
    atoms.get_potential_energy()
    atoms.symbols[1] = "Kr"
    with pytest.raises(UserError, match="Kr"):
        atoms.get_potential_energy()


def test_dtype_is_a_choice(argon, crystal):
    crystal.calc = Calculator(argon, dtype=torch.float32)
    single = crystal.get_potential_energy()
    assert crystal.calc.neighbours.graph(crystal)[0].positions.dtype == torch.float32
    crystal.calc = Calculator(argon, dtype=torch.float64)
    assert single == pytest.approx(crystal.get_potential_energy(), rel=1e-5)


def moves(kind, atoms, rng):
    """A trajectory of small, then large moves; the structure is changed in place."""
    for step in range(30):
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        if kind == "npt":
            strain = np.eye(3) + rng.normal(0, 0.004, (3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        if kind == "wrap" and step % 10 == 5:
            atoms.wrap()
        if kind == "jump" and step % 15 == 7:
            atoms.positions[3] += [2.0, -1.0, 0.5]
        yield atoms


@pytest.mark.parametrize("kind", ["nvt", "npt", "wrap", "jump"])
@pytest.mark.parametrize("pbc", [True, False, (True, True, False)])
def test_skin_gives_bit_equal_results(argon, kind, pbc, rng):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1))
    atoms.pbc = pbc
    lazy, fresh = Calculator(argon, skin=1.0), Calculator(argon, skin=0.0)
    for moved in moves(kind, atoms, rng):
        for calculator in (lazy, fresh):
            calculator.calculate(moved)
        for name, value in fresh.results.items():
            np.testing.assert_array_equal(value, lazy.results[name], err_msg=name)
    assert fresh.neighbours.builds == 30
    changing_slab = kind == "npt" and pbc == (True, True, False)
    assert changing_slab or lazy.neighbours.builds < 20


def test_list_is_rebuilt_for_another_structure(argon, crystal):
    calculator = Calculator(argon)
    calculator.calculate(crystal)
    other = crystal[:-1]
    calculator.calculate(other)
    assert len(calculator.results["forces"]) == len(other)
    molecule = crystal.copy()
    molecule.pbc = False
    calculator.calculate(molecule)
    assert "stress" not in calculator.results


def test_edges_beyond_the_cutoff_do_not_reach_the_model(argon, crystal):
    Calculator(argon, skin=0.0).calculate(crystal)
    exact = argon.edges_seen
    Calculator(argon, skin=2.0).calculate(crystal)
    assert argon.edges_seen == 2 * exact
