"""Flat features between our ``ir_mul`` layout and e3nn's ``mul_ir``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from clebsch.errors import UserError
from clebsch.o3.irreps import Irreps

if TYPE_CHECKING:
    from torch import Tensor

    from clebsch.o3.irreps import IrrepsLike


def to_e3nn(x: Tensor, irreps: IrrepsLike) -> Tensor:
    """From ``ir_mul`` (channel fastest) to e3nn's ``mul_ir`` (component fastest).

    Args:
        x: features, shape (..., irreps.dim).

    Raises:
        UserError: when the last axis of ``x`` is not ``irreps.dim`` long.

    >>> to_e3nn(torch.tensor([1, 2, 10, 20, 100, 200]), "2x1o")
    tensor([  1,  10, 100,   2,  20, 200])
    """
    irreps = Irreps(irreps)
    return _transpose_blocks(x, irreps, [(ir.dim, mul) for mul, ir in irreps])


def from_e3nn(x: Tensor, irreps: IrrepsLike) -> Tensor:
    """From e3nn's ``mul_ir`` to ``ir_mul``; the inverse of `to_e3nn`.

    >>> from_e3nn(torch.tensor([1, 10, 100, 2, 20, 200]), "2x1o")
    tensor([  1,   2,  10,  20, 100, 200])
    """
    irreps = Irreps(irreps)
    return _transpose_blocks(x, irreps, [(mul, ir.dim) for mul, ir in irreps])


def _transpose_blocks(x: Tensor, irreps: Irreps, shapes: list[tuple[int, int]]) -> Tensor:
    if x.shape[-1:] != (irreps.dim,):
        raise UserError(
            f"features of {irreps} must be {irreps.dim} long in the last axis, got {x.shape}"
        )
    if all(1 in shape for shape in shapes):
        return x
    lead = x.shape[:-1]
    blocks = [
        x[..., part].reshape(*lead, *shape).transpose(-1, -2).reshape(*lead, shape[0] * shape[1])
        for part, shape in zip(irreps.slices(), shapes, strict=True)
    ]
    return torch.cat(blocks, dim=-1)
