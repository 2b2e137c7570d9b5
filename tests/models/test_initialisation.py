"""A new potential at unit variance, on a molecule and on a crystal."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from clebsch.models import Potential, PotentialConfig, set_unit_variance
from clebsch.structures.graph import AtomGraph, collate


def structures(kind):
    atoms = molecule("CH3CH2OH") if kind == "molecule" else bulk("Si", cubic=True).repeat(2)
    frames = []
    for seed in range(4):
        frames.append(atoms.copy())
        frames[-1].rattle(0.05, seed=seed)
    return frames


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("kind", ["molecule", "crystal"])
def test_messages_have_unit_variance(kind, parity):
    frames = structures(kind)
    species = sorted(set(frames[0].get_chemical_symbols()))
    config = PotentialConfig(species=species, size="medium", parity=parity)
    model = Potential(config)
    graph = collate([AtomGraph.from_atoms(a, 5.0) for a in frames])
    set_unit_variance(model, graph)

    seen = {}
    for number, layer in enumerate(model.layers):
        layer.convolution.register_forward_hook(
            lambda module, inputs, output, number=number: seen.update({number: output})
        )
    model.readout.register_forward_hook(lambda m, i, o: seen.update(readout=o))
    model(graph, forces=False)
    for number, layer in enumerate(model.layers):
        for (_, ir), place in zip(layer.gate.irreps_in, layer.gate.irreps_in.slices(), strict=True):
            if ir.l == 0:
                continue  # scalars and gates are scaled as one kind, checked below
            assert seen[number][:, place].square().mean().item() == pytest.approx(1, abs=1e-3), ir
        scalars = [
            s
            for (_, ir), s in zip(layer.gate.irreps_in, layer.gate.irreps_in.slices(), strict=True)
            if str(ir) == "0e"
        ]
        joined = torch.cat([seen[number][:, s] for s in scalars], dim=1)
        assert joined.square().mean().item() == pytest.approx(1, abs=1e-3)
    assert seen["readout"].square().mean().item() == pytest.approx(1, abs=1e-3)


def test_isolated_atoms_change_nothing():
    model = Potential(PotentialConfig(species=["H"]))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    set_unit_variance(model, AtomGraph.from_atoms(Atoms("H"), 5.0))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
