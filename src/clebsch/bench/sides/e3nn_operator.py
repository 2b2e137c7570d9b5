"""e3nn's TensorProduct, with the gather and the sum around it that its users write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import e3nn
import numpy as np
import torch
from e3nn import o3
from torch import Tensor


def versions() -> dict[str, Any]:
    return {
        "name": f"e3nn {e3nn.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """The same convolution on the same numbers.

    Case: lmax, channels, atoms, edges, and whether to compile.
    """
    irreps = o3.Irreps([(case["channels"], (l, (-1) ** l)) for l in range(case["lmax"] + 1)])
    harmonics = o3.Irreps.spherical_harmonics(case["lmax"])
    kept = {ir for _, ir in irreps}
    found = sorted(
        (ir, i, j)
        for i, (_, a) in enumerate(irreps)
        for j, (_, b) in enumerate(harmonics)
        for ir in a * b
        if ir in kept
    )
    instructions = [(i, j, k, "uvu", True) for k, (_, i, j) in enumerate(found)]
    results = o3.Irreps([(case["channels"], ir) for ir, _, _ in found])
    compiled = bool(case.get("compiled"))
    # What torch.compile sees must not be a TorchScript module.
    e3nn.set_optimization_defaults(jit_mode="eager" if compiled else "script")
    product = o3.TensorProduct(
        irreps, harmonics, results, instructions, shared_weights=False, internal_weights=False
    )
    numbers = np.random.default_rng(7)

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(numbers.standard_normal(shape, dtype=np.float32)).clone()

    x = draw(case["atoms"], irreps.dim)
    y = draw(case["edges"], harmonics.dim)
    w = draw(case["edges"], product.weight_numel)
    src = torch.from_numpy(numbers.integers(0, case["atoms"], case["edges"]))
    dst = torch.from_numpy(np.sort(numbers.integers(0, case["atoms"], case["edges"])))
    z = draw(case["atoms"], results.dim)
    vx, vy, vw = draw(*x.shape), draw(*y.shape), draw(*w.shape)
    factors = (x.requires_grad_(), y.requires_grad_(), w.requires_grad_())

    def convolve(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        message = product(x.index_select(0, src), y, w)
        return message.new_zeros(case["atoms"], message.shape[1]).index_add_(0, dst, message)

    if compiled:
        convolve = torch.compile(convolve)

    def forward() -> Tensor:
        with torch.no_grad():
            return convolve(x, y, w)

    def backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(convolve(x, y, w), factors, z)

    def double_backward() -> tuple[Tensor, ...]:
        first = torch.autograd.grad(convolve(x, y, w), factors, z, create_graph=True)
        return torch.autograd.grad(first, factors, (vx, vy, vw))

    def facts() -> dict[str, Any]:
        """The form over the norms of its factors, and norms: the same in every layout."""
        out, cotangent = forward().double(), z.double()
        values = [(out * cotangent).sum() / (out.norm() * cotangent.norm()), out.norm()]
        values += [gradient.double().norm() for gradient in double_backward()]
        return {"values": [value.item() for value in values]}

    return {
        "forward": forward,
        "forward+backward": backward,
        "double_backward": double_backward,
        "facts": facts,
    }
