"""The SO(2) form on CPUs: tables for the kernels of ``source``, and their derivatives.

The kernels compute the convolution, its first derivatives and the derivatives of those. Beyond,
the PyTorch form is differentiated, so that every order exists.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, lru_cache
from math import pi
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from clebsch import compiler
from clebsch.o3 import rotations
from clebsch.o3.spherical_harmonics import Normalization
from clebsch.o3.wigner import wigner_D_up_to
from clebsch.ops import dispatch
from clebsch.ops.arguments import Edges
from clebsch.ops.so2 import reference
from clebsch.ops.so2.reference import Pair, pairs
from clebsch.ops.so2.source import LMAX, source
from clebsch.ops.specification import Specification

_REAL = {torch.float32: "float", torch.float64: "double"}
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
_P, _I = ctypes.c_void_p, ctypes.c_int64
_TARGET = {"z": 0, "x": 1, "edge": 2}


class _Call(ctypes.Structure):
    """``Call`` of the C++ source."""

    _fields_ = (
        *((name, _I) for name in ("target", "tangent", "n_src", "n_dst", "edges")),
        *((name, _I) for name in ("x_width", "w_width", "z_width", "lmax", "threads")),
        *((name, _P) for name in ("src", "dst", "plan", "factors", "coefficients")),
        *((name, _P) for name in ("directions", "x", "w", "z", "tx", "th", "tw", "out", "turn")),
    )


def available(spec: Specification, x: Tensor, vectors: Tensor, w: Tensor | None) -> bool:
    """Whether the kernels take these arguments: plain CPU tensors that nothing transforms."""
    factors = (x, vectors) if w is None else (x, vectors, w)
    return (
        dispatch.chosen() != "reference"
        and all(
            type(f) in (Tensor, torch.nn.Parameter) and f.device.type == "cpu" and f.dtype in _REAL
            for f in factors
        )
        and not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and max([0, *spec.x.ls, *spec.z.ls]) <= LMAX
        and compiler.usable()
    )


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., int]:
    function: Callable[..., int] = compiler.load(source(_REAL[dtype])).contract
    function.argtypes = [ctypes.POINTER(_Call)]  # type: ignore[attr-defined]
    function.restype = ctypes.c_int  # type: ignore[attr-defined]
    return function


@lru_cache(maxsize=256)
def _plan(
    spec: Specification, normalization: Normalization, dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Integer table, factors of the paths, Fourier coefficients, highest degree."""
    by_channels: dict[int, list[Pair]] = {}
    for pair in pairs(spec, normalization):
        by_channels.setdefault(spec.x[pair.x].mul, []).append(pair)
    factors: list[float] = []
    table: list[int] = [len(by_channels)]
    degrees = [0]
    for mul, group in by_channels.items():
        numbers: dict[str, dict[int, int]] = {"x": {}, "z": {}}
        blocks: dict[str, list[int]] = {"x": [], "z": []}
        rows = {"x": 0, "z": 0}
        pair_table: list[int] = []
        path_table: list[int] = []
        for pair in group:
            for slot, block in (("x", pair.x), ("z", pair.z)):
                if block not in numbers[slot]:
                    numbers[slot][block] = len(numbers[slot])
                    irreps = getattr(spec, slot)
                    l = irreps[block].ir.l
                    blocks[slot] += [l, irreps.slices()[block].start, rows[slot]]
                    rows[slot] += 2 * (l + 1)
                    degrees.append(l)
            M = pair.same.shape[1] // 2
            kinds = (np.flatnonzero(~pair.mixes), np.flatnonzero(pair.mixes))
            pair_table += [numbers["x"][pair.x], numbers["z"][pair.z], M, *map(len, kinds)]
            for rows_of_kind, values in zip(kinds, (pair.same, pair.opposite), strict=True):
                for row in rows_of_kind:
                    path = pair.paths[row]
                    weighted = spec.paths[path].weighted
                    start = spec.weight_slices[path].start if weighted else -1
                    path_table += [start, len(factors), int(pair.degrees[row] == 0)]
                    # from component m of x to -m of the result: the sign at m < 0
                    part = values[row, M:] if values is pair.same else values[row, M::-1]
                    factors += part.tolist()
        table += [mul, len(numbers["x"]), len(numbers["z"]), len(group), len(path_table) // 3]
        table += [rows["x"], rows["z"], *blocks["x"], *blocks["z"], *pair_table, *path_table]
    real = _NUMPY[dtype]
    lmax = max(degrees)
    coefficients = np.ascontiguousarray(_turns(lmax), dtype=real)
    return np.array(table, np.int64), np.array(factors, real), coefficients, lmax


@cache
def _turns(lmax: int) -> np.ndarray:
    """Fourier series of the turns by -beta about x, shape (2 lmax + 1, entries).

    Row n holds the factors of cos(n beta), row lmax + n those of sin(n beta); for each degree the
    entries are the block of m = 0..l, then that of m = -1..-l.
    """
    count = 2 * lmax + 1
    beta = torch.arange(count, dtype=torch.float64) * (2 * pi / count)
    zero = torch.zeros_like(beta)
    matrices = wigner_D_up_to(lmax, rotations.angles_to_matrix(zero, -beta, zero))
    entries = []
    for l, D in enumerate(matrices):
        entries.append(D[:, l:, l:].flatten(1))
        entries.append(D[:, :l, :l].flip(1, 2).flatten(1))
    samples = torch.cat(entries, 1)
    n = torch.arange(1, lmax + 1, dtype=torch.float64)[:, None] * beta
    basis = torch.cat([torch.ones(1, count, dtype=torch.float64), 2 * n.cos(), 2 * n.sin()])
    series = (basis @ samples / count).numpy()
    return np.where(abs(series) < 1e-13, 0.0, series)


class _Form(NamedTuple):
    """What is computed, and along which edges."""

    spec: Specification
    normalization: Normalization
    edges: Edges


def _run(
    target: Literal["x", "z", "edge"],
    form: _Form,
    n_src: int,
    directions: Tensor,
    tensors: dict[str, Tensor | None],
    weights: bool = True,
    torque: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """Open x, z, or the edge's slots: (weights, torque on the direction)."""
    spec, normalization, (src, dst, n_dst) = form
    dtype = directions.dtype
    table, factors, coefficients, lmax = _plan(spec, normalization, dtype)
    held = {name: None if t is None else t.contiguous() for name, t in tensors.items()}
    directions, src, dst = directions.contiguous(), src.contiguous(), dst.contiguous()
    count = src.shape[0]
    turn = None
    if target == "edge":
        out = directions.new_zeros(count, spec.weight_numel) if weights else None
        turn = directions.new_empty(count, 3) if torque else None
    else:
        rows, width = (n_dst, spec.z.dim) if target == "z" else (n_src, spec.x.dim)
        out = directions.new_empty(rows, width)

    def address(t: Tensor | None) -> int | None:
        return None if t is None else t.data_ptr()

    call = _Call(
        _TARGET[target],
        any(held.get(name) is not None for name in ("tx", "th", "tw")),
        n_src,
        n_dst,
        count,
        spec.x.dim,
        spec.weight_numel,
        spec.z.dim,
        lmax,
        torch.get_num_threads(),
        src.data_ptr(),
        dst.data_ptr(),
        table.ctypes.data,
        factors.ctypes.data,
        coefficients.ctypes.data,
        directions.data_ptr(),
        *(address(held.get(name)) for name in ("x", "w", "z", "tx", "th", "tw")),
        address(out),
        address(turn),
    )
    if _kernel(dtype)(call):
        raise IndexError("an edge names a source or destination row that is not there")
    return out, turn


def convolve(
    spec: Specification,
    x: Tensor,
    vectors: Tensor,
    w: Tensor | None,
    edges: Edges,
    normalization: Normalization = "component",
) -> Tensor:
    """`convolve_directions` by the kernels, with derivatives of every order.

    Raises:
        IndexError: an edge names a row that is not there.
    """
    r2 = (vectors * vectors).sum(-1, keepdim=True)
    at_origin = r2 == 0
    inverse = torch.where(at_origin, 0.0, torch.where(at_origin, 1.0, r2).rsqrt())
    return _Convolution.apply(_Form(spec, normalization, edges), x, vectors * inverse, w)


class _Convolution(torch.autograd.Function):
    """Of x, directions n and w. The torque t = dS/d(rotation of n) gives dS/dn = t x n."""

    @staticmethod
    def forward(ctx, form, x, n, w):  # type: ignore[no-untyped-def]
        ctx.form = form
        ctx.save_for_backward(x, n, w)
        tensors = {"x": x, "w": w}
        return _run("z", ctx.form, x.shape[0], n, tensors)[0]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, n, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        by_x, torque, by_w = _Derivatives.apply(ctx.form, wanted, x, n, w, grad)
        by_n = None if torque is None else torch.linalg.cross(torque, n)
        return None, by_x, by_n, by_w


class _Derivatives(torch.autograd.Function):
    """(dS/dx, torque, dS/dw) of S = z . convolution(x, n, w); None where not wanted."""

    @staticmethod
    def forward(ctx, form, wanted, x, n, w, z):  # type: ignore[no-untyped-def]
        ctx.set_materialize_grads(False)
        ctx.form = form
        ctx.save_for_backward(x, n, w, z)
        tensors = {"x": x, "w": w, "z": z}
        by_x = by_w = torque = None
        if wanted[0]:
            by_x = _run("x", ctx.form, x.shape[0], n, tensors)[0]
        if wanted[1] or wanted[2]:
            by_w, torque = _run(
                "edge", ctx.form, x.shape[0], n, tensors, weights=wanted[2], torque=wanted[1]
            )
        return by_x, torque, by_w

    @staticmethod
    def backward(ctx, tx, th, tw):  # type: ignore[no-untyped-def]
        x, n, w, z = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if tx is None and th is None and tw is None:
            return (None,) * 6
        by_x, torque, by_w, by_z = _SecondDerivatives.apply(
            ctx.form, wanted, x, n, w, z, tx, th, tw
        )
        by_n = None if torque is None else torch.linalg.cross(torque, n)
        return None, None, by_x, by_n, by_w, by_z


class _SecondDerivatives(torch.autograd.Function):
    """Derivatives by x, n (a torque), w and z of tx . dS/dx + th . torque + tw . dS/dw."""

    @staticmethod
    def forward(ctx, form, wanted, x, n, w, z, tx, th, tw):  # type: ignore[no-untyped-def]
        ctx.set_materialize_grads(False)
        ctx.form = form
        ctx.save_for_backward(x, n, w, z, tx, th, tw)
        tensors = {"x": x, "w": w, "z": z, "tx": tx, "th": th, "tw": tw}
        arguments = (ctx.form, x.shape[0], n)
        by_x = by_w = torque = by_z = None
        if wanted[0]:
            by_x = torch.zeros_like(x)
            if th is not None or tw is not None:
                by_x = _run("x", *arguments, {**tensors, "tx": None})[0]
        if wanted[1] or wanted[2]:
            by_w, torque = _run("edge", *arguments, tensors, weights=wanted[2], torque=wanted[1])
        if wanted[3]:
            by_z = _run("z", *arguments, tensors)[0]
        return by_x, torque, by_w, by_z

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        with torch.enable_grad():
            inputs = _aliases(ctx.saved_tensors)
            outputs = _second_derivatives(ctx.form, *inputs)
            both = zip(outputs, grads, strict=True)
            total = sum((o * g).sum() for o, g in both if o is not None and g is not None)
            wanted = [
                t if need else None
                for t, need in zip(inputs, ctx.needs_input_grad[2:], strict=True)
            ]
            return None, None, *_grad(total, wanted)


def _aliases(tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """The tensors as independent variables that remember where they come from."""
    return [
        None if t is None else t.view_as(t) if t.requires_grad else t.detach().requires_grad_()
        for t in tensors
    ]


def _grad(value: Tensor | int, by: list[Tensor | None]) -> list[Tensor | None]:
    """Derivatives by those tensors that are not None, with their graph."""
    found = [t for t in by if t is not None]
    if not isinstance(value, Tensor) or not value.requires_grad or not found:
        return [None if t is None else torch.zeros_like(t) for t in by]
    grads = iter(torch.autograd.grad(value, found, create_graph=True, materialize_grads=True))
    return [None if t is None else next(grads) for t in by]


def _second_derivatives(form, x, n, w, z, tx, th, tw):  # type: ignore[no-untyped-def]
    """``_SecondDerivatives`` from the PyTorch form."""
    value = (reference.convolve(form.spec, x, n, w, form.edges, form.normalization) * z).sum()
    by_x, by_n, by_w = _grad(value, [x, n, w])
    first = ((by_x, tx), (torch.linalg.cross(n, by_n), th), (by_w, tw))
    total = sum((a * b).sum() for a, b in first if a is not None and b is not None)
    by_x, by_n, by_w, by_z = _grad(total, [x, n, w, z])
    return [by_x, torch.linalg.cross(n, by_n), by_w, by_z]
