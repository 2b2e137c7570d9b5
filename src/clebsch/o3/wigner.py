"""Wigner 3j symbols and Wigner D matrices in the real basis, with e3nn's order and signs."""

from __future__ import annotations

from functools import cache
from math import comb, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.errors import UserError
from clebsch.o3.constants import tensor_constant
from clebsch.o3.generators import real_to_complex
from clebsch.o3.rotations import matrix_to_quaternion

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
    R = R * determinant_sign(R)[..., None, None]
    matrices = wigner_D_from_quaternion(degrees, matrix_to_quaternion(R))
    if 1 in matrices:
        matrices[1] = R  # itself, to the last bit
    return matrices


def wigner_D_from_quaternion(degrees: Iterable[int], q: Tensor) -> dict[int, Tensor]:
    """`wigner_D` of several degrees from unit quaternions (w, x, y, z), of shape (..., 4).

    With a = w + iy and b = x - iz every element of the complex matrix is a polynomial in a, b and
    their conjugates, a monomial for the largest |m| or |m'|. The others follow from the two
    degrees below with the same m and m', a recursion that loses no digits as long as m' and -m'
    are kept apart; the real basis mixes them in the end.

    Returns:
        {l: (..., 2l+1, 2l+1)}, in the order of ``degrees``.

    >>> wigner_D_from_quaternion([1], torch.tensor([0.0, 1.0, 0.0, 0.0]))[1] + 0.0  # y, z turn over
    tensor([[ 1.,  0.,  0.],
            [ 0., -1.,  0.],
            [ 0.,  0., -1.]])
    """
    degrees = list(degrees)
    lmax = max(degrees, default=0)
    if min(degrees, default=0) < 0:
        raise UserError(f"the degree of a Wigner D matrix must not be negative, got {min(degrees)}")
    lead, flat = q.shape[:-1], q.reshape(-1, 4)
    if (
        torch.compiler.is_compiling()
        or flat.requires_grad
        or flat.device.type != "cpu"
        or flat.shape[0] <= (at_once := _piece(lmax, flat))
    ):
        D = {l: rows.T.contiguous() for l, rows in _rows_of_degrees(degrees, flat).items()}
    else:  # piece by piece, so that what a step of the recursion needs is still in the cache
        D = {l: flat.new_empty(flat.shape[0], (2 * l + 1) ** 2) for l in degrees}
        for start in range(0, flat.shape[0], at_once):
            piece = slice(start, start + at_once)
            for l, rows in _rows_of_degrees(degrees, flat[piece]).items():
                D[l][piece] = rows.T
    return {l: D[l].reshape(*lead, 2 * l + 1, 2 * l + 1) for l in degrees}


