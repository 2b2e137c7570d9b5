"""Analytic potentials behind the model's interface, where exactness helps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch import Tensor

from clebsch.structures.graph import AtomGraph


class PairPotential(torch.nn.Module):
    """Lennard-Jones with ASE's smooth cut-off (``LennardJones(smooth=True)``)."""

    def __init__(
        self,
        species: tuple[str, ...] = ("Ar",),
        epsilon: float = 0.0104,
        sigma: float = 3.4,
        cutoff: float = 6.0,
        onset: float = 5.0,
    ):
        super().__init__()
        self.species = list(species)
        self.cutoff, self.onset, self.sigma = cutoff, onset, sigma
        self.header: dict[str, Any] = {}
        self.register_buffer("epsilon", torch.tensor(epsilon, dtype=torch.float64))
        self.edges_seen = 0

    def pair_energy(self, r: Tensor) -> Tensor:
        c6 = (self.sigma / r) ** 6
        rc2, ro2, r2 = self.cutoff**2, self.onset**2, r * r
        smooth = (rc2 - r2) ** 2 * (rc2 + 2 * r2 - 3 * ro2) / (rc2 - ro2) ** 3
        smooth = torch.where(r < self.onset, 1.0, torch.where(r > self.cutoff, 0.0, smooth))
        return 4 * self.epsilon * (c6**2 - c6) * smooth

    def forward(
        self, graph: AtomGraph, forces: bool = True, stress: bool = False
    ) -> dict[str, Tensor]:
        self.edges_seen += graph.n_edges
        vectors = graph.vectors().detach().requires_grad_()
        energies = 0.5 * self.pair_energy(torch.linalg.vector_norm(vectors, dim=-1))
        (pull,) = torch.autograd.grad(energies.sum(), vectors)
        zero = torch.zeros_like(graph.positions)
        atomic = zero[:, 0].index_add(0, graph.dst, energies.detach())
        result = {
            "atomic_energy": atomic,
            "energy": atomic.new_zeros(graph.n_graphs).index_add(0, graph.batch, atomic),
            "forces": zero.index_add(0, graph.dst, pull).index_add(0, graph.src, -pull),
        }
        if stress:
            virial = vectors.detach()[:, :, None] * pull[:, None, :]
            total = virial.new_zeros(graph.n_graphs, 3, 3)
            total = total.index_add(0, graph.batch[graph.dst], virial)
            volume = torch.linalg.det(graph.cell).abs()[:, None, None]
            result["stress"] = torch.where(volume > 0, total / volume.clamp_min(1e-8), 0.0)
        return result


class Springs(PairPotential):
    """Harmonic bonds, k = 2 eV/Å^2 at 1.5 Å, between all atoms within 10 Å."""

    def __init__(self, species: tuple[str, ...] = ("C",)):
        super().__init__(species, cutoff=10.0)

    def pair_energy(self, r: Tensor) -> Tensor:
        return self.epsilon / self.epsilon * (r - 1.5) ** 2


@pytest.fixture
def argon() -> PairPotential:
    return PairPotential()


@pytest.fixture
def springs() -> Springs:
    return Springs()


@pytest.fixture
def pair_potential() -> type[PairPotential]:
    return PairPotential


@pytest.fixture
def crystal() -> Atoms:
    """8 argon atoms, fcc, rattled by 0.05 Å."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    return atoms
