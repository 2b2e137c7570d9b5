"""Frozen potentials: the error bound, exact derivatives, symmetry, limits, files, engines."""

import copy
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch.autograd import gradcheck

import clebsch
from clebsch import ops
from clebsch.errors import UserError
from clebsch.models import (
    FrozenPotential,
    Potential,
    PotentialConfig,
    freezing,
    frozen,
    model_file,
    save_model,
)
from clebsch.models.initialisation import set_unit_variance
from clebsch.o3 import rand_matrix
from clebsch.ops import Edges
from clebsch.structures import read_dataset
from clebsch.structures.graph import AtomGraph, collate

SPECIES = {"ethanol": ["H", "C", "O"], "silicon": ["Si"]}
VARIANTS = {
    "equivariant": {},
    "invariant": {"lmax": 0},
    "parity": {"parity": True, "lmax": 1},
    "zbl": {"zbl": True},
    "pair cutoffs": {"pair_cutoffs": {"H-O": 2.5, "C-C": 3.0}},
    "one layer": {"layers": 1},
}


def frames(name: str, count: int, first: int = 0) -> list[Atoms]:
    """Structures spread over an embedded data set."""
    data = read_dataset(f"embedded:{name}")
    indices = data.frames[first :: len(data.frames) // count][:count]
    return [data[int(i)] for i in indices]


def potential(name: str = "ethanol", **changes) -> Potential:
    """A small float64 potential with random weights of unit variance on the data."""
    settings = {
        "species": SPECIES[name],
        "cutoff": 4.0 if name == "ethanol" else 5.0,
        "layers": 2,
        "lmax": 2,
        "channels": 6,
        "radial_width": 16,
        "mean_neighbours": 8.0 if name == "ethanol" else 28.0,
        "scales": [0.2, 0.3, 0.25][: len(SPECIES[name])],
        "shifts": [-13.6, -1029.0, -2041.0][: len(SPECIES[name])],
    }
    torch.manual_seed(7)
    model = Potential(PotentialConfig(**{**settings, **changes}))
    structures = [AtomGraph.from_atoms(a, model.cutoff) for a in frames(name, 4)]
    set_unit_variance(model, collate(structures))
    return model.double().eval()


def predict(model, atoms: Atoms, stress: bool = True):
    return model(AtomGraph.from_atoms(atoms, model.cutoff, dtype=model.dtype), stress=stress)


def ethanol(seed: int = 0) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


def crystal() -> Atoms:
    """A rattled cell of three elements, smaller than twice the cutoff."""
    atoms = bulk("NaCl", "rocksalt", 4.2, cubic=True)
    atoms.symbols = ["C", "O"] * 4
    atoms.symbols[0] = "H"
    atoms.set_cell(atoms.cell @ np.array([[1, 0.1, 0], [0, 1.05, -0.1], [0, 0, 0.97]]), True)
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.mark.parametrize(
    ("name", "tolerance"), [("ethanol", 1e-6), ("silicon", 1e-6), ("ethanol", 1e-4)]
)
def test_the_error_bound_holds_on_real_structures(name, tolerance):
    model, used = potential(name), frames(name, 6)
    made = model.freeze(tolerance, used)
    energies, forces = [], []
    for atoms in used:
        exact, got = predict(model, atoms), predict(made, atoms)
        energies.append((got["energy"] - exact["energy"]).abs().item() / len(atoms))
        forces.append((got["forces"] - exact["forces"].detach()).norm(dim=1).max().item())
    assert max(energies) <= tolerance
    assert max(forces) <= 10 * tolerance
    assert made.facts["energy_error_eV_per_atom"] == pytest.approx(max(energies), abs=1e-10)
    assert made.facts["forces_error_eV_per_A"] == pytest.approx(max(forces), abs=1e-10)
    # The fewest intervals that do: with fewer the error is larger than asked for.
    before = freezing.INTERVALS[freezing.INTERVALS.index(made.facts["intervals"]) - 1]
    coarse = FrozenPotential(model, before)
    errors = [
        (predict(coarse, a)["forces"] - predict(model, a)["forces"].detach()).norm(dim=1).max()
        for a in used
    ]
    assert max(errors) > 10 * tolerance


def test_structures_of_its_own_stand_for_real_ones():
    model = potential()
    model.header = {"domain": {"min_distance": {"C-H": 1.0, "H-O": 0.95, "H-H": 1.4}}}
    made = model.freeze(1e-5)
    assert "generated" in made.facts["checked_on"]
    for atoms in frames("ethanol", 6):
        exact, got = predict(model, atoms), predict(made, atoms)
        assert (got["energy"] - exact["energy"]).abs().item() / len(atoms) < 2e-5
        assert (got["forces"] - exact["forces"].detach()).norm(dim=1).max() < 2e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_generated_structures_keep_their_distance(variant):
    model = potential(**VARIANTS[variant])
    model.header = {"domain": {"min_distance": {"H-H": 1.4}}}
    for atoms in freezing.typical_structures(model):
        i, j, d = ase_neighbours(atoms, model.cutoff)
        both_h = (atoms.numbers[i] == 1) & (atoms.numbers[j] == 1)
        assert d.min() > 0.5
        assert d[both_h].min(initial=9.0) > 1.4 - 1e-9


def test_generated_structures_that_no_model_knows_count_relative_to_their_forces():
    model = potential("silicon", scales=[1.0])
    steep = Potential(model.config.model_copy(update={"scales": [1e4]})).double().eval()
    steep.load_state_dict(model.state_dict())
    made = steep.freeze(1e-5)
    largest = max(
        predict(steep, a)["forces"].detach().norm(dim=1).max().item()
        for a in freezing.typical_structures(steep)
    )
    assert largest > 1e4
    with pytest.raises(UserError, match="leave errors"):  # not so where structures are real
        steep.freeze(1e-5, freezing.typical_structures(steep))
    assert made.facts["forces_error_eV_per_A"] <= 1e-4


def ase_neighbours(atoms, cutoff):
    from ase.neighborlist import neighbor_list

    return neighbor_list("ijd", atoms, cutoff)


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[Potential, FrozenPotential]]:
    found = {}
    for name, changes in VARIANTS.items():
        model = potential(**changes)
        found[name] = (model, FrozenPotential(model, 96))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_converges_to_the_potential(variant, made):
    """Constants are folded and maps merged without a change of the function."""
    model = made[variant][0]
    fine = FrozenPotential(model, 4096)
    for atoms in (ethanol(), crystal()):
        exact, got = predict(model, atoms), predict(fine, atoms)
        for key in ("energy", "atomic_energy", "forces", "stress"):
            torch.testing.assert_close(got[key], exact[key].detach(), atol=2e-6, rtol=1e-7)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_forces_and_stress_are_derivatives_of_the_frozen_energy(variant, backend, made):
    model, atoms, h = made[variant][1], crystal(), 1e-4

    def slope(change):
        energies = [predict(model, change(s * h))["energy"].item() for s in (-2, -1, 1, 2)]
        return (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)

    with ops.backend(backend):
        result = predict(model, atoms)
        for atom, axis in ((0, 0), (3, 1), (6, 2)):

            def move(step, atom=atom, axis=axis):
                moved = atoms.copy()
                moved.positions[atom, axis] += step
                return moved

            assert result["forces"][atom, axis].item() == pytest.approx(-slope(move), abs=1e-7)

        def stretch(step):
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ (np.eye(3) + step * np.diag([0, 1, 0])), True)
            return strained

        expected = slope(stretch) / atoms.get_volume()
        assert result["stress"][0, 1, 1].item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_written_derivative_is_autograds(variant, made):
    model, atoms = made[variant][1], crystal()
    graph = AtomGraph.from_atoms(atoms, model.cutoff, torch.float64)
    species = model.species_of(graph.numbers)
    edges = Edges(graph.src, graph.dst, graph.n_atoms)
    vectors = graph.vectors().requires_grad_()
    energy = model.atomic_energies(vectors, species, edges)
    (expected,) = torch.autograd.grad(energy.sum(), vectors)
    got, slopes = model.energies_and_slopes(vectors.detach(), species, edges)
    torch.testing.assert_close(got, energy.detach(), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(slopes, expected, atol=1e-11, rtol=1e-11)
    assert not slopes.requires_grad


def test_atomic_energies_have_second_derivatives(made):
    model, atoms = made["equivariant"][1], Atoms("HCO", positions=[[0, 0, 0], [0, 1, 0], [1, 1, 1]])
    graph = AtomGraph.from_atoms(atoms, model.cutoff, torch.float64)
    species = model.species_of(graph.numbers)
    edges = Edges(graph.src, graph.dst, 3)

    def slopes(vectors):
        energy = model.atomic_energies(vectors, species, edges).sum()
        return torch.autograd.grad(energy, vectors, create_graph=True)[0]

    assert gradcheck(slopes, graph.vectors().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equivariance(variant, improper, dtype, made):
    model, atoms = copy.deepcopy(made[variant][1]).to(dtype), crystal()
    Q = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ Q.numpy().T)
    turned.positions = atoms.positions @ Q.numpy().T + np.array([0.3, -1.0, 2.0])
    a, b = predict(model, atoms), predict(model, turned)
    Q = Q.to(dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    for name, expected in (
        ("atomic_energy", a["atomic_energy"]),
        ("forces", a["forces"] @ Q.T),
        ("stress", Q @ a["stress"] @ Q.T),
    ):
        scale = max(1.0, a["forces"].abs().max().item())
        torch.testing.assert_close(b[name], expected, atol=tolerance * scale, rtol=0)


def test_float32_is_float64_rounded(made):
    double = made["equivariant"][1]
    single = copy.deepcopy(double).float()
    assert single.dtype == torch.float32
    for atoms in (ethanol(), crystal()):
        a, b = predict(double, atoms), predict(single, atoms)
        scale = max(1.0, a["forces"].abs().max().item())
        torch.testing.assert_close(b["energy"], a["energy"], atol=2e-5, rtol=0)
        torch.testing.assert_close(b["forces"].double(), a["forces"], atol=2e-5 * scale, rtol=0)


def test_supercell_is_n_times_the_cell(made):
    model, atoms = made["equivariant"][1], crystal()
    one, many = predict(model, atoms), predict(model, atoms.repeat((2, 1, 3)))
    torch.testing.assert_close(many["energy"], 6 * one["energy"], atol=1e-9, rtol=0)
    torch.testing.assert_close(many["forces"], one["forces"].repeat(6, 1), atol=1e-9, rtol=0)
    torch.testing.assert_close(many["stress"], one["stress"], atol=1e-10, rtol=0)


def test_edges_in_many_chunks(made, monkeypatch):
    model, atoms = made["zbl"][1], crystal()
    expected = predict(model, atoms)
    monkeypatch.setattr(frozen, "_CHUNK", 7)
    got = predict(model, atoms)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_isolated_atoms_and_batches(variant, made):
    model, frozen_model = made[variant]
    alone, exact = predict(frozen_model, Atoms("C")), predict(model, Atoms("C"))
    torch.testing.assert_close(alone["energy"], exact["energy"].detach())
    assert torch.equal(alone["forces"], torch.zeros(1, 3, dtype=torch.float64))
    parts = [ethanol(), Atoms("O"), crystal(), Atoms("CC", positions=[[0, 0, 0], [0, 0, 3.99]])]
    graphs = [AtomGraph.from_atoms(a, model.cutoff, torch.float64) for a in parts]
    together = frozen_model(collate(graphs), stress=True)
    apart = [predict(frozen_model, a) for a in parts]
    for key in ("energy", "forces", "stress"):
        torch.testing.assert_close(together[key], torch.cat([a[key] for a in apart]))


@pytest.mark.parametrize("variant", ["equivariant", "zbl", "pair cutoffs"])
def test_smooth_at_the_cutoff(variant, made):
    model = made[variant][1]
    cutoff = 2.5 if variant == "pair cutoffs" else model.cutoff
    species = torch.tensor([0, 2])
    edges = Edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)

    def dimer(r):
        vectors = torch.tensor([[0, 0, r], [0, 0, -r]], dtype=torch.float64)
        energy, slopes = model.energies_and_slopes(vectors, species, edges)
        return energy.sum().item(), slopes

    apart, none = dimer(cutoff + 0.5)
    assert not none.any()
    energy, slopes = dimer(cutoff)  # u = 1 exactly
    assert energy == apart
    assert not slopes.any()
    for below in (np.nextafter(cutoff, 0), cutoff - 1e-6, cutoff - 1e-4):
        energy, slopes = dimer(below)
        assert energy == pytest.approx(apart, abs=1e-9)
        assert slopes.abs().max() < 1e-5
    inside, slopes = dimer(cutoff - 1.0)
    assert abs(inside - apart) > 1e-6
    assert slopes.any()


def test_coinciding_and_aligned_atoms_have_finite_forces(made):
    model = made["equivariant"][1]
    aligned = Atoms("HCO", positions=[[0, 0, 0], [0, 1.2, 0], [0, 2.5, 0]])
    for atoms in (aligned, Atoms("HC", positions=[[0, 0, 0], [0, 0, 0]])):
        result = predict(model, atoms)
        assert torch.isfinite(result["forces"]).all()
        assert torch.isfinite(result["energy"]).all()


def test_positions_that_are_no_numbers_give_none(made):
    model = made["equivariant"][1]
    graph = AtomGraph.from_atoms(ethanol(), model.cutoff, torch.float64)
    graph.positions[0] = torch.nan
    assert model(graph)["forces"].isnan().any()


def test_a_tolerance_out_of_reach_is_told(monkeypatch):
    model = potential()
    monkeypatch.setattr(freezing, "INTERVALS", (8, 16))
    with pytest.raises(UserError, match=r"16 spline intervals leave errors of .* eV/atom and .*"):
        model.freeze(1e-6, frames("ethanol", 2))
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="positive"):
            model.freeze(wrong)


