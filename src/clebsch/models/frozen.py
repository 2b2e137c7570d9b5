"""The inference form of a potential: radial networks as splines, constants folded, no gradients.

With x the features of a layer, W(u) splines and bars for derivatives of the energy,

    forward   m = A x,  z_i = sum_e W(u_e) (m (x) Y_e),  g = B x + C z,  x' = gate(g)
    backward  g' from x', z' = C^T g',  (m', Y', u') from z',  x = A^T m' + B^T g'

so that m and g are all that a layer keeps: the messages z, several times larger, live only until
they are mixed, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from clebsch.models.atomistic import AtomisticModel
from clebsch.models.potential import Interaction, Potential
from clebsch.nn import Gate, Linear
from clebsch.o3 import spherical_harmonics, spherical_harmonics_jacobian
from clebsch.ops import Edges, convolve_splined
from clebsch.ops.splined import compute, compute_gradients, spline_table

_CHUNK = 1 << 16  # edges whose harmonics have their derivatives in memory at a time

Rows = Sequence[Tensor | None]  # the atoms of each species; [None] where there is one species


class _Piece(NamedTuple):
    """A matrix between two blocks of channels: d components, starts and channels of both."""

    d: int
    x: int
    x_mul: int
    z: int
    z_mul: int


class FrozenLinear(nn.Module):
    """A ``Linear`` with constant weights, normalisation and factors of its input folded in.

    It works on views of the blocks, so that nothing is copied.

    Args:
        linear: the map.
        factors: constant of each block of the input.
        n_species: number of sets of weights.

    Shape: (N, irreps_in.dim) -> (N, irreps_out.dim).
    """

    def __init__(self, linear: Linear, factors: Sequence[float], n_species: int = 1) -> None:
        super().__init__()
        self.dims = (linear.irreps_in.dim, linear.irreps_out.dim)
        self.n_species = n_species
        starts = [s.start for s in linear.irreps_in.slices()]
        ends = [s.start for s in linear.irreps_out.slices()]
        sizes = [n_species * a * b for a, b in linear.shapes]
        self.pieces: list[_Piece] = []
        for (ir, sources, results), (fan_in, out), weight in zip(
            linear.plan, linear.shapes, linear.weight.detach().split(sizes), strict=True
        ):
            if not sources:
                continue
            scale = [factors[i] for i in sources for _ in range(linear.irreps_in[i].mul)]
            column = weight.new_tensor(scale)[:, None] / sqrt(fan_in)
            matrix = weight.reshape(n_species, fan_in, out) * column
            row = 0
            for x, x_mul in _joined([(starts[i], linear.irreps_in[i].mul) for i in sources], ir.l):
                place = 0
                for z, z_mul in _joined(
                    [(ends[i], linear.irreps_out[i].mul) for i in results], ir.l
                ):
                    part = matrix[:, row : row + x_mul, place : place + z_mul].contiguous()
                    self.register_buffer(f"weight{len(self.pieces)}", part)
                    self.pieces.append(_Piece(ir.dim, x, x_mul, z, z_mul))
                    place += z_mul
                row += x_mul
        self._plans = (self._plan(False), self._plan(True))

    def _plan(self, transposed: bool) -> tuple[list[tuple[_Piece, bool]], list[tuple[int, int]]]:
        """The pieces, each with whether it is the first to write, and what none writes."""
        seen: set[int] = set()
        steps, covered = [], []
        for piece in self.pieces:
            start, mul = (piece.x, piece.x_mul) if transposed else (piece.z, piece.z_mul)
            steps.append((piece, start not in seen))
            if start not in seen:
                covered.append((start, start + piece.d * mul))
            seen.add(start)
        gaps, at = [], 0
        for begin, end in [*sorted(covered), (self.dims[0 if transposed else 1],) * 2]:
            if begin > at:
                gaps.append((at, begin))
            at = max(at, end)
        return steps, gaps

    def add(self, x: Tensor, rows: Rows, out: Tensor | None = None, back: bool = False) -> Tensor:
        """The map of x, or its transpose (``back``), added to ``out`` in place where given."""
        if self.n_species == 1 or rows[0] is None:
            only = 0 if self.n_species == 1 else next(i for i, r in enumerate(rows) if r is None)
            return self._add(x, only, out, back)
        fresh = out is None
        if out is None:
            out = x.new_empty(x.shape[0], self.dims[0 if back else 1])
        for species, index in enumerate(rows):
            if index is not None and index.shape[0]:
                part = self._add(x.index_select(0, index), species, None, back)
                if fresh:
                    out.index_copy_(0, index, part)
                else:
                    out.index_add_(0, index, part)
        return out

    def _add(self, x: Tensor, species: int, out: Tensor | None, back: bool) -> Tensor:
        n = x.shape[0]
        steps, gaps = self._plans[back]
        fresh = out is None
        if out is None:
            out = x.new_empty(n, self.dims[0 if back else 1])
            for begin, end in gaps:
                out[:, begin:end] = 0
        for number, (piece, first) in enumerate(steps):
            weight = self._buffers[f"weight{number}"][species]  # type: ignore[index]
            beta = 0 if fresh and first else 1
            d, x_start, x_mul, z_start, z_mul = piece
            if back:
                weight = weight.T
                x_start, x_mul, z_start, z_mul = z_start, z_mul, x_start, x_mul
            a = x[:, x_start : x_start + d * x_mul]
            b = out[:, z_start : z_start + d * z_mul]
            if d == 1:
                b.addmm_(a, weight, beta=beta)
            else:
                a = a.view(n, d, x_mul).transpose(0, 1)
                b = b.view(n, d, z_mul).transpose(0, 1)
                b.baddbmm_(a, weight.expand(d, x_mul, z_mul), beta=beta)
        return out

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """``add`` to nothing, differentiable in x to any order."""
        mapped: Tensor = _Product.apply(x, self, rows, False)
        return mapped


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, linear, rows, back):  # type: ignore[no-untyped-def]
        ctx.linear, ctx.rows, ctx.back = linear, rows, back
        return linear.add(x, rows, back=back)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _Product.apply(grad, ctx.linear, ctx.rows, not ctx.back), None, None, None


def _joined(blocks: list[tuple[int, int]], l: int) -> list[tuple[int, int]]:
    """Scalars of adjacent blocks as one: (start, channels) of each."""
    if l:
        return blocks
    joined: list[tuple[int, int]] = []
    for start, mul in blocks:
        if joined and sum(joined[-1]) == start:
            joined[-1] = (joined[-1][0], joined[-1][1] + mul)
        else:
            joined.append((start, mul))
    return joined


class FrozenGate(nn.Module):
    """A ``Gate`` whose activations are not scaled: the next maps hold their constants.

    Shape: (N, irreps_in.dim) -> (N, irreps_out.dim).
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.odd_first = [ir.p == -1 for _, ir in gate.irreps_out if ir.l == 0]
        self.scalars = [mul for mul, ir in gate.irreps_out if ir.l == 0]
        self.gated = [(ir.dim, mul) for mul, ir in gate.irreps_out if ir.l > 0]
        self.n_gates = gate.n_gates
        self.factors = [
            gate.odd.scale if ir.l == 0 and ir.p == -1 else gate.even.scale
            for _, ir in gate.irreps_out
        ]
        gates = [self.n_gates] if self.gated else []
        self.sizes = [*self.scalars, *gates, *(d * mul for d, mul in self.gated)]

    def forward(self, g: Tensor) -> Tensor:
        blocks = g.split(self.sizes, dim=-1)
        parts = [
            torch.tanh(block) if odd else silu(block)
            for block, odd in zip(blocks, self.odd_first, strict=False)
        ]
        if self.gated:
            gates = silu(blocks[len(parts)]).split([mul for _, mul in self.gated], dim=-1)
            for (d, mul), gate, block in zip(
                self.gated, gates, blocks[len(self.scalars) + 1 :], strict=True
            ):
                parts.append((block.unflatten(-1, (d, mul)) * gate.unsqueeze(-2)).flatten(-2))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def back(self, g: Tensor, grad: Tensor) -> Tensor:
        """Derivative by g, from g and the derivative by the result."""
        out = torch.empty_like(g)
        blocks, outs = g.split(self.sizes, dim=-1), out.split(self.sizes, dim=-1)
        grads = grad.split([*self.scalars, *(d * mul for d, mul in self.gated)], dim=-1)
        n = len(self.scalars)
        for odd, block, given, to in zip(self.odd_first, blocks, grads, outs, strict=False):
            if odd:
                to.copy_(torch.ops.aten.tanh_backward(given, torch.tanh(block)))
            else:
                to.copy_(torch.ops.aten.silu_backward(given, block))
        if self.gated:
            muls = [mul for _, mul in self.gated]
            gates, by_gate = silu(blocks[n]).split(muls, dim=-1), []
            for (d, mul), gate, block, given, to in zip(
                self.gated, gates, blocks[n + 1 :], grads[n:], outs[n + 1 :], strict=True
            ):
                given = given.unflatten(-1, (d, mul))
                torch.mul(given, gate.unsqueeze(-2), out=to.unflatten(-1, (d, mul)))
                by_gate.append((given * block.unflatten(-1, (d, mul))).sum(-2))
            outs[n].copy_(torch.ops.aten.silu_backward(torch.cat(by_gate, -1), blocks[n]))
        return out


