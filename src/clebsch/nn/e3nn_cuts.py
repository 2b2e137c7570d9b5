"""How e3nn and we cut a flat weight vector into blocks, and from one cut to the other.

Both are brought to one form: matrices (or, for products, three-index tensors) between all channels
of an irrep, path coefficients included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clebsch.nn.linear import Linear
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import Specification


class _Block(NamedTuple):
    """Weights between blocks: where they lie, and their factor.

    Attributes:
        blocks: numbers of the blocks, in the order of the irreps (x, z or x, y, z).
        place: of the weights in the flat vector.
        factor: of the path.
    """

    blocks: tuple[int, ...]
    place: slice
    factor: float


class Cut(NamedTuple):
    """How a flat weight vector is cut into blocks between irreps."""

    irreps: tuple[Irreps, ...]
    blocks: list[_Block]

    @property
    def numel(self) -> int:
        return max((block.place.stop for block in self.blocks), default=0)


def our_linear(layer: Linear) -> Cut:
    """One matrix for each irrep: blocks are those of the irreps with equal irreps merged.

    Layers with instructions of their own have e3nn's weights.
    """
    if layer._connections.own_weights:
        pairs = []
        for i, k in layer.instructions:
            into = [layer.irreps_in[a].mul for a, b in layer.instructions if b == k]
            by_path = layer._connections.normalization == "path"
            summed = len(into) * layer.irreps_in[i].mul if by_path else sum(into)
            pairs.append(((i, k), 1 / sqrt(max(1, summed))))
        return _one_after_the_other((layer.irreps_in, layer.irreps_out), pairs)
    x = _merged(layer.irreps_in)
    z = _merged(layer.irreps_out)
    blocks, start = [], 0
    for (ir, _, _), (fan_in, channels) in zip(layer.mixing.kinds, layer.shapes, strict=True):
        place = slice(start, start + fan_in * channels)
        start = place.stop
        if fan_in:
            found = tuple([b.ir for b in irreps].index(ir) for irreps in (x, z))
            blocks.append(_Block(found, place, 1 / sqrt(fan_in)))
    return Cut((x, z), blocks)


def _merged(irreps: Irreps) -> Irreps:
    """One block per irrep, in order of appearance."""
    return Irreps([(irreps.count(ir), ir) for ir in dict.fromkeys(ir for _, ir in irreps)])


def e3nn_linear(irreps: tuple[Irreps, ...], peer: nn.Module | None) -> Cut:
    """e3nn's instructions: all pairs of blocks of equal irrep, or those of the module."""
    if peer is not None:
        irreps = (Irreps(str(peer.irreps_in)), Irreps(str(peer.irreps_out)))
        found = [
            (ins.i_in, ins.i_out, float(ins.path_weight))
            for ins in peer.instructions  # type: ignore[union-attr]
            if ins.i_in != -1
        ]
    else:
        x, z = irreps
        found = [
            (i, k, 1 / sqrt(max(1, x.count(block.ir))))
            for i, block in enumerate(x)
            for k, other in enumerate(z)
            if block.ir == other.ir
        ]
    return _one_after_the_other(irreps, [((i, k), factor) for i, k, factor in found])


def our_product(spec: Specification) -> Cut:
    blocks = [
        _Block((path.x, path.y, path.z), place, path.coefficient)
        for path, place in zip(spec.paths, spec.weight_slices, strict=True)
        if path.weighted
    ]
    return Cut((spec.x, spec.y, spec.z), blocks)


