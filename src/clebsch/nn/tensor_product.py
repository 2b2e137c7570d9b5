"""Tensor products with weights of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import Specification, tensor_product
from clebsch.ops.lowering import gather

if TYPE_CHECKING:
    from clebsch.ops.instructions import InstructionLike, IrrepNormalization, PathNormalization


class TensorProduct(nn.Module):
    """The tensor product of a specification, with internal weights where it shares them.

    Args:
        specification: what is computed, see ``clebsch.ops.Specification``.
        internal_weights: whether the module holds the weights; by default where they are shared.

    Shape: (..., x.dim), (..., y.dim) [, weights] -> (..., z.dim), leading dimensions broadcast.
    Weights are (weight_numel,) where they are shared, (..., weight_numel) where not, or a list of
    them path by path.

    Attributes:
        weight: (weight_numel,) standard normal, or None where they are given.
        irreps_in1, irreps_in2, irreps_out: of x, y and the result, layout ``ir_mul``.

    Raises:
        ValueError: internal weights that are not shared; features or weights of a wrong shape.

    Example:
        >>> spec = Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o")
        >>> product = TensorProduct(spec)
        >>> x, y = spec.x.randn(5, 1, -1), spec.y.randn(3, -1)
        >>> product(x, y, torch.randn(5, 3, spec.weight_numel)).shape == (5, 3, spec.z.dim)
        True
    """

    def __init__(
        self, specification: Specification, *, internal_weights: bool | None = None
    ) -> None:
        super().__init__()
        self.specification = specification
        self.irreps_in1, self.irreps_in2 = specification.x, specification.y
        self.irreps_out = specification.z
        if internal_weights is None:
            internal_weights = specification.shared_weights
        if internal_weights and not specification.shared_weights:
            raise ValueError(
                f"{type(self).__name__}: weights of each row are given with it, they cannot be "
                "internal; share them or leave internal_weights out"
            )
        self.weight = (
            nn.Parameter(torch.randn(specification.weight_numel))
            if internal_weights and specification.weight_numel
            else None
        )

    @staticmethod
    def from_instructions(
        x: Irreps | str,
        y: Irreps | str,
        z: Irreps | str,
        instructions: Iterable[InstructionLike],
        *,
        internal_weights: bool | None = None,
        **options: Any,
    ) -> TensorProduct:
        """The product that e3nn's instructions describe, with e3nn's weights.

        Args:
            instructions: ``(block of x, block of y, block of z, mode, weighted[, path_weight])``.
            options: of ``Specification.from_instructions``: normalisations, variances,
                ``shared_weights``.

        Example:
            >>> cross = TensorProduct.from_instructions(
            ...     "16x1o", "16x1o", "16x1e", [(0, 0, 0, "uuu", False)], irrep_normalization="none"
            ... )
            >>> cross(torch.randn(7, 48), torch.randn(48)).shape
            torch.Size([7, 48])
        """
        spec = Specification.from_instructions(x, y, z, instructions, **options)
        return TensorProduct(spec, internal_weights=internal_weights)

    @property
    def weight_numel(self) -> int:
        """Number of weights, of each row where they are not shared."""
        return self.specification.weight_numel

    def forward(
        self, x: Tensor, y: Tensor, weights: Tensor | Sequence[Tensor] | None = None
    ) -> Tensor:
        check_features(self, "x", x, self.irreps_in1)
        check_features(self, "y", y, self.irreps_in2)
        return self._product(x, y, self._weights(weights))

    def right(self, y: Tensor, weights: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """The matrix that turns x into the result, (..., x.dim, z.dim).

        Example:
            >>> product = FullyConnectedTensorProduct("2x1o", "2x1o", "3x0e")
            >>> x, y = torch.randn(2, 4, 6)
            >>> together = torch.einsum("bi, bik -> bk", x, product.right(y))
            >>> torch.allclose(together, product(x, y), atol=1e-5)
            True
        """
        check_features(self, "y", y, self.irreps_in2)
        w = self._weights(weights)
        if w is not None and not self.specification.shared_weights:
            w = w.unsqueeze(-2)
        x = torch.eye(self.irreps_in1.dim, dtype=y.dtype, device=y.device)
        return self._product(x, y.unsqueeze(-2), w)

    def weight_view(self, path: int, weights: Tensor | None = None) -> Tensor:
        """Weights of the path of this number, (..., channels of x, y, z as its mode has them).

        A view: what is written to it is written to ``weights``, or to the module's own.

        Raises:
            ValueError: the path has no weights.

        Example:
            >>> product = FullyConnectedTensorProduct("2x0e + 3x1o", "4x1o", "5x1o + 6x0e")
            >>> [tuple(product.weight_view(n).shape) for n in range(2)]
            [(2, 4, 5), (3, 4, 6)]
        """
        spec = self.specification
        if not spec.paths[path].weighted:
            raise ValueError(f"{type(self).__name__}: path {path} has no weights")
        w = self._weights(weights)
        assert w is not None
        return w[..., spec.weight_slices[path]].unflatten(-1, spec.weight_shape(spec.paths[path]))

    def weight_views(self, weights: Tensor | None = None) -> Iterator[Tensor]:
        """``weight_view`` of every path that has weights."""
        for number, path in enumerate(self.specification.paths):
            if path.weighted:
                yield self.weight_view(number, weights)

    def _weights(self, weights: Tensor | Sequence[Tensor] | None) -> Tensor | None:
        """One tensor of weights, of a shape that fits."""
        spec = self.specification
        if weights is None:
            weights = self.weight
            if weights is None and any(path.weighted for path in spec.paths):
                if spec.weight_numel:
                    raise ValueError(
                        f"{type(self).__name__}: give the {spec.weight_numel} weights, it has none"
                    )
                return torch.empty(0)
            return weights
        if not isinstance(weights, Tensor):
            shapes = [spec.weight_shape(path) for path in spec.paths if path.weighted]
            if len(shapes) != len(weights):
                raise ValueError(
                    f"{type(self).__name__}: {len(weights)} tensors of weights are given, but "
                    f"{len(shapes)} paths have weights"
                )
            flat = [
                w.reshape(*w.shape[: w.dim() - len(shape)], prod(shape))
                for w, shape in zip(weights, shapes, strict=True)
            ]
            weights = torch.cat(flat, dim=-1) if flat else torch.empty(0)
        fits = weights.shape[-1:] == (spec.weight_numel,)
        if not fits or (spec.shared_weights and weights.dim() > 1):
            lead = "" if spec.shared_weights else "..., "
            raise ValueError(
                f"{type(self).__name__}: weights are {tuple(weights.shape)}, but {spec.x} (x) "
                f"{spec.y} -> {spec.z} needs ({lead}{spec.weight_numel})"
            )
        return weights

    def _product(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        """The product of features that fit, rows broadcast and flattened."""
        spec = self.specification
        if not spec.weight_numel:
            w = None
        rows = [x, y] if w is None or spec.shared_weights else [x, y, w]
        if all(part.dim() == 2 and part.shape[0] == x.shape[0] for part in rows):
            return tensor_product(spec, x, y, w)
        try:
            lead = torch.broadcast_shapes(*(part.shape[:-1] for part in rows))
        except RuntimeError:
            shapes = ", ".join(str(tuple(part.shape)) for part in rows)
            raise ValueError(
                f"{type(self).__name__}: leading dimensions do not broadcast: {shapes}"
            ) from None
        flat = [part.expand(*lead, -1).reshape(prod(lead), part.shape[-1]) for part in rows]
        of_rows = flat[2] if len(flat) == 3 else w
        return tensor_product(spec, flat[0], flat[1], of_rows).reshape(*lead, spec.z.dim)

    def extra_repr(self) -> str:
        return str(self.specification)


class FullyConnectedTensorProduct(TensorProduct):
    """Every path from x and y into z, every channel with every channel.

    Args:
        x, y, z: irreps of the two factors and of the result.
        shared_weights: one set of weights for all rows, else they are given with each row.
        internal_weights, irrep_normalization, path_normalization: see ``TensorProduct`` and
            ``Specification.from_instructions``.

    Shape: (..., x.dim), (..., y.dim) [, weights] -> (..., z.dim).

    Example:
        >>> product = FullyConnectedTensorProduct("8x0e + 8x1o", "4x0e + 4x1o", "8x0e + 8x1e")
        >>> product(torch.randn(5, 32), torch.randn(5, 16)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        x: Irreps | str,
        y: Irreps | str,
        z: Irreps | str,
        *,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        irrep_normalization: IrrepNormalization = "component",
        path_normalization: PathNormalization = "element",
    ) -> None:
        spec = Specification.fully_connected(
            x,
            y,
            z,
            shared_weights,
            irrep_normalization=irrep_normalization,
            path_normalization=path_normalization,
        )
        super().__init__(spec, internal_weights=internal_weights)


