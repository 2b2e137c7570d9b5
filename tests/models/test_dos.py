"""The DoS network: normalised by construction, and the same for every description of a crystal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list

from clebsch.errors import UserError
from clebsch.models import DosConfig, PhononDosModel, load, load_dos_model, load_model, save_model
from clebsch.o3 import rand_matrix
from clebsch.structures import AtomGraph, collate

CUTOFF = 4.5


@pytest.fixture(scope="module")
def model() -> PhononDosModel:
    torch.manual_seed(0)
    config = DosConfig(species=["Mg", "O", "Si", "Na", "Cl"], cutoff=CUTOFF, channels=8, step=25.0)
    return PhononDosModel(config).double().eval()


def crystal() -> Atoms:
    """Six atoms, no symmetry."""
    rng = np.random.default_rng(5)
    cell = np.array([[4.2, 0.3, 0.0], [-0.2, 4.6, 0.4], [0.5, 0.1, 5.1]])
    return Atoms("MgSiO4", cell=cell, scaled_positions=rng.random((6, 3)), pbc=True)


def states(model: PhononDosModel, *crystals: Atoms) -> torch.Tensor:
    graphs = [AtomGraph.from_atoms(a, CUTOFF, torch.float64) for a in crystals]
    with torch.no_grad():
        return model(collate(graphs))["states"]


def test_every_atom_has_three_states(model: PhononDosModel) -> None:
    graph = collate(
        [
            AtomGraph.from_atoms(a, CUTOFF, torch.float64)
            for a in (
                crystal(),
                bulk("NaCl", "rocksalt", a=5.6),
                Atoms("Mg", cell=[30] * 3, pbc=True),
            )
        ]
    )
    result = model(graph)
    assert result["states"].shape == (3, len(model.config.grid) + 1)
    assert bool((result["atomic_states"] >= 0).all())
    three = torch.full((graph.n_atoms,), 3.0, dtype=torch.float64)
    torch.testing.assert_close(result["atomic_states"].sum(-1), three, atol=1e-12, rtol=0)
    expected = torch.tensor([18.0, 6.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(result["states"].sum(-1), expected, atol=1e-12, rtol=0)
    single = PhononDosModel(model.config)(graph.to(dtype=torch.float32))["states"].sum(-1)
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=0)


def test_same_crystal_same_spectrum(model: PhononDosModel) -> None:
    atoms = crystal()
    reference = states(model, atoms)[0]
    R = rand_matrix(dtype=torch.float64).numpy()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ R.T)
    turned.positions = atoms.positions @ R.T + [0.3, -1.2, 7.0]
    mirrored = atoms.copy()
    mirrored.set_cell(-atoms.cell.array)
    mirrored.positions = -atoms.positions
    order = atoms[[3, 0, 5, 1, 4, 2]]
    other = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [2, 0, 1]])  # the same volume
    assert len(other) == len(atoms)
    wrapped = atoms.copy()
    wrapped.positions += atoms.cell.array[0] * [[3.0], [0], [-2], [0], [1], [0]]
    for same in (turned, mirrored, order, other, wrapped):
        torch.testing.assert_close(states(model, same)[0], reference, atol=1e-11, rtol=0)
    big = make_supercell(atoms, [[2, 0, 0], [0, 1, 1], [1, 0, 2]])
    times = len(big) / len(atoms)
    torch.testing.assert_close(states(model, big)[0], times * reference, atol=1e-10, rtol=0)
    assert (states(model, atoms * (1, 1, 1), atoms)[0] - reference).abs().max() < 1e-12


def test_spectrum_is_smooth_at_the_cutoff(model: PhononDosModel) -> None:
    atoms = bulk("NaCl", "rocksalt", a=2 * CUTOFF / np.sqrt(2))
    counts, spectra = [], []
    for scale in (1 - 1e-5, 1 + 1e-5):
        moved = atoms.copy()
        moved.set_cell(atoms.cell * scale, scale_atoms=True)
        counts.append(len(neighbor_list("i", moved, CUTOFF)))
        spectra.append(states(model, moved)[0])
    assert counts[0] > counts[1]
    assert (spectra[0] - spectra[1]).abs().max() < 1e-4


def test_mixed_species(model: PhononDosModel) -> None:
    graph = AtomGraph.from_atoms(bulk("NaCl", "rocksalt", a=5.6), CUTOFF, torch.float64)
    pure = model.composition(graph.numbers)
    torch.testing.assert_close(model(graph, pure)["states"], model(graph)["states"])
    mixed = pure.clone()
    mixed[0] = torch.tensor([0.5, 0, 0, 0.5, 0], dtype=torch.float64)  # Mg and Na by halves
    both = [model(graph, m)["states"] for m in (mixed, pure)]
    assert (both[0] - both[1]).abs().max() > 1e-4
    torch.testing.assert_close(both[0].sum(), both[1].sum())


def test_members_give_mean_and_spread(model: PhononDosModel, tmp_path) -> None:
    torch.manual_seed(1)
    ensemble = PhononDosModel(model.config.model_copy(update={"members": 3})).double().eval()
    graph = AtomGraph.from_atoms(crystal(), CUTOFF, torch.float64)
    result = ensemble(graph)
    torch.testing.assert_close(result["member_states"].mean(0), result["states"])
    torch.testing.assert_close(result["member_states"].std(0), result["spread"])
    path = tmp_path / "dos.clebsch"
    save_model(ensemble, path, {"note": "three"})
    again = load_dos_model(path)
    assert again.header["note"] == "three"
    assert again.header["kind"] == "phonon dos"
    assert torch.equal(again(graph)["states"], result["states"])
    assert isinstance(load(path), PhononDosModel)
    with pytest.raises(UserError, match="holds a model of kind 'phonon dos', not a potential"):
        load_model(path)


def test_joined_models_are_an_ensemble(model: PhononDosModel) -> None:
    torch.manual_seed(2)
    other = PhononDosModel(model.config).double().eval()
    joint = PhononDosModel.joined([model, other])
    graph = AtomGraph.from_atoms(crystal(), CUTOFF, torch.float64)
    mean = (model(graph)["states"] + other(graph)["states"]) / 2
    torch.testing.assert_close(joint(graph)["states"], mean)
    assert joint.config.members == 2
    assert not joint.training
    assert joint.members[0].embedding is not model.members[0].embedding
    unlike = PhononDosModel(model.config.model_copy(update={"cutoff": 3.0}))
    with pytest.raises(UserError, match="differ in cutoff"):
        PhononDosModel.joined([model, unlike])
    with pytest.raises(UserError, match="at least one"):
        PhononDosModel.joined([])


def test_unknown_elements_and_gradients(model: PhononDosModel) -> None:
    with pytest.raises(UserError, match="not K"):
        states(model, bulk("K"))
    graph = AtomGraph.from_atoms(Atoms("Mg", cell=[30] * 3, pbc=True), CUTOFF, torch.float64)
    model(graph)["states"].square().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    model.zero_grad()