def _piece(lmax: int, q: Tensor) -> int:
    """How many rotations at once: one degree's matrices fill a megabyte.

    With several threads four, so that they meet less often.
    """
    room = 2**20 if torch.get_num_threads() == 1 else 2**22
    return max(64, room // (q.element_size() * (2 * lmax + 1) ** 2))


def _rows_of_degrees(degrees: list[int], q: Tensor) -> dict[int, Tensor]:
    """{l: ((2l+1)^2, n)}, the batch last, for q of shape (n, 4).

    The complex elements are held as (sign of m', real and imaginary part, element, n) for m and
    |m'| >= 0, those with max(m, |m'|) = l from l^2 on (`_elements`), so that the next degree only
    appends. At m' < 0 they have the factor (-1)^m', and m = 0 and m' = 0 a factor 1/sqrt(2) each.

    Source: Varshalovich, Moskalev & Khersonskii (1988), 4.8.2, the relation between l-2, l-1, l.
    """
    lmax = max(degrees, default=0)
    w, x, y, z = q.unbind(-1)
    cos_beta = w * w + y * y - x * x - z * z
    outermost = _outermost(lmax, (w, y), (x, -z))
    below, D = outermost, outermost[:, :, :1]
    out = {}
    for l in range(lmax + 1):
        if l > 0:
            once, mixed, twice = _three_terms_tensor(l, like=q).unbind()
            factor = cos_beta * once
            inner = torch.stack([factor - mixed, factor + mixed])[:, None] * D
            if l > 1:
                inner[:, :, : (l - 1) ** 2] -= twice[: (l - 1) ** 2] * below
            below, D = D, torch.cat([inner, outermost[:, :, l**2 : (l + 1) ** 2]], 2)
        if l in degrees:
            plus, minus = D
            rows = torch.cat([*(plus + minus), plus[0] - minus[0], minus[1] - plus[1]])
            out[l] = rows.index_select(0, _real_order_tensor(l, like=_integers(q)))
    return out


def _outermost(lmax: int, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """The elements of each degree l <= lmax with |m| or |m'| = l, shape (2, 2, (lmax+1)^2, n).

    binomial(2l, l+m)^1/2 a^(l+m') b^(l-m') in row l; the columns are the rows of the inverse.
    """
    i, j = (_exponents_tensor(lmax, which, like=_integers(a[0])) for which in range(2))
    scale, of_a, of_b = _outermost_factors_tensor(lmax, like=a[0]).unbind()
    a_re, a_im = (part.index_select(0, i).unflatten(0, (2, -1)) for part in _powers(a, 2 * lmax))
    b_re, b_im = (part.index_select(0, j).unflatten(0, (2, -1)) for part in _powers(b, 2 * lmax))
    a_im, b_im = a_im * of_a, b_im * of_b  # conjugates in the columns
    re, im = a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re
    return torch.stack([re, im], 1) * scale[:, None]


def _powers(base: tuple[Tensor, Tensor], highest: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the powers 0..highest, each (highest + 1, n)."""
    re, im = [torch.ones_like(base[0])], [torch.zeros_like(base[0])]
    for _ in range(highest):
        r, i = re[-1], im[-1]
        re.append(r * base[0] - i * base[1])
        im.append(r * base[1] + i * base[0])
    return torch.stack(re), torch.stack(im)


def _integers(like: Tensor) -> Tensor:
    return torch.empty(0, dtype=torch.int64, device=like.device)


@cache
def _elements(lmax: int) -> NDArray[np.int64]:
    """(m, |m'|) of each element: for each l first those with m = l, then those with |m'| = l."""
    shells = ([(l, k) for k in range(l + 1)] + [(k, l) for k in range(l)] for l in range(lmax + 1))
    return np.array([pair for shell in shells for pair in shell]).T


@cache
def _three_terms(l: int) -> NDArray[np.float64]:
    """Factors of cos(beta) D^{l-1}, of -m'/|m'| D^{l-1} and of -D^{l-2}, shape (3, l^2, 1)."""
    m, k = _elements(l - 1).astype(np.float64)
    norm = np.sqrt((l**2 - m**2) * (l**2 - k**2))
    below = np.sqrt(((l - 1) ** 2 - m**2) * ((l - 1) ** 2 - k**2))
    steps = max(l - 1, 1)
    once, mixed = l * (2 * l - 1) / norm, (2 * l - 1) / steps * m * k / norm
    return np.stack([once, mixed, l / steps * below / norm])[..., None]


@cache
def _exponents(lmax: int, which: int) -> NDArray[np.float64]:
    """Of a (0) or b (1) in the outermost elements, first for m' >= 0, then for m' <= 0."""
    m, k = _elements(lmax)
    l = np.maximum(m, k)
    other = np.minimum(m, k)
    of_a = np.concatenate([l + other, l - other])
    return (of_a if which == 0 else np.concatenate([2 * l, 2 * l]) - of_a).astype(np.float64)


@cache
def _outermost_factors(lmax: int) -> NDArray[np.float64]:
    """Factor, sign of Im a and sign of Im b, shape (3, 2, (lmax+1)^2, 1)."""
    m, k = _elements(lmax)
    l, other, row = np.maximum(m, k), np.minimum(m, k), m >= k
    binomial = [float(comb(2 * n, n + o)) for n, o in zip(l.tolist(), other.tolist(), strict=True)]
    scale = np.sqrt(binomial) * np.where(m == 0, sqrt(0.5), 1) * np.where(k == 0, sqrt(0.5), 1)
    sign = np.stack([np.where(row, 1, (-1.0) ** (l - other)), (-1.0) ** k])
    conjugate = np.where(row, 1.0, -1.0)
    one = np.ones_like(conjugate)
    factors = [scale * sign, np.stack([one, conjugate]), np.stack([conjugate, one])]
    return np.stack(factors)[..., None]


@cache
def _real_order(l: int) -> NDArray[np.float64]:
    """Where the elements of the real matrix lie among those that `_rows_of_degrees` makes."""
    count = (l + 1) ** 2
    place = np.zeros((l + 1, l + 1), dtype=np.int64)
    place[tuple(_elements(l))] = np.arange(count)
    m = np.arange(-l, l + 1)
    row, column = np.meshgrid(m, m, indexing="ij")
    part = np.where(column >= 0, np.where(row >= 0, 0, 1), np.where(row < 0, 2, 3))
    return (place[abs(row), abs(column)] + part * count).ravel().astype(np.float64)


_three_terms_tensor = tensor_constant(_three_terms)
_exponents_tensor = tensor_constant(_exponents)
_outermost_factors_tensor = tensor_constant(_outermost_factors)
_real_order_tensor = tensor_constant(_real_order)


def determinant_sign(R: Tensor) -> Tensor:
    """Sign of det R for R of shape (..., 3, 3); shape (...), not differentiated."""
    a, b, c = R.detach().unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum(-1).sign()