class FrozenInteraction(nn.Module):
    """An ``Interaction`` with a spline table in the place of its radial network.

    Args:
        layer: the layer, in float64.
        table: (intervals + 3, weight_numel).
        factors: constant of each block of its input.
        embedding: (species, channels) where this is the first layer: its features depend on the
            species alone, and so do their linear maps.
    """

    table: Tensor
    mixed: Tensor
    own: Tensor

    def __init__(
        self,
        layer: Interaction,
        table: Tensor,
        factors: Sequence[float],
        embedding: Tensor | None,
        n_species: int,
    ) -> None:
        super().__init__()
        self.specification = layer.convolution.specification
        self.register_buffer("table", table)
        self.first = embedding is not None
        if embedding is not None:
            each = torch.arange(n_species, device=embedding.device)
            self.register_buffer("mixed", layer.convolution.mix_in(embedding).detach())
            self.register_buffer("own", layer.self_connection(embedding, each).detach())
        else:
            self.mix_in = FrozenLinear(layer.convolution.mix_in, factors)
            self.self_connection = FrozenLinear(layer.self_connection, factors, n_species)
        self.mix_out = FrozenLinear(layer.convolution.mix_out, [1.0] * len(self.specification.z))
        self.gate = FrozenGate(layer.gate)

    def enter(self, x: Tensor | None, species: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """The features that neighbours see, and the atom's own part of the result."""
        if x is None:
            return self.mixed.index_select(0, species), self.own.index_select(0, species)
        return self.mix_in.add(x, rows), self.self_connection.add(x, rows)

    def forward(
        self, x: Tensor | None, species: Tensor, rows: Rows, y: Tensor, u: Tensor, edges: Edges
    ) -> Tensor:
        """Differentiable in x, y and u; x is None in the first layer."""
        if x is None:
            mixed, own = self.enter(None, species, rows)
        else:
            mixed, own = self.mix_in(x, rows), self.self_connection(x, rows)
        message = convolve_splined(self.specification, mixed, y, u, self.table, edges)
        result: Tensor = self.gate(own + self.mix_out(message, rows))
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
    """

    readout: Tensor

    def __init__(self, model: Potential, intervals: int) -> None:
        super().__init__(model.config)
        self.facts: dict[str, Any] = {"intervals": intervals}
        self.zbl = model.zbl
        n_species = len(model.config.species)
        layers: list[FrozenInteraction] = []
        embedding: Tensor | None = model.embedding.detach()
        factors: list[float] = []
        for layer, table in zip(model.layers, _tables(model, intervals), strict=True):
            assert isinstance(layer, Interaction)
            frozen = FrozenInteraction(layer, table, factors, embedding, n_species)
            layers.append(frozen)
            embedding, factors = None, frozen.gate.factors
        self.layers = nn.ModuleList(layers)
        vector = model.readout(torch.eye(layers[-1].gate.scalars[0]).to(model.embedding))
        self.register_buffer("readout", vector.detach().squeeze(-1) * factors[0])
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

    def _rows(self, species: Tensor) -> Rows:
        count = len(self.config.species)
        if count == 1:
            return [None]
        return [(species == s).nonzero().squeeze(-1) for s in range(count)]

    def atomic_energies(self, vectors: Tensor, species: Tensor, edges: Edges) -> Tensor:
        """Energy of each atom without its species' shift; differentiable in ``vectors``.

        See ``AtomisticModel.atomic_energies``.
        """
        ends = (species[edges.dst], species[edges.src])
        r = torch.linalg.vector_norm(vectors, dim=-1)
        u = r / self._cutoffs.to(r.dtype)[ends]
        y = spherical_harmonics(list(range(self.config.lmax + 1)), vectors)
        rows = self._rows(species)
        x = None
        for layer in self.layers:
            x = layer(x, species, rows, y, u, edges)
        assert x is not None
        energy = (x @ self.readout) * self._scales.to(x.dtype)[species]
        if self.zbl is not None:
            energy = energy.index_add(0, edges.dst, self.zbl(r, *ends))
        return energy

    @torch.no_grad()
    def energies_and_slopes(
        self, vectors: Tensor, species: Tensor, edges: Edges
    ) -> tuple[Tensor, Tensor]:
        """``atomic_energies`` and their sum's derivative by each edge's vector, without a graph."""
        ends = (species[edges.dst], species[edges.src])
        r = torch.linalg.vector_norm(vectors, dim=-1)
        cutoff = self._cutoffs.to(r.dtype)[ends]
        geometry = _Geometry(vectors, self.config.lmax)
        energy, by_y, along = self._energies(geometry.y, r / cutoff, species, edges)
        geometry.y = None
        along /= cutoff
        if self.zbl is not None:
            with torch.enable_grad():
                pair = self.zbl(r.requires_grad_(), *ends)
                along += torch.autograd.grad(pair.sum(), r)[0]
            energy.index_add_(0, edges.dst, pair.detach())
        return energy, geometry.slopes(r.detach(), along, by_y)

    def _energies(
        self, y: Tensor, u: Tensor, species: Tensor, edges: Edges
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (n_dst,), and their sum's derivatives by y and u."""
        rows = self._rows(species)
        src, dst, n = edges
        x: Tensor | None = None
        kept: list[tuple[Tensor, Tensor]] = []
        for layer in self._frozen():
            mixed, g = layer.enter(x, species, rows)
            key = layer.specification.key
            message = compute(key, mixed, y, u, layer.table, src, dst, n)
            layer.mix_out.add(message, rows, g)
            del message
            x = layer.gate(g)
            kept.append((mixed, g))
        assert x is not None
        scales = self._scales.to(x.dtype)[species]
        energy = (x @ self.readout) * scales
        grad = scales[:, None] * self.readout
        by_y = by_u = None
        for layer in reversed(list(self._frozen())):
            mixed, g = kept.pop()
            g = layer.gate.back(g, grad)
            message = layer.mix_out.add(g, rows, back=True)
            key = layer.specification.key
            grad, to_y, to_u = compute_gradients(key, mixed, y, u, layer.table, message, src, dst)
            del message, mixed
            by_y = to_y if by_y is None else by_y.add_(to_y)
            by_u = to_u if by_u is None else by_u.add_(to_u)
            if not layer.first:
                grad = layer.mix_in.add(grad, rows, back=True)
                layer.self_connection.add(g, rows, grad, back=True)
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
        factor = 1 / sqrt(max(convolution.mean_neighbours, 1e-12))

        def weights(u: Tensor, radial: nn.Module = convolution.radial) -> Tensor:
            found: Tensor = radial(model.basis(u))
            return found

        start = torch.zeros(1, dtype=like.dtype, device=like.device)
        _, slope = torch.autograd.functional.jvp(weights, start, torch.ones_like(start))
        with torch.no_grad():
            values = factor * weights(u)
        table = spline_table(
            values.double().cpu().numpy(), factor * slope[0].double().cpu().numpy()
        )
        tables.append(torch.from_numpy(table).to(like))
    return tables