def e3nn_product(peer: nn.Module, spec: Specification, name: str) -> Cut:
    """e3nn's instructions, whose weightless paths must be ours."""
    irreps = tuple(
        Irreps(str(getattr(peer, key))) for key in ("irreps_in1", "irreps_in2", "irreps_out")
    )
    instructions: list[Any] = list(peer.instructions)  # type: ignore[arg-type]

    def table(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return sorted((*row[:4], round(row[4], 9)) for row in rows if not row[5])

    theirs = [
        (i.i_in1, i.i_in2, i.i_out, i.connection_mode, float(i.path_weight), i.has_weight)
        for i in instructions
    ]
    mine = [(p.x, p.y, p.z, p.mode, p.coefficient, p.weighted) for p in spec.paths]
    modes = {row[3] for row in (*theirs, *mine) if row[5]}
    if modes - {"uvw"} or any(not row[5] for row in (*theirs, *mine)):
        same = irreps == (spec.x, spec.y, spec.z) and table(theirs) == table(mine)
        by_mode = [sorted(row[:4] for row in rows if row[5]) for rows in (theirs, mine)]
        if not same or by_mode[0] != by_mode[1]:
            raise ValueError(
                f"TensorProduct {name!r}: e3nn's has other paths, {peer}; build ours with "
                "TensorProduct.from_instructions and the same instructions"
            )
    blocks, start = [], 0
    for i, row in zip(instructions, theirs, strict=True):
        if row[5]:
            place = slice(start, start + prod(i.path_shape))
            start = place.stop
            blocks.append(_Block((row[0], row[1], row[2]), place, row[4]))
    return Cut(irreps, blocks)


def is_edgewise(part: nn.Module, spec: Specification) -> bool:
    """An e3nn product with as many weights, which are an argument: one set per edge."""
    return (
        hasattr(part, "instructions")
        and hasattr(part, "irreps_in2")
        and not getattr(part, "internal_weights", True)
        and getattr(part, "weight_numel", None) == spec.weight_numel
    )


def our_edgewise(spec: Specification) -> Cut:
    kept = _merged(spec.z)
    numbers = {block.ir: n for n, block in enumerate(kept)}
    blocks = [
        _Block((p.x, p.y, numbers[spec.z[p.z].ir]), place, p.coefficient)
        for p, place in zip(spec.paths, spec.weight_slices, strict=True)
    ]
    return Cut((spec.x, spec.y, _once(kept)), blocks)


def e3nn_edgewise(spec: Specification, peer: nn.Module | None, where: str) -> Cut:
    """e3nn's ``uvu`` instructions: those of the module, or all, the result's irrep fastest."""
    kept = _merged(spec.z)
    numbers = {block.ir: n for n, block in enumerate(kept)}
    if peer is None:
        x, y = spec.x, spec.y
        factors = {(p.x, p.y, numbers[spec.z[p.z].ir]): p.coefficient for p in spec.paths}
        every = [
            (i, j, numbers[ir])
            for i, (_, a) in enumerate(x)
            for j, (_, b) in enumerate(y)
            for ir in a * b
            if ir in numbers
        ]
        loop = [(path, factors[path]) for path in every]
    else:
        x, y, z = (
            Irreps(str(getattr(peer, key))) for key in ("irreps_in1", "irreps_in2", "irreps_out")
        )
        rows: list[Any] = list(peer.instructions)  # type: ignore[arg-type]
        if any(row.connection_mode != "uvu" or not row.has_weight for row in rows):
            raise ValueError(
                f"{where}: paths along edges are 'uvu' with weights, e3nn's are others"
            )
        mine = _senders(spec.x, spec.y, [(p.x, p.y, p.z, spec.z[p.z].ir) for p in spec.paths])
        found = _senders(x, y, [(r.i_in1, r.i_in2, r.i_out, z[r.i_out].ir) for r in rows])
        if mine != found:
            raise ValueError(f"{where}: e3nn's product {peer} has other paths or another order")
        loop = [
            ((row.i_in1, row.i_in2, numbers[z[row.i_out].ir]), float(row.path_weight))
            for row in rows
        ]
    return _one_after_the_other((x, y, _once(kept)), loop)


def _once(irreps: Irreps) -> Irreps:
    return Irreps([(1, ir) for _, ir in irreps])


def _senders(
    x: Irreps, y: Irreps, paths: Sequence[tuple[int, int, int, Irrep]]
) -> dict[Irrep, list[tuple[Any, ...]]]:
    """For each irrep of the result, where its channels come from, in their order."""
    channels, others = _channels(x), _channels(y)
    found: dict[Irrep, list[tuple[Any, ...]]] = {}
    for i, j, _, ir in sorted(paths, key=lambda path: path[2]):
        from_y = (y[j].ir, others[j].start, others[j].stop)
        found.setdefault(ir, []).extend(
            (x[i].ir, channel, *from_y) for channel in range(channels[i].start, channels[i].stop)
        )
    return found


def _one_after_the_other(
    irreps: tuple[Irreps, ...], found: Sequence[tuple[tuple[int, ...], float]]
) -> Cut:
    blocks, start = [], 0
    for numbers, factor in found:
        size = prod(one[b].mul for one, b in zip(irreps, numbers, strict=True))
        blocks.append(_Block(numbers, slice(start, start + size), factor))
        start += size
    return Cut(irreps, blocks)


# ---- from one cut to another


def recut(weight: Tensor, source: Cut, target: Cut, where: str) -> Tensor:
    """The same function's weights, cut as ``target``."""
    if source is target:
        return weight.clone()
    if [b.blocks for b in source.blocks] == [b.blocks for b in target.blocks] and (
        source.irreps == target.irreps
    ):
        factors = [a.factor / b.factor for a, b in zip(source.blocks, target.blocks, strict=True)]
        parts = [weight[b.place] * f for b, f in zip(source.blocks, factors, strict=True)]
        return torch.cat(parts) if parts else weight.clone()
    for a, b in zip(source.irreps, target.irreps, strict=True):
        if {ir: a.count(ir) for _, ir in a} != {ir: b.count(ir) for _, ir in b}:
            raise ValueError(f"{where}: {a} has not the channels of {b}")
    whole: dict[tuple[Irrep, ...], Tensor] = {}
    for kinds, place, block in _views(source):
        if kinds not in whole:
            shape = [irreps.count(ir) for irreps, ir in zip(source.irreps, kinds, strict=True)]
            whole[kinds] = weight.new_zeros(shape)
        shape = [s.stop - s.start for s in place]
        whole[kinds][place] += weight[block.place].view(shape) * block.factor
    result = weight.new_zeros(target.numel)
    taken: dict[tuple[Irrep, ...], Tensor] = {k: torch.zeros_like(v) for k, v in whole.items()}
    for kinds, place, block in _views(target):
        if kinds in whole:
            result[block.place] += (whole[kinds][place] / block.factor).flatten()
            taken[kinds][place] += 1
    if any((taken[kinds] != 1)[whole[kinds] != 0].any() for kinds in whole):
        raise ValueError(f"{where}: some of the weights have no place, its paths are others")
    return result


def recut_rows(weights: Tensor, source: Cut, target: Cut, where: str) -> Tensor:
    """``recut`` of every row."""
    return torch.stack([recut(row, source, target, where) for row in weights])


def _views(cut: Cut) -> Iterator[tuple[tuple[Irrep, ...], tuple[slice, ...], _Block]]:
    """(irreps, channels among all of these irreps, block) of every block of weights."""
    places = [_channels(irreps) for irreps in cut.irreps]
    for block in cut.blocks:
        kinds = tuple(i[b].ir for i, b in zip(cut.irreps, block.blocks, strict=True))
        yield kinds, tuple(p[b] for p, b in zip(places, block.blocks, strict=True)), block


def _channels(irreps: Irreps) -> list[slice]:
    """Channels of each block among all channels of its irrep."""
    counts: dict[Irrep, int] = {}
    found = []
    for mul, ir in irreps:
        start = counts.get(ir, 0)
        counts[ir] = start + mul
        found.append(slice(start, start + mul))
    return found
