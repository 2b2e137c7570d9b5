"""Multilayer perceptrons whose training by derivatives is written out.

A force loss needs the network, its gradient by the input, and of both the gradients by the
weights. In these three passes the layers' kernels are called one after the other, without a
node of autograd for each; every other derivative goes through the plain composition.

With h_k = f(a_k), a_k = h_{k-1} W_k and the last a the result, the gradient by the input runs
t_k = f'(a_k) (t_{k+1} W_{k+1}^T). Its derivative along u, the tangents d_k = f'(a_k) (d_{k-1} W_k)
with d_0 = u, gives the gradient by the cotangent; reverse through both gives those by the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clebsch.compiler import usable
from clebsch.ops.nodewise import batched, fast, gating, mixing, wanted
from clebsch.ops.nodewise.gating import Gating
from clebsch.ops.nodewise.mixing import Mixing


@dataclass(frozen=True, eq=False)
class Perceptron:
    """Linear maps with activations between them.

    Attributes:
        steps: the linear maps.
        activations: one less, each of scalars only.
    """

    steps: tuple[Mixing, ...]
    activations: tuple[Gating, ...]

    def compose(self, x: Tensor, *weights: Tensor) -> Tensor:
        """The network in plain PyTorch."""
        for number, (step, weight) in enumerate(zip(self.steps, weights, strict=True)):
            if number:
                x = self.activations[number - 1].compose(x)
            x = mixing.compose(step, x, weight)
        return x


def _map(step: Mixing, x: Tensor, w: Tensor) -> Tensor:
    return mixing.compute(step, mixing.Z, (x.shape[0], step.z.dim), None, x, w, None)


def _back(step: Mixing, w: Tensor, z: Tensor) -> Tensor:
    return mixing.compute(step, mixing.X, (z.shape[0], step.x.dim), None, None, w, z)


def _correlate(step: Mixing, x: Tensor, z: Tensor, like: Tensor) -> Tensor:
    return mixing.compute(step, mixing.W, like.shape, None, x, None, z)


class _Value(torch.autograd.Function):
    """The network."""

    @staticmethod
    def forward(ctx, net, x, *weights):  # type: ignore[no-untyped-def]
        ctx.net = net
        before: list[Tensor] = []
        y = x
        for number, (step, weight) in enumerate(zip(net.steps, weights, strict=True)):
            if number:
                before.append(y)
                y = gating.compute(net.activations[number - 1], gating.VALUE, y, None, None)
            y = _map(step, y, weight)
        ctx.save_for_backward(x, *weights, *before)
        return y

    @staticmethod
    def backward(ctx, z):  # type: ignore[no-untyped-def]
        net, n = ctx.net, len(ctx.net.steps)
        x, *rest = ctx.saved_tensors
        weights, before = rest[:n], rest[n:]
        needed = [wanted(ctx, 1 + i, i) for i in range(1 + n)]
        if not any(needed[1:]) and not batched():
            return None, _ByInput.apply(net, x, z, *weights, *before), *[None] * n
        if torch.is_grad_enabled() or batched():
            return None, *_composed(net, (x, *weights), needed, z)
        grads: list[Tensor | None] = [None] * (1 + n)
        for k in range(n - 1, -1, -1):
            if needed[1 + k]:
                grads[1 + k] = _correlate(net.steps[k], _hidden(net, k, x, before), z, weights[k])
            if k:
                z = _back(net.steps[k], weights[k], z)
                z = gating.compute(net.activations[k - 1], gating.GRADIENT, before[k - 1], z, None)
            elif needed[0]:
                grads[0] = _back(net.steps[0], weights[0], z)
        return None, *grads


class _ByInput(torch.autograd.Function):
    """The gradient by the input."""

    @staticmethod
    def forward(ctx, net, x, z, *rest):  # type: ignore[no-untyped-def]
        ctx.net = net
        n = len(net.steps)
        weights, before = rest[:n], rest[n:]
        cotangents: list[Tensor] = []  # of h_k and of a_k, from the last k down
        t = z
        for k in range(n - 1, 0, -1):
            cotangents.append(_back(net.steps[k], weights[k], t))
            t = gating.compute(
                net.activations[k - 1], gating.GRADIENT, before[k - 1], cotangents[-1], None
            )
            cotangents.append(t)
        ctx.save_for_backward(x, z, *rest, *cotangents)
        return _back(net.steps[0], weights[0], t)

    @staticmethod
    def backward(ctx, u):  # type: ignore[no-untyped-def]
        net, n = ctx.net, len(ctx.net.steps)
        x, z, *rest = ctx.saved_tensors
        weights, before, cotangents = rest[:n], rest[n : 2 * n - 1], rest[2 * n - 1 :]
        needed = [wanted(ctx, 1 + i, i) for i in range(2 + n)]
        none = [None] * (n - 1)
        if torch.is_grad_enabled() or batched() or needed[0]:
            inputs = (x, z, *weights)
            return None, *_composed(net, inputs, needed, u, slope=True), *none
        grads: list[Tensor | None] = [None] * (2 + n)
        inside, tangents = [], [u]  # derivatives along u of a_k and of h_k
        for k in range(n - 1):
            inside.append(_map(net.steps[k], tangents[-1], weights[k]))
            tangents.append(
                gating.compute(net.activations[k], gating.ALONG, before[k], None, inside[-1])
            )
        if needed[1]:
            grads[1] = _map(net.steps[-1], tangents[-1], weights[-1])
        if any(needed[2:]):
            grads[1 + n] = _correlate(net.steps[-1], tangents[-1], z, weights[-1])
            p: Tensor | None = None  # cotangent of h_k; without one for the last
            for k in range(n - 2, -1, -1):
                by_h, by_a = cotangents[2 * (n - 2 - k) : 2 * (n - 1 - k)]
                gate = net.activations[k]
                q = gating.compute(gate, gating.SECOND, before[k], by_h, inside[k])
                if p is not None:
                    q += gating.compute(gate, gating.GRADIENT, before[k], p, None)
                hidden, like = _hidden(net, k, x, before), weights[k]
                grad = _correlate(net.steps[k], tangents[k], by_a, like)
                grads[2 + k] = grad.add_(_correlate(net.steps[k], hidden, q, like))
                if k:
                    p = _back(net.steps[k], weights[k], q)
        return None, *grads, *none


def _hidden(net: Perceptron, k: int, x: Tensor, before: list[Tensor]) -> Tensor:
    """What the map of number ``k`` reads."""
    if k == 0:
        return x
    return gating.compute(net.activations[k - 1], gating.VALUE, before[k - 1], None, None)


def _composed(  # type: ignore[no-untyped-def]
    net: Perceptron, inputs, needed: list[bool], cotangent: Tensor, slope: bool = False
) -> list[Tensor | None]:
    """Gradients of the network, or of its gradient (``slope``), through the composition."""
    with torch.enable_grad():
        free = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in inputs]
        if slope:
            x, z, *weights = free
            (value,) = torch.autograd.grad(net.compose(x, *weights), x, z, create_graph=True)
        else:
            value = net.compose(*free)
        chosen = [t for t, need in zip(free, needed, strict=True) if need]
        found = iter(
            torch.autograd.grad(value, chosen, cotangent, create_graph=True, allow_unused=True)
        )
    return [next(found) if need else None for need in needed]


def perceive(net: Perceptron, x: Tensor, *weights: Tensor) -> Tensor:
    """The network at x (..., width), by kernels where they can be used.

    Raises:
        ValueError: x or a weight matrix of another shape.
    """
    for step, weight in zip(net.steps, weights, strict=True):
        if weight.shape != (step.x.dim, step.z.dim):
            raise ValueError(
                f"weights are {tuple(weight.shape)}; they must be {(step.x.dim, step.z.dim)}"
            )
    if x.shape[-1] != net.steps[0].x.dim:
        raise ValueError(f"x is {tuple(x.shape)}; its rows must have {net.steps[0].x.dim} entries")
    if (
        x.ndim == 2
        and fast(x, *weights)
        and all(gate.known for gate in net.activations)
        and all(w.dtype == x.dtype for w in weights)
        and usable()
    ):
        result: Tensor = _Value.apply(net, x, *weights)
        return result
    return net.compose(x, *weights)
