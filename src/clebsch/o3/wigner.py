"""Wigner 3j symbols and Wigner D matrices in the real basis, with e3nn's order and signs."""

from __future__ import annotations

from functools import cache
from math import comb, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.errors import UserError
from clebsch.o3.constants import tensor_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def wigner_3j(
    l1: int,
    l2: int,
    l3: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """The one tensor of norm 1 that is invariant under ``D^l1 x D^l2 x D^l3``.

    Every element comes from Racah's sum in exact integer arithmetic and is rounded once, so it
    is good to the last digit of float64 at any l.

    Args:
        l1, l2, l3: degrees with |l1 - l2| <= l3 <= l1 + l2.
        dtype: default ``torch.get_default_dtype()``.

    Returns:
        Shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1); a fresh copy.

    Raises:
        UserError: when a degree is negative or the triangle rule is broken.

    Source: Racah's formula in binomials, Varshalovich, Moskalev & Khersonskii (1988), 8.2.1.

    >>> wigner_3j(1, 1, 0).squeeze()  # the scalar product, over sqrt(3)
    tensor([[0.5774, 0.0000, 0.0000],
            [0.0000, 0.5774, 0.0000],
            [0.0000, 0.0000, 0.5774]])
    """
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise UserError(
            f"there is no 3j symbol of ({l1}, {l2}, {l3}): "
            "the degrees must not be negative and |l1 - l2| <= l3 <= l1 + l2"
        )
    values = torch.from_numpy(real_3j(l1, l2, l3).copy())
    return values.to(dtype=dtype or torch.get_default_dtype(), device=device)


@cache
def real_3j(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """`wigner_3j` as a read-only float64 array."""
    C = np.einsum(
        "ia,jb,kc,ijk->abc",
        _real_to_complex(l1),
        _real_to_complex(l2),
        _real_to_complex(l3).conj(),
        _clebsch_gordan(l1, l2, l3),
        optimize=True,
    ).real
    C = np.where(_may_differ_from_zero(l1, l2, l3), C, 0.0) / sqrt(2 * l3 + 1)
    C.flags.writeable = False
    return C


def _clebsch_gordan(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """<l1 m1 l2 m2 | l3 m3>, Condon and Shortley's phase, shape (2 l1+1, 2 l2+1, 2 l3+1)."""
    excess, only1, only2 = l1 + l2 - l3, l1 - l2 + l3, l2 - l1 + l3
    numerator = comb(2 * l1, excess) * comb(2 * l2, excess)
    C = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            m3 = m1 + m2
            v_min = max(0, l1 - m1 - only1, l2 + m2 - only2)
            v_max = min(excess, l1 - m1, l2 + m2)
            racah = sum(
                (-1) ** v * comb(excess, v) * comb(only1, l1 - m1 - v) * comb(only2, l2 + m2 - v)
                for v in range(v_min, v_max + 1)
            )
            denominator = (
                comb(l1 + l2 + l3 + 1, excess)
                * comb(2 * l1, l1 - m1)
                * comb(2 * l2, l2 - m2)
                * comb(2 * l3, l3 - m3)
            )
            # the quotient of two integers is rounded once
            magnitude = sqrt(racah * racah * numerator / denominator)
            C[l1 + m1, l2 + m2, l3 + m3] = magnitude if racah > 0 else -magnitude
    return C


def _real_to_complex(l: int) -> NDArray[np.complex128]:
    """Columns: the real basis in terms of the complex one; (-i)^l makes the 3j symbols real."""
    Q = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    Q[l, l] = 1
    for m in range(1, l + 1):
        Q[l - m, [l + m, l - m]] = [sqrt(0.5), -1j * sqrt(0.5)]
        Q[l + m, [l + m, l - m]] = [(-1) ** m * sqrt(0.5), 1j * (-1) ** m * sqrt(0.5)]
    return (-1j) ** l * Q


def _may_differ_from_zero(l1: int, l2: int, l3: int) -> NDArray[np.bool_]:
    """Selection rules of the real basis, so that zeros are exact and not 1e-17."""
    m1, m2, m3 = np.ix_(*(np.arange(-l, l + 1) for l in (l1, l2, l3)))
    a, b, c = abs(m1), abs(m2), abs(m3)
    sines = (m1 < 0).astype(int) + (m2 < 0) + (m3 < 0)
    couples = (c == a + b) | (c == abs(a - b))
    return couples & (sines % 2 == (l1 + l2 + l3) % 2)


def wigner_D(l: int, R: Tensor) -> Tensor:
    """Matrix of the rotation R in the real irrep of degree l: Y(R x) = D(R) Y(x).

    Built degree by degree, D^l = C^T (D^{l-1} x R) C with C the 3j symbols of (l-1, 1, l), so it
    is a polynomial in the elements of R: batched, and with finite derivatives of every order at
    every rotation, the identity included.

    Args:
        l: degree.
        R: orthogonal matrices, shape (..., 3, 3). For det R = -1 the result is that of the proper
            rotation -R; `Irrep.D_from_matrix` puts the parity in.

    Returns:
        Shape (..., 2l+1, 2l+1).
    """
    if l < 0:
        raise UserError(f"the degree of a Wigner D matrix must not be negative, got {l}")
    return wigner_D_up_to(l, R)[l]


def wigner_D_up_to(lmax: int, R: Tensor) -> list[Tensor]:
    """`wigner_D` of every degree 0..lmax for the price of the last one."""
    R = R * determinant_sign(R)[..., None, None]
    matrices = [torch.ones_like(R[..., :1, :1]), R]
    for degree in range(2, lmax + 1):
        C = _coupling_tensor(degree, like=R)
        product = torch.einsum("...ij,njc,...kn->...kic", matrices[-1], C, R)
        matrices.append(C.flatten(0, 1).mT @ product.flatten(-3, -2))
    return matrices[: lmax + 1]


@cache
def _coupling(l: int) -> NDArray[np.float64]:
    """Isometry from degree l into vector x degree l-1, shape (3, 2l-1, 2l+1)."""
    return sqrt(2 * l + 1) * real_3j(1, l - 1, l)


_coupling_tensor = tensor_constant(_coupling)


def determinant_sign(R: Tensor) -> Tensor:
    """Sign of det R for R of shape (..., 3, 3); shape (...), not differentiated."""
    a, b, c = R.detach().unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum(-1).sign()
