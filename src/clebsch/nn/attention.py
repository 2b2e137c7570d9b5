"""Equivariant attention over edges."""

from __future__ import annotations

from collections.abc import Sequence
from math import e, sqrt

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features, named
from clebsch.nn.constants import ExactConstants, on_cpu
from clebsch.nn.linear import Linear
from clebsch.nn.mlp import MLP
from clebsch.o3 import Irreps
from clebsch.ops import Edges, Specification, convolve, correlate, segment_softmax
from clebsch.ops.exchange import Exchange, first_rows, with_ghosts


class Attention(ExactConstants):
    """An atom asks its neighbours and listens to those that answer: multi-head attention.

    For an edge e from j to i and each head, over its own channels,

        key[e] = W_k(r) (K x[j] (x) Y[e]),  value[e] = W_v(r) (V x[j] (x) Y[e])
        share[e] = softmax over the edges into i of <Q x[i], key[e]>
        out[i] = O sum_e share[e] value[e].

    Fuchs et al., SE(3)-Transformers (2020), eqs. 9 to 11, with the products of Batzner et al.
    (2022). Neither keys nor values are stored: logits are the operator with its weights' slot
    open (``ops.correlate``), and shares multiply the values' weights, so memory per edge is
    that of the weights.

    The shares are weighted by the cutoff and, by default, one more share goes to nobody, with a
    logit that is learnt: the result is as smooth as the cutoff for every geometry, down to the
    last neighbour that leaves, and zero for an isolated atom. See ``ops.segment_softmax``.

    Args:
        irreps_in: irreps of the node features.
        irreps_edge: irreps of the edge's second factor, usually spherical harmonics.
        irreps_out: irreps of the result.
        radial: widths of the radial networks but their last: (n_basis, hidden, ...).
        heads: number of softmaxes; divides the channels of the hidden features.
        mean_neighbours: typical number of edges into an atom; the sum is multiplied by
            sqrt(mean_neighbours / e), which undoes what averaging does to the variance.
        irreps_hidden: irreps of K x, V x and of keys; ``irreps_in`` where None.
        sink: whether a share goes to nobody.

    Shape: (n_src, irreps_in.dim), (E, irreps_edge.dim), (E, n_basis), cutoff (E,) ->
    (n_dst, irreps_out.dim); with an exchange x holds the local atoms alone.

    Raises:
        ValueError: channels that the heads do not divide; products that reach no result.

    Example:
        >>> layer = Attention(
        ...     "8x0e + 8x1o", "0e + 1o", "4x0e + 4x1o", radial=[6, 16], heads=2, mean_neighbours=2
        ... )
        >>> src, dst = torch.tensor([1, 2, 0]), torch.tensor([0, 0, 1])
        >>> x, y, basis = torch.randn(3, 32), torch.randn(3, 4), torch.randn(3, 6)
        >>> out = layer(x, y, basis, torch.ones(3), Edges(src, dst, 3))
        >>> out.shape, out[2].abs().max().item()  # nobody sends to atom 2
        (torch.Size([3, 16]), 0.0)
    """

    sum_heads: Tensor
    head_of_value: Tensor

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str,
        *,
        radial: Sequence[int],
        heads: int,
        mean_neighbours: float,
        irreps_hidden: Irreps | str | None = None,
        sink: bool = True,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.irreps_edge = Irreps(irreps_edge)
        hidden = self.irreps_in if irreps_hidden is None else Irreps(irreps_hidden)
        self.heads, self.mean_neighbours = heads, mean_neighbours
        if heads < 1 or any(mul % heads for mul, _ in hidden):
            raise ValueError(f"Attention: {heads} heads do not divide the channels of {hidden}")
        self.keys = Specification.convolution(hidden, self.irreps_edge, hidden)
        self.values = Specification.convolution(hidden, self.irreps_edge, self.irreps_out)
        for name, spec, kept in (
            ("keys", self.keys, hidden),
            ("values", self.values, self.irreps_out),
        ):
            if not spec.paths:
                raise ValueError(
                    f"Attention: {named(hidden)} (x) {named(self.irreps_edge)} contains nothing of "
                    f"{named(kept)}, so there are no {name}"
                )
        self.query = Linear(self.irreps_in, self.keys.z)
        self.mix_key = Linear(self.irreps_in, hidden)
        self.mix_value = Linear(self.irreps_in, hidden)
        self.radial_key = MLP([*radial, self.keys.weight_numel])
        self.radial_value = MLP([*radial, self.values.weight_numel])
        # Shares of n normal logits have squares that sum to e / n.
        self.mix_out = Linear(self.values.z, self.irreps_out, scale=sqrt(mean_neighbours / e))
        self.sink = nn.Parameter(torch.zeros(heads)) if sink else None

        # Sum over each head's channels; queries and keys of unit variance give unit logits.
        one_hot = nn.functional.one_hot(_heads_of(self.keys, heads), heads).double()
        terms = sum(mul * ir.dim for mul, ir in self.keys.z) / heads
        self.register_constant("sum_heads", one_hot / sqrt(terms))
        self.register_constant("head_of_value", _heads_of(self.values, heads))

    def shares(
        self,
        x: Tensor,
        y: Tensor,
        basis: Tensor,
        cutoff: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """The share of each edge in the atom that it goes to, (E, heads), between 0 and 1."""
        return self._shares(with_ghosts(x, exchange), y, basis, cutoff, edges)

    def _shares(self, x: Tensor, y: Tensor, basis: Tensor, cutoff: Tensor, edges: Edges) -> Tensor:
        query = self.query(first_rows(x, edges.n_dst))
        answers = correlate(self.keys, self.mix_key(x), y, query, edges)
        logits = (answers * self.radial_key(basis)) @ self.sum_heads.to(answers.dtype)
        return segment_softmax(logits, edges.dst, edges.n_dst, cutoff, self.sink)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        basis: Tensor,
        cutoff: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        check_features(self, "y", y, self.irreps_edge)
        x = with_ghosts(x, exchange)
        shares = self._shares(x, y, basis, cutoff, edges)
        weights = self.radial_value(basis) * shares.index_select(1, self.head_of_value)
        return self.mix_out(convolve(self.values, self.mix_value(x), y, weights, edges))

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, {self.heads} heads"


@on_cpu
def _heads_of(spec: Specification, heads: int) -> Tensor:
    """The head of each weight of ``uvu`` paths, (weight_numel,) int64: channels in equal parts."""
    parts = []
    for path in spec.paths:
        u, v = spec.weight_shape(path)
        parts.append((torch.arange(u) // (u // heads)).repeat_interleave(v))
    return torch.cat(parts)
