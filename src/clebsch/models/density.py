"""Electron densities from an equivariant network: coefficients of atom-centred functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clebsch.density.basis import AuxiliaryBasis, Block
from clebsch.density.electron_density import ElectronDensity, periodic_cell
from clebsch.density.moments import electrons_per_function
from clebsch.models.density_configuration import DensityConfig
from clebsch.models.interaction import Interaction, ManyBodyInteraction
from clebsch.models.species import species_of, species_table
from clebsch.nn import BesselBasis, Linear, PolynomialCutoff
from clebsch.nn.constants import ExactConstants, on_cpu
from clebsch.o3 import Irrep, Irreps, spherical_harmonics
from clebsch.ops import Edges
from clebsch.structures.graph import AtomGraph

if TYPE_CHECKING:
    from ase import Atoms


class DensityModel(ExactConstants):
    """Coefficients of the electron density on every atom, with the exact number of electrons.

    An atom's coefficients are its species' start (the free atom, or the mean) plus equivariant
    features, each in its natural unit: along the directions in which the functions of one degree
    on one atom are orthonormal (`directions`). What then lacks of the neutral number of electrons
    is shared out among all s functions, as little as possible in the overlap metric.

    Rackers et al., "A recipe for cracking the quantum scaling limit with machine learned electron
    densities", Mach. Learn.: Sci. Technol. 4, 015027 (2023), for the idea.

    Args:
        config: see ``DensityConfig``.

    Attributes:
        basis: the functions.
        header: what is known about the model; it is written into the model file.
    """

    _species_index: Tensor

    def __init__(self, config: DensityConfig) -> None:
        super().__init__()
        self.config = config
        self.header: dict[str, Any] = {}
        self.basis: AuxiliaryBasis = config.auxiliary_basis
        for name, value in self._constants().items():
            self.register_constant(name, value)
        lmax, channels = config.lmax, config.channels
        self.irreps_edge = Irreps.spherical_harmonics(lmax)
        hidden = Irreps([(channels, Irrep(l, (-1) ** l)) for l in range(lmax + 1)])
        self.radial = BesselBasis(config.n_basis, PolynomialCutoff(config.cutoff_power))
        self.embedding = nn.Parameter(torch.randn(len(config.species), channels))
        self.irreps_out = self.basis.common_irreps()
        layers: list[nn.Module] = []
        readouts = []
        irreps = Irreps([(channels, Irrep(0, 1))])
        for _ in range(config.layers):
            layer = (
                ManyBodyInteraction(irreps, self.irreps_edge, hidden, config, config.correlation)
                if config.correlation
                else Interaction(irreps, self.irreps_edge, hidden, config)
            )
            irreps = layer.irreps_out
            layers.append(layer)
            readouts.append(
                Linear(
                    irreps,
                    self.irreps_out,
                    n_species=len(config.species),
                    scale=config.layers**-0.5,
                )
            )
        self.layers = nn.ModuleList(layers)
        self.readouts = nn.ModuleList(readouts)

    @on_cpu
    def _constants(self) -> dict[str, Tensor]:
        """Tables of the species: their index, maps to the basis, where training starts."""
        config = self.config
        found = {"_species_index": species_table(config.numbers)}
        for z, name in zip(config.numbers, config.species, strict=True):
            for block in self.basis.blocks(z):
                A = directions(block) * np.array(config.scales[name][block.l])
                found[f"_to_basis_{z}_{block.l}"] = torch.from_numpy(A)
            s = self.basis.blocks(z)[0]
            found[f"_start_{z}"] = torch.tensor(config.start[name], dtype=torch.float64)
            per = electrons_per_function(self.basis, torch.tensor([z]), torch.zeros(1).double())
            q = per[s.inside]
            D = torch.from_numpy(directions(s))
            found[f"_electrons_{z}"] = q
            found[f"_share_{z}"] = D @ (D.T @ q)
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.embedding.dtype

    @property
    def cutoff(self) -> float:
        """Largest distance of neighbours, A."""
        return self.config.cutoff

    @property
    def species(self) -> list[str]:
        """Chemical symbols that the model knows."""
        return list(self.config.species)

    def forward(self, graph: AtomGraph) -> dict[str, Tensor]:
        """Predict a batch of neutral structures, molecules or crystals.

        Args:
            graph: structures with neighbours within ``cutoff``.

        Returns:
            ``coefficients`` (K,), float64, atomic units: all atoms one after the other, each in
            the layout of ``basis.irreps(Z)``; ``surplus`` (G,), the electrons per atom that the
            network alone had too many.

        Raises:
            UserError: an element that the model does not know.
        """
        features = self.features(graph).double()
        z = graph.numbers.cpu()
        coefficients = features.new_zeros(int(self.basis.offsets(z)[-1]))
        surplus = (
            -torch.zeros_like(features[:0, 0])
            .new_zeros(graph.n_graphs)
            .index_add(0, graph.batch, graph.numbers.to(features.dtype))
        )
        room = torch.zeros_like(surplus)
        index = {
            element: (at.to(features.device), places.to(features.device))
            for element, (at, places) in self.basis.index(z).items()
        }
        for element, (atoms, places) in index.items():
            rows = features[atoms]
            parts = []
            for block in self.basis.blocks(element):
                parts.append(self._block(rows, element, block))
            c = torch.cat(parts, dim=1)
            coefficients = coefficients.index_put((places,), c)
            q = self._of(element, "electrons")
            s = c[:, : len(q)]
            surplus = surplus.index_add(0, graph.batch[atoms], s @ q)
            one = (self._of(element, "share") @ q).expand(len(atoms))
            room = room.index_add(0, graph.batch[atoms], one)
        per_share = surplus / room.where(room > 0, 1.0)
        for element, (atoms, places) in index.items():
            share = self._of(element, "share")
            change = -per_share[graph.batch[atoms]][:, None] * share
            coefficients = coefficients.index_put(
                (places[:, : len(share)],), change, accumulate=True
            )
        size = torch.bincount(graph.batch, minlength=graph.n_graphs)
        return {"coefficients": coefficients, "surplus": surplus / size.clamp_min(1)}

    def features(self, graph: AtomGraph) -> Tensor:
        """Equivariant outputs before their units, (N, irreps_out.dim)."""
        vectors = graph.vectors()
        edges = Edges(graph.src, graph.dst, graph.n_atoms)
        species = species_of(graph.numbers, self._species_index, self.species)
        basis = self.radial(torch.linalg.vector_norm(vectors, dim=-1) / self.cutoff)
        harmonics = spherical_harmonics(self.irreps_edge, vectors)
        x = self.embedding[species]
        out = x.new_zeros(graph.n_atoms, self.irreps_out.dim)
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            x = layer(x, species, harmonics, basis, edges)
            out = out + readout(x, species)
        return out

    def _block(self, rows: Tensor, element: int, block: Block) -> Tensor:
        """Coefficients of one degree of atoms of one element, (n, (2l+1) k)."""
        k = len(block.exponents)
        degrees = [ir.l for _, ir in self.irreps_out]
        place = self.irreps_out.slices()[degrees.index(block.l)]
        mine = rows[:, place].unflatten(1, (2 * block.l + 1, -1))[..., :k]
        c = mine @ self._buffers[f"_to_basis_{element}_{block.l}"].T  # type: ignore[union-attr]
        if block.l == 0:
            c = c + self._of(element, "start")
        return c.flatten(1)

    def _of(self, element: int, what: str) -> Tensor:
        constant = self._buffers[f"_{what}_{element}"]
        assert constant is not None
        return constant


def directions(block: Block) -> NDArray[np.float64]:
    """Orthonormal combinations of the functions of one degree on one atom, (n, n).

    Columns are coefficients, in the overlap metric of the n functions; the first has the largest
    overlap with all of them, the last is nearly a linear dependence.
    """
    overlap, vectors = np.linalg.eigh(on_site_overlap(block))
    return np.ascontiguousarray((vectors / np.sqrt(overlap))[:, ::-1])


def on_site_overlap(block: Block) -> NDArray[np.float64]:
    """Integral of chi_k chi_k' for functions of one degree and component on one atom, (n, n)."""
    a = block.exponents
    mean = (a[:, None] + a) / 2
    return np.asarray((np.sqrt(a[:, None] * a) / mean) ** (block.l + 1.5))


def predict_density(model: DensityModel, atoms: Atoms) -> ElectronDensity:
    """The density of one neutral molecule or crystal.

    Raises:
        UserError: an element that the model does not know.
        ValueError: periodic along one or two cell vectors only.
    """
    cell = periodic_cell(atoms)
    graph = AtomGraph.from_atoms(atoms, model.cutoff, model.dtype).to(model.embedding.device)
    with torch.no_grad():
        coefficients = model(graph)["coefficients"]
    positions = torch.from_numpy(np.array(atoms.positions)).to(coefficients)
    return ElectronDensity(
        model.basis,
        graph.numbers,
        positions,
        coefficients,
        None if cell is None else cell.to(positions),
    )
