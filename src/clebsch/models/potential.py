"""The interatomic potential: NequIP and, with ``lmax=0``, its invariant twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clebsch.models.atomistic import AtomisticModel
from clebsch.models.configuration import PotentialConfig
from clebsch.models.interaction import Interaction
from clebsch.models.zbl import ZBL
from clebsch.nn import BesselBasis, Linear, PolynomialCutoff
from clebsch.o3 import Irrep, Irreps, spherical_harmonics, spherical_harmonics_jacobian
from clebsch.ops import Edges
from clebsch.ops.exchange import Exchange, first_rows
from clebsch.ops.nodewise import first_order_only

if TYPE_CHECKING:
    from ase import Atoms

    from clebsch.models.frozen import FrozenPotential
    from clebsch.structures import Dataset


class Potential(AtomisticModel):
    """Energy, forces and stress of atoms from an equivariant message-passing network.

    The energy is a sum over atoms and depends on differences of positions only, so it is
    invariant to translation, rotation, inversion and permutation, and extensive. Forces and
    stress are its exact derivatives.

    Args:
        config: see ``PotentialConfig``.

    Attributes:
        header: what is known about the model (versions, training data, metrics, domain); it is
            written into the model file.
    """

    def __init__(self, config: PotentialConfig) -> None:
        super().__init__(config)
        lmax, channels = config.lmax, config.channels
        self.irreps_edge = Irreps.spherical_harmonics(lmax)
        hidden = Irreps(
            [
                (channels, Irrep(l, p))
                for l in range(lmax + 1)
                for p in ((1, -1) if config.parity else ((-1) ** l,))
            ]
        )
        scalars = Irreps([(channels, Irrep(0, 1))])
        self.basis = BesselBasis(config.n_basis, PolynomialCutoff(config.cutoff_power))
        self.embedding = nn.Parameter(torch.randn(len(config.species), channels))
        layers: list[Interaction] = []
        irreps = scalars
        for number in range(config.layers):
            last = number == config.layers - 1
            layer = Interaction(irreps, self.irreps_edge, scalars if last else hidden, config)
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = nn.ModuleList(layers)
        middle = Irreps([(config.readout_width, Irrep(0, 1))])
        self.readout = nn.Sequential(Linear(irreps, middle), Linear(middle, "1x0e"))
        self.zbl = ZBL(config.numbers) if config.zbl else None

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.embedding.dtype

    def atomic_energies(
        self,
        vectors: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Energy of each atom without its species' shift; differentiable in ``vectors``.

        See ``AtomisticModel.atomic_energies``.
        """
        ends = (species[edges.dst], species[edges.src])
        r = torch.linalg.vector_norm(vectors, dim=-1)
        basis = self.basis(r / self._cutoffs.to(r.dtype)[ends])
        harmonics = spherical_harmonics(
            self.irreps_edge, vectors, normalize=True, normalization="component"
        )
        energy = self._network(basis, harmonics, species, edges, exchange)
        if self.zbl is not None:
            energy = energy.index_add(0, edges.dst, self.zbl(r, *ends))
        return energy

    def energies_and_slopes(
        self,
        vectors: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Atomic energies (n_dst,) and dE/d(vector) of each edge (E, 3); see ``atomic_energies``.

        Positions are no unknowns of a training, so functions of the edges' geometry enter with
        derivatives known beforehand, and only the network is differentiated: in ``train()`` mode
        the slopes keep a graph to the weights, none to the vectors.
        """
        with torch.no_grad():
            ends = (species[edges.dst], species[edges.src])
            r = torch.linalg.vector_norm(vectors, dim=-1)
            positive = r > 0
            direction = vectors * torch.where(positive, 1 / r.where(positive, 1.0), 0.0)[:, None]
            cutoff = self._cutoffs.to(r.dtype)[ends]
            basis, basis_slope = self.basis.value_and_slope(r / cutoff)
            basis_slope = basis_slope / cutoff[:, None]
            harmonics, harmonics_slope = spherical_harmonics_jacobian(
                self.config.lmax, vectors, "component"
            )
        with torch.enable_grad():
            basis, harmonics = basis.requires_grad_(), harmonics.requires_grad_()
            if self.training:
                first_order_only(basis, harmonics)
            energy = self._network(basis, harmonics, species, edges, exchange)
            by_basis, by_harmonics = torch.autograd.grad(
                energy.sum(), (basis, harmonics), create_graph=self.training
            )
        along = (by_basis * basis_slope).sum(-1)
        if self.zbl is not None:
            with torch.enable_grad():
                pair = self.zbl(r.requires_grad_(), *ends)
                along = along + torch.autograd.grad(pair.sum(), r)[0]
            energy = energy.index_add(0, edges.dst, pair.detach())
        across = torch.bmm(by_harmonics.unsqueeze(1), harmonics_slope).squeeze(1)
        return energy, along[:, None] * direction + across

    def _network(
        self,
        basis: Tensor,
        harmonics: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None,
    ) -> Tensor:
        x = self.embedding[species]
        species = first_rows(species, edges.n_dst)
        for number, layer in enumerate(self.layers):
            # The first features are functions of the species: those of ghosts are known.
            x = layer(x, species, harmonics, basis, edges, exchange if number else None)
        energy: Tensor = self.readout(x).squeeze(-1)
        return energy * self._scales.to(energy.dtype)[species]

    def freeze(
        self,
        tolerance: float = 1e-6,
        structures: Dataset | Sequence[Atoms] | None = None,
    ) -> FrozenPotential:
        """The potential for inference: splines in the place of the radial networks.

        Constants are folded and weights per edge never exist in memory. The splines get as many
        intervals as the error asks for, measured in float64 on structures. Energy is conserved
        as before: forces are the derivatives of the splined energy.

        Args:
            tolerance: largest error of the energy, eV/atom; forces may be ten times as many
                eV/A off.
            structures: what the error is measured on; without them, pairs at all distances and
                random structures of the model's species, where errors count relative to forces
                above 10 eV/A.

        Returns:
            The frozen potential; the measured errors are in its ``facts`` and its header.

        Raises:
            UserError: the tolerance can not be reached, with the error that was.
        """
        from clebsch.models.freezing import freeze

        return freeze(self, tolerance, structures)
