"""Wigner 3j symbols and Wigner D matrices in the real basis, with e3nn's order and signs."""

from __future__ import annotations

from functools import cache
from math import comb, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.errors import UserError
from clebsch.o3 import wigner_cpu
from clebsch.o3.generators import real_to_complex
from clebsch.o3.rotations import matrix_to_quaternion
from clebsch.o3.wigner_recursion import rows_of_degrees

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """`wigner_3j` as a read-only float64 array.

    Computed for ascending degrees only: an even permutation of the degrees permutes the axes, an
    odd one also gives the sign (-1)^(l1 + l2 + l3).
    """
    order = sorted(range(3), key=(l1, l2, l3).__getitem__)
    if order != [0, 1, 2]:
        C = real_3j(*sorted((l1, l2, l3))).transpose(np.argsort(order))
        odd = order in ([1, 0, 2], [0, 2, 1], [2, 1, 0])
        C = np.ascontiguousarray(0.0 - C if odd and (l1 + l2 + l3) % 2 else C)
    else:
        Q1, Q2, Q3 = (real_to_complex(l) for l in (l1, l2, l3))
        half = np.tensordot(_clebsch_gordan(l1, l2, l3), Q3.conj(), axes=(2, 0))
        C = np.tensordot(Q1, np.tensordot(Q2, half, axes=(0, 1)), axes=(0, 1)).real
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


def _may_differ_from_zero(l1: int, l2: int, l3: int) -> NDArray[np.bool_]:
    """Selection rules of the real basis, so that zeros are exact and not 1e-17."""
    m1, m2, m3 = np.ix_(*(np.arange(-l, l + 1) for l in (l1, l2, l3)))
    a, b, c = abs(m1), abs(m2), abs(m3)
    sines = (m1 < 0).astype(int) + (m2 < 0) + (m3 < 0)
    couples = (c == a + b) | (c == abs(a - b))
    return couples & (sines % 2 == (l1 + l2 + l3) % 2)


def wigner_D(l: int, R: Tensor) -> Tensor:
    """Matrix of the rotation R in the real irrep of degree l: Y(R x) = D(R) Y(x).

    No matrix exponential and no Euler angle: batched, on any device, with finite derivatives of
    every order at every rotation, the identity and half turns included. Good to 1e-12 in float64
    up to l = 32.

    Args:
        l: degree.
        R: orthogonal matrices, shape (..., 3, 3). For det R = -1 the result is that of the proper
            rotation -R; `Irrep.D_from_matrix` puts the parity in.

    Returns:
        Shape (..., 2l+1, 2l+1).

    Raises:
        UserError: when l is negative or R is not of shape (..., 3, 3).

    >>> D = wigner_D(2, torch.eye(3).expand(10, 3, 3))
    >>> D.shape, torch.allclose(D[0], torch.eye(5), atol=1e-6)
    (torch.Size([10, 5, 5]), True)
    """
    return wigner_D_of_degrees([l], R)[l]


def wigner_D_up_to(lmax: int, R: Tensor) -> list[Tensor]:
    """`wigner_D` of every degree 0..lmax for the price of the last one.

    >>> [D.shape[-1] for D in wigner_D_up_to(3, torch.eye(3))]
    [1, 3, 5, 7]
    """
    return list(wigner_D_of_degrees(range(lmax + 1), R).values())


def wigner_D_of_degrees(degrees: Iterable[int], R: Tensor) -> dict[int, Tensor]:
    """`wigner_D` of several degrees, computed together.

    >>> sorted(wigner_D_of_degrees({1, 4}, torch.eye(3)))
    [1, 4]
    """
    if R.shape[-2:] != (3, 3):
        raise UserError(f"rotations are matrices of shape (..., 3, 3), not {tuple(R.shape)}")
    if wigner_cpu.available(flat := R.reshape(-1, 3, 3)):
        D = wigner_cpu.matrices(_checked(degrees), flat)
        return _shaped(D, R.shape[:-2])
    R = R * determinant_sign(R)[..., None, None]
    matrices = wigner_D_from_quaternion(degrees, matrix_to_quaternion(R))
    if 1 in matrices:
        matrices[1] = R  # itself, to the last bit
    return matrices


def wigner_D_from_quaternion(degrees: Iterable[int], q: Tensor) -> dict[int, Tensor]:
    """`wigner_D` of several degrees from unit quaternions (w, x, y, z), of shape (..., 4).

    By a recursion in the degree, see ``wigner_recursion``. Many rotations at once, without
    gradient, in float32 or float64 on the CPU, are a kernel in C++ (``wigner_cpu``).

    Returns:
        {l: (..., 2l+1, 2l+1)}, in the order of ``degrees``.

    >>> wigner_D_from_quaternion([1], torch.tensor([0.0, 1.0, 0.0, 0.0]))[1] + 0.0  # y, z turn over
    tensor([[ 1.,  0.,  0.],
            [ 0., -1.,  0.],
            [ 0.,  0., -1.]])
    """
    degrees = _checked(degrees)
    flat = q.reshape(-1, 4)
    if wigner_cpu.available(flat):
        D = wigner_cpu.matrices(degrees, flat)
    elif (
        torch.compiler.is_compiling()
        or flat.requires_grad
        or flat.device.type != "cpu"
        or flat.shape[0] <= (at_once := _piece(degrees, flat))
    ):
        D = {l: rows.T.contiguous() for l, rows in rows_of_degrees(degrees, flat).items()}
    else:  # piece by piece, so that what a step of the recursion needs is still in the cache
        D = {l: flat.new_empty(flat.shape[0], (2 * l + 1) ** 2) for l in degrees}
        for start in range(0, flat.shape[0], at_once):
            piece = slice(start, start + at_once)
            for l, rows in rows_of_degrees(degrees, flat[piece]).items():
                D[l][piece] = rows.T
    return _shaped({l: D[l] for l in degrees}, q.shape[:-1])


def _checked(degrees: Iterable[int]) -> list[int]:
    degrees = list(degrees)
    if min(degrees, default=0) < 0:
        raise UserError(f"the degree of a Wigner D matrix must not be negative, got {min(degrees)}")
    return degrees


def _shaped(rows: dict[int, Tensor], lead: torch.Size) -> dict[int, Tensor]:
    """{l: (n, (2l+1)^2)} as {l: (..., 2l+1, 2l+1)}."""
    return {l: D.reshape(*lead, 2 * l + 1, 2 * l + 1) for l, D in rows.items()}


def _piece(degrees: list[int], q: Tensor) -> int:
    """How many rotations at once: one degree's matrices fill a megabyte."""
    return max(64, 2**20 // (q.element_size() * (2 * max(degrees, default=0) + 1) ** 2))


def determinant_sign(R: Tensor) -> Tensor:
    """Sign of det R for R of shape (..., 3, 3); shape (...), not differentiated."""
    a, b, c = R.detach().unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum(-1).sign()
