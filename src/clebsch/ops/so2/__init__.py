"""Convolution with spherical harmonics of edge directions, in frames turned to the edges.

Where the polar axis is the edge, only m = 0 of each harmonic differs from zero, and a path's 3j
symbol couples component m of x with m and -m of the result alone:

    z[dst e] += D(R_e)^T  sum_paths w K[m] (D(R_e) x[src e])[+-m]

Turning costs O(l^2) per channel once for each block, not for each path; the dense form costs
O(l^2) for each path. Passaro & Zitnick, Reducing SO(3) convolutions to SO(2) (2023).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from clebsch.o3 import spherical_harmonics
from clebsch.o3.spherical_harmonics import Normalization
from clebsch.ops.arguments import Edges, checked_edges
from clebsch.ops.operator import convolve
from clebsch.ops.so2 import cost, cpu, reference
from clebsch.ops.specification import Specification

Form: TypeAlias = Literal["auto", "dense", "so2"]


def convolve_directions(
    spec: Specification,
    x: Tensor,
    vectors: Tensor,
    w: Tensor | None,
    edges: Edges,
    form: Form = "auto",
    normalization: Normalization = "component",
) -> Tensor:
    """`convolve` with the spherical harmonics ``spec.y`` of the directions of ``vectors``.

    Args:
        spec: a convolution (mode ``uvu``) whose second factor has one channel per harmonic.
        x: (n_src, spec.x.dim) node features.
        vectors: (E, 3), of any length; an edge of length 0 has harmonics of degree 0 only.
        w: (E, spec.weight_numel); None for a specification without weights.
        edges: sources and destinations of the E edges.
        form: ``"dense"`` forms the harmonics; ``"so2"`` turns x into each edge's frame, which
            high degrees and merged result blocks favour; ``"auto"`` takes the cheaper. Inside
            ``torch.compile`` and ``torch.export`` the dense form stands for all.
        normalization: of the harmonics, see `spherical_harmonics`.

    Returns:
        (edges.n_dst, spec.z.dim), the same for every form.

    Raises:
        ValueError: a shape that does not fit, an unknown form, or one that the specification
            does not have.
    """
    if form not in ("auto", "dense", "so2"):
        raise ValueError(f'the form must be "auto", "dense" or "so2", not {form!r}')
    if torch.compiler.is_compiling():
        form = "dense"
    edges = checked_edges(edges)
    rows = edges.src.shape[0]
    if tuple(vectors.shape) != (rows, 3):
        raise ValueError(f"vectors are {tuple(vectors.shape)}; they must be ({rows}, 3)")
    if form == "so2" and not reference.supported(spec):
        raise ValueError(
            f"{spec.x} (x) {spec.y} -> {spec.z} has no SO(2) form: it takes uvu paths, weights "
            "of each edge, and one channel of each harmonic"
        )
    if form == "auto":
        form = cost.cheaper(spec)
    if form == "dense":
        harmonics = spherical_harmonics(spec.y, vectors, normalization=normalization)
        return convolve(spec, x, harmonics, w, edges)
    _check(spec, x, vectors, w, rows)
    if cpu.available(spec, x, vectors, w):
        return cpu.convolve(spec, x, vectors, w, edges, normalization)
    return reference.convolve(spec, x, vectors, w, edges, normalization)


def _check(spec: Specification, x: Tensor, vectors: Tensor, w: Tensor | None, rows: int) -> None:
    expected = (rows, spec.weight_numel)
    if x.ndim != 2 or x.shape[1] != spec.x.dim:
        raise ValueError(f"x is {tuple(x.shape)}; it must be (rows, {spec.x.dim})")
    if w is None and spec.weight_numel:
        raise ValueError(f"the specification takes weights w of shape {expected}; none given")
    if w is not None and tuple(w.shape) != expected:
        raise ValueError(f"w is {tuple(w.shape)}; it must be {expected}")
    for name, other in (("vectors", vectors), ("w", w)):
        if other is not None and (other.dtype, other.device) != (x.dtype, x.device):
            raise ValueError(
                f"{name} is {other.dtype} on {other.device} and x is {x.dtype} on {x.device}; "
                "give all factors one floating-point type and one device"
            )
