"""The operator outside tracers: plain autograd functions.

They compute what the custom operator computes, without the dispatcher's Python layers, which
cost more than a small kernel. Where the back end can, the derivatives by x, y and w come from one
kernel, and so do their derivatives; a third derivative is made of single open slots.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clebsch.ops import cpu, dispatch, gpu
from clebsch.ops.nodewise import VMAP_MODE, batched, wanted
from clebsch.ops.reference import SLOTS
from clebsch.ops.specification import Specification, linear_part


class _Contract(torch.autograd.Function):
    """One open slot; its derivatives are the same function with another slot open."""

    @staticmethod
    def forward(ctx, *inputs):  # type: ignore[no-untyped-def]
        spec, target, x, y, w, z, src, dst, _ = inputs
        ctx.spec, ctx.target = spec, target
        ctx.save_for_backward(x, y, w, z, src, dst)
        return dispatch.compute(*inputs)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, y, w, z, src, dst = ctx.saved_tensors
        slots = {"x": x, "y": y, "w": w, "z": z, ctx.target: grad}
        spec = linear_part(ctx.spec, ctx.target)
        grads: list[Tensor | None] = [None] * len(SLOTS)
        given = [slot for slot in SLOTS if slot != ctx.target and slots[slot] is not None]
        for tensor, slot in enumerate(given):
            position = SLOTS.index(slot)
            if wanted(ctx, 2 + position, tensor):
                grads[position] = _open(spec, slot, slots, src, dst)
        return (None, None, *grads, None, None, None)


def _open(spec, slot, slots, src, dst):  # type: ignore[no-untyped-def]
    """``slot`` of the form whose other factors are ``slots``."""
    factors = (None if s == slot else slots[s] for s in SLOTS)
    inputs = (spec, slot, *factors, src, dst, slots[slot].shape[0])
    if not batched():
        return _Contract.apply(*inputs)
    from clebsch.ops.operator import _contract

    # is_grads_batched is no functorch: only the custom operator knows its batches.
    in_vmap_mode = torch._C._dispatch_tls_is_dispatch_key_included(VMAP_MODE)
    return torch.ops.clebsch.contract(*inputs) if in_vmap_mode else _contract(*inputs)


class _Convolve(torch.autograd.Function):
    """Slot z open, on a back end that opens x, y and w at once."""

    @staticmethod
    def forward(ctx, spec, x, y, w, src, dst, rows):  # type: ignore[no-untyped-def]
        ctx.spec = spec
        ctx.save_for_backward(x, y, w, src, dst)
        factors = {"x": x, "y": y, "w": w}
        return _fused(spec, "z", factors, {}, src, dst, x.shape[0], rows)["z"]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, y, w, src, dst = ctx.saved_tensors
        targets = "".join(s for t, s in enumerate("xyw") if wanted(ctx, 1 + t, t))
        if batched():
            slots = {"x": x, "y": y, "w": w, "z": grad}
            opened = [_open(ctx.spec.key, s, slots, src, dst) for s in targets]
        elif targets:
            opened = _Gradients.apply(ctx.spec, targets, x, y, w, grad, src, dst)
        else:
            opened = []
        found = dict(zip(targets, opened, strict=True))
        return (None, *(found.get(s) for s in "xyw"), None, None, None)


class _Gradients(torch.autograd.Function):
    """Some of the slots x, y, w open at once."""

    @staticmethod
    def forward(ctx, spec, targets, x, y, w, z, src, dst):  # type: ignore[no-untyped-def]
        ctx.spec, ctx.targets = spec, targets
        ctx.save_for_backward(x, y, w, z, src, dst)
        ctx.set_materialize_grads(False)
        slots = {"x": x, "y": y, "w": w, "z": z}
        found = _fused(spec, targets, slots, {}, src, dst, x.shape[0], z.shape[0])
        return tuple(found[target] for target in targets)

    @staticmethod
    def backward(ctx, *cotangents):  # type: ignore[no-untyped-def]
        x, y, w, z, src, dst = ctx.saved_tensors
        slots = {"x": x, "y": y, "w": w, "z": z}
        tangents = {t: c for t, c in zip(ctx.targets, cotangents, strict=True) if c is not None}
        # A tangent of slot a says nothing of slot a itself: the form is linear in each slot.
        targets = [t for n, t in enumerate("xywz") if set(tangents) - {t} and wanted(ctx, 2 + n, n)]
        found: dict[str, Tensor] = {}
        if torch.is_grad_enabled() or batched():  # a derivative of this one is asked for
            for target in targets:
                parts = [
                    _open(
                        linear_part(ctx.spec.key, a),
                        target,
                        {**slots, a: tangent},
                        src,
                        dst,
                    )
                    for a, tangent in tangents.items()
                    if a != target
                ]
                found[target] = sum(parts[1:], parts[0])
        else:
            sizes = (src, dst, x.shape[0], z.shape[0])
            edges = "".join(t for t in targets if t != "z")
            if edges:
                found |= _fused(ctx.spec, edges, slots, tangents, *sizes)
            if "z" in targets:
                factors = {s: slots[s] for s in "xyw"}
                found |= _fused(ctx.spec, "z", factors, tangents, *sizes)
        return (None, None, *(found.get(t) for t in "xywz"), None, None)


def _fused(  # type: ignore[no-untyped-def]
    spec, targets, factors, tangents, src, dst, n_src, n_dst
) -> dict[str, Tensor]:
    some, edges = factors["y"], factors["y"].shape[0]
    # A derivative may be taken where another back end is chosen: by one that can, then.
    fast = dispatch.fused(spec, some) or (cpu if cpu.fused(spec, some) else gpu)
    return fast.open_slots(spec, targets, factors, tangents, src, dst, n_src, n_dst, edges)


def contract(  # type: ignore[no-untyped-def]
    spec, target, x, y, w, z, src, dst, rows
) -> Tensor:
    """``dispatch.compute`` with derivatives."""
    if target == "z" and w is not None:
        parsed = Specification.from_key(spec)
        if dispatch.fused(parsed, x) is not None:
            return _Convolve.apply(parsed, x, y, w, src, dst, rows)
    return _Contract.apply(spec, target, x, y, w, z, src, dst, rows)
