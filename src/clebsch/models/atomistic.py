"""What every energy model has: species, cutoffs, and the way from a graph to forces."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clebsch.models.configuration import PotentialConfig
from clebsch.models.species import species_of, species_table
from clebsch.nn.constants import ExactConstants
from clebsch.ops import Edges
from clebsch.ops.exchange import Exchange
from clebsch.structures.graph import AtomGraph

if TYPE_CHECKING:
    from clebsch.simulate.calculator import Calculator


class AtomisticModel(ExactConstants):
    """Energy, forces and stress from energies of atoms that depend on their edges.

    Args:
        config: see ``PotentialConfig``.

    Attributes:
        header: what is known about the model (versions, training data, metrics, domain); it is
            written into the model file.
    """

    _species_index: Tensor
    _cutoffs: Tensor
    _scales: Tensor
    _shifts: Tensor

    def __init__(self, config: PotentialConfig) -> None:
        super().__init__()
        self.config = config
        self.header: dict[str, Any] = {}
        self.register_constant("_species_index", species_table(config.numbers))
        exact: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
        cutoffs = torch.full((len(config.species),) * 2, config.cutoff, **exact)
        for pair, cutoff in config.pair_cutoffs.items():
            a, b = (config.species.index(s) for s in pair.split("-"))
            cutoffs[a, b] = cutoffs[b, a] = cutoff
        self.register_constant("_cutoffs", cutoffs)
        ones, zeros = [1.0] * len(config.species), [0.0] * len(config.species)
        self.register_constant("_scales", torch.tensor(config.scales or ones, **exact))
        self.register_constant("_shifts", torch.tensor(config.shifts or zeros, **exact))

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""

    @abstractmethod
    def atomic_energies(
        self,
        vectors: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Energy of each atom without its species' shift; differentiable in ``vectors``.

        Args:
            vectors: (E, 3) from each edge's destination to its source, A.
            species: (n_src,) species index of all atoms, those that receive first.
            edges: sources and destinations.
            exchange: how atoms beyond the first ``edges.n_dst`` get their features, where these
                live in other processes or are images; without, all atoms receive.

        Returns:
            (edges.n_dst,) in eV.
        """

    @abstractmethod
    def energies_and_slopes(
        self,
        vectors: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``atomic_energies`` (n_dst,), and their sum by each edge's vector (E, 3), eV/A.

        With an exchange the sum is over the atoms of all processes.
        """

    @property
    def cutoff(self) -> float:
        """Largest distance of neighbours, A."""
        return self.config.cutoff

    @property
    def species(self) -> list[str]:
        """Chemical symbols that the model knows."""
        return list(self.config.species)

    def species_of(self, numbers: Tensor) -> Tensor:
        """Species index (N,) of atomic numbers (N,).

        Raises:
            UserError: an element that the model does not know.
        """
        return species_of(numbers, self._species_index, self.species)

    def forward(
        self, graph: AtomGraph, forces: bool = True, stress: bool = False
    ) -> dict[str, Tensor]:
        """Predict a batch.

        In ``train()`` mode forces and stress keep their graph, for a loss on them.

        Args:
            graph: structures with neighbours within at least ``cutoff``.
            forces: whether to compute forces.
            stress: whether to compute the stress.

        Returns:
            ``energy`` (G,) and ``atomic_energy`` (N,) in eV and float64 (so that large
            energies of atoms cost no digits), ``forces`` (N, 3) in eV/A, ``stress`` (G, 3, 3)
            in eV/A^3 with tension positive, zero where the cell has no volume.

        Raises:
            UserError: an element that the model does not know.
        """
        species = self.species_of(graph.numbers)
        edges = Edges(graph.src, graph.dst, graph.n_atoms)
        vectors, slopes = graph.vectors(), None
        if forces or stress:
            vectors = vectors.detach()
            energies, slopes = self.energies_and_slopes(vectors, species, edges)
        else:
            energies = self.atomic_energies(vectors, species, edges)
        atomic = energies.double() + self._shifts[species]
        if not self.training and slopes is not None:
            atomic = atomic.detach()
        result = {
            "energy": atomic.new_zeros(graph.n_graphs).index_add(0, graph.batch, atomic),
            "atomic_energy": atomic,
        }
        if slopes is not None and forces:
            zero = slopes.new_zeros(graph.n_atoms, 3)
            result["forces"] = zero.index_add(0, graph.dst, slopes).index_add(0, graph.src, -slopes)
        if slopes is not None and stress:
            virial = vectors[:, :, None] * slopes[:, None, :]
            virial = (virial + virial.transpose(1, 2)) / 2
            total = virial.new_zeros(graph.n_graphs, 3, 3).index_add(
                0, graph.batch[graph.dst], virial
            )
            volume = torch.linalg.det(graph.cell).abs().to(total.dtype)[:, None, None]
            flat = volume < 1e-8
            result["stress"] = torch.where(flat, 0.0, total / volume.where(~flat, 1.0))
        return result

    def calculator(self, **options: Any) -> Calculator:
        """The model as an ASE calculator; options of ``simulate.Calculator``."""
        from clebsch.simulate.calculator import Calculator

        return Calculator(self, **options)
