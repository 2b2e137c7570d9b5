"""Equivariant linear maps: channels mix within each irrep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.nn.connections import Connections, PathNormalization
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import Irreps
from clebsch.ops import tensor_product
from clebsch.ops.nodewise.mixing import Mixing, mix


class Linear(ExactConstants):
    """Linear map between irreps; blocks of equal irreps are fully connected.

    Weights are standard normal and the result is divided by sqrt(fan-in), so unit variance in
    gives unit variance out. Result irreps that the input lacks are zero.

    Args:
        irreps_in: irreps of the input, layout ``ir_mul``.
        irreps_out: irreps of the result.
        n_species: with more than zero, every species has weights of its own and ``forward``
            takes the species of each row.
        scale: factor of the result, but not of its biases.
        biases: add learnable numbers to the even scalars (True), or to those blocks for which a
            list says so; they begin as zeros.
        instructions: (block of the input, block of the result) that are connected; all of equal
            irreps by default.
        path_normalization: ``"element"``: a result block's variance is shared by all channels
            that are summed into it; ``"path"``: evenly by the blocks of the input.
        internal_weights: whether the module holds weights and biases; else ``forward`` takes them,
            one set or one for each row.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim); rows (N, dim) with species.

    Attributes:
        mixing: what is computed, see ``clebsch.ops.nodewise.mixing.Mixing``: ``kinds`` of irreps
            with their blocks, ``shapes`` (fan_in, channels) of the matrix of each kind.
        weight: these matrices, flattened, one after the other; with species each is
            (species, fan_in, channels). With ``instructions`` or ``"path"`` the matrix
            ([species,] channels in, channels out) of each connection instead.
        bias: (bias_numel,), with species (species, bias_numel); None without.
        instructions: (block of the input, block of the result) that are connected.

    Raises:
        ValueError: instructions or biases that do not fit the irreps; features, weights or
            species of a wrong shape.

    Example:
        >>> linear = Linear("4x0e + 3x1o", "2x0e + 5x1o + 1x2e", biases=True)
        >>> x = linear.irreps_in.randn(7, -1)
        >>> linear(x).shape, linear.bias_numel
        (torch.Size([7, 22]), 2)
        >>> linear.weight_view(1, 1).shape  # of the vectors
        torch.Size([3, 5])
        >>> sparse = Linear("4x0e + 3x0e", "4x0e + 3x0e", instructions=[(0, 0), (1, 1)])
        >>> sparse.weight_numel
        25
    """

    places: Tensor
    bias_places: Tensor

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        *,
        n_species: int = 0,
        scale: float = 1.0,
        biases: bool | Sequence[bool] = False,
        instructions: Iterable[tuple[int, int]] | None = None,
        path_normalization: PathNormalization = "element",
        internal_weights: bool = True,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.n_species = n_species
        self.mixing = Mixing(self.irreps_in, self.irreps_out, scale, max(1, n_species))
        self.plan, self.shapes = self.mixing.kinds, self.mixing.shapes
        self._width = (self.irreps_in.dim,)
        self._connections = Connections(self.mixing, instructions, path_normalization)
        self.instructions = self._connections.pairs
        self.weight_numel = self._connections.weight_numel
        self._own_weights = self._connections.own_weights
        if self._own_weights:
            self.register_constant("places", self._connections.places())
        columns = _biased(self.irreps_out, biases)
        self.bias_numel = len(columns)
        if columns:
            self.register_constant("bias_places", torch.tensor(columns, device="cpu"))
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if internal_weights:
            self._of_rows = None
            self.weight = nn.Parameter(torch.randn(self.weight_numel))
            if columns:
                lead = (n_species,) if n_species else ()
                self.bias = nn.Parameter(torch.zeros(*lead, self.bias_numel))
        else:
            self._of_rows = self._connections.row_by_row()
        self._plain = internal_weights and not self._own_weights and not columns

    def forward(
        self,
        x: Tensor,
        species: Tensor | None = None,
        weights: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Map ``x``; ``species`` (N,) int64 picks the weights of each row.

        ``weights`` (weight_numel,) or (..., weight_numel) and ``bias`` (bias_numel,) or
        (..., bias_numel) stand in for the module's own.
        """
        if x.shape[-1:] != self._width:
            check_features(self, "x", x, self.irreps_in)
        if self._plain and weights is None:
            return mix(self.mixing, x, cast("Tensor", self.weight), species)
        w = self.weight if weights is None else weights
        if w is None:
            raise ValueError(f"Linear: give the {self.weight_numel} weights, it has none")
        if w.dim() > 1:
            out = self._row_by_row(x, w)
        else:
            if self._own_weights:
                w = self._connections.spread(w, self.places)
            out = mix(self.mixing, x, w, species)
        return self._add_bias(out, species, bias) if self.bias_numel else out

    def weight_view(self, i_in: int, i_out: int, weights: Tensor | None = None) -> Tensor:
        """Weights between two blocks, (..., [species,] channels in, channels out).

        A view: what is written to it is written to ``weights``, or to the module's own.

        Raises:
            ValueError: the blocks are not connected.
        """
        w = self.weight if weights is None else weights
        if w is None:
            raise ValueError(f"Linear: give the {self.weight_numel} weights, it has none")
        return self._connections.view(w, i_in, i_out, species=self.n_species > 0)

    def weight_views(self, weights: Tensor | None = None) -> Iterator[Tensor]:
        """``weight_view`` of each of ``instructions``."""
        for i_in, i_out in self.instructions:
            yield self.weight_view(i_in, i_out, weights)

    def _row_by_row(self, x: Tensor, w: Tensor) -> Tensor:
        """``forward`` with weights (..., weight_numel) of each row."""
        if self._of_rows is None or self.n_species:
            raise ValueError(
                f"Linear: weights are {tuple(w.shape)}; each row can have its own with "
                "internal_weights=False and without species"
            )
        if w.shape[-1] != self.weight_numel:
            raise ValueError(
                f"Linear: weights are {tuple(w.shape)}; they must be (..., {self.weight_numel})"
            )
        lead = torch.broadcast_shapes(x.shape[:-1], w.shape[:-1])
        if self.instructions:
            w = torch.cat([view.flatten(-2) for view in self.weight_views(w)], dim=-1)
        rows = prod(lead)
        x = x.expand(*lead, -1).reshape(rows, x.shape[-1])
        w = w.expand(*lead, -1).reshape(rows, w.shape[-1])
        out = tensor_product(self._of_rows, x, x.new_ones(rows, 1), w) * self.mixing.scale
        return out.reshape(*lead, self.irreps_out.dim)

    def _add_bias(self, out: Tensor, species: Tensor | None, bias: Tensor | None) -> Tensor:
        bias = self.bias if bias is None else bias
        if bias is None:
            raise ValueError(f"Linear: give the {self.bias_numel} biases, it has none")
        if bias.shape[-1:] != (self.bias_numel,):
            raise ValueError(
                f"Linear: biases are {tuple(bias.shape)}; they must be (..., {self.bias_numel})"
            )
        if self.n_species and species is not None:
            bias = bias[species]
        bias = bias.to(out.dtype).expand(*out.shape[:-1], self.bias_numel)
        return out.index_add(-1, self.bias_places, bias)

    def extra_repr(self) -> str:
        biases = f", {self.bias_numel} biases" if self.bias_numel else ""
        species = f", n_species={self.n_species}" if self.n_species else ""
        return (
            f"{self.irreps_in} -> {self.irreps_out}, {self.weight_numel} weights{biases}{species}"
        )


def _biased(irreps: Irreps, biases: bool | Sequence[bool]) -> list[int]:
    """Columns that have a bias."""
    if isinstance(biases, bool):
        biases = [biases and ir.is_scalar() for _, ir in irreps]
    if len(biases) != len(irreps):
        raise ValueError(f"Linear: {len(biases)} biases for the {len(irreps)} blocks of {irreps}")
    for block, bias in zip(irreps, biases, strict=True):
        if bias and not block.ir.is_scalar():
            raise ValueError(f"Linear: {block} of {irreps} has no bias, only even scalars have one")
    return [
        column
        for place, bias in zip(irreps.slices(), biases, strict=True)
        if bias
        for column in range(place.start, place.stop)
    ]
