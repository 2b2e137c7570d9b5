"""Products of several features reduced by index symmetry, and powers of one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, combinations_with_replacement
from math import factorial, prod
from typing import Any

import torch
from torch import Tensor

from clebsch.nn.arguments import check_features, named
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import (
    IndexFormula,
    Irreps,
    ReducedBasis,
    antisymmetric_power_basis,
    reduced_tensor_product,
    symmetric_power_basis,
)
from clebsch.o3.irreps import IrrepLike, IrrepsLike


class _Reduced(ExactConstants):
    """Base: numbers of the factors in some order, times a matrix that a basis gives.

    Attributes:
        basis: the change of basis.
        irreps_in: irreps of each factor.
        irreps_out: irreps of the result.
    """

    matrix: Tensor

    def __init__(self, basis: ReducedBasis, matrix: Tensor) -> None:
        super().__init__()
        self.basis = basis
        self.irreps_in = basis.irreps_in
        self.irreps_out = basis.irreps_out
        self.register_constant("matrix", matrix)

    def _reduce(self, products: Tensor) -> Tensor:
        return products @ self.matrix.to(products.dtype)

    def _check(self, factors: tuple[Tensor, ...]) -> None:
        if len(factors) != len(self.irreps_in):
            raise ValueError(
                f"{type(self).__name__}: {len(factors)} factors are given, "
                f"but {len(self.irreps_in)} are multiplied ({self.extra_repr()})"
            )
        for i, (x, irreps) in enumerate(zip(factors, self.irreps_in, strict=True), start=1):
            check_features(self, f"factor {i}", x, irreps)

    def extra_repr(self) -> str:
        factors = " x ".join(map(str, self.irreps_in))
        return f"{self.basis.formula.text}: {factors} -> {self.irreps_out}"


class ReducedTensorProduct(_Reduced):
    """The product of several features, only those parts that have an index symmetry.

    The result is ``einsum("zij...,...i,...j->...z", Q, x1, x2, ...)`` with the basis Q of
    ``clebsch.o3.reduced_tensor_product``.

    Args:
        formula: index symmetry such as ``"ij=-ji"``.
        keep: irreps wanted in the result; None for all.
        between: irreps that partial products, and the result, may have; None for all.
        irreps: irreps of each index, by letter; permuted indices need them once.

    Shape: (..., irreps_in[0].dim), (..., irreps_in[1].dim), ... -> (..., irreps_out.dim); leading
    dimensions broadcast.

    Raises:
        ValueError: a formula that is none, or irreps that do not fit it.

    >>> cross = ReducedTensorProduct("ij=-ji", i="1o")
    >>> cross.irreps_out
    1x1e
    >>> x, y = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    >>> (cross(x, y) * 2**0.5).round(decimals=4)
    tensor([0., 0., 1.])
    """

    def __init__(
        self,
        formula: str | IndexFormula,
        *,
        keep: Iterable[IrrepLike] | None = None,
        between: Iterable[IrrepLike] | None = None,
        **irreps: IrrepsLike,
    ) -> None:
        basis = reduced_tensor_product(formula, keep=keep, between=between, **irreps)
        super().__init__(basis, basis.change_of_basis.flatten(1).T.contiguous())

    def forward(self, *factors: Tensor) -> Tensor:
        self._check(factors)
        product = factors[0]
        for x in factors[1:]:
            product = (product[..., :, None] * x[..., None, :]).flatten(-2)
        return self._reduce(product)


def _numbers(values: Any) -> Tensor:
    """Of a constant, on the CPU whatever the default device is."""
    return torch.tensor(values, device="cpu")


def _check_filled(layer: str, irreps: IrrepsLike) -> int:
    """The irreps' dimension."""
    irreps = Irreps(irreps)
    if not irreps.dim:
        raise ValueError(f"{layer}: irreps {named(irreps)} are empty; there is nothing to multiply")
    return irreps.dim


