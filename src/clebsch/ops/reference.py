"""The reference back end: the 4-linear form in plain PyTorch, the meaning of the others."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from clebsch.ops.specification import CHANNELS, Path, Specification

SLOTS = ("x", "y", "w", "z")
_INDEX = {"x": "i", "y": "j", "z": "k"}


@lru_cache(maxsize=4096)
def _symbol(key: str, index: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    spec = Specification.from_key(key)
    return spec.symbol(spec.paths[index]).to(dtype=dtype, device=device)


def contract(spec: Specification, target: str, factors: dict[str, Tensor], rows: int) -> Tensor:
    """Open the slot ``target`` of the form and contract the other three, row by row.

    Args:
        spec: what is computed.
        target: ``"x"``, ``"y"``, ``"w"`` or ``"z"``.
        factors: the other slots: x (rows, spec.x.dim), y (rows, spec.y.dim), z (rows,
            spec.z.dim), w (rows, weight_numel) or (weight_numel,) where weights are shared.
        rows: number of rows.

    Returns:
        The open slot, of the shape named above.
    """
    irreps = {"x": spec.x, "y": spec.y, "z": spec.z}
    some = next(iter(factors.values()))
    weight_rows = () if spec.shared_weights else (rows,)

    def factor(slot: str, index: int, path: Path) -> tuple[Tensor, str]:
        """The path's block of one slot and its einsum indices (capitals are channels)."""
        channels = CHANNELS[path.mode][SLOTS.index(slot)].upper()
        if slot == "w":
            shape = spec.weight_shape(path)
            if not path.weighted:
                return some.new_ones(shape), channels
            block = factors["w"][..., spec.weight_slices[index]]
            return block.reshape(*weight_rows, *shape), "b" * len(weight_rows) + channels
        number = getattr(path, slot)
        mul, ir = irreps[slot][number]
        block = factors[slot][:, irreps[slot].slices()[number]]
        # The pair channel of mode uvuv is one flat channel of the result.
        pair = spec.weight_shape(path) if len(channels) == 2 else (mul,)
        return block.reshape(rows, ir.dim, *pair), "b" + _INDEX[slot] + channels

    parts: dict[int, Tensor] = {}
    for index, path in enumerate(spec.paths):
        if target == "w" and not path.weighted:
            continue
        operands = [_symbol(spec.key, index, some.dtype, some.device)]
        equation = ["ijk"]
        for slot in ("y", "x", "z", "w"):  # the symbol meets y first: few indices are left
            if slot != target:
                block, letters = factor(slot, index, path)
                operands.append(block)
                equation.append(letters)
        channels = CHANNELS[path.mode][SLOTS.index(target)].upper()
        if target == "w":
            place, lead = index, "b" * len(weight_rows)
        else:
            place, lead = getattr(path, target), "b" + _INDEX[target]
        value = torch.einsum(f"{','.join(equation)}->{lead}{channels}", operands)
        value = value.reshape(*(weight_rows if target == "w" else (rows,)), -1)
        parts[place] = parts[place] + value if place in parts else value

    if target == "w":
        lead_shape, widths = weight_rows, [s.stop - s.start for s in spec.weight_slices]
    else:
        lead_shape, widths = (rows,), [mul * ir.dim for mul, ir in irreps[target]]
    if not widths:
        return some.new_zeros((*lead_shape, 0))
    return torch.cat(
        [
            parts[place] if place in parts else some.new_zeros((*lead_shape, width))
            for place, width in enumerate(widths)
        ],
        dim=-1,
    )
