"""One domain with ghosts gives what the periodic structure gives; no LAMMPS needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clebsch.errors import UserError
from clebsch.lammps.engine import Engine
from clebsch.models import load_model
from clebsch.ops.exchange import GhostMap, with_ghosts
from clebsch.structures.graph import AtomGraph
from lammps_structures import structures


@pytest.mark.parametrize("name", ["crystal", "primitive cell", "slab", "isolated atom"])
@pytest.mark.parametrize("frozen", [False, True])
def test_every_neighbour_as_a_ghost(model_file: Path, name: str, frozen: bool) -> None:
    """Each edge's source becomes a ghost of its own: all features travel."""
    model = load_model(model_file)
    if frozen:
        model = model.freeze(1e-3)
    atoms = structures()[name]
    graph = AtomGraph.from_atoms(atoms, model.cutoff, torch.float64)
    expected = model(graph, forces=True)
    order = torch.argsort(graph.dst, stable=True)
    dst, owners, vectors = graph.dst[order], graph.src[order], graph.vectors()[order]
    n, ghosts = len(atoms), len(dst)
    engine = Engine(model, ["Si", "O"])
    kind = np.array([["Si", "O"].index(symbol) for symbol in atoms.symbols])
    energies, slopes = engine.compute(
        n_local=n,
        species=np.concatenate([kind, kind[owners.numpy()]]),
        dst=dst.numpy(),
        src=np.arange(n, n + ghosts),
        vectors=vectors.numpy(),
        exchange=GhostMap(owners, n),
    )
    np.testing.assert_allclose(energies, expected["atomic_energy"].detach(), atol=1e-11)
    forces = np.zeros((n, 3))
    np.add.at(forces, dst.numpy(), slopes)
    np.add.at(forces, owners.numpy(), -slopes)
    np.testing.assert_allclose(forces, expected["forces"].detach(), atol=1e-10)


def test_an_exchange_is_differentiable_twice() -> None:
    """Forward and reverse are each other's adjoint."""
    exchange = GhostMap(torch.tensor([2, 0, 2, 1]), 3)
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)

    def function(rows: torch.Tensor) -> torch.Tensor:
        return with_ghosts(rows, exchange).sin().pow(2)

    assert torch.autograd.gradcheck(function, (rows,))
    assert torch.autograd.gradgradcheck(function, (rows,))


def test_unknown_element(model_file: Path) -> None:
    with pytest.raises(UserError, match=r"knows O, Si but not Xe"):
        Engine(load_model(model_file), ["Si", "Xe"])
