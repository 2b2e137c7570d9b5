"""The operator outside tracers: plain autograd functions.

They compute what the custom operator computes, without the dispatcher's Python layers, which
cost more than a small kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clebsch.ops.dispatch import compute
from clebsch.ops.reference import SLOTS


class _Contract(torch.autograd.Function):
    """One open slot; its derivatives are the same function with another slot open."""

    @staticmethod
    def forward(ctx, *inputs):  # type: ignore[no-untyped-def]
        spec, target, x, y, w, z, src, dst, _ = inputs
        ctx.spec, ctx.target = spec, target
        ctx.save_for_backward(x, y, w, z, src, dst)
        return compute(*inputs)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, y, w, z, src, dst = ctx.saved_tensors
        slots = {"x": x, "y": y, "w": w, "z": z}
        grads: list[Tensor | None] = []
        for position, slot in enumerate(SLOTS):
            if slots[slot] is None or not ctx.needs_input_grad[2 + position]:
                grads.append(None)
                continue
            factors = {**slots, ctx.target: grad, slot: None}
            rows = slots[slot].shape[0]
            grads.append(contract(ctx.spec, slot, *(factors[s] for s in SLOTS), src, dst, rows))
        return (None, None, *grads, None, None, None)


def contract(*inputs) -> Tensor:  # type: ignore[no-untyped-def]
    """``dispatch.compute`` with derivatives."""
    return _Contract.apply(*inputs)
