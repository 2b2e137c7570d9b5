"""The potential's physics: symmetry, derivatives, extensivity, smoothness; and its oracle."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from pydantic import ValidationError

from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig
from clebsch.models.zbl import ZBL
from clebsch.o3 import rand_matrix
from clebsch.structures.graph import AtomGraph, collate

SMALL = {"layers": 2, "channels": 8, "radial_width": 16}


def potential(dtype=torch.float64, **changes) -> Potential:
    settings = {
        "species": ["H", "C", "O"],
        "cutoff": 4.0,
        "lmax": 2,
        "shifts": [-13.6, -1029.0, -2041.0],
        "scales": [1.0, 2.0, 1.5],
        **SMALL,
    }
    torch.manual_seed(7)
    return Potential(PotentialConfig(**{**settings, **changes})).to(dtype).eval()


def predict(model: Potential, atoms: Atoms, stress: bool = True):
    return model(AtomGraph.from_atoms(atoms, model.cutoff, dtype=model.dtype), stress=stress)


def ethanol(seed: int = 0) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


def crystal() -> Atoms:
    """A triclinic, rattled cell of three elements, smaller than twice the cutoff."""
    atoms = bulk("NaCl", "rocksalt", 4.2, cubic=True)
    atoms.symbols = ["C", "O"] * 4
    atoms.symbols[0] = "H"
    strain = np.array([[1.0, 0.1, 0.0], [0.0, 1.05, -0.1], [0.05, 0.0, 0.97]])
    atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=3)
    return atoms


VARIANTS = {
    "equivariant": {},
    "invariant": {"lmax": 0},
    "parity": {"parity": True, "lmax": 1, "layers": 3},
    "zbl": {"zbl": True},
    "pair cutoffs": {"pair_cutoffs": {"H-O": 2.5, "C-C": 3.0}},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_rotation_inversion_translation(variant, improper, dtype):
    model = potential(dtype, **VARIANTS[variant])
    atoms = crystal()
    Q = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ Q.numpy().T)
    turned.positions = atoms.positions @ Q.numpy().T + np.array([0.3, -1.0, 2.0])
    a, b = predict(model, atoms), predict(model, turned)
    Q = Q.to(dtype)
    expected = {
        "energy": a["energy"],
        "atomic_energy": a["atomic_energy"],
        "forces": a["forces"] @ Q.T,
        "stress": Q @ a["stress"] @ Q.T,
    }
    shifts = model._shifts[model.species_of(torch.from_numpy(atoms.numbers).long())]
    sizes = {
        "energy": (a["atomic_energy"] - shifts).abs().sum().item(),
        "forces": a["forces"].abs().max().item(),
        "stress": a["stress"].abs().max().item(),
    }
    for name, value in expected.items():
        tolerance = 1e-10 if dtype == torch.float64 else 1e-5
        # Relative to what the network computes: the shifts are added in float64.
        scale = sizes.get(name, sizes["energy"])
        torch.testing.assert_close(b[name], value, atol=tolerance * max(scale, 1.0), rtol=0)


def test_permutation():
    model, atoms = potential(), ethanol()
    order = np.random.default_rng(0).permutation(len(atoms))
    a, b = predict(model, atoms), predict(model, atoms[order])
    torch.testing.assert_close(b["energy"], a["energy"], atol=1e-10, rtol=0)
    torch.testing.assert_close(b["forces"], a["forces"][order], atol=1e-10, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_forces_are_minus_the_energy_gradient(variant):
    model, atoms = potential(**VARIANTS[variant]), ethanol()
    forces = predict(model, atoms)["forces"]
    h = 1e-4
    for atom, axis in ((0, 0), (2, 1), (5, 2), (8, 0)):
        energies = []
        for step in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[atom, axis] += step * h
            energies.append(predict(model, moved)["energy"].item())
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
        assert forces[atom, axis].item() == pytest.approx(-slope, abs=2e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stress_is_the_strain_derivative(variant):
    model, atoms = potential(**VARIANTS[variant]), crystal()
    stress = predict(model, atoms)["stress"][0]
    torch.testing.assert_close(stress, stress.T)
    h = 1e-4
    for a, b in ((0, 0), (1, 1), (0, 1), (2, 1)):
        energies = []
        for step in (-2, -1, 1, 2):
            strain = np.eye(3)
            strain[a, b] += step * h / 2
            strain[b, a] += step * h / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ strain, scale_atoms=True)
            energies.append(predict(model, moved)["energy"].item())
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
        assert stress[a, b].item() == pytest.approx(slope / atoms.get_volume(), abs=1e-8)


def test_net_force_and_torque_vanish():
    atoms = ethanol()
    forces = predict(potential(), atoms)["forces"]
    torque = torch.linalg.cross(torch.from_numpy(atoms.positions), forces)
    assert forces.sum(0).abs().max() < 1e-10
    assert torque.sum(0).abs().max() < 1e-10


def test_supercell_is_n_times_the_cell():
    model, atoms = potential(), crystal()
    one, many = predict(model, atoms), predict(model, atoms.repeat((2, 1, 3)))
    torch.testing.assert_close(many["energy"], 6 * one["energy"], atol=1e-9, rtol=0)
    torch.testing.assert_close(many["forces"], one["forces"].repeat(6, 1), atol=1e-9, rtol=0)
    torch.testing.assert_close(many["stress"], one["stress"], atol=1e-10, rtol=0)


def test_far_fragments_add_up():
    model, one, other = potential(), ethanol(), molecule("H2O")
    moved = other.copy()
    moved.positions += 50.0
    apart = predict(model, one)["energy"] + predict(model, other)["energy"]
    torch.testing.assert_close(predict(model, one + moved)["energy"], apart, atol=1e-9, rtol=0)


def test_batch_equals_single_structures():
    model, structures = potential(), [ethanol(), crystal(), Atoms("O"), ethanol(1)]
    graphs = [AtomGraph.from_atoms(a, model.cutoff, dtype=torch.float64) for a in structures]
    together = model(collate(graphs), stress=True)
    for i, atoms in enumerate(structures):
        alone = predict(model, atoms)
        assert together["energy"][i].item() == pytest.approx(alone["energy"].item(), abs=1e-10)
        torch.testing.assert_close(together["stress"][i], alone["stress"][0])
    forces = torch.cat([predict(model, a)["forces"] for a in structures])
    torch.testing.assert_close(together["forces"], forces)


def test_isolated_atom_has_no_force():
    model = potential(zbl=True)
    result = predict(model, Atoms("C"))
    assert torch.equal(result["forces"], torch.zeros(1, 3, dtype=torch.float64))
    assert torch.equal(result["stress"], torch.zeros(1, 3, 3, dtype=torch.float64))
    assert torch.isfinite(result["energy"]).all()


@pytest.mark.parametrize("variant", ["equivariant", "zbl", "pair cutoffs"])
def test_smooth_at_the_cutoff(variant):
    """Energy and force go continuously to those of the separated atoms."""
    model = potential(**VARIANTS[variant])
    cutoff = 2.5 if variant == "pair cutoffs" else model.cutoff

    def dimer(r):
        result = predict(model, Atoms("HO", positions=[[0, 0, 0], [0, 0, r]]))
        return result["energy"].item(), result["forces"][0, 2].item()

    energy, _ = dimer(cutoff + 0.5)
    for distance in (cutoff - 1e-4, cutoff + 1e-4):
        e, f = dimer(distance)
        assert e == pytest.approx(energy, abs=1e-10)
        assert abs(f) < 1e-6
    inside, force = dimer(cutoff - 0.5)
    assert inside != pytest.approx(energy, abs=1e-6)
    assert force != 0


def test_coinciding_and_aligned_atoms_have_finite_forces():
    model = potential()
    aligned = Atoms("HCO", positions=[[0, 0, 0], [0, 1.2, 0], [0, 2.5, 0]])  # on the polar axis
    assert torch.isfinite(predict(model, aligned)["forces"]).all()
    same = Atoms("HC", positions=[[0, 0, 0], [0, 0, 0]])
    model.train()
    result = predict(model, same)
    assert torch.isfinite(result["forces"]).all()
    result["forces"].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_zbl_is_the_screened_coulomb_repulsion():
    """Against LAMMPS's documented constants, at a distance where the envelope is near 1."""
    r = torch.tensor([0.05], dtype=torch.float64)
    a = torch.tensor([0])
    got = 2 * ZBL([14]).double()(r, a, a).item()
    x = 0.05 * 2 * 14**0.23 / 0.46850
    screen = (
        0.18175 * np.exp(-3.1998 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    assert got == pytest.approx(14.399645 * 14**2 / 0.05 * screen, rel=1e-6)


def test_l0_twin_sees_no_angle():
    """Bonds only: the invariant twin cannot tell bent from straight, the full model can."""
    bent = Atoms("OHH", positions=[[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    straight = Atoms("OHH", positions=[[0, 0, 0], [1, 0, 0], [-1, 0, 0]])

    def energy(model, atoms):
        return model(AtomGraph.from_atoms(atoms, 1.2, dtype=torch.float64))["energy"].item()

    twin, full = potential(lmax=0), potential(lmax=1)
    assert energy(twin, bent) == pytest.approx(energy(twin, straight), abs=1e-10)
    assert abs(energy(full, bent) - energy(full, straight)) > 1e-4


def test_moving_to_float64_restores_exact_constants():
    model = potential(torch.float32).double()
    assert model._shifts.tolist() == [-13.6, -1029.0, -2041.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"species": ["H", "Xx"]}, "no chemical symbols"),
        ({"species": ["H", "H"]}, "repeat"),
        ({"shifts": [1.0]}, "one value for each"),
        ({"pair_cutoffs": {"H-N": 2.0}}, "no pair"),
        ({"pair_cutoffs": {"H-O": 9.0}}, "must lie in"),
        ({"chanels": 3}, "chanels"),
        ({"layers": 0}, "at least 1"),
    ],
)
def test_configuration_refuses(changes, words):
    with pytest.raises(ValidationError, match=words):
        PotentialConfig(**{"species": ["H", "C", "O"], **changes})


def test_unknown_element_is_named():
    with pytest.raises(UserError, match="but not N"):
        predict(potential(), molecule("NH3"))
