"""The reference back end: the 4-linear form in plain PyTorch, the meaning of the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from clebsch.ops.nodewise import full_precision
from clebsch.ops.specification import CHANNELS, Path, Specification

SLOTS = ("x", "y", "w", "z")
_INDEX = {"x": "i", "y": "j", "z": "k"}


@dataclass(frozen=True)
class Factor:
    """Where a path finds one of its factors; channels without place are weights of one."""

    slot: str
    place: slice | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One path as an einsum over its 3j symbol and three factors, added to one block."""

    path: Path
    factors: tuple[Factor, ...]
    equation: str
    block: int


@lru_cache(maxsize=1024)
def plan(spec: Specification, target: str) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    """The steps that open ``target``, and the widths of its blocks."""
    irreps = {"x": spec.x, "y": spec.y, "z": spec.z}
    slices = {slot: ir.slices() for slot, ir in irreps.items()}
    rows = "" if spec.shared_weights else "b"
    steps = []
    for index, path in enumerate(spec.paths):
        if target == "w" and not path.weighted:
            continue
        channels = {
            slot: letters.upper() for slot, letters in zip(SLOTS, CHANNELS[path.mode], strict=True)
        }
        letters = {slot: f"b{_INDEX[slot]}{channels[slot]}" for slot in irreps}
        letters["w"] = (rows if path.weighted else "") + channels["w"]
        factors = []
        for slot in ("y", "x", "z", "w"):  # the symbol meets y first: few indices are left
            if slot == target:
                continue
            if slot == "w":
                place = spec.weight_slices[index] if path.weighted else None
                factors.append(Factor(slot, place, spec.weight_shape(path)))
                continue
            mul, ir = irreps[slot][getattr(path, slot)]
            # The pair channel of mode uvuv is one flat channel of the result.
            pair = spec.weight_shape(path) if len(channels[slot]) == 2 else (mul,)
            factors.append(Factor(slot, slices[slot][getattr(path, slot)], (ir.dim, *pair)))
        inputs = ",".join(["ijk", *(letters[f.slot] for f in factors)])
        block = index if target == "w" else getattr(path, target)
        steps.append(Step(path, tuple(factors), f"{inputs}->{letters[target]}", block))
    if target == "w":
        return tuple(steps), tuple(s.stop - s.start for s in spec.weight_slices)
    return tuple(steps), tuple(mul * ir.dim for mul, ir in irreps[target])


def contract(
    spec: Specification,
    target: str,
    factors: dict[str, Tensor],
    src: Tensor | None,
    dst: Tensor | None,
    rows: int,
    edges: int,
) -> Tensor:
    """Gather, product, scatter: open the slot ``target`` and contract the other three.

    Half precision is computed in float32 and rounded at the end.

    Args:
        spec: what is computed.
        target: ``"x"``, ``"y"``, ``"w"`` or ``"z"``.
        factors: the other slots: x (n_src, spec.x.dim), y (edges, spec.y.dim), z (n_dst,
            spec.z.dim), w (edges, weight_numel) or (weight_numel,) where weights are shared.
        src, dst: (edges,) rows of x and z, or None where each edge has rows of its own.
        rows: number of rows of the open slot.
        edges: number of edges.

    Returns:
        The open slot, of the shape named above.

    Raises:
        IndexError: an edge names a row that is not there.
    """
    some = next(iter(factors.values()))
    dtype = some.dtype
    if dtype in (torch.float16, torch.bfloat16):
        factors = {slot: factor.float() for slot, factor in factors.items()}
    with full_precision(some.device.type):
        return _contract(spec, target, factors, src, dst, rows, edges).to(dtype)


def _contract(
    spec: Specification,
    target: str,
    factors: dict[str, Tensor],
    src: Tensor | None,
    dst: Tensor | None,
    rows: int,
    edges: int,
) -> Tensor:
    if src is None or dst is None:
        return product(spec, target, factors, edges)
    ends = {"x": src, "z": dst}
    for slot, index in ends.items():
        check_rows(index, factors[slot].shape[0] if slot in factors else rows)
    gathered = {
        slot: factor.index_select(0, ends[slot]) if slot in ends else factor
        for slot, factor in factors.items()
    }
    value = product(spec, target, gathered, edges)
    if target in ends:
        value = value.new_zeros((rows, value.shape[1])).index_add(0, ends[target], value)
    return value


def check_rows(index: Tensor, rows: int) -> None:
    """Refuse an ``index`` (E,) that names a row which is not among ``rows``.

    Raises:
        IndexError: see above.
    """
    if index.shape[0]:
        least, most = torch.stack(index.aminmax()).tolist()
        if least < 0 or most >= rows:
            raise IndexError("an edge names a source or destination row that is not there")


def product(spec: Specification, target: str, factors: dict[str, Tensor], rows: int) -> Tensor:
    """Open the slot ``target`` row by row: every slot has ``rows`` rows, shared weights none."""
    steps, widths = plan(spec, target)
    some = next(iter(factors.values()))
    lead = () if target == "w" and spec.shared_weights else (rows,)
    parts: dict[int, Tensor] = {}
    for step in steps:
        operands = [_symbol(spec, step.path, some.dtype, some.device)]
        for factor in step.factors:
            if factor.place is None:
                operands.append(some.new_ones(factor.shape))
                continue
            tensor = factors[factor.slot]
            block = tensor[..., factor.place]
            operands.append(block.reshape(*tensor.shape[:-1], *factor.shape))
        # Straight to ATen: torch.einsum would search for a contraction order at every call.
        value = torch.ops.aten.einsum(step.equation, operands)
        value = value.reshape(*lead, widths[step.block])
        parts[step.block] = parts[step.block] + value if step.block in parts else value
    if not widths:
        return some.new_zeros((*lead, 0))
    return torch.cat(
        [
            parts[block] if block in parts else some.new_zeros((*lead, width))
            for block, width in enumerate(widths)
        ],
        dim=-1,
    )


@lru_cache(maxsize=4096)
def _symbol(spec: Specification, path: Path, dtype: torch.dtype, device: torch.device) -> Tensor:
    return spec.symbol(path).to(dtype=dtype, device=device)
