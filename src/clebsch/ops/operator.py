"""The custom operator: gather, 4-linear form, scatter, with derivatives of every order.

``clebsch::contract`` opens one slot of the form (``ops.specification``). The derivative with
respect to any other slot is the same operator with that slot open, so its autograd rule calls
itself, and ``torch.compile``, ``torch.export`` and higher derivatives all see one operator.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clebsch.ops import eager
from clebsch.ops.dispatch import compute
from clebsch.ops.reference import SLOTS
from clebsch.ops.specification import Specification


class Edges(NamedTuple):
    """Who sends to whom.

    Attributes:
        src: (E,) int64, row of x that each edge reads.
        dst: (E,) int64, row of the result that each edge adds to, in ascending order.
        n_dst: number of rows of the result.
    """

    src: Tensor
    dst: Tensor
    n_dst: int


_operator = torch.library.custom_op("clebsch::contract", compute, mutates_args=())


@_operator.register_fake
def _(spec, target, x, y, w, z, src, dst, rows):  # type: ignore[no-untyped-def]
    parsed = Specification.from_key(spec)
    some = next(f for f in (x, y, w, z) if f is not None)
    if target == "w":
        lead = () if parsed.shared_weights else (rows,)
        return some.new_empty((*lead, parsed.weight_numel))
    return some.new_empty((rows, getattr(parsed, target).dim))


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    spec, target, x, y, w, z, src, dst, _ = inputs
    ctx.spec, ctx.target = spec, target
    ctx.save_for_backward(x, y, w, z, src, dst)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    x, y, w, z, src, dst = ctx.saved_tensors
    slots = {"x": x, "y": y, "w": w, "z": z}
    grads: list[Tensor | None] = []
    for position, slot in enumerate(SLOTS):
        if slots[slot] is None or not ctx.needs_input_grad[2 + position]:
            grads.append(None)
            continue
        factors = {**slots, ctx.target: grad, slot: None}
        rows = slots[slot].shape[0]
        grads.append(_contract(ctx.spec, slot, *(factors[s] for s in SLOTS), src, dst, rows))
    return (None, None, *grads, None, None, None)


_operator.register_autograd(_backward, setup_context=_save)


def _contract(*inputs):  # type: ignore[no-untyped-def]
    """The operator: as a custom operator where something traces or transforms it."""
    plain = all(
        factor is None or type(factor) in (Tensor, torch.nn.Parameter) for factor in inputs[2:6]
    )
    if (
        not plain
        or torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
    ):
        return torch.ops.clebsch.contract(*inputs)
    return eager.contract(*inputs)


def _check(spec: Specification, x: Tensor, y: Tensor, w: Tensor | None, edges: int) -> None:
    for name, tensor, dim in (("x", x, spec.x.dim), ("y", y, spec.y.dim)):
        if tensor.ndim != 2 or tensor.shape[1] != dim:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; it must be (rows, {dim})")
    if y.shape[0] != edges:
        raise ValueError(f"y has {y.shape[0]} rows for {edges} edges")
    expected = (spec.weight_numel,) if spec.shared_weights else (edges, spec.weight_numel)
    if w is None:
        if spec.weight_numel:
            raise ValueError(f"the specification takes weights of shape {expected}; none given")
    elif tuple(w.shape) != expected:
        raise ValueError(f"w is {tuple(w.shape)}; it must be {expected}")


def convolve(spec: Specification, x: Tensor, y: Tensor, w: Tensor | None, edges: Edges) -> Tensor:
    """Sum over the edges e into i of the weighted tensor product of x[src e] and y[e].

    Args:
        spec: what is computed.
        x: (n_src, spec.x.dim) node features.
        y: (E, spec.y.dim) edge features.
        w: (E, spec.weight_numel), or (spec.weight_numel,) where weights are shared; None for a
            specification without weights.
        edges: sources and destinations of the E edges.

    Returns:
        (edges.n_dst, spec.z.dim).

    Raises:
        ValueError: a shape that does not fit the specification.
    """
    _check(spec, x, y, w, edges.src.shape[0])
    return _contract(spec.key, "z", x, y, w, None, edges.src, edges.dst, edges.n_dst)


def tensor_product(spec: Specification, x: Tensor, y: Tensor, w: Tensor | None = None) -> Tensor:
    """The weighted tensor product of x and y, row by row.

    Args:
        spec: what is computed.
        x: (B, spec.x.dim).
        y: (B, spec.y.dim).
        w: (B, spec.weight_numel), or (spec.weight_numel,) where weights are shared.

    Returns:
        (B, spec.z.dim).

    Raises:
        ValueError: a shape that does not fit the specification.
    """
    _check(spec, x, y, w, x.shape[0])
    return _contract(spec.key, "z", x, y, w, None, None, None, x.shape[0])
