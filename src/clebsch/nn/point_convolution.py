"""Convolution of points that carry attributes."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features, named
from clebsch.nn.constants import ExactConstants, on_cpu
from clebsch.nn.mlp import MLP
from clebsch.nn.tensor_product import FullyConnectedTensorProduct
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import Edges, Specification, convolve
from clebsch.ops.exchange import Exchange, first_rows, with_ghosts


class PointConvolution(ExactConstants):
    """Neighbours' features times harmonics, and every mixing steered by the points' attributes.

    As ``Convolution``, but what mixes channels is a tensor product with the attributes a of the
    point (its species as one-hot scalars, a field, a spin), and the point itself takes part:

        out = S(x, a) + alpha * M(m, a),   m[i] = sum_e W(r) (L(x, a)[j] (x) Y[e]) / sqrt(n).

    S, M, L are fully connected products; alpha = A(m, a) is a scalar for each point, zero at
    initialisation, so that a new layer is the self-connection alone (De and Smith, 2020: deep
    residual networks then start near the identity). Irreps that S cannot reach have alpha = 1.

    Args:
        irreps_in: irreps of the node features.
        irreps_attributes: irreps of the nodes' attributes.
        irreps_edge: irreps of the edge's second factor, usually spherical harmonics.
        irreps_out: irreps of the result.
        radial: widths of the radial network but its last: (n_basis, hidden, ...).
        mean_neighbours: typical number of edges into a point; the sum is divided by its root.

    Shape: (n_src, irreps_in.dim), (n_src, irreps_attributes.dim), (E, irreps_edge.dim),
    (E, n_basis) -> (n_dst, irreps_out.dim); points that receive come first. With an exchange
    features and attributes are those of the local points alone.

    Raises:
        ValueError: features, harmonics and attributes that reach nothing of the result, or no
            scalar for alpha.

    Example:
        >>> layer = PointConvolution(
        ...     "4x0e + 4x1o", "2x0e", "0e + 1o", "4x0e + 2x1o", radial=[6, 16], mean_neighbours=1
        ... )
        >>> x, species = torch.randn(2, 16), torch.eye(2)
        >>> edges = Edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)
        >>> layer(x, species, torch.randn(2, 4), torch.randn(2, 6), edges).shape
        torch.Size([2, 10])
    """

    reached: Tensor

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_attributes: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str,
        *,
        radial: Sequence[int],
        mean_neighbours: float,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.irreps_attributes, self.irreps_edge = Irreps(irreps_attributes), Irreps(irreps_edge)
        self.mean_neighbours = mean_neighbours
        attributes = self.irreps_attributes
        kept = {ir for _, ir in self.irreps_out} | {Irrep(0, 1)}
        self.specification = Specification.convolution(self.irreps_in, self.irreps_edge, kept)
        middle = self.specification.z
        factors = " (x) ".join(map(named, (self.irreps_in, self.irreps_edge, attributes)))
        if not _reached(middle, attributes, Irreps("0e")).any():
            raise ValueError(f"PointConvolution: {factors} contains no 0e, which alpha needs")
        reached = _reached(self.irreps_in, attributes, self.irreps_out)
        if not (reached | _reached(middle, attributes, self.irreps_out)).any():
            raise ValueError(
                f"PointConvolution: {factors} contains nothing of {named(self.irreps_out)}"
            )
        self.self_connection = FullyConnectedTensorProduct(
            self.irreps_in, attributes, self.irreps_out
        )
        self.mix_in = FullyConnectedTensorProduct(self.irreps_in, attributes, self.irreps_in)
        self.radial = MLP([*radial, self.specification.weight_numel])
        self.mix_out = FullyConnectedTensorProduct(middle, attributes, self.irreps_out)
        self.alpha = FullyConnectedTensorProduct(middle, attributes, "0e")
        nn.init.zeros_(_weights(self.alpha))
        self.register_constant("reached", reached.double())

    def forward(
        self,
        x: Tensor,
        attributes: Tensor,
        y: Tensor,
        basis: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        check_features(self, "attributes", attributes, self.irreps_attributes)
        check_features(self, "y", y, self.irreps_edge)
        features = with_ghosts(self.mix_in(x, attributes), exchange)
        message = convolve(self.specification, features, y, self.radial(basis), edges)
        message = message / sqrt(max(self.mean_neighbours, 1e-12))
        attributes = first_rows(attributes, edges.n_dst)
        own = self.self_connection(first_rows(x, edges.n_dst), attributes)
        reached = self.reached.to(message.dtype)
        share = 1 - reached + reached * self.alpha(message, attributes)
        return own + share * self.mix_out(message, attributes)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, attributes {self.irreps_attributes}"


@on_cpu
def _reached(x: Irreps, y: Irreps, z: Irreps) -> Tensor:
    """Which components of z a product of x and y can fill, (z.dim,) bool."""
    filled = {ir for mul, a in x if mul for n, b in y if n for ir in a * b}
    return torch.tensor([ir in filled for mul, ir in z for _ in range(mul * ir.dim)]).bool()


def _weights(product: FullyConnectedTensorProduct) -> Tensor:
    assert product.weight is not None
    return product.weight
