"""clebsch's parts of networks.

``python ours_framework.py WHAT`` prints the seconds of one build in a fresh process, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import clebsch
from clebsch.nn import FullyConnectedTensorProduct
from clebsch.o3 import (
    Irreps,
    reduced_tensor_product,
    rotations,
    spherical_harmonics,
    symmetric_power_basis,
)
from clebsch.o3.wigner import wigner_D_up_to

LMAX = 8


def versions() -> dict[str, Any]:
    return {
        "name": f"clebsch {clebsch.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Case: what (wigner_D or harmonics), n, and whether in float64."""
    dtype = torch.float64 if case.get("double") else torch.float32
    numbers = np.random.default_rng(7)
    if case["what"] == "wigner_D":
        angles = torch.from_numpy(numbers.uniform(0.0, 3.0, (3, case["n"]))).to(dtype)
        matrices = rotations.angles_to_matrix(*angles)

        def wigner() -> list[Tensor]:
            with torch.no_grad():
                return wigner_D_up_to(LMAX, matrices)

        return {"forward": wigner, "facts": lambda: _facts(wigner())}

    xyz = torch.from_numpy(numbers.standard_normal((case["n"], 3))).to(dtype).requires_grad_()
    degrees = list(range(LMAX + 1))
    size = (case["n"], (LMAX + 1) ** 2)
    cotangent = torch.from_numpy(numbers.standard_normal(size)).to(dtype)

    def forward() -> Tensor:
        with torch.no_grad():
            return spherical_harmonics(degrees, xyz, normalize=True, normalization="component")

    def backward() -> tuple[Tensor, ...]:
        y = spherical_harmonics(degrees, xyz, normalize=True, normalization="component")
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
    even_and_odd = Irreps([(8, (l, p)) for l in range(5) for p in (1, -1)])
    harmonics = Irreps.spherical_harmonics(4)

    def product() -> FullyConnectedTensorProduct:
        made = FullyConnectedTensorProduct(even_and_odd, harmonics, even_and_odd)
        assert len(made.specification.paths) == 130
        return made

    x, y = torch.randn(64, even_and_odd.dim), torch.randn(64, harmonics.dim)

    def elasticity() -> Tensor:
        return reduced_tensor_product("ijkl=jikl=ijlk=klij", i="1o").change_of_basis

    return {
        "product": product,
        "product+forward": lambda: product()(x, y),
        "elasticity": elasticity,
        "elasticity_again": elasticity,  # in a fresh process, from the disk
        "cube": lambda: symmetric_power_basis("0e + 1o + 2e", 3).change_of_basis,
    }[what]


def main() -> None:
    """Time one build."""
    task = build(sys.argv[1])
    start = time.perf_counter()
    task()
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
