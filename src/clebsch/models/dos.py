"""The phonon density of states of a crystal from an equivariant network, atom by atom."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_masses, covalent_radii
from torch import Tensor, nn

from clebsch.errors import UserError
from clebsch.models.dos_configuration import DosConfig
from clebsch.models.electronegativity import PAULING
from clebsch.models.species import species_of, species_table
from clebsch.nn import BesselBasis, Convolution, Gate, Linear, PolynomialCutoff
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import Irrep, Irreps, spherical_harmonics
from clebsch.ops import Edges
from clebsch.structures.graph import AtomGraph

MODES_PER_ATOM = 3.0


class PhononDosModel(ExactConstants):
    """Vibrational states of every atom in bins of the frequency.

    Each atom has three states, shared among the bins by a softmax: the spectrum is never
    negative and holds 3N states by construction, and what each atom takes part in is the partial
    density of states, learnt from sums over whole crystals only. Chen et al., Adv. Sci. 8,
    2004214 (2021), with the states of an atom normalised and the species described by mass,
    size and electronegativity besides a vector that is learnt.

    Species may be mixed: an atom can be any mean of them (the virtual crystal), because
    descriptors and learnt vectors are mixed before anything else is computed.

    Args:
        config: see ``DosConfig``.

    Attributes:
        header: what is known about the model; it is written into the model file.
    """

    _species_index: Tensor
    _descriptors: Tensor

    def __init__(self, config: DosConfig) -> None:
        super().__init__()
        self.config = config
        self.header: dict[str, Any] = {}
        self.register_constant("_species_index", species_table(config.numbers))
        self.register_constant("_descriptors", torch.from_numpy(descriptors(config.numbers)))
        self.members = nn.ModuleList(DosNetwork(config) for _ in range(config.members))

    @classmethod
    def joined(cls, models: Sequence[PhononDosModel]) -> PhononDosModel:
        """One model whose members are the networks of all of these.

        Raises:
            UserError: no model, or two that differ in more than the number of members.
        """
        if not models:
            raise UserError("an ensemble needs at least one model")
        first = models[0].config
        for model in models[1:]:
            if model.config.model_copy(update={"members": first.members}) != first:
                fields = first.model_dump(exclude={"members"})
                other = model.config.model_dump(exclude={"members"})
                names = ", ".join(key for key in fields if fields[key] != other[key])
                raise UserError(f"models of one ensemble must be alike; these differ in {names}")
        networks = [net for model in models for net in model.members]
        joint = cls(first.model_copy(update={"members": len(networks)}))
        joint.members = nn.ModuleList(copy.deepcopy(networks))
        joint.header = {**models[0].header, "joined": len(models)}
        return joint.train(models[0].training)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        first = self.members[0]
        assert isinstance(first, DosNetwork)
        return first.embedding.dtype

    @property
    def cutoff(self) -> float:
        """Largest distance of neighbours, A."""
        return self.config.cutoff

    @property
    def species(self) -> list[str]:
        """Chemical symbols that the model knows."""
        return list(self.config.species)

    def composition(self, numbers: Tensor) -> Tensor:
        """One species per atom: shares (N, species) from atomic numbers (N,).

        Raises:
            UserError: an element that the model does not know.
        """
        species = species_of(numbers, self._species_index, self.species)
        return nn.functional.one_hot(species, len(self.species)).to(self.dtype)

    def forward(self, graph: AtomGraph, composition: Tensor | None = None) -> dict[str, Tensor]:
        """Predict a batch.

        Args:
            graph: structures with neighbours within ``cutoff``.
            composition: (N, species) shares of the species of every atom, one in all; by default
                the species of ``graph.numbers``.

        Returns:
            ``states`` (G, bins + 1) of each cell and ``atomic_states`` (N, bins + 1), the last
            bin being what lies beyond the grid; each atom has 3 in all. ``spread`` (G, bins + 1)
            and ``member_states`` (members, G, bins + 1) where there is more than one network.

        Raises:
            UserError: an element that the model does not know.
        """
        if composition is None:
            composition = self.composition(graph.numbers)
        composition = composition.to(self.dtype)
        described = composition @ self._descriptors.to(composition)
        edges = Edges(graph.src, graph.dst, graph.n_atoms)
        vectors = graph.vectors()
        members = torch.stack([net(composition, described, vectors, edges) for net in self.members])
        atomic = MODES_PER_ATOM * members.softmax(-1)
        each = atomic.new_zeros(len(members), graph.n_graphs, atomic.shape[-1])
        each = each.index_add(1, graph.batch, atomic)
        result = {"states": each.mean(0), "atomic_states": atomic.mean(0)}
        if len(members) > 1:
            result["member_states"] = each
            result["spread"] = each.std(0)
        return result


class DosNetwork(nn.Module):
    """One network: species and geometry to a number for every atom and bin."""

    def __init__(self, config: DosConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.irreps_edge = Irreps.spherical_harmonics(config.lmax)
        hidden = Irreps([(channels, Irrep(l, (-1) ** l)) for l in range(config.lmax + 1)])
        scalars = Irreps([(channels, Irrep(0, 1))])
        self.basis = BesselBasis(config.n_basis, PolynomialCutoff(config.cutoff_power))
        self.embedding = nn.Parameter(torch.randn(len(config.species), channels))
        self.description = nn.Parameter(torch.randn(N_DESCRIPTORS, channels))
        layers: list[nn.Module] = []
        irreps = scalars
        for number in range(config.layers):
            last = number == config.layers - 1
            layer = DosLayer(irreps, self.irreps_edge, scalars if last else hidden, config)
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = nn.ModuleList(layers)
        self.readout = nn.Sequential(
            nn.Linear(channels, config.readout_width),
            nn.SiLU(),
            nn.Linear(config.readout_width, len(config.grid) + 1),
        )

    def forward(
        self, composition: Tensor, described: Tensor, vectors: Tensor, edges: Edges
    ) -> Tensor:
        """Logits (N, bins + 1)."""
        logits: Tensor = self.readout(self.features(composition, described, vectors, edges)[-1])
        return logits

    def features(
        self, composition: Tensor, described: Tensor, vectors: Tensor, edges: Edges
    ) -> list[Tensor]:
        """Features of every layer, the input first; the irreps are those of the layers."""
        r = torch.linalg.vector_norm(vectors, dim=-1)
        basis = self.basis(r / self.config.cutoff)
        harmonics = spherical_harmonics(self.irreps_edge, vectors)
        x = (composition @ self.embedding + described @ self.description) * 2**-0.5
        found = [x]
        for layer in self.layers:
            x = layer(x, harmonics, basis, edges)
            found.append(x)
        return found


class DosLayer(nn.Module):
    """Convolution over neighbours, plus the atom itself, then a gate.

    Shape: (N, irreps_in.dim) -> (N, irreps_out.dim).
    """

    def __init__(
        self, irreps_in: Irreps, irreps_edge: Irreps, irreps_out: Irreps, config: DosConfig
    ) -> None:
        super().__init__()
        filled = {ir for _, a in irreps_in for _, b in irreps_edge for ir in a * b}
        self.gate = Gate(Irreps([(mul, ir) for mul, ir in irreps_out if ir in filled]))
        self.convolution = Convolution(
            irreps_in,
            irreps_edge,
            self.gate.irreps_in,
            radial=[config.n_basis] + [config.radial_width] * config.radial_depth,
            mean_neighbours=config.mean_neighbours,
        )
        self.self_connection = Linear(irreps_in, self.gate.irreps_in)
        self.irreps_out = self.gate.irreps_out

    def forward(self, x: Tensor, harmonics: Tensor, basis: Tensor, edges: Edges) -> Tensor:
        message = self.convolution(x, harmonics, basis, edges)
        return self.gate(message + self.self_connection(x))


def descriptors(numbers: list[int]) -> np.ndarray:
    """What is known of elements before any training, (n, 5), mean 0 and variance 1 over 1..94.

    Logarithm of the mass, its inverse root (frequencies go with it), covalent radius, Pauling's
    electronegativity (1.3 where there is none), row of the periodic table.
    """
    z = np.arange(1, 95)
    mass = atomic_masses[z]
    row = np.searchsorted([2, 10, 18, 36, 54, 86], z, side="left") + 1.0
    table = np.stack([np.log(mass), mass**-0.5, covalent_radii[z], PAULING[z], row], axis=1)
    table = (table - table.mean(0)) / table.std(0)
    # elements beyond Pu take the last row that is known
    return np.asarray(table[np.clip(np.asarray(numbers), 1, 94) - 1] * N_DESCRIPTORS**-0.5)


N_DESCRIPTORS = 5
