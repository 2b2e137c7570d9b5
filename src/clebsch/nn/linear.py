"""Equivariant linear maps: channels mix within each irrep."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from clebsch.o3 import Irrep, Irreps


class Linear(nn.Module):
    """Linear map between irreps; blocks of equal irreps are fully connected.

    Weights are standard normal and the result is divided by sqrt(fan-in), so unit variance in
    gives unit variance out. Result irreps that the input lacks are zero.

    Args:
        irreps_in: irreps of the input, layout ``ir_mul``.
        irreps_out: irreps of the result.
        n_species: with more than zero, every species has weights of its own and ``forward``
            takes the species of each row.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim); rows (N, dim) with species.

    Attributes:
        plan: for each kind of irrep, its blocks in the input and in the result.
        shapes: (fan_in, mul_out) of the matrix of each kind, its blocks side by side.
        weight: these matrices, flattened, one after the other; with species each is
            (species, fan_in, mul_out).
    """

    def __init__(
        self, irreps_in: Irreps | str, irreps_out: Irreps | str, *, n_species: int = 0
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.n_species = n_species
        # One matrix product per kind of irrep, whatever the number of blocks.
        self.plan: list[tuple[Irrep, list[int], list[int]]] = []
        for ir in dict.fromkeys(block.ir for block in self.irreps_out):
            sources = [i for i, block in enumerate(self.irreps_in) if block.ir == ir]
            results = [i for i, block in enumerate(self.irreps_out) if block.ir == ir]
            self.plan.append((ir, sources, results))
        self.shapes = [
            (
                sum(self.irreps_in[i].mul for i in sources),
                sum(self.irreps_out[i].mul for i in results),
            )
            for _, sources, results in self.plan
        ]
        numel = sum(fan_in * out for fan_in, out in self.shapes)
        self.weight = nn.Parameter(torch.randn(max(1, n_species) * numel))

    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """Map ``x``; ``species`` (N,) int64 picks the weights of each row."""
        lead = x.shape[:-1]
        if self.n_species > 1:
            if species is None:
                raise ValueError(f"Linear of {self.n_species} species needs the species of x")
            one_hot = nn.functional.one_hot(species, self.n_species).to(x.dtype)[:, None, :, None]
        # One split each: its backward is one concatenation, that of slices one sum per slice.
        inputs = x.split([mul * ir.dim for mul, ir in self.irreps_in], dim=-1)
        weights = self.weight.split([max(1, self.n_species) * a * b for a, b in self.shapes])
        blocks: list[Tensor | None] = [None] * len(self.irreps_out)
        for (ir, sources, results), (fan_in, out), weight in zip(
            self.plan, self.shapes, weights, strict=True
        ):
            if not sources:
                continue
            parts = [inputs[i].reshape(*lead, ir.dim, self.irreps_in[i].mul) for i in sources]
            block = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
            if self.n_species > 1:
                # Channels of absent species are zero, so that one product serves all species.
                block = (one_hot * block[:, :, None, :]).flatten(2)
            y = block @ (weight.reshape(-1, out) / sqrt(fan_in))
            muls = [self.irreps_out[i].mul for i in results]
            for i, part in zip(
                results, y.split(muls, dim=-1) if len(muls) > 1 else [y], strict=True
            ):
                blocks[i] = part.flatten(-2)
        flat = [
            block if block is not None else x.new_zeros(*lead, mul * ir.dim)
            for block, (mul, ir) in zip(blocks, self.irreps_out, strict=True)
        ]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=-1)

    def extra_repr(self) -> str:
        species = f", n_species={self.n_species}" if self.n_species else ""
        return f"{self.irreps_in} -> {self.irreps_out}, {self.weight.numel()} weights{species}"
