"""The equivariant convolution over edges."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from torch import Tensor, nn

from clebsch.nn.linear import Linear
from clebsch.nn.mlp import MLP
from clebsch.o3 import Irreps
from clebsch.ops import Edges, Specification, convolve
from clebsch.ops.exchange import Exchange, with_ghosts


class Convolution(nn.Module):
    """Neighbours' features times spherical harmonics, weighted by functions of the distance.

    Linear, then sum over the edges into each atom of W(r) (x (x) Y), then Linear. Batzner et
    al., E(3)-equivariant graph neural networks (2022), eqs. 8 and 9.

    Args:
        irreps_in: irreps of the node features.
        irreps_edge: irreps of the edge's second factor, usually spherical harmonics.
        irreps_out: irreps of the result.
        radial: widths of the radial network but its last: (n_basis, hidden, ...).
        mean_neighbours: typical number of edges into an atom; the sum is divided by its root.

    Shape: (n_src, irreps_in.dim), (E, irreps_edge.dim), (E, n_basis) -> (n_dst, irreps_out.dim);
    with an exchange x holds the local atoms alone.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str,
        *,
        radial: Sequence[int],
        mean_neighbours: float,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.specification = Specification.convolution(irreps_in, irreps_edge, irreps_out)
        self.mean_neighbours = mean_neighbours
        self.mix_in = Linear(irreps_in, irreps_in)
        self.radial = MLP([*radial, self.specification.weight_numel])
        scale = 1 / sqrt(max(mean_neighbours, 1e-12))
        self.mix_out = Linear(self.specification.z, irreps_out, scale=scale)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        basis: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        features = with_ghosts(self.mix_in(x), exchange)
        message = convolve(self.specification, features, y, self.radial(basis), edges)
        return self.mix_out(message)
