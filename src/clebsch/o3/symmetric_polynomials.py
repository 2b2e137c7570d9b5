"""Equivariant homogeneous polynomials: the symmetric powers of a representation.

A symmetric tensor of order n over x is a polynomial of degree n in the components of x. Written
in monomials it has no redundant entry, and products of polynomials are symmetric by themselves.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement
from math import factorial, prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from clebsch.o3.irreps import Irrep, Irreps
from clebsch.o3.wigner import real_3j

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clebsch.o3.irreps import IrrepsLike

Monomial = tuple[int, ...]

_INDEPENDENT = 1e-7  # what is left of a normalised dependent polynomial is 1e-15


@lru_cache(maxsize=64)
def monomials(n_variables: int, degree: int) -> tuple[Monomial, ...]:
    """All monomials of a degree: sorted tuples of variables, in lexicographic order.

    >>> monomials(2, 2)
    ((0, 0), (0, 1), (1, 1))
    """
    return tuple(combinations_with_replacement(range(n_variables), degree))


def symmetric_polynomials(
    irreps: IrrepsLike, degree: int, keep: IrrepsLike
) -> dict[Irrep, NDArray[np.float64]]:
    """All equivariant polynomials of a degree in x that transform as an irrep.

    They are a basis: linearly independent, complete, and orthonormal as symmetric tensors
    (components each of norm 1, sum of squares over all ``irreps.dim**degree`` entries). The
    basis is that of `symmetric_power_basis`, fixed by the order of coupling, so that weights mean
    the same on every machine; without its ``irreps.dim**degree`` entries it reaches higher
    degrees. Drautz, Atomic cluster expansion (2019), section III; Batatia et al., MACE (2022),
    eq. 10: the matrices U.

    Args:
        irreps: how x transforms.
        degree: of the polynomials, the body order less one, at least 1.
        keep: irreps of the polynomials.

    Returns:
        For each irrep of ``keep`` the coefficients (multiplicity, ir.dim, number of monomials) of
        ``monomials(irreps.dim, degree)``, float64. An irrep that does not occur has none.

    Raises:
        ValueError: the degree is less than 1.

    >>> symmetric_polynomials("1o", 2, "0e")[Irrep("0e")] * 3**0.5  # x.x
    array([[[1., 0., 0., 1., 0., 1.]]])
    >>> symmetric_polynomials("1o", 2, "1e")[Irrep("1e")].shape  # x cross x
    (0, 3, 6)
    """
    irreps = Irreps(irreps)
    if degree < 1:
        raise ValueError(f"the degree of a polynomial must be at least 1, not {degree}")
    wanted = dict.fromkeys(ir for _, ir in Irreps(keep))
    variables = tuple(ir for mul, ir in irreps for _ in range(mul))
    lmax = max((ir.l for ir in variables), default=0)
    top = max((ir.l for ir in wanted), default=0)
    if irreps.dim == 0:
        return {ir: np.zeros((0, ir.dim, 0)) for ir in wanted}
    # Components of copies lie apart in the layout ir_mul.
    order = [
        part.start + m * mul + u
        for part, (mul, ir) in zip(irreps.slices(), irreps, strict=True)
        for u in range(mul)
        for m in range(ir.dim)
    ]
    level = _linear(variables, order)
    for n in range(2, degree + 1):
        reach = top + (degree - n) * lmax
        targets = wanted if n == degree else None
        level = _raised(level, variables, order, n, reach, targets)
    count = len(monomials(irreps.dim, degree))
    return {ir: level.get(ir, np.zeros((0, ir.dim, count))) for ir in wanted}


def _linear(variables: tuple[Irrep, ...], order: list[int]) -> dict[Irrep, NDArray[np.float64]]:
    """The polynomials of degree 1: x itself."""
    found: dict[Irrep, list[NDArray[np.float64]]] = {}
    one = np.eye(len(order))
    start = 0
    for ir in variables:
        found.setdefault(ir, []).append(one[order[start : start + ir.dim]])
        start += ir.dim
    return {ir: np.stack(rows) for ir, rows in found.items()}


def _raised(
    level: dict[Irrep, NDArray[np.float64]],
    variables: tuple[Irrep, ...],
    order: list[int],
    degree: int,
    reach: int,
    targets: dict[Irrep, None] | None,
) -> dict[Irrep, NDArray[np.float64]]:
    """Polynomials of one degree more: those of ``level`` times x, without the dependent ones."""
    place = {m: i for i, m in enumerate(monomials(len(order), degree))}
    low = monomials(len(order), degree - 1)
    into = [np.array([place[tuple(sorted((*m, v)))] for m in low], dtype=int) for v in order]
    norm = np.sqrt([_weight(m) for m in place])
    coupled: dict[Irrep, list[NDArray[np.float64]]] = {}
    for left, polynomials in sorted(level.items()):
        if not len(polynomials):
            continue
        joined: dict[Irrep, list[NDArray[np.float64]]] = {}
        start = 0
        for right in variables:
            for ir in left * right:
                if ir.l > reach or (targets is not None and ir not in targets):
                    continue
                C = real_3j(left.l, right.l, ir.l) * sqrt(ir.dim)
                raised = np.zeros((len(polynomials), ir.dim, len(place)))
                for b in range(right.dim):
                    part = np.einsum("pam,ak->pkm", polynomials, C[:, b])
                    raised[:, :, into[start + b]] += part  # no two places of a variable are equal
                joined.setdefault(ir, []).append(raised)
            start += right.dim
        for ir, found in joined.items():  # the first factor changes last, as in coupling trees
            coupled.setdefault(ir, []).extend(np.stack(found, axis=1))
    return {ir: _independent(np.concatenate(found), norm) for ir, found in coupled.items()}


def _weight(monomial: Monomial) -> float:
    """Square norm of the symmetric tensor that is this monomial: 1 / number of its orders."""
    counts = [monomial.count(v) for v in set(monomial)]
    return prod(factorial(c) for c in counts) / factorial(len(monomial))


def _independent(
    polynomials: NDArray[np.float64], norm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Orthonormal polynomials of the same span, by Gram-Schmidt in the given order.

    Inner products are the same for every component (Schur's lemma), so one component decides.
    """
    scaled = polynomials * norm
    first = scaled[:, 0]
    chosen = np.zeros((0, first.shape[1]))
    kept: list[NDArray[np.float64]] = []
    for whole, row in zip(scaled, first, strict=True):
        size = np.linalg.norm(row)
        if size < _INDEPENDENT:
            continue
        whole = whole / size
        for _ in range(2):  # the second pass takes the rounding of the first
            overlap = chosen @ whole[0]
            if kept:
                whole = whole - np.tensordot(overlap, np.stack(kept), 1)
        size = np.linalg.norm(whole[0])
        if size < _INDEPENDENT:
            continue
        kept.append(whole / size)
        chosen = np.concatenate([chosen, kept[-1][:1]])
    if not kept:
        return np.zeros((0, *polynomials.shape[1:]))
    found = np.stack(kept) / norm
    found[abs(found) < 1e-13] = 0.0  # selection rules are exact
    return found
