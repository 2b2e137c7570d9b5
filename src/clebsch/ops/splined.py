"""The convolution whose weights are splines of the distance, so that they never fill memory.

The weights of an edge are w(u) = sum_m B_m(t) table[k + m] with u the reduced distance, n equal
intervals on [0, 1], k = floor(u n), t = u n - k and the uniform cubic B-splines

    B_0 = (1 - t)^3 / 6                B_2 = (-3 t^3 + 3 t^2 + 3 t + 1) / 6
    B_1 = (3 t^3 - 6 t^2 + 4) / 6      B_3 = t^3 / 6

(de Boor, A Practical Guide to Splines, 1978, chapter IX); they are exactly zero from u = 1 on.
The derivative by u is that of the spline, so that energies made of it are conserved.

``clebsch::convolve_splined`` and its gradients are custom operators; in eager mode they run as
plain autograd functions, as ``clebsch::contract`` does. Further derivatives are made of
``clebsch::contract`` and so exist to any order.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clebsch.ops import cpu, dispatch, reference
from clebsch.ops.arguments import Edges, checked_edges
from clebsch.ops.nodewise import batched
from clebsch.ops.operator import _contract
from clebsch.ops.specification import Specification

# Coefficient of t^row in B_column.
_BASIS = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6
_CHUNK = 4096  # edges whose weights exist at a time in the reference


def spline_table(values: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the spline through values of functions that vanish smoothly at u = 1.

    The last three coefficients are zero, which makes the spline and its first two derivatives
    exactly zero at u = 1. In exchange the value one interval before is not interpolated: there
    the functions are of the order of the spline's own error.

    Args:
        values: (n + 1, F) at u = 0, 1/n, ..., 1; n at least 4.
        slope: (F,) derivatives by u at u = 0.

    Returns:
        (n + 3, F).
    """
    from scipy.linalg import solve_banded  # late: its import costs more than the rest of this file

    n = len(values) - 1
    # Unknown are the first n: the slope at 0, then the values at the first n - 1 points.
    bands = np.zeros((4, n))  # two diagonals above the main one, the main one, one below
    bands[2, 0], bands[0, 2] = -1, 1  # c_2 - c_0
    bands[3, :-1], bands[2, 1:], bands[1, 2:] = 1, 4, 1
    right = np.concatenate([2 * slope[None] / n, 6 * values[: n - 1]])
    table = np.zeros((n + 3, values.shape[1]))
    table[:n] = solve_banded((1, 2), bands, right)
    return table


def spline_weights(u: Tensor, table: Tensor, order: int = 0) -> Tensor:
    """The splines (E, F) at reduced distances u (E,), or their derivative of ``order`` by u.

    Plain PyTorch and differentiable in both arguments; ``table`` is (n + 3, F).
    """
    n = table.shape[0] - 3
    basis = _BASIS
    for _ in range(order):
        basis = n * np.arange(1, len(basis))[:, None] * basis[1:]
    inside = ~(u >= 1)  # NaN stays inside, to be seen in the result
    scaled = torch.where(inside, u, 0.0) * n
    start = scaled.detach().nan_to_num(0.0).floor().clamp(0, n - 1)
    t = scaled - start
    start = start.long()
    result = None
    for m, column in enumerate(basis.T.tolist()):
        polynomial = torch.zeros_like(t)
        for coefficient in reversed(column):
            polynomial = polynomial * t + coefficient
        polynomial = torch.where(inside, polynomial, 0.0)
        part = polynomial[:, None] * table.index_select(0, start + m)
        result = part if result is None else result + part
    assert result is not None
    return result


def compute(
    spec: str, x: Tensor, y: Tensor, u: Tensor, table: Tensor, src: Tensor, dst: Tensor, rows: int
) -> Tensor:
    """Sum over the edges into each of ``rows`` rows, with the fastest back end that there is."""
    parsed = Specification.from_key(spec)
    if _fused(parsed, x):
        return cpu.splined(parsed, x, y, u, table, src, dst, rows)
    reference.check_rows(src, x.shape[0])
    reference.check_rows(dst, rows)
    out = x.new_zeros((rows, parsed.z.dim))
    for place in _places(src):
        factors = {
            "x": x.index_select(0, src[place]),
            "y": y[place],
            "w": spline_weights(u[place], table),
        }
        value = reference.product(parsed, "z", factors, src[place].shape[0])
        out.index_add_(0, dst[place], value)
    return out


