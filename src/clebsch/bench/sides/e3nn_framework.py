"""e3nn's parts of networks.

``python e3nn_framework.py WHAT`` prints the seconds of one build in a fresh process, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import e3nn
import numpy as np
import torch
from e3nn import o3
from torch import Tensor

LMAX = 8


def versions() -> dict[str, Any]:
    return {
        "name": f"e3nn {e3nn.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """The same on the same numbers; rotations come as the angles that e3nn wants."""
    dtype = torch.float64 if case.get("double") else torch.float32
    # e3nn's constants have the default type
    torch.set_default_dtype(dtype)
    numbers = np.random.default_rng(7)
    if case["what"] == "wigner_D":
        angles = torch.from_numpy(numbers.uniform(0.0, 3.0, (3, case["n"]))).to(dtype)

        def wigner() -> list[Tensor]:
            with torch.no_grad():
                return [o3.wigner_D(l, *angles) for l in range(LMAX + 1)]

        return {"forward": wigner, "facts": lambda: _facts(wigner())}

    xyz = torch.from_numpy(numbers.standard_normal((case["n"], 3))).to(dtype).requires_grad_()
    degrees = list(range(LMAX + 1))
    size = (case["n"], (LMAX + 1) ** 2)
    cotangent = torch.from_numpy(numbers.standard_normal(size)).to(dtype)

    def forward() -> Tensor:
        with torch.no_grad():
            return o3.spherical_harmonics(degrees, xyz, True, "component")

    def backward() -> tuple[Tensor, ...]:
        y = o3.spherical_harmonics(degrees, xyz, True, "component")
        return torch.autograd.grad(y, xyz, cotangent)

    return {
        "forward": forward,
        "forward+backward": backward,
        "facts": lambda: _facts([forward(), *backward()]),
    }


def _facts(results: list[Tensor]) -> dict[str, Any]:
    """Sums with uneven weights: the same only where every element is."""
    weights = [torch.linspace(0.5, 1.5, r.numel(), dtype=torch.float64) for r in results]
    pairs = zip(weights, results, strict=True)
    return {"values": [torch.dot(w, r.double().flatten()).item() for w, r in pairs]}


def build(what: str) -> Callable[[], object]:
    """What is built in a fresh process."""
    even_and_odd = o3.Irreps([(8, (l, p)) for l in range(5) for p in (1, -1)])
    harmonics = o3.Irreps.spherical_harmonics(4)

    def product() -> o3.FullyConnectedTensorProduct:
        made = o3.FullyConnectedTensorProduct(even_and_odd, harmonics, even_and_odd)
        assert len(made.instructions) == 130
        return made

    x, y = torch.randn(64, even_and_odd.dim), torch.randn(64, harmonics.dim)

    def elasticity() -> Tensor:
        return o3.ReducedTensorProducts("ijkl=jikl=ijlk=klij", i="1o").change_of_basis

    def cube() -> Tensor:
        return o3.ReducedTensorProducts("ijk=jik=ikj", i="0e + 1o + 2e").change_of_basis

    if what == "elasticity_again":
        elasticity()  # e3nn keeps nothing on disk: the second time in one process
        return elasticity
    return {
        "product": product,
        "product+forward": lambda: product()(x, y),
        "elasticity": elasticity,
        "cube": cube,
    }[what]


def main() -> None:
    """Time one build."""
    task = build(sys.argv[1])
    start = time.perf_counter()
    task()
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
