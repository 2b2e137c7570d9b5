"""One layer of a message-passing network: what the models are stacked of."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from clebsch.nn import Convolution, Gate, Linear, SymmetricContraction
from clebsch.o3 import Irreps
from clebsch.ops import Edges
from clebsch.ops.exchange import Exchange, first_rows


class LayerConfig(Protocol):
    """What a layer must know; fields of every model's configuration."""

    @property
    def species(self) -> list[str]: ...
    @property
    def n_basis(self) -> int: ...
    @property
    def radial_width(self) -> int: ...
    @property
    def radial_depth(self) -> int: ...
    @property
    def mean_neighbours(self) -> float: ...


class Interaction(nn.Module):
    """One layer: convolution over neighbours, plus the atom itself, then a gate.

    Batzner et al. (2022), figure 1c. The atom's own features pass a linear map with weights of
    its species.

    Shape: (n_src, irreps_in.dim), species (n_dst,) -> (n_dst, irreps_out.dim); with an exchange x
    holds the local atoms alone.
    """

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_edge: Irreps,
        irreps_out: Irreps,
        config: LayerConfig,
    ) -> None:
        super().__init__()
        self.gate = Gate(_reachable(irreps_in, irreps_edge, irreps_out))
        self.convolution = Convolution(
            irreps_in,
            irreps_edge,
            self.gate.irreps_in,
            radial=[config.n_basis] + [config.radial_width] * config.radial_depth,
            mean_neighbours=config.mean_neighbours,
        )
        self.self_connection = Linear(irreps_in, self.gate.irreps_in, n_species=len(config.species))
        self.irreps_out = self.gate.irreps_out

    def forward(
        self,
        x: Tensor,
        species: Tensor,
        harmonics: Tensor,
        basis: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        message = self.convolution(x, harmonics, basis, edges, exchange)
        return self.gate(message + self.self_connection(first_rows(x, edges.n_dst), species))


class ManyBodyInteraction(nn.Module):
    """One layer: convolution over neighbours, symmetric polynomials of it, plus the atom itself.

    Batatia et al., MACE (2022): polynomials of degree nu are of body order nu + 1, and they are
    all of the nonlinearity.

    Args:
        correlation: highest degree.

    Shape: (N, irreps_in.dim), species (N,) -> (N, irreps_out.dim).
    """

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_edge: Irreps,
        irreps_out: Irreps,
        config: LayerConfig,
        correlation: int,
    ) -> None:
        super().__init__()
        middle = _reachable(irreps_in, irreps_edge, irreps_out)
        n_species = len(config.species)
        self.convolution = Convolution(
            irreps_in,
            irreps_edge,
            middle,
            radial=[config.n_basis] + [config.radial_width] * config.radial_depth,
            mean_neighbours=config.mean_neighbours,
        )
        self.contraction = SymmetricContraction(
            middle, irreps_out, correlation=correlation, n_species=n_species
        )
        self.mix = Linear(irreps_out, irreps_out)
        self.self_connection = Linear(irreps_in, irreps_out, n_species=n_species)
        self.irreps_out = irreps_out

    def forward(
        self, x: Tensor, species: Tensor, harmonics: Tensor, basis: Tensor, edges: Edges
    ) -> Tensor:
        message = self.convolution(x, harmonics, basis, edges)
        many = self.mix(self.contraction(message, species))
        out: Tensor = (many + self.self_connection(x, species)) * 2**-0.5
        return out


def _reachable(irreps_in: Irreps, irreps_edge: Irreps, irreps_out: Irreps) -> Irreps:
    """Those of ``irreps_out`` that a product of features and harmonics can fill."""
    filled = {ir for _, a in irreps_in for _, b in irreps_edge for ir in a * b}
    return Irreps([(mul, ir) for mul, ir in irreps_out if ir in filled])
