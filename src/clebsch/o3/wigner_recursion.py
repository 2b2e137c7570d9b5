"""Wigner D matrices from quaternions by recursion in the degree, in PyTorch.

With a = w + iy and b = x - iz every element of the complex matrix is a polynomial in a, b and
their conjugates, a monomial for the largest |m| or |m'|. The others follow from the two degrees
below with the same m and m', a recursion that loses no digits as long as m' and -m' are kept
apart; the real basis mixes them in the end.

Source: Varshalovich, Moskalev & Khersonskii (1988), 4.8.2, the relation between l-2, l-1, l.
"""

from __future__ import annotations

from functools import cache
from math import comb, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.o3.constants import tensor_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def rows_of_degrees(degrees: list[int], q: Tensor) -> dict[int, Tensor]:
    """{l: ((2l+1)^2, n)}, the batch last, for q of shape (n, 4).

    The complex elements are held as (sign of m', real and imaginary part, element, n) for m and
    |m'| >= 0, those with max(m, |m'|) = l from l^2 on (`_elements`), so that the next degree only
    appends. At m' < 0 they have the factor (-1)^m', and m = 0 and m' = 0 a factor 1/sqrt(2) each.
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
def three_terms(l: int) -> NDArray[np.float64]:
    """Factors of cos(beta) D^{l-1}, of -m'/|m'| D^{l-1} and of -D^{l-2}, shape (3, l^2, 1)."""
    m, k = _elements(l - 1).astype(np.float64)
    norm = np.sqrt((l**2 - m**2) * (l**2 - k**2))
    below = np.sqrt(((l - 1) ** 2 - m**2) * ((l - 1) ** 2 - k**2))
    steps = max(l - 1, 1)
    once, mixed = l * (2 * l - 1) / norm, (2 * l - 1) / steps * m * k / norm
    return np.stack([once, mixed, l / steps * below / norm])[..., None]


@cache
def exponents(lmax: int, which: int) -> NDArray[np.float64]:
    """Of a (0) or b (1) in the outermost elements, first for m' >= 0, then for m' <= 0."""
    m, k = _elements(lmax)
    l = np.maximum(m, k)
    other = np.minimum(m, k)
    of_a = np.concatenate([l + other, l - other])
    return (of_a if which == 0 else np.concatenate([2 * l, 2 * l]) - of_a).astype(np.float64)


@cache
def outermost_factors(lmax: int) -> NDArray[np.float64]:
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
def real_order(l: int) -> NDArray[np.float64]:
    """Where the elements of the real matrix lie among those that `rows_of_degrees` makes."""
    count = (l + 1) ** 2
    place = np.zeros((l + 1, l + 1), dtype=np.int64)
    place[tuple(_elements(l))] = np.arange(count)
    m = np.arange(-l, l + 1)
    row, column = np.meshgrid(m, m, indexing="ij")
    part = np.where(column >= 0, np.where(row >= 0, 0, 1), np.where(row < 0, 2, 3))
    return (place[abs(row), abs(column)] + part * count).ravel().astype(np.float64)


_three_terms_tensor = tensor_constant(three_terms)
_exponents_tensor = tensor_constant(exponents)
_outermost_factors_tensor = tensor_constant(outermost_factors)
_real_order_tensor = tensor_constant(real_order)
