"""Tensors with index symmetries as irreps: orthonormal, equivariant changes of basis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_letters
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.o3 import basis_cache
from clebsch.o3.coupling import symmetric_subspaces
from clebsch.o3.index_formula import IndexFormula
from clebsch.o3.irreps import Irrep, Irreps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from clebsch.o3.irreps import IrrepLike, IrrepsLike
    from clebsch.o3.permutations import Permutation


@dataclass(frozen=True, eq=False)
class ReducedBasis:
    """An orthonormal basis, made of irreps, of the tensors with an index symmetry.

    Attributes:
        formula: the index symmetry.
        irreps_in: irreps of each index; features in layout ``ir_mul``.
        irreps_out: irreps of the symmetric tensors, sorted, equal ones together.
        array: float64, read-only, shape (irreps_out.dim, dim_1, dim_2, ...). Its rows are
            orthonormal, in layout ``ir_mul``, and
            ``einsum("zij,ia,jb->zab", Q, D_1, D_2) = einsum("zw,wab->zab", D_out, Q)``.

    >>> basis = reduced_tensor_product("ij=-ji", i="1o")
    >>> basis.irreps_out, basis.change_of_basis.shape
    (1x1e, torch.Size([3, 3, 3]))
    """

    formula: IndexFormula
    irreps_in: tuple[Irreps, ...]
    irreps_out: Irreps
    array: NDArray[np.float64]

    @property
    def change_of_basis(self) -> Tensor:
        """``array`` as a float64 tensor; a copy."""
        return torch.from_numpy(self.array.copy())

    def block(self, ir: IrrepLike) -> Tensor:
        """The part of one irrep, float64, shape (copies, 2l + 1, dim_1, dim_2, ...).

        >>> symmetric_power_basis("0e + 1o", 3).block("1o").shape
        torch.Size([2, 3, 4, 4, 4])
        """
        ir = Irrep(ir)
        for part, (mul, other) in zip(self.irreps_out.slices(), self.irreps_out, strict=True):
            if other == ir:
                rows = self.change_of_basis[part]
                return rows.unflatten(0, (ir.dim, mul)).transpose(0, 1).contiguous()
        return self.change_of_basis.new_zeros(0, ir.dim, *self.array.shape[1:])


def reduced_tensor_product(
    formula: str | IndexFormula,
    *,
    keep: Iterable[IrrepLike] | None = None,
    between: Iterable[IrrepLike] | None = None,
    **irreps: IrrepsLike,
) -> ReducedBasis:
    """Irreps of the tensors with an index symmetry, and the change of basis to them.

    Exact to rounding in float64. Bases are kept on disk, see ``clebsch.o3.basis_cache``.

    The basis is unique: for each irrep the coupling trees (((1 2) 3) ...), in the order of the
    indices' irreps, are projected on the symmetric tensors and made orthonormal one after the
    other; a vector's first tree has a positive coefficient. It is e3nn's, in layout ``ir_mul``.

    Args:
        formula: such as ``"ij=-ji"``, see `IndexFormula`.
        keep: irreps wanted in the result; None for all.
        between: irreps that partial products, and the result, may have; None for all.
        irreps: irreps of each index, by letter; permuted indices need them once.

    Raises:
        ValueError: for a formula that is none, an index without irreps, or permuted indices of
            different irreps.

    >>> reduced_tensor_product("ijkl=jikl=ijlk=klij", i="1o").irreps_out
    2x0e+2x2e+1x4e
    >>> reduced_tensor_product("ij", i="1o", j="0e + 1e", keep=["1o"]).irreps_out
    2x1o
    """
    formula = formula if isinstance(formula, IndexFormula) else IndexFormula(formula)
    for letter in irreps:
        if len(letter) != 1:
            raise ValueError(
                f'reduced_tensor_product: "{letter}" is neither an option nor one index letter'
            )
    inputs = formula.expand({i: Irreps(value) for i, value in irreps.items()}, "sum of irreps")
    for letter, value in zip(formula.letters, inputs, strict=True):
        if value.dim == 0:
            raise ValueError(f'"{formula.text}": the irreps of the index "{letter}" are empty')
    irreps_out, array = _basis(
        tuple(sorted(formula.signs.items())), inputs, _irrep_set(keep), _irrep_set(between)
    )
    return ReducedBasis(formula, inputs, irreps_out, array)


def symmetric_power_basis(
    irreps: IrrepsLike, n: int, keep: Iterable[IrrepLike] | None = None
) -> ReducedBasis:
    """Irreps of the tensors of n equal indices that no permutation changes.

    Args:
        irreps: of every index.
        n: number of indices, at least 1.
        keep: irreps wanted in the result; None for all.

    >>> symmetric_power_basis("1o", 3).irreps_out
    1x1o+1x3o
    >>> symmetric_power_basis("0e + 1o + 2e", 3).irreps_out.dim  # 9 * 10 * 11 / 6
    165
    """
    return _power(irreps, n, "", keep)


def antisymmetric_power_basis(
    irreps: IrrepsLike, n: int, keep: Iterable[IrrepLike] | None = None
) -> ReducedBasis:
    """Irreps of the tensors of n equal indices that change sign by each exchange of two.

    More indices than dimensions leave nothing: the result has dimension 0.

    Args:
        irreps: of every index.
        n: number of indices, at least 1.
        keep: irreps wanted in the result; None for all.

    >>> antisymmetric_power_basis("1o", 2).irreps_out, antisymmetric_power_basis("1o", 3).irreps_out
    (1x1e, 1x0o)
    """
    return _power(irreps, n, "-", keep)


def _power(
    irreps: IrrepsLike, n: int, minus: str, keep: Iterable[IrrepLike] | None
) -> ReducedBasis:
    if not 1 <= n <= len(ascii_letters):
        raise ValueError(f"a power of irreps needs an exponent of at least 1, not {n}")
    letters = ascii_letters[:n]
    exchanges = [
        minus + letters[:k] + letters[k + 1] + letters[k] + letters[k + 2 :] for k in range(n - 1)
    ]
    formula = "=".join([letters, *exchanges])
    return reduced_tensor_product(formula, keep=keep, **{letters[0]: Irreps(irreps)})


def _irrep_set(irreps: Iterable[IrrepLike] | None) -> frozenset[Irrep] | None:
    if irreps is None:
        return None
    if isinstance(irreps, (str, Irrep)):
        return frozenset(ir for _, ir in Irreps(irreps))
    return frozenset(Irrep(ir) for ir in irreps)


@lru_cache(maxsize=128)
def _basis(
    signs: tuple[tuple[Permutation, int], ...],
    irreps: tuple[Irreps, ...],
    keep: frozenset[Irrep] | None,
    between: frozenset[Irrep] | None,
) -> tuple[Irreps, NDArray[np.float64]]:
    names = [None if chosen is None else sorted(map(str, chosen)) for chosen in (keep, between)]
    key = json.dumps([signs, [str(i) for i in irreps], *names])
    stored = basis_cache.load(key)
    if stored is None:
        blocks = symmetric_subspaces(dict(signs), irreps, keep, between)
        irreps_out = Irreps([(len(block), ir) for ir, block in blocks.items()])
        dims = [i.dim for i in irreps]
        rows = [np.swapaxes(block, 0, 1).reshape(-1, *dims) for block in blocks.values()]
        Q = np.concatenate(rows) if rows else np.zeros((0, *dims))
        Q[abs(Q) < 1e-14] = 0.0  # sums that cancel to rounding
        basis_cache.store(key, [[mul, *ir] for mul, ir in irreps_out], Q)
    else:
        entries, Q = stored
        irreps_out = Irreps([(mul, (l, p)) for mul, l, p in entries])
    Q.flags.writeable = False
    return irreps_out, Q
