"""Blocks taken out of features, and features that pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features, named
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import Irrep, Irreps, from_e3nn, to_e3nn
from clebsch.o3.irreps import IrrepLike, IrrepsLike


class Extract(nn.Module):
    """Several results, each made of blocks of the input.

    Args:
        irreps_in: irreps of the input.
        irreps_outs: irreps of each result.
        blocks: for each result the numbers of its blocks in ``irreps_in``.

    Shape: (..., irreps_in.dim) -> a tuple of (..., irreps_outs[i].dim).

    Raises:
        ValueError: numbers that do not fit ``irreps_outs`` or are not there.

    Example:
        >>> Extract("1e + 0e + 0e", ["0e", "0e"], [[1], [2]])(torch.tensor([0.0, 0, 0, 1, 2]))
        (tensor([1.]), tensor([2.]))
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_outs: Sequence[IrrepsLike],
        blocks: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        self.irreps_outs = tuple(Irreps(irreps) for irreps in irreps_outs)
        self.blocks = tuple(tuple(numbers) for numbers in blocks)
        if len(self.blocks) != len(self.irreps_outs):
            raise ValueError(
                f"{type(self).__name__}: {len(self.irreps_outs)} results, "
                f"but blocks are given for {len(self.blocks)}"
            )
        for irreps, numbers in zip(self.irreps_outs, self.blocks, strict=True):
            there = all(0 <= n < len(self.irreps_in) for n in numbers)
            if not there or Irreps([self.irreps_in[n] for n in numbers]) != irreps:
                raise ValueError(
                    f"{type(self).__name__}: blocks {list(numbers)} of {named(self.irreps_in)} "
                    f"are not {named(irreps)}"
                )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        check_features(self, "x", x, self.irreps_in)
        parts = x.split([mul * ir.dim for mul, ir in self.irreps_in], dim=-1)
        return tuple(
            torch.cat([parts[n] for n in numbers], dim=-1) if numbers else x[..., :0]
            for numbers in self.blocks
        )

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {', '.join(map(str, self.irreps_outs))}"


class ExtractIr(nn.Module):
    """All blocks of one irrep.

    Args:
        irreps_in: irreps of the input.
        ir: the irrep.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Example:
        >>> ExtractIr("1e + 0e + 2x0e", "0e")(torch.tensor([0.0, 0, 0, 1, 2, 3]))
        tensor([1., 2., 3.])
    """

    def __init__(self, irreps_in: IrrepsLike, ir: IrrepLike) -> None:
        super().__init__()
        self.irreps_in, self.ir = Irreps(irreps_in), Irrep(ir)
        numbers = [n for n, block in enumerate(self.irreps_in) if block.ir == self.ir]
        self.irreps_out = Irreps([self.irreps_in[n] for n in numbers])
        self.extract = Extract(self.irreps_in, [self.irreps_out], [numbers])

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        result: Tensor = self.extract(x)[0]
        return result

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"


class Identity(ExactConstants):
    """The same channels, after a check that the irreps allow it.

    Where blocks are cut otherwise, entries are reordered: in layout ``ir_mul`` the features of
    ``1x1o + 1x1o`` lie otherwise than those of ``2x1o``.

    Args:
        irreps_in: irreps of the input.
        irreps_out: irreps of the result, the same up to ``Irreps.simplify``.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Raises:
        ValueError: other irreps.

    Example:
        >>> Identity("1x1o + 1x1o", "2x1o")(torch.tensor([0, 1, 2, 10, 11, 12]))
        tensor([ 0, 10,  1, 11,  2, 12])
    """

    order: Tensor

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        if self.irreps_in.simplify() != self.irreps_out.simplify():
            raise ValueError(
                f"Identity: {named(self.irreps_in)} (dimension {self.irreps_in.dim}) is not "
                f"{named(self.irreps_out)} (dimension {self.irreps_out.dim})"
            )
        places = torch.arange(self.irreps_in.dim, device="cpu")
        order = from_e3nn(to_e3nn(places, self.irreps_in), self.irreps_out)
        self.reorders = not torch.equal(order, places)
        self.register_constant("order", order)

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        return x[..., self.order] if self.reorders else x

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"
