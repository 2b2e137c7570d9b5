"""Gated nonlinearity: f(s) for scalars, f(t) v for the rest, with derivatives in closed form.

Four kernels are closed under differentiation up to second order: the layer F(x), its gradient
G(x, g), its derivative J(x, u) along u, and the gradient H(x, g, u) by x of g . J(x, u). Beyond
that autograd goes through the plain composition.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from clebsch import compiler
from clebsch.compiler import usable
from clebsch.o3 import Irrep, Irreps
from clebsch.ops.nodewise import batched, fast, wanted
from clebsch.ops.nodewise.gating_source import SOURCE

Activation = Callable[[Tensor], Tensor]
Scaled = tuple[Activation | None, float]
_KNOWN: dict[Activation | None, int] = {nn.functional.silu: 0, torch.tanh: 1}
_REAL = {torch.float32: "float", torch.float64: "double"}
VALUE, GRADIENT, ALONG, SECOND = range(4)


@dataclass(frozen=True, eq=False)
class Gating:
    """What a gate computes.

    Attributes:
        scalars: blocks that pass their activations; those without one may be of any l.
        gates: blocks of scalars, as many channels as ``gated`` has; they multiply it in order.
        gated: the other blocks.
        of_scalars: activation, or None, and its factor, for every block of ``scalars``.
        of_gates: the same for ``gates``.
        irreps_out: blocks of the result: of scalars, then of gated, where one block of ``gated``
            may become several.
    """

    scalars: Irreps
    gates: Irreps
    gated: Irreps
    of_scalars: tuple[Scaled, ...]
    of_gates: tuple[Scaled, ...]
    irreps_out: Irreps

    def __post_init__(self) -> None:
        _ = self.irreps_in  # now: Python 3.11 takes a lock, which torch.compile cannot

    @classmethod
    def by_parity(
        cls, scalars: Irreps, gated: Irreps, activations: dict[int, tuple[Activation, float]]
    ) -> Gating:
        """Even gates, one activation with its factor for each parity: that of 1 is the gates'."""
        gates = Irreps([(gated.num_irreps, Irrep(0, 1))] if gated else [])
        of_scalars = tuple(activations[ir.p] for _, ir in scalars)
        of_gates = tuple(activations[1] for _ in gates)
        return cls(scalars, gates, gated, of_scalars, of_gates, scalars + gated)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.scalars, self.gates, self.gated, self.of_scalars, self.of_gates)
        return Gating, (*fields, self.irreps_out)  # no addresses in copies

    @cached_property
    def irreps_in(self) -> Irreps:
        """Scalars, gates, gated."""
        return self.scalars + self.gates + self.gated

    @cached_property
    def gate_of_block(self) -> list[Scaled | None]:
        """Activation of the gates of each block of ``gated``; None where there are several."""
        channels = [
            scaled
            for (mul, _), scaled in zip(self.gates, self.of_gates, strict=True)
            for _ in range(mul)
        ]
        found: list[Scaled | None] = []
        start = 0
        for mul, _ in self.gated:
            some = channels[start : start + mul]
            found.append(some[0] if some and all(s == some[0] for s in some) else None)
            start += mul
        return found

    @cached_property
    def known(self) -> bool:
        """Whether the kernels have the activations and find each block whole."""
        whole = len(self.irreps_out) == len(self.scalars) + len(self.gated)
        each = [*self.of_scalars, *self.gate_of_block]
        return whole and all(s is not None and s[0] in _KNOWN for s in each)

    @cached_property
    def plan(self) -> tuple[Any, Any, int, int]:
        """What the kernels read: integers and factors, and where they lie."""
        segments, scales, start = [], [], 0
        for (mul, _), (activation, scale) in zip(self.scalars, self.of_scalars, strict=True):
            assert activation is not None
            segments.append((_KNOWN[activation], 0, mul, start, start, start))
            scales.append(scale)
            start += mul
        gate, out, inside = start, start, start + self.gates.dim
        for (mul, ir), scaled in zip(self.gated, self.gate_of_block, strict=True):
            assert scaled is not None
            assert scaled[0] is not None
            segments.append((_KNOWN[scaled[0]], ir.dim, mul, inside, gate, out))
            scales.append(scaled[1])
            gate, out, inside = gate + mul, out + mul * ir.dim, inside + mul * ir.dim
        head = (self.irreps_in.dim, self.irreps_out.dim, len(segments))
        numbers = [*head, *(n for segment in segments for n in segment)]
        integers = (ctypes.c_int64 * len(numbers))(*numbers)
        factors = (ctypes.c_double * len(scales))(*scales)
        return integers, factors, ctypes.addressof(integers), ctypes.addressof(factors)

    def compose(self, x: Tensor) -> Tensor:
        """The layer in plain PyTorch, (..., irreps_in.dim) to (..., irreps_out.dim)."""
        blocks = iter(x.split([mul * ir.dim for mul, ir in self.irreps_in], dim=-1))

        def activate(block: Tensor, scaled: Scaled) -> Tensor:
            activation, scale = scaled
            value = block if activation is None else activation(block)
            return value if scale == 1.0 else value * scale

        parts = [activate(next(blocks), scaled) for scaled in self.of_scalars]
        if self.gated:
            each = [activate(next(blocks), scaled) for scaled in self.of_gates]
            gates = each[0] if len(each) == 1 else torch.cat(each, dim=-1)
            results = iter([mul for mul, _ in self.irreps_out[len(self.scalars) :]])
            for (mul, ir), gate in zip(
                self.gated, gates.split([mul for mul, _ in self.gated], dim=-1), strict=True
            ):
                block = next(blocks).reshape(*x.shape[:-1], ir.dim, mul) * gate.unsqueeze(-2)
                muls = [next(results)]
                while sum(muls) < mul:
                    muls.append(next(results))
                pieces = block.split(muls, dim=-1) if len(muls) > 1 else [block]
                parts += [
                    piece.reshape(*x.shape[:-1], ir.dim * width)
                    for piece, width in zip(pieces, muls, strict=True)
                ]
        if not parts:
            return x
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., int]:
    function: Callable[..., int] = compiler.load(SOURCE.format(real=_REAL[dtype])).run
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [integer] * 2 + [pointer] * 6 + [ctypes.c_int]  # type: ignore[attr-defined]
    function.restype = ctypes.c_int  # type: ignore[attr-defined]
    return function