def test_structures_of_unknown_elements_are_refused():
    with pytest.raises(UserError, match="but not N"):
        potential().freeze(1e-3, [molecule("NH3")])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_file(tmp_path, dtype):
    model = potential(pair_cutoffs={"H-O": 2.5}, zbl=True).to(dtype)
    model.header = {"domain": {"min_distance": {"H-O": 0.9}}, "note": "kept"}
    made = model.freeze(1e-4, frames("ethanol", 3))
    assert made.dtype == dtype
    assert not list(made.parameters())
    assert next(model.parameters()).requires_grad  # the potential is left as it was
    save_model(made, tmp_path / "f.clebsch")
    again = clebsch.load(tmp_path / "f.clebsch")
    assert isinstance(again, FrozenPotential)
    assert again.dtype == dtype
    assert again.config == model.config
    assert again.facts == made.facts == again.header["frozen"]
    assert again.header["note"] == "kept"
    assert again.header["kind"] == "frozen potential"
    a, b = predict(made, ethanol()), predict(again, ethanol())
    assert torch.equal(a["forces"], b["forces"])
    assert torch.equal(a["energy"], b["energy"])
    save_model(model, tmp_path / "m.clebsch", again.header)
    assert "frozen" not in clebsch.load(tmp_path / "m.clebsch").header
    assert clebsch.load(tmp_path / "f.clebsch", dtype=torch.float64).dtype == torch.float64


