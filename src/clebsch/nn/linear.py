"""Equivariant linear maps: channels mix within each irrep."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.ops.mixing import Mixing, mix


class Linear(nn.Module):
    """Linear map between irreps; blocks of equal irreps are fully connected.

    Weights are standard normal and the result is divided by sqrt(fan-in), so unit variance in
    gives unit variance out. Result irreps that the input lacks are zero.

    Args:
        irreps_in: irreps of the input, layout ``ir_mul``.
        irreps_out: irreps of the result.
        n_species: with more than zero, every species has weights of its own and ``forward``
            takes the species of each row.
        scale: factor of the result.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim); rows (N, dim) with species.

    Attributes:
        mixing: what is computed, see ``clebsch.ops.mixing.Mixing``: ``kinds`` of irreps with their
            blocks, ``shapes`` (fan_in, channels) of the matrix of each kind.
        weight: these matrices, flattened, one after the other; with species each is
            (species, fan_in, channels).
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        *,
        n_species: int = 0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.n_species = n_species
        self.mixing = Mixing(self.irreps_in, self.irreps_out, scale, max(1, n_species))
        self.plan, self.shapes = self.mixing.kinds, self.mixing.shapes
        self.weight = nn.Parameter(torch.randn(self.mixing.weight_numel))

    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """Map ``x``; ``species`` (N,) int64 picks the weights of each row."""
        return mix(self.mixing, x, self.weight, species)

    def extra_repr(self) -> str:
        species = f", n_species={self.n_species}" if self.n_species else ""
        return f"{self.irreps_in} -> {self.irreps_out}, {self.weight.numel()} weights{species}"