def compute(gating: Gating, mode: int, x: Tensor, g: Tensor | None, u: Tensor | None) -> Tensor:
    x = x.contiguous()
    g = None if g is None else g.contiguous()
    u = None if u is None else u.contiguous()
    irreps = gating.irreps_in if mode in (GRADIENT, SECOND) else gating.irreps_out
    out = torch.empty((*x.shape[:-1], irreps.dim), dtype=x.dtype)
    _, _, integers, factors = gating.plan
    _kernel(x.dtype)(
        mode,
        x.numel() // max(gating.irreps_in.dim, 1),
        integers,
        factors,
        x.data_ptr(),
        None if g is None else g.data_ptr(),
        None if u is None else u.data_ptr(),
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


class _Value(torch.autograd.Function):
    """F(x)."""

    @staticmethod
    def forward(ctx, gating, x):  # type: ignore[no-untyped-def]
        ctx.gating = gating
        ctx.save_for_backward(x)
        return compute(gating, VALUE, x, None, None)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return None, _derivative(_Gradient, ctx.gating, x, g, None)


class _Gradient(torch.autograd.Function):
    """G(x, g) = g . dF/dx."""

    @staticmethod
    def forward(ctx, gating, x, g):  # type: ignore[no-untyped-def]
        ctx.gating = gating
        ctx.save_for_backward(x, g)
        return compute(gating, GRADIENT, x, g, None)

    @staticmethod
    def backward(ctx, u):  # type: ignore[no-untyped-def]
        x, g = ctx.saved_tensors
        by_x = _derivative(_Second, ctx.gating, x, g, u) if wanted(ctx, 1, 0) else None
        by_g = _derivative(_Along, ctx.gating, x, None, u) if wanted(ctx, 2, 1) else None
        return None, by_x, by_g


class _Along(torch.autograd.Function):
    """J(x, u) = dF/dx . u."""

    @staticmethod
    def forward(ctx, gating, x, u):  # type: ignore[no-untyped-def]
        ctx.gating = gating
        ctx.save_for_backward(x, u)
        return compute(gating, ALONG, x, None, u)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        x, u = ctx.saved_tensors
        by_x = _derivative(_Second, ctx.gating, x, g, u) if wanted(ctx, 1, 0) else None
        by_u = _derivative(_Gradient, ctx.gating, x, g, None) if wanted(ctx, 2, 1) else None
        return None, by_x, by_u


class _Second(torch.autograd.Function):
    """H(x, g, u) = d(g . J(x, u))/dx."""

    @staticmethod
    def forward(ctx, gating, x, g, u):  # type: ignore[no-untyped-def]
        ctx.gating = gating
        ctx.save_for_backward(x, g, u)
        return compute(gating, SECOND, x, g, u)

    @staticmethod
    def backward(ctx, h):  # type: ignore[no-untyped-def]
        # Third derivatives: rare, by autograd through the composition.
        with torch.enable_grad():
            x, g, u = (_free(t) for t in ctx.saved_tensors)
            second = _composed(_Second, ctx.gating, x, g, u)
            by = torch.autograd.grad(second, (x, g, u), h, create_graph=True, allow_unused=True)
        return None, *by


def _derivative(
    which: Any, gating: Gating, x: Tensor, g: Tensor | None, u: Tensor | None
) -> Tensor:
    if batched():
        return _composed(which, gating, x, g, u)
    result: Tensor = which.apply(gating, x, *(t for t in (g, u) if t is not None))
    return result


def _composed(which: Any, gating: Gating, x: Tensor, g: Any, u: Any) -> Tensor:
    """What ``which`` computes, by autograd through the composition."""
    with torch.enable_grad():
        x = _free(x)
        value = gating.compose(x)
        if which is _Along:  # the gradient is linear in its cotangent: its derivative by it
            g = torch.zeros_like(value, requires_grad=True)
        (found,) = torch.autograd.grad(value, x, g, create_graph=True)
        if which is not _Gradient:
            unknown = [g if which is _Along else x]
            (found,) = torch.autograd.grad(found, unknown, u, create_graph=True)
    return found


def _free(tensor: Tensor) -> Tensor:
    """The tensor as an unknown of its own: others may be functions of it."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def gate(gating: Gating, x: Tensor) -> Tensor:
    """The gated nonlinearity of x (..., irreps_in.dim), by the kernel where it can be used."""
    if fast(x) and gating.known and usable():
        result: Tensor = _Value.apply(gating, x)
        return result
    return gating.compose(x)


def gate_back(gating: Gating, x: Tensor, g: Tensor) -> Tensor:
    """The derivative by x of the gate's product with g (..., irreps_out.dim)."""
    if fast(x, g) and gating.known and usable():
        result: Tensor = _Gradient.apply(gating, x, g)
        return result
    return _composed(_Gradient, gating, x, g, None)