def test_broken_files_are_refused(tmp_path, made):
    path = tmp_path / "f.clebsch"
    save_model(made["equivariant"][1], path)
    header, tensors = model_file._read(path, "cpu")

    def changed(**changes):
        written = {**header, **changes}
        safetensors.torch.save_file(tensors, path, metadata={"clebsch": json.dumps(written)})
        return path

    for facts in ({}, None, *({"intervals": n} for n in (97, 0, -3, 10**9, "many", None, 96.0))):
        with pytest.raises(UserError, match="do not fit"):
            clebsch.load(changed(frozen=facts))
    with pytest.raises(UserError, match="do not fit"):
        clebsch.load(changed(kind="potential"))
    assert clebsch.load(changed()).facts["intervals"] == 96


@pytest.mark.slow
def test_energy_is_conserved(tmp_path):
    from clebsch.simulate import run_md

    model = potential("silicon", channels=4, layers=1, lmax=1, scales=[0.02])
    atoms = bulk("Si", cubic=True)
    made = model.freeze(1e-2)
    assert made.facts["intervals"] <= 512  # so coarse that the splines differ from the potential
    drifts = []
    for timestep in (2.0, 1.0):
        out = tmp_path / f"{timestep}"
        run_md(made, atoms, out, time_ps=0.03, timestep_fs=timestep, temperature_K=300,
               progress=False, sample_fs=timestep)  # fmt: skip
        table = np.genfromtxt(out / "thermo.csv", delimiter=",", names=True)
        name = next(n for n in table.dtype.names if n.startswith("total"))
        drifts.append(np.ptp(table[name]))
    assert drifts[1] < drifts[0] / 3  # of second order in the time step: that of the integrator