class SymmetricPower(_Reduced):
    """The n-th power of features, ``x (x) x (x) ... x``, without its repetitions.

    Each monomial is computed once. The norm of the result is that of x to the power n, where all
    irreps are kept.

    Args:
        irreps: of x.
        n: the power, at least 1.
        keep: irreps wanted in the result; None for all.

    Shape: (..., irreps.dim) -> (..., irreps_out.dim).

    Raises:
        ValueError: ``n`` is less than 1, or the irreps are empty.

    >>> square = SymmetricPower("1o", 2)
    >>> square.irreps_out, square(torch.tensor([0.0, 3.0, 0.0])).norm()
    (1x0e+1x2e, tensor(9.))
    """

    def __init__(self, irreps: IrrepsLike, n: int, keep: Iterable[IrrepLike] | None = None) -> None:
        _check_filled("SymmetricPower", irreps)
        basis = symmetric_power_basis(irreps, n, keep)
        dim = basis.irreps_in[0].dim
        monomials = list(combinations_with_replacement(range(dim), n))
        # equal entries of Q: n! over the factorials of the exponents
        repeats = [factorial(n) // prod(factorial(m.count(i)) for i in set(m)) for m in monomials]
        values = basis.change_of_basis[(slice(None), *_numbers(monomials).T)]
        super().__init__(basis, (values * _numbers(repeats)).T.contiguous())
        self.n = n
        for degree in range(2, n + 1):
            lower = {
                m: k for k, m in enumerate(combinations_with_replacement(range(dim), degree - 1))
            }
            tuples = list(combinations_with_replacement(range(dim), degree))
            self.register_constant(f"head{degree}", _numbers([lower[m[:-1]] for m in tuples]))
            self.register_constant(f"last{degree}", _numbers([m[-1] for m in tuples]))

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in[0])
        monomials = x
        for degree in range(2, self.n + 1):
            head, last = self.get_buffer(f"head{degree}"), self.get_buffer(f"last{degree}")
            monomials = monomials.index_select(-1, head) * x.index_select(-1, last)
        return self._reduce(monomials)

    def extra_repr(self) -> str:
        return f"({self.irreps_in[0]})^{self.n} -> {self.irreps_out}"


class AntisymmetricPower(_Reduced):
    """The wedge product of n features of the same irreps; zero where they depend on each other.

    The result is ``einsum("zij...,...i,...j->...z", Q, x1, x2, ...)`` with the basis Q of
    ``clebsch.o3.antisymmetric_power_basis``: minors, weighted.

    Args:
        irreps: of each factor.
        n: number of factors, at least 1 and at most ``irreps.dim``.
        keep: irreps wanted in the result; None for all.

    Shape: n times (..., irreps.dim) -> (..., irreps_out.dim); leading dimensions broadcast.

    Raises:
        ValueError: ``n`` is less than 1, or above the dimension, where every product is zero; the
            irreps are empty.

    >>> volume = AntisymmetricPower("1o", 3)
    >>> volume.irreps_out, (volume(*(2 * torch.eye(3))) * 6**0.5).round(decimals=4)
    (1x0o, tensor([8.]))
    """

    def __init__(self, irreps: IrrepsLike, n: int, keep: Iterable[IrrepLike] | None = None) -> None:
        dim = _check_filled("AntisymmetricPower", irreps)
        if n > dim:
            raise ValueError(
                f"AntisymmetricPower: {n} factors of {Irreps(irreps)} always depend on each other, "
                f"for its dimension is {dim}: every product is zero"
            )
        basis = antisymmetric_power_basis(irreps, n, keep)
        minors = _numbers(list(combinations(range(dim), n)))
        super().__init__(basis, basis.change_of_basis[(slice(None), *minors.T)].T.contiguous())
        self.n = n
        for degree in range(2, n + 1):
            lower = {m: k for k, m in enumerate(combinations(range(dim), degree - 1))}
            tuples = list(combinations(range(dim), degree))
            without = [[lower[m[:j] + m[j + 1 :]] for j in range(degree)] for m in tuples]
            self.register_constant(f"minor{degree}", _numbers(without))
            self.register_constant(f"rows{degree}", _numbers(tuples))

    def forward(self, *factors: Tensor) -> Tensor:
        self._check(factors)
        minors = factors[0]
        for degree, x in enumerate(factors[1:], start=2):
            # Laplace's expansion along the newest factor
            minor, rows = self.get_buffer(f"minor{degree}"), self.get_buffer(f"rows{degree}")
            terms = [
                (-1) ** (degree - 1 - j)
                * minors.index_select(-1, minor[:, j])
                * x.index_select(-1, rows[:, j])
                for j in range(degree)
            ]
            minors = torch.stack(terms).sum(0)
        return self._reduce(minors)

    def extra_repr(self) -> str:
        return f"{self.n} factors of {self.irreps_in[0]} -> {self.irreps_out}"
