"""The operator under torch.func's transforms and forward-mode derivatives: a rule for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clebsch.ops.reference import SLOTS
from clebsch.ops.specification import Specification, linear_part

_FOLDED_BELOW = 1000  # edges; kernels of more gain nothing from being joined

Contract = Callable[..., Tensor]


def batched(contract: Contract, size: int, dims: tuple[int | None, ...], *inputs: Any) -> Tensor:
    """The operator over a batch (vmap): the batch comes first in the result.

    Small problems are joined into one, as graphs are in a batch: the copies have rows and edges
    of their own. Weights shared by all rows cannot be joined; they and large problems, whose
    copies would fill memory, are done one after the other.

    Args:
        contract: the operator.
        size: of the batch.
        dims: which dimension of each input is the batch's, or None.
        inputs: of the operator.
    """
    inputs = tuple(
        value if dim is None else value.movedim(dim, 0)
        for value, dim in zip(inputs, dims, strict=True)
    )
    many = [dim is not None for dim in dims]
    spec, target, x, y, w, z, src, dst, rows = inputs
    edges = rows if src is None else src.shape[-1]
    if (
        edges >= _FOLDED_BELOW
        or any(many[6:8])
        or (Specification.from_key(spec).shared_weights and (many[4] or target == "w"))
    ):
        return torch.stack(
            [
                contract(*(v[b] if m else v for v, m in zip(inputs, many, strict=True)))
                for b in range(size)
            ]
        )
    ends = {"x": src, "z": dst}
    factors: dict[str, Tensor | None] = {}
    for slot, factor, several in zip(SLOTS, (x, y, w, z), many[2:6], strict=True):
        index = ends.get(slot)
        if several or slot == target:
            if index is not None:  # each copy has rows of its own
                count = rows if factor is None else factor.shape[1]
                ends[slot] = index + count * torch.arange(size, device=index.device)[:, None]
            factors[slot] = None if factor is None else factor.flatten(0, 1)
        elif index is None and factor is not None and factor.dim() == 2:
            factors[slot] = factor.expand(size, *factor.shape).flatten(0, 1)
        else:
            factors[slot] = factor
    src, dst = (
        None if index is None else index.expand(size, edges).flatten() for index in ends.values()
    )
    found = contract(spec, target, *factors.values(), src, dst, size * rows)
    return found.unflatten(0, (size, rows))


def tangent(
    contract: Contract, inputs: tuple[Any, ...], tangents: tuple[Any, ...]
) -> Tensor | None:
    """The derivative along tangents (jvp): the form is linear in each factor."""
    spec, target, *slots, src, dst, rows = inputs
    parts = []
    for position, (slot, moved) in enumerate(zip(SLOTS, tangents[2:6], strict=True)):
        if moved is not None:
            factors = [*slots[:position], moved, *slots[position + 1 :]]
            parts.append(contract(linear_part(spec, slot), target, *factors, src, dst, rows))
    return sum(parts[1:], parts[0]) if parts else None
