"""The SO(2) form in plain PyTorch: the meaning of the CPU kernels, on any device."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clebsch.o3.frames import direction_frames
from clebsch.o3.spherical_harmonics import Normalization
from clebsch.o3.wigner import wigner_D_up_to
from clebsch.ops.arguments import Edges
from clebsch.ops.specification import Specification

_CHUNK = 2**22  # elements of features and weights of the edges that are taken at a time


@dataclass(frozen=True)
class Pair:
    """All paths between one block of x and one of the result.

    Attributes:
        x, z: the blocks.
        paths: their indices in the specification.
        degrees: l of each path's harmonic.
        mixes: (paths,) whether l + l' + l'' is odd, so that m meets -m.
        same: (paths, 2M+1) factor between component m of x and m of the result, M = min(l, l').
        opposite: (paths, 2M+1) factor between component -m of x and m of the result.
    """

    x: int
    z: int
    paths: tuple[int, ...]
    degrees: tuple[int, ...]
    mixes: np.ndarray
    same: np.ndarray
    opposite: np.ndarray


@lru_cache(maxsize=1024)
def supported(spec: Specification) -> bool:
    """Whether the specification is a convolution with harmonics, its weights given by edge."""
    return (
        bool(spec.paths)
        and all(path.mode == "uvu" and spec.y[path.y].mul == 1 for path in spec.paths)
        and not (spec.shared_weights and spec.weight_numel)
    )


@lru_cache(maxsize=256)
def pairs(spec: Specification, normalization: Normalization) -> tuple[Pair, ...]:
    """The sparse form of the specification where the polar axis is the edge."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, path in enumerate(spec.paths):
        found[path.x, path.z].append(index)
    result = []
    for (x, z), paths in found.items():
        l1, l3 = spec.x[x].ir.l, spec.z[z].ir.l
        M = min(l1, l3)
        m = np.arange(-M, M + 1)
        degrees = tuple(spec.y[spec.paths[p].y].ir.l for p in paths)
        same, opposite = np.zeros((2, len(paths), 2 * M + 1))
        for row, (p, l2) in enumerate(zip(paths, degrees, strict=True)):
            symbol = spec.symbol(spec.paths[p]).numpy()[:, l2] * _pole(l2, normalization)
            if (l1 + l2 + l3) % 2:
                opposite[row] = symbol[l1 - m, l3 + m]
            else:
                same[row] = symbol[l1 + m, l3 + m]
        mixes = np.array([(l1 + l2 + l3) % 2 == 1 for l2 in degrees])
        result.append(Pair(x, z, tuple(paths), degrees, mixes, same, opposite))
    return tuple(result)


def _pole(l: int, normalization: Normalization) -> float:
    """The harmonic of degree l and m = 0 on the polar axis; all others are 0 there."""
    scale = {"norm": 1.0, "component": sqrt(2 * l + 1), "integral": sqrt((2 * l + 1) / (4 * pi))}
    return scale[normalization]


def convolve(
    spec: Specification,
    x: Tensor,
    vectors: Tensor,
    w: Tensor | None,
    edges: Edges,
    normalization: Normalization = "component",
) -> Tensor:
    """`convolve_directions`, with derivatives of every order.

    Edges are taken in chunks that are computed again in the backward pass, so the memory beyond
    inputs and result does not grow with them.
    """
    src, dst, n_dst = edges
    total = src.shape[0]
    width = spec.x.dim + spec.z.dim + spec.weight_numel
    size = max(1, _CHUNK // width)
    out = x.new_zeros(n_dst, spec.z.dim)
    for start in range(0, max(total, 1), size):  # once without edges, for the derivatives
        part = slice(start, start + size)
        inputs = (x, src[part], vectors[part], None if w is None else w[part])
        if size >= total or not torch.is_grad_enabled():
            messages = _messages(spec, normalization, *inputs)
        else:
            messages = checkpoint(
                _messages, spec, normalization, *inputs, use_reentrant=False,
                preserve_rng_state=False,
            )  # fmt: skip
        out = out.index_add(0, dst[part], messages)
    return out


def _messages(
    spec: Specification,
    normalization: Normalization,
    x: Tensor,
    src: Tensor,
    vectors: Tensor,
    w: Tensor | None,
) -> Tensor:
    """(edges, spec.z.dim), the terms of the sum."""
    used = pairs(spec, normalization)
    edges = src.shape[0]
    dtype, device = x.dtype, x.device
    lmax = max([0, *(spec.x[p.x].ir.l for p in used), *(spec.z[p.z].ir.l for p in used)])
    D = wigner_D_up_to(lmax, direction_frames(vectors))
    alive = (vectors != 0).any(-1)
    all_alive = bool(alive.all())
    gathered = x.index_select(0, src)
    local: dict[int, Tensor] = {}
    sums: dict[int, Tensor] = {}
    for pair in used:
        (mul, ir), l3 = spec.x[pair.x], spec.z[pair.z].ir.l
        if pair.x not in local:
            block = gathered[:, spec.x.slices()[pair.x]].unflatten(1, (ir.dim, mul))
            local[pair.x] = D[ir.l] @ block
        if pair.z not in sums:
            sums[pair.z] = x.new_zeros(edges, 2 * l3 + 1, mul)
        M = min(ir.l, l3)
        inner = local[pair.x][:, ir.l - M : ir.l + M + 1]
        weights = torch.stack([_weights(spec, p, w, x, edges) for p in pair.paths], 1)
        if not all_alive and any(pair.degrees):
            # at length 0 the harmonics of degree > 0 vanish
            constant = torch.tensor([l == 0 for l in pair.degrees], device=device)
            weights = torch.where((alive[:, None] | constant)[..., None], weights, 0.0)
        total = x.new_zeros(())
        for table, factor in ((pair.same, inner), (pair.opposite, inner.flip(1))):
            if table.any():
                radial = torch.einsum(
                    "pm,epc->emc", torch.tensor(table, dtype=dtype, device=device), weights
                )
                total = total + radial * factor
        sums[pair.z] = sums[pair.z] + torch.nn.functional.pad(total, (0, 0, l3 - M, l3 - M))
    blocks = [
        (D[ir.l].mT @ sums[b]).flatten(1) if b in sums else x.new_zeros(edges, mul * ir.dim)
        for b, (mul, ir) in enumerate(spec.z)
    ]
    return torch.cat(blocks, 1) if blocks else x.new_zeros(edges, 0)


def _weights(spec: Specification, path: int, w: Tensor | None, x: Tensor, edges: int) -> Tensor:
    """(edges, channels) weights of one path."""
    if w is None or not spec.paths[path].weighted:
        return x.new_ones(edges, spec.x[spec.paths[path].x].mul)
    return w[:, spec.weight_slices[path]]
