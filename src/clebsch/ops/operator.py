"""The custom operator: gather, 4-linear form, scatter, with derivatives of every order.

``clebsch::contract`` opens one slot of the form (``ops.specification``). The derivative with
respect to any other slot is the same operator with that slot open, so its autograd rule calls
itself, and ``torch.compile``, ``torch.export`` and higher derivatives all see one operator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from clebsch.ops import eager, transforms
from clebsch.ops.arguments import Edges, checked_edges, checked_ends, checked_factors
from clebsch.ops.dispatch import compute
from clebsch.ops.lowering import gathered
from clebsch.ops.reference import SLOTS
from clebsch.ops.specification import Specification, linear_part

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
    spec = linear_part(ctx.spec, ctx.target)
    grads: list[Tensor | None] = []
    for position, slot in enumerate(SLOTS):
        if slots[slot] is None or not ctx.needs_input_grad[2 + position]:
            grads.append(None)
            continue
        factors = {**slots, ctx.target: grad, slot: None}
        rows = slots[slot].shape[0]
        grads.append(_contract(spec, slot, *(factors[s] for s in SLOTS), src, dst, rows))
    return (None, None, *grads, None, None, None)


_operator.register_autograd(_backward, setup_context=_save)


@_operator.register_vmap
def _(info, dims, *inputs):  # type: ignore[no-untyped-def]
    return transforms.batched(_contract, info.batch_size, dims, *inputs), 0


class _Transformed(torch.autograd.Function):
    """The operator under torch.func's transforms and forward-mode derivatives."""

    generate_vmap_rule = False

    @staticmethod
    def forward(*inputs):  # type: ignore[no-untyped-def]
        return torch.ops.clebsch.contract(*inputs) if _traced(inputs) else compute(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        _save(ctx, inputs, output)
        ctx.save_for_forward(*inputs[2:8])
        ctx.rows = inputs[8]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _backward(ctx, grad)

    @staticmethod
    def jvp(ctx, *tangents):  # type: ignore[no-untyped-def]
        inputs = (ctx.spec, ctx.target, *ctx.saved_tensors, ctx.rows)
        return transforms.tangent(_contract, inputs, tangents)

    @staticmethod
    def vmap(info, dims, *inputs):  # type: ignore[no-untyped-def]
        return transforms.batched(_contract, info.batch_size, dims, *inputs), 0


def _traced(inputs) -> bool:  # type: ignore[no-untyped-def]
    """Whether something wants to see one operator, or its shape only."""
    factors = [factor for factor in inputs[2:6] if factor is not None]
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or not all(type(factor) in (Tensor, torch.nn.Parameter) for factor in factors)
        or factors[0].is_meta
    )


def _contract(*inputs):  # type: ignore[no-untyped-def]
    """The operator: as a custom operator where something traces it."""
    if torch.compiler.is_compiling():
        return torch.ops.clebsch.contract(*inputs)
    if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return _Transformed.apply(*inputs)
    if _traced(inputs):
        return torch.ops.clebsch.contract(*inputs)
    return eager.contract(*inputs)


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
        ValueError: a shape, type or device that does not fit.
        TypeError: an argument that is no tensor, edges that are no integers.
        IndexError: an edge names a row that is not there.
    """
    src, dst, n_dst = checked_edges(edges)
    x, y, w = checked_factors(spec, x, y, w, src)
    if spec.lowered is not None:
        spec, x, y = gathered(spec.lowered, x, y)
    return _contract(spec.key, "z", x, y, w, None, src, dst, n_dst)


def correlate(spec: Specification, x: Tensor, y: Tensor, z: Tensor, edges: Edges) -> Tensor:
    """How much z[dst e] has of each path and channel of the tensor product of x[src e] and y[e].

    The weights' slot is left open: ``convolve``'s derivative by w, contracted with z. So
    (correlate(spec, x, y, z, edges) * w).sum() is (convolve(spec, x, y, w, edges) * z).sum(),
    and no message is ever stored. Logits of attention are such numbers.

    Args:
        spec: what is computed.
        x: (n_src, spec.x.dim) node features.
        y: (E, spec.y.dim) edge features.
        z: (edges.n_dst, spec.z.dim) features of the nodes that receive.
        edges: sources and destinations of the E edges.

    Returns:
        (E, spec.weight_numel).

    Raises:
        ValueError: weights that are shared; a shape, type or device that does not fit.
        TypeError: an argument that is no tensor, edges that are no integers.
        IndexError: an edge names a row that is not there.

    Example:
        >>> spec = Specification.convolution("1x1o", "1x1o", "0e")  # the dot product
        >>> x, y, z = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3), torch.ones(1, 1)
        >>> edge = torch.zeros(1, dtype=torch.int64)
        >>> (correlate(spec, x, y, z, Edges(edge, edge, 1)) * 3**0.5).round()
        tensor([[6.]])
    """
    edges = checked_edges(edges)
    x, y, z = checked_ends(spec, x, y, z, edges)
    if spec.lowered is not None:
        spec, x, y = gathered(spec.lowered, x, y)
    return _contract(spec.key, "w", x, y, None, z, edges.src, edges.dst, edges.src.shape[0])


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
        ValueError: a shape, type or device that does not fit.
        TypeError: an argument that is no tensor.
    """
    x, y, w = checked_factors(spec, x, y, w, None)
    if spec.lowered is not None:
        spec, x, y = gathered(spec.lowered, x, y)
    return _contract(spec.key, "z", x, y, w, None, None, None, x.shape[0])
