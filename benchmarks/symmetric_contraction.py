"""Symmetric contraction beside the dense einsums of MACE: time of one layer on the CPU.

    python benchmarks/symmetric_contraction.py [--atoms 300] [--rounds 7] [--out FILE]

128 channels, l <= 3 to 0e + 1o, degree 3, two species, float32, one thread. The other side is the
published algorithm with opt_einsum's order of contraction: weights with the full U of the highest
degree, then x, then the next degree added (Batatia et al. 2022, appendix). It gets our U, which
are fewer than MACE's as dependent ones are left out. Sides alternate; medians of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.bench.result import surroundings
from clebsch.files import atomic_path
from clebsch.nn import SymmetricContraction
from clebsch.o3 import Irreps, symmetric_power_basis


class Dense(nn.Module):
    """The layer's function by einsums, the layout of features (atoms, channels, components)."""

    def __init__(self, layer: SymmetricContraction) -> None:
        super().__init__()
        variables = Irreps([ir for _, ir in layer.irreps_in])
        self.U, self.weights = [], nn.ParameterList()
        factors = torch.tensor(layer.factors)[:, None]
        start = 0
        for (_, ir), counts in zip(layer.irreps_out, layer.n_paths, strict=True):
            block = []
            for degree, paths in enumerate(counts, 1):
                U = symmetric_power_basis(variables, degree, keep=[ir]).block(ir)
                block.append(U.movedim(0, -1).float().contiguous())
                self.weights.append(
                    (layer.weight.detach() * factors)[:, start : start + paths].clone()
                )
                start += paths
            self.U.append(block)

    def forward(self, x: Tensor, one_hot: Tensor) -> Tensor:
        outputs, weights = [], iter(self.weights)
        for block in self.U:
            own = [next(weights) for _ in block]
            letters = "stuv"[: len(block)]
            total = torch.einsum(
                f"k{letters}p,epc,be,bc{letters[-1]}->bck{letters[:-1]}",
                block[-1], own[-1], one_hot, x,
            )  # fmt: skip
            for degree in range(len(block) - 2, -1, -1):
                left = letters[: degree + 1]
                coefficients = torch.einsum(
                    f"k{left}p,epc,be->bck{left}", block[degree], own[degree], one_hot
                )
                total = torch.einsum(
                    f"bck{left},bc{left[-1]}->bck{left[:-1]}", total + coefficients, x
                )
            outputs.append(total)
        return torch.cat(outputs, dim=-1)


def tasks(function: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module) -> dict[str, Any]:
    """What is timed: value, a training step on values, and one on derivatives by x (forces)."""
    parameters = list(module.parameters())

    def forward() -> None:
        with torch.no_grad():
            function(x)

    def backward() -> None:
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(function(leaf).square().sum(), [leaf, *parameters])

    def forces() -> None:
        leaf = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(leaf).square().sum(), leaf, create_graph=True)
        torch.autograd.grad(slope.square().sum(), [leaf, *parameters])

    return {"forward": forward, "forward + backward": backward, "force training step": forces}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=300)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    c, n = options.channels, options.atoms
    layer = SymmetricContraction(
        f"{c}x0e + {c}x1o + {c}x2e + {c}x3o", f"{c}x0e + {c}x1o", correlation=3, n_species=2
    )
    other = Dense(layer)
    x, species = torch.randn(n, 16, c), torch.randint(2, (n,))
    one_hot = nn.functional.one_hot(species, 2).float()
    there = x.transpose(1, 2).contiguous()
    with torch.no_grad():
        ours = layer(x.flatten(1), species).view(n, -1, c)
        torch.testing.assert_close(
            other(there, one_hot).transpose(1, 2), ours, atol=1e-4 * float(ours.abs().max()), rtol=0
        )
    sides = {
        "clebsch": tasks(lambda x: layer(x.flatten(1), species), x, layer),
        "einsum": tasks(lambda x: other(x, one_hot), there, other),
    }
    found: dict[str, Any] = {}
    for task in sides["clebsch"]:
        times: dict[str, list[float]] = {side: [] for side in sides}
        for round_ in range(options.rounds + 1):
            for side, functions in sides.items():
                start = time.process_time()
                functions[task]()
                if round_:  # the first one warms up
                    times[side].append(time.process_time() - start)
        medians = {side: 1000 * statistics.median(values) for side, values in times.items()}
        found[task] = {**medians, "ratio": medians["einsum"] / medians["clebsch"]}
        print(
            f"{task:20} einsum {medians['einsum']:8.1f} ms, clebsch {medians['clebsch']:7.2f} ms, "
            f"ratio {found[task]['ratio']:.1f}",
            flush=True,
        )
    if options.out is not None:
        settings = {"atoms": n, "channels": c, "rounds": options.rounds, "unit": "ms"}
        result = {
            "settings": settings,
            "machine": surroundings(1, torch.__version__, False),
            "results": found,
        }
        with atomic_path(options.out) as path:
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