def compute_gradients(
    spec: str, x: Tensor, y: Tensor, u: Tensor, table: Tensor, z: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives by x, y and u of the convolution's product with the cotangent z."""
    parsed = Specification.from_key(spec)
    if _fused(parsed, x):
        return cpu.splined_gradients(parsed, x, y, u, table, z, src, dst)
    reference.check_rows(src, x.shape[0])
    reference.check_rows(dst, z.shape[0])
    gx, gy, gu = torch.zeros_like(x), torch.zeros_like(y), torch.zeros_like(u)
    for place in _places(src):
        rows = src[place].shape[0]
        factors = {
            "x": x.index_select(0, src[place]),
            "y": y[place],
            "w": spline_weights(u[place], table),
            "z": z.index_select(0, dst[place]),
        }

        def opened(target: str, factors: dict[str, Tensor] = factors, rows: int = rows) -> Tensor:
            others = {slot: factor for slot, factor in factors.items() if slot != target}
            return reference.product(parsed, target, others, rows)

        gx.index_add_(0, src[place], opened("x"))
        gy[place] = opened("y")
        gu[place] = (opened("w") * spline_weights(u[place], table, 1)).sum(1)
    return gx, gy, gu


def _places(src: Tensor) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, src.shape[0], _CHUNK)]


def _fused(spec: Specification, some: Tensor) -> bool:
    """Whether the CPU kernels evaluate the spline themselves."""
    available = getattr(cpu, "splined_available", None)
    return dispatch.chosen() in ("auto", "cpu") and available is not None and available(spec, some)


def _opened(*inputs):  # type: ignore[no-untyped-def]
    """One slot of the form; over a batch of cotangents by the custom operator, which has a rule."""
    return torch.ops.clebsch.contract(*inputs) if batched() else _contract(*inputs)


def _composed_gradients(spec, x, y, u, table, z, src, dst):  # type: ignore[no-untyped-def]
    """``compute_gradients`` slot by slot, from weights that fill memory."""
    w, slope = spline_weights(u, table), spline_weights(u, table, 1)
    gx = _opened(spec, "x", None, y, w, z, src, dst, x.shape[0])
    gy = _opened(spec, "y", x, None, w, z, src, dst, y.shape[0])
    gw = _opened(spec, "w", x, y, None, z, src, dst, y.shape[0])
    return gx, gy, (gw * slope).sum(-1)


def _second(saved, a, b, c, needed):  # type: ignore[no-untyped-def]
    """Derivatives by x, y, u (as "w") and z of a.gx + b.gy + c.gu, linear in the cotangents.

    With S the 4-linear form it is S(a, y, w, z) + S(x, b, w, z) + S(x, y, c w', z).
    """
    spec, x, y, u, table, z, src, dst = saved
    w, slope = spline_weights(u, table), spline_weights(u, table, 1)
    # Factors of each term, the slot that holds its cotangent, its weights' derivative by u.
    terms = []
    if a is not None:
        terms.append(({"x": a, "y": y, "w": w, "z": z}, "x", slope))
    if b is not None:
        terms.append(({"x": x, "y": b, "w": w, "z": z}, "y", slope))
    if c is not None:
        weights, curvature = c.unsqueeze(-1) * slope, c.unsqueeze(-1) * spline_weights(u, table, 2)
        terms.append(({"x": x, "y": y, "w": weights, "z": z}, "", curvature))
    grads: list[Tensor | None] = []
    for slot, factor in {"x": x, "y": y, "w": u, "z": z}.items():
        total = torch.zeros_like(factor)
        for factors, cotangent, by_u in terms:
            if slot not in needed or slot == cotangent:
                continue
            others = [None if s == slot else factors[s] for s in reference.SLOTS]
            opened = _opened(spec, slot, *others, src, dst, factor.shape[0])
            total = total + ((opened * by_u).sum(-1) if slot == "w" else opened)
        grads.append(total if slot in needed else None)
    return grads


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spec, x, y, u, table, z, src, dst):  # type: ignore[no-untyped-def]
        ctx.spec = spec
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, u, table, z, src, dst)
        return compute_gradients(spec, x, y, u, table, z, src, dst)

    @staticmethod
    def backward(ctx, a, b, c):  # type: ignore[no-untyped-def]
        return _backward_of_gradients(ctx, a, b, c)


class _Splined(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spec, x, y, u, table, src, dst, rows):  # type: ignore[no-untyped-def]
        ctx.spec = spec
        ctx.save_for_backward(x, y, u, table, src, dst)
        return compute(spec, x, y, u, table, src, dst, rows)

    @staticmethod
    def backward(ctx, z):  # type: ignore[no-untyped-def]
        x, y, u, table, src, dst = ctx.saved_tensors
        gradients = _composed_gradients if batched() else _Gradients.apply
        gx, gy, gu = gradients(ctx.spec, x, y, u, table, z, src, dst)
        return None, gx, gy, gu, None, None, None, None


