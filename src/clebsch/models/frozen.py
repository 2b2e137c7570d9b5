"""The inference form of a potential: radial networks as splines, constants folded, no gradients.

With x the features of a layer, W(u) splines and bars for derivatives of the energy,

    forward    m = A x,  z_i = sum_e W(u_e) (m (x) Y_e),  g = B x + C z,  next x = gate(g)
    backward   g' from (next x)',  z' = C^T g',  (m', Y', u') from z',  x' = A^T m' + B^T g'

so that m and g are all that a layer keeps: the messages z, several times larger, live only until
they are mixed, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.models.atomistic import AtomisticModel
from clebsch.models.interaction import Interaction
from clebsch.models.potential import Potential
from clebsch.nn import Linear
from clebsch.o3 import spherical_harmonics, spherical_harmonics_jacobian
from clebsch.ops import Edges, convolve_splined
from clebsch.ops.arguments import checked_edges
from clebsch.ops.exchange import Exchange, first_rows, with_ghosts
from clebsch.ops.nodewise.gating import gate_back
from clebsch.ops.nodewise.mixing import mix, mix_back
from clebsch.ops.splined import compute, compute_gradients, spline_table

_CHUNK = 1 << 16  # edges whose harmonics have their derivatives in memory at a time
_MOST_INTERVALS = 1 << 16


class FrozenLinear(nn.Module):
    """A ``Linear`` with constant weights, and its transpose.

    Shape: (N, irreps_in.dim) -> (N, irreps_out.dim), with the species (N,) of the rows.
    """

    weight: Tensor

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.mixing = linear.mixing
        assert linear.weight is not None
        self.register_buffer("weight", linear.weight.detach().clone())

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        return mix(self.mixing, x, self.weight, species)

    def back(self, grad: Tensor, species: Tensor) -> Tensor:
        """Derivative by x, from that by the result."""
        return mix_back(self.mixing, grad, self.weight, species)


class FrozenInteraction(nn.Module):
    """An ``Interaction`` with a spline table in the place of its radial network.

    Args:
        layer: the layer.
        table: (intervals + 3, weight_numel).
        embedding: (species, channels) where this is the first layer: its features depend on the
            species alone, and so do their linear maps.
    """

    table: Tensor
    mixed: Tensor
    own: Tensor

    def __init__(self, layer: Interaction, table: Tensor, embedding: Tensor | None) -> None:
        super().__init__()
        self.specification = layer.convolution.specification
        self.register_buffer("table", table)
        self.first = embedding is not None
        if embedding is not None:
            each = torch.arange(embedding.shape[0], device=embedding.device)
            self.register_buffer("mixed", layer.convolution.mix_in(embedding).detach())
            self.register_buffer("own", layer.self_connection(embedding, each).detach())
        else:
            self.mix_in = FrozenLinear(layer.convolution.mix_in)
            self.self_connection = FrozenLinear(layer.self_connection)
        self.mix_out = FrozenLinear(layer.convolution.mix_out)
        self.gate = layer.gate

    def enter(
        self, x: Tensor | None, species: Tensor, n: int, exchange: Exchange | None
    ) -> tuple[Tensor, Tensor]:
        """The features that neighbours see, and the own part of the first n atoms' result."""
        local = first_rows(species, n)
        if x is None:
            return self.mixed.index_select(0, species), self.own.index_select(0, local)
        mixed = with_ghosts(self.mix_in(x, local), exchange)
        return mixed, self.self_connection(x, local)

    def forward(
        self,
        x: Tensor | None,
        species: Tensor,
        y: Tensor,
        u: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Differentiable in x, y and u; x is None in the first layer."""
        mixed, own = self.enter(x, species, edges.n_dst, exchange)
        message = convolve_splined(self.specification, mixed, y, u, self.table, edges)
        local = first_rows(species, edges.n_dst)
        result: Tensor = self.gate(own + self.mix_out(message, local))
        return result


class FrozenPotential(AtomisticModel):
    """A potential for inference: see ``Potential.freeze``, which makes and checks it.

    It predicts what its potential predicts within the error of the splines, and its forces are
    the exact derivatives of its energy. It has no parameters and nothing to train.

    Args:
        model: the potential.
        intervals: of the splines on [0, 1] of the reduced distance.

    Attributes:
        facts: what is known of the approximation; ``frozen`` of the header.

    Raises:
        ValueError: a number of intervals that makes no table.
    """

    readout: Tensor

    def __init__(self, model: Potential, intervals: int) -> None:
        super().__init__(model.config)
        if not isinstance(intervals, int) or not 4 <= intervals <= _MOST_INTERVALS:
            raise ValueError(f"{intervals!r} intervals: give 4 to {_MOST_INTERVALS}")
        self.facts: dict[str, Any] = {"intervals": intervals}
        self.zbl = model.zbl
        layers: list[FrozenInteraction] = []
        embedding: Tensor | None = model.embedding.detach()
        for layer, table in zip(model.layers, _tables(model, intervals), strict=True):
            assert isinstance(layer, Interaction)
            layers.append(FrozenInteraction(layer, table, embedding))
            embedding = None
        self.layers = nn.ModuleList(layers)
        # Two linear maps in a row are one, which the unit vectors tell.
        unit = torch.eye(layers[-1].gate.irreps_out.dim).to(model.embedding)
        self.register_buffer("readout", model.readout(unit).detach().squeeze(-1))
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of tables and weights."""
        return self.readout.dtype

    @property
    def table_bytes(self) -> int:
        """Memory of all spline tables."""
        tables = [layer.table for layer in self._frozen()]
        return sum(table.numel() * table.element_size() for table in tables)

    def _frozen(self) -> Iterable[FrozenInteraction]:
        return self.layers  # type: ignore[return-value]

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
        u = r / self._cutoffs.to(r.dtype)[ends]
        y = spherical_harmonics(list(range(self.config.lmax + 1)), vectors)
        x = None
        for layer in self.layers:
            x = layer(x, species, y, u, edges, exchange)
        assert x is not None
        energy = (x @ self.readout) * self._scales.to(x.dtype)[first_rows(species, edges.n_dst)]
        if self.zbl is not None:
            energy = energy.index_add(0, edges.dst, self.zbl(r, *ends))
        return energy

    @torch.no_grad()
    def energies_and_slopes(
        self,
        vectors: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``atomic_energies`` and their sum's derivative by each edge's vector, without a graph."""
        edges = checked_edges(edges)
        ends = (species[edges.dst], species[edges.src])
        r = torch.linalg.vector_norm(vectors, dim=-1)
        cutoff = self._cutoffs.to(r.dtype)[ends]
        geometry = _Geometry(vectors, self.config.lmax)
        energy, by_y, along = self._energies(geometry.y, r / cutoff, species, edges, exchange)
        geometry.y = None
        along /= cutoff
        if self.zbl is not None:
            with torch.enable_grad():
                pair = self.zbl(r.requires_grad_(), *ends)
                along += torch.autograd.grad(pair.sum(), r)[0]
            energy.index_add_(0, edges.dst, pair.detach())
        return energy, geometry.slopes(r.detach(), along, by_y)

    def _energies(
        self,
        y: Tensor,
        u: Tensor,
        species: Tensor,
        edges: Edges,
        exchange: Exchange | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (n_dst,), and their sum's derivatives by y and u."""
        src, dst, n = edges
        local = first_rows(species, n)
        x: Tensor | None = None
        kept: list[tuple[FrozenInteraction, Tensor, Tensor]] = []
        for layer in self._frozen():
            mixed, g = layer.enter(x, species, n, exchange)
            key = layer.specification.key
            message = compute(key, mixed, y, u, layer.table, src, dst, n)
            g += layer.mix_out(message, local)
            del message
            x = layer.gate(g)
            kept.append((layer, mixed, g))
        assert x is not None
        scales = self._scales.to(x.dtype)[local]
        energy = (x @ self.readout) * scales
        grad = scales[:, None] * self.readout
        by_y = by_u = None
        while kept:
            layer, mixed, g = kept.pop()
            grad = gate_back(layer.gate.gating, g, grad)
            message = layer.mix_out.back(grad, local)
            key = layer.specification.key
            by_mixed, to_y, to_u = compute_gradients(
                key, mixed, y, u, layer.table, message, src, dst
            )
            del message, mixed, g
            by_y = to_y if by_y is None else by_y.add_(to_y)
            by_u = to_u if by_u is None else by_u.add_(to_u)
            if not layer.first:
                if exchange is not None:
                    by_mixed = exchange.reverse(by_mixed)
                grad = layer.self_connection.back(grad, local)
                grad += layer.mix_in.back(by_mixed, local)
        assert by_y is not None
        assert by_u is not None
        return energy, by_y, by_u


class _Geometry:
    """Harmonics of the edges; their derivatives exist for a part of the edges at a time."""

    def __init__(self, vectors: Tensor, lmax: int) -> None:
        self.vectors, self.lmax = vectors, lmax
        self.jacobian: Tensor | None = None
        self.y: Any
        if vectors.shape[0] <= _CHUNK:
            self.y, self.jacobian = spherical_harmonics_jacobian(lmax, vectors)
        else:
            self.y = vectors.new_empty(vectors.shape[0], (lmax + 1) ** 2)
            degrees = list(range(lmax + 1))
            for part, to in zip(vectors.split(_CHUNK), self.y.split(_CHUNK), strict=True):
                to.copy_(spherical_harmonics(degrees, part))

    def slopes(self, r: Tensor, along: Tensor, by_y: Tensor) -> Tensor:
        """dE/d(vector) (E, 3) from the derivatives by r (E,) and by the harmonics."""
        out = torch.empty_like(self.vectors)
        parts = zip(*(t.split(_CHUNK) for t in (out, self.vectors, r, along, by_y)), strict=True)
        for to, vectors, length, slope, by_harmonics in parts:
            if self.jacobian is not None:
                jacobian = self.jacobian
            else:
                _, jacobian = spherical_harmonics_jacobian(self.lmax, vectors)
            across = torch.bmm(by_harmonics.unsqueeze(1), jacobian).squeeze(1)
            positive = length > 0
            inverse = torch.where(positive, slope / length.where(positive, 1.0), 0.0)
            torch.addcmul(across, vectors, inverse[:, None], out=to)
        return out


def _tables(model: Potential, intervals: int) -> list[Tensor]:
    """The spline tables of the layers, of the dtype of ``model``."""
    like = model.embedding
    u = torch.linspace(0, 1, intervals + 1, dtype=like.dtype, device=like.device)
    tables = []
    for layer in model.layers:
        assert isinstance(layer, Interaction)
        convolution = layer.convolution

        def weights(u: Tensor, radial: nn.Module = convolution.radial) -> Tensor:
            found: Tensor = radial(model.basis(u))
            return found

        start = torch.zeros(1, dtype=like.dtype, device=like.device)
        _, slope = torch.autograd.functional.jvp(weights, start, torch.ones_like(start))
        with torch.no_grad():
            values = weights(u)
        table = spline_table(values.double().cpu().numpy(), slope[0].double().cpu().numpy())
        tables.append(torch.from_numpy(table).to(like))
    return tables
