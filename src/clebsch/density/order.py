"""Coefficients of auxiliary functions between the library's order and quantum chemistry's.

There the coefficients of an atom are listed shell by shell (by l, then falling exponent), with the
2l+1 components of a shell together: z polar, m = -l..l, in PySCF but x, y, z for l = 1. Here they
are features: polar axis y, the exponent fastest. The functions themselves are the same, with the
same norm, so the map is an orthogonal matrix.
"""

from __future__ import annotations

from typing import Literal

import numpy.typing as npt
import torch
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis
from clebsch.errors import UserError
from clebsch.o3 import to_quantum_chemistry

Order = Literal["m", "pyscf"]


def from_quantum_chemistry(
    x: Tensor, basis: AuxiliaryBasis, numbers: npt.ArrayLike | Tensor, order: Order = "pyscf"
) -> Tensor:
    """Coefficients in quantum chemistry's order to the library's.

    Args:
        x: shape (..., K), all atoms one after the other.
        numbers: atomic numbers, (N,).
        order: ``"pyscf"``, or ``"m"``: m = -l..l for every l.

    Returns:
        The same shape.

    Raises:
        UserError: the length K does not fit the atoms, or an element has no functions.

    >>> basis = AuxiliaryBasis("tiny", {1: ((1.0,), (2.0, 0.5))})
    >>> from_quantum_chemistry(torch.tensor([9.0, 1, 2, 3, 10, 20, 30]), basis, [1])
    tensor([ 9.,  1., 10.,  2., 20.,  3., 30.])
    """
    return _convert(x, basis, numbers, order, back=True)


def to_quantum_chemistry_order(
    x: Tensor, basis: AuxiliaryBasis, numbers: npt.ArrayLike | Tensor, order: Order = "pyscf"
) -> Tensor:
    """The inverse of `from_quantum_chemistry`."""
    return _convert(x, basis, numbers, order, back=False)


def matrix_from_quantum_chemistry(
    m: Tensor, basis: AuxiliaryBasis, numbers: npt.ArrayLike | Tensor, order: Order = "pyscf"
) -> Tensor:
    """A matrix between functions, (K, K), in the library's order on both sides."""
    half = from_quantum_chemistry(m, basis, numbers, order)
    return from_quantum_chemistry(half.mT, basis, numbers, order).mT


def _convert(
    x: Tensor, basis: AuxiliaryBasis, numbers: npt.ArrayLike | Tensor, order: Order, back: bool
) -> Tensor:
    total = int(basis.offsets(numbers)[-1])
    if x.shape[-1:] != (total,):
        raise UserError(
            f"these atoms have {total} coefficients in the auxiliary basis {basis.name}, but "
            f"{x.shape[-1] if x.ndim else 'none'} are given; use data of the same basis."
        )
    out = torch.empty_like(x)
    for z, (_, places) in basis.index(numbers).items():
        places = places.to(x.device)
        for l, exponents, _, inside in basis.blocks(z):
            n = len(exponents)
            here = places[:, inside]
            Q = to_quantum_chemistry(l, order, dtype=x.dtype, device=x.device)
            block = x[..., here]
            if back:
                turned = block.unflatten(-1, (n, 2 * l + 1)) @ Q
            else:
                turned = block.unflatten(-1, (2 * l + 1, n)).mT @ Q.T
            out[..., here] = (turned.mT if back else turned).flatten(-2)
    return out