_operator = torch.library.custom_op("clebsch::convolve_splined", compute, mutates_args=())
_gradients_operator = torch.library.custom_op(
    "clebsch::convolve_splined_gradients", compute_gradients, mutates_args=()
)


@_operator.register_fake
def _(spec, x, y, u, table, src, dst, rows):  # type: ignore[no-untyped-def]
    return x.new_empty((rows, Specification.from_key(spec).z.dim))


@_gradients_operator.register_fake
def _(spec, x, y, u, table, z, src, dst):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), torch.empty_like(y), torch.empty_like(u)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    spec, x, y, u, table, src, dst, _ = inputs
    ctx.spec = spec
    ctx.save_for_backward(x, y, u, table, src, dst)


def _backward(ctx, z):  # type: ignore[no-untyped-def]
    x, y, u, table, src, dst = ctx.saved_tensors
    gx, gy, gu = torch.ops.clebsch.convolve_splined_gradients(ctx.spec, x, y, u, table, z, src, dst)
    return None, gx, gy, gu, None, None, None, None


def _save_gradients(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.spec = inputs[0]
    ctx.save_for_backward(*inputs[1:])


def _backward_of_gradients(ctx, a, b, c):  # type: ignore[no-untyped-def]
    needs = ctx.needs_input_grad
    wanted = {"x": needs[1], "y": needs[2], "w": needs[3], "z": needs[5]}
    needed = {slot for slot, need in wanted.items() if need}
    x, y, u, z = _second((ctx.spec, *ctx.saved_tensors), a, b, c, needed)
    return None, x, y, u, None, z, None, None


_operator.register_autograd(_backward, setup_context=_save)
_gradients_operator.register_autograd(_backward_of_gradients, setup_context=_save_gradients)


def convolve_splined(
    spec: Specification, x: Tensor, y: Tensor, u: Tensor, table: Tensor, edges: Edges
) -> Tensor:
    """``convolve`` with weights per edge that are splines of its reduced distance.

    Args:
        spec: what is computed; its weights are not shared.
        x: (n_src, spec.x.dim) node features.
        y: (E, spec.y.dim) edge features.
        u: (E,) distances over their cutoffs, not negative; from 1 on an edge adds exactly zero.
        table: (n + 3, spec.weight_numel) coefficients of the splines on n intervals, a constant.
        edges: sources and destinations of the E edges.

    Returns:
        (edges.n_dst, spec.z.dim).

    Raises:
        TypeError: edges that are no integers.
        ValueError: a shape, floating-point type or device that does not fit, or a table that
            asks for a derivative.
        IndexError: an edge names a row that is not there.
    """
    edges = checked_edges(edges)
    _check(spec, x, y, u, table, edges)
    inputs = (spec.key, x, y, u, table, edges.src, edges.dst, edges.n_dst)
    if _traced(x, y, u, table):
        return torch.ops.clebsch.convolve_splined(*inputs)
    return _Splined.apply(*inputs)


def _traced(*tensors: Tensor) -> bool:
    """Whether something traces or transforms the call, so that it needs the custom operator."""
    return (
        any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors)
        or torch.compiler.is_compiling()
        or bool(torch._C._len_torch_dispatch_stack())
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def _check(
    spec: Specification, x: Tensor, y: Tensor, u: Tensor, table: Tensor, edges: Edges
) -> None:
    count = edges.src.shape[0]
    if spec.shared_weights:
        raise ValueError("splines give weights per edge; the specification shares its weights")
    if x.ndim != 2 or x.shape[1] != spec.x.dim:
        raise ValueError(f"x is {tuple(x.shape)}; it must be (rows, {spec.x.dim})")
    for name, tensor, shape in (("y", y, (count, spec.y.dim)), ("u", u, (count,))):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; it must be {shape}")
    if table.ndim != 2 or table.shape[0] < 4 or table.shape[1] != spec.weight_numel:
        raise ValueError(
            f"the table is {tuple(table.shape)}; it must be (intervals + 3, {spec.weight_numel}) "
            "with at least one interval"
        )
    if edges.src.device != x.device:
        raise ValueError(f"edges are on {edges.src.device} and x on {x.device}; move them together")
    for name, tensor in (("y", y), ("u", u), ("the table", table)):
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, x {x.dtype} on {x.device}; they "
                "must agree"
            )
    if table.requires_grad:
        raise ValueError("the table is a constant of the splined convolution: detach it")