class FullTensorProduct(TensorProduct):
    """Every channel of x times every channel of y, without weights; the result sorted by irrep.

    Args:
        x, y: irreps of the two factors, taken as they are (e3nn merges equal neighbours first).
        keep: the irreps of the result that are wanted, all by default.
        irrep_normalization: see ``Specification.from_instructions``.

    Shape: (..., x.dim), (..., y.dim) -> (..., z.dim).

    Example:
        >>> FullTensorProduct("2x0e + 3x1o", "1o", keep="0e + 1o").irreps_out
        3x0e+2x1o
    """

    def __init__(
        self,
        x: Irreps | str,
        y: Irreps | str,
        keep: Irreps | Iterable[Irrep | str] | str | None = None,
        *,
        irrep_normalization: IrrepNormalization = "component",
    ) -> None:
        super().__init__(Specification.full(x, y, keep, irrep_normalization=irrep_normalization))


class ElementwiseTensorProduct(TensorProduct):
    """Channel by channel, without weights: x and y need equally many channels in all.

    Args:
        x, y: irreps of the two factors; blocks of different size are cut where the other's end.
        keep: the irreps of the result that are wanted, all by default.
        irrep_normalization: see ``Specification.from_instructions``.

    Shape: (..., x.dim), (..., y.dim) -> (..., z.dim).

    Raises:
        ValueError: x and y differ in their number of channels.

    Example:
        >>> ElementwiseTensorProduct("5x1o + 5x1e", "10x1e", keep=["0e", "0o"]).irreps_out
        5x0o+5x0e
    """

    def __init__(
        self,
        x: Irreps | str,
        y: Irreps | str,
        keep: Irreps | Iterable[Irrep | str] | str | None = None,
        *,
        irrep_normalization: IrrepNormalization = "component",
    ) -> None:
        given = Irreps(x), Irreps(y)
        (cut_x, self._columns_x), (cut_y, self._columns_y) = _cut_alike(*given)
        super().__init__(
            Specification.elementwise(cut_x, cut_y, keep, irrep_normalization=irrep_normalization)
        )
        self.irreps_in1, self.irreps_in2 = given

    def _product(self, x: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
        return super()._product(gather(x, self._columns_x), gather(y, self._columns_y), w)


_Cut = tuple[Irreps, tuple[int, ...] | None]


def _cut_alike(x: Irreps, y: Irreps) -> tuple[_Cut, _Cut]:
    """Both irreps with blocks cut to equal channels, and the columns that lie so."""
    if x.num_irreps != y.num_irreps:
        raise ValueError(
            f"ElementwiseTensorProduct: {x} has {x.num_irreps} channels and {y} has "
            f"{y.num_irreps}; they must have equally many"
        )
    if [block.mul for block in x] == [block.mul for block in y]:
        return (x, None), (y, None)
    ends = sorted({end for irreps in (x, y) for end in _ends(irreps)} - {0})
    return _cut(x, ends), _cut(y, ends)


def _ends(irreps: Irreps) -> list[int]:
    """Where the channels of each block end, counted from the first block's first."""
    return [sum(block.mul for block in irreps[: n + 1]) for n in range(len(irreps))]


def _cut(irreps: Irreps, ends: list[int]) -> _Cut:
    blocks, columns, start = [], [], 0
    for (mul, ir), place, end in zip(irreps, irreps.slices(), _ends(irreps), strict=True):
        first = end - mul
        for stop in (stop for stop in ends if first < stop <= end):
            blocks.append((stop - start, ir))
            columns += [
                place.start + m * mul + channel - first
                for m in range(ir.dim)
                for channel in range(start, stop)
            ]
            start = stop
    return Irreps(blocks), tuple(columns)
