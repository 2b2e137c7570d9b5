"""clebsch's convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import clebsch
from clebsch.o3 import Irrep, Irreps, from_e3nn
from clebsch.ops import Edges, Specification, convolve


def versions() -> dict[str, Any]:
    return {
        "name": f"clebsch {clebsch.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """The convolution and its derivatives at natural parity.

    Case: lmax, channels, atoms, edges. Inputs are those of the peer, in our layout.
    """
    torch.set_grad_enabled(True)
    irreps = Irreps([(case["channels"], Irrep(l, (-1) ** l)) for l in range(case["lmax"] + 1)])
    harmonics = Irreps.spherical_harmonics(case["lmax"])
    spec = Specification.convolution(irreps, harmonics, irreps)
    numbers = np.random.default_rng(7)

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(numbers.standard_normal(shape, dtype=np.float32)).clone()

    x = from_e3nn(draw(case["atoms"], irreps.dim), irreps)
    y = draw(case["edges"], harmonics.dim)
    w = draw(case["edges"], spec.weight_numel)
    src = torch.from_numpy(numbers.integers(0, case["atoms"], case["edges"]))
    dst = torch.from_numpy(np.sort(numbers.integers(0, case["atoms"], case["edges"])))
    z = from_e3nn(draw(case["atoms"], spec.z.dim), spec.z)
    vx, vy, vw = from_e3nn(draw(*x.shape), irreps), draw(*y.shape), draw(*w.shape)
    factors = (x.requires_grad_(), y.requires_grad_(), w.requires_grad_())
    edges = Edges(src, dst, case["atoms"])

    def forward() -> Tensor:
        with torch.no_grad():
            return convolve(spec, x, y, w, edges)

    def backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(convolve(spec, x, y, w, edges), factors, z)

    def double_backward() -> tuple[Tensor, ...]:
        out = convolve(spec, x, y, w, edges)
        first = torch.autograd.grad(out, factors, z, create_graph=True)
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
