"""Fully connected products (``uvw``, shared weights): pairs of channels, then one matrix product.

Weights that all rows share leave the sum over edges: the pairs (u, v) are gathered, coupled and
summed first, and a matrix product mixes them once per row of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from clebsch.o3 import Irreps
from clebsch.ops.nodewise import full_precision
from clebsch.ops.specification import Path, Specification

# contract(spec, target, factors, src, dst, rows, edges), as every back end has it
Contract = Callable[
    [Specification, str, dict[str, Tensor], Tensor | None, Tensor | None, int, int], Tensor
]

PAIRS = 2**24  # elements of the pairs that are held at a time


@lru_cache(maxsize=1024)
def pairs(spec: Specification) -> Specification | None:
    """The product that couples pairs of channels; None where a path is of another kind."""
    if not spec.shared_weights or not spec.paths:
        return None
    if any(path.mode != "uvw" or not path.weighted for path in spec.paths):
        return None
    blocks, paths = [], []
    for number, path in enumerate(spec.paths):
        (u, _), (v, _), (_, ir) = spec.blocks(path)
        blocks.append((u * v, ir))
        paths.append(Path(path.x, path.y, number, "uvuv", path.coefficient, weighted=False))
    return Specification(spec.x, spec.y, Irreps(blocks), tuple(paths))


def contract(
    spec: Specification,
    target: str,
    factors: dict[str, Tensor],
    src: Tensor | None,
    dst: Tensor | None,
    rows: int,
    edges: int,
    inner: Contract,
) -> Tensor:
    """Open ``target`` with ``inner`` for the pairs; arguments as for a back end.

    Raises:
        ValueError: ``pairs(spec)`` is None.
    """
    coupled = pairs(spec)
    if coupled is None:
        raise ValueError("not every path is fully connected with shared weights")
    with full_precision(next(iter(factors.values())).device.type):
        return _contract(spec, coupled, target, factors, src, dst, rows, edges, inner)


def _contract(
    spec: Specification,
    coupled: Specification,
    target: str,
    factors: dict[str, Tensor],
    src: Tensor | None,
    dst: Tensor | None,
    rows: int,
    edges: int,
    inner: Contract,
) -> Tensor:
    step = max(1, PAIRS // max(1, coupled.z.dim))
    if src is None and edges > step:
        # Row by row there is no need to hold the pairs of all rows.
        parts = []
        for start in range(0, edges, step):
            some = {s: f if s == "w" else f[start : start + step] for s, f in factors.items()}
            size = min(step, edges - start)
            left = size if target != "w" else rows
            parts.append(_contract(spec, coupled, target, some, None, None, left, size, inner))
        return torch.stack(parts).sum(0) if target == "w" else torch.cat(parts)
    if target in ("x", "y"):
        mixed = [
            (block @ weight.T).flatten(1)
            for block, weight in zip(
                _blocks(spec, factors["z"]), _matrices(spec, factors["w"]), strict=True
            )
        ]
        others = {s: f for s, f in factors.items() if s in "xy"}
        return inner(coupled, target, {**others, "z": torch.cat(mixed, 1)}, src, dst, rows, edges)
    n_dst = rows if target == "z" else factors["z"].shape[0]
    both = {s: factors[s] for s in "xy"}
    found = inner(coupled, "z", both, src, dst, n_dst, edges)
    parts = [
        part.reshape(n_dst, ir.dim, mul)
        for part, (mul, ir) in zip(found.split(_widths(coupled.z), 1), coupled.z, strict=True)
    ]
    if target == "w":
        sums = [
            torch.einsum("nkp,nkw->pw", part, block).flatten()
            for part, block in zip(parts, _blocks(spec, factors["z"]), strict=True)
        ]
        return torch.cat(sums)
    out: list[Tensor | None] = [None] * len(spec.z)
    for path, part, weight in zip(spec.paths, parts, _matrices(spec, factors["w"]), strict=True):
        value, sofar = (part @ weight).flatten(1), out[path.z]
        out[path.z] = value if sofar is None else sofar + value
    return torch.cat(
        [
            found.new_zeros(n_dst, width) if block is None else block
            for block, width in zip(out, _widths(spec.z), strict=True)
        ],
        1,
    )


def _widths(irreps: Irreps) -> list[int]:
    return [mul * ir.dim for mul, ir in irreps]


def _matrices(spec: Specification, w: Tensor) -> list[Tensor]:
    """The weights of each path, (pairs, channels of the result)."""
    return [
        w[place].reshape(-1, spec.z[path.z].mul)
        for path, place in zip(spec.paths, spec.weight_slices, strict=True)
    ]


def _blocks(spec: Specification, z: Tensor) -> list[Tensor]:
    """The result's block of each path, (rows, 2l + 1, channels)."""
    split = z.split(_widths(spec.z), 1)
    return [
        split[path.z].reshape(z.shape[0], spec.z[path.z].ir.dim, spec.z[path.z].mul)
        for path in spec.paths
    ]
