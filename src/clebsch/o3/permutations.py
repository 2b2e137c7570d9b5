"""Permutations as tuples, the groups they generate, and their matrices.

A permutation of n things is the tuple ``p`` of the images: i goes to ``p[i]``.
"""

from __future__ import annotations

import itertools
from math import factorial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Permutation: TypeAlias = tuple[int, ...]


def is_permutation(p: Permutation) -> bool:
    """Whether every number 0..n-1 is an image once.

    >>> is_permutation((1, 0, 2)), is_permutation((1, 1, 2))
    (True, False)
    """
    return sorted(p) == list(range(len(p)))


def identity(n: int) -> Permutation:
    """The permutation that moves nothing.

    >>> identity(3)
    (0, 1, 2)
    """
    return tuple(range(n))


def compose(p: Permutation, q: Permutation) -> Permutation:
    """First ``q``, then ``p``: i goes to ``p[q[i]]``.

    Raises:
        ValueError: when they are not permutations of equally many things.

    >>> compose((1, 2, 0), (1, 0, 2))
    (2, 1, 0)
    """
    _check(p)
    _check(q)
    if len(p) != len(q):
        raise ValueError(f"{p} and {q} are not permutations of equally many things")
    return tuple(p[i] for i in q)


def inverse(p: Permutation) -> Permutation:
    """The permutation that undoes ``p``.

    >>> inverse((1, 2, 0))
    (2, 0, 1)
    """
    _check(p)
    return tuple(sorted(range(len(p)), key=p.__getitem__))


def cycles(p: Permutation) -> set[tuple[int, ...]]:
    """The cycles of two things or more, each from its smallest number on.

    >>> sorted(cycles((1, 0, 3, 4, 2)))
    [(0, 1), (2, 3, 4)]
    """
    _check(p)
    found = set()
    seen: set[int] = set()
    for start in range(len(p)):
        cycle, i = [], start
        while i not in seen:
            seen.add(i)
            cycle.append(i)
            i = p[i]
        if len(cycle) > 1:
            found.add(tuple(cycle))
    return found


def sign(p: Permutation) -> int:
    """+1 for an even number of exchanges, -1 for an odd one.

    >>> sign((1, 0, 2)), sign((1, 2, 0))
    (-1, 1)
    """
    return -1 if sum(len(cycle) - 1 for cycle in cycles(p)) % 2 else 1


def from_number(number: int, n: int) -> Permutation:
    """Permutation of n things with this number, 0 <= number < n!; the inverse of `to_number`.

    The number's digits to the bases n, n - 1, ..., lowest first, each pick from what is left.

    Raises:
        ValueError: when the number is out of range.

    >>> [from_number(k, 3) for k in range(6)]
    [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0), (2, 1, 0)]
    """
    if not 0 <= number < factorial(n):
        raise ValueError(f"there is no permutation number {number} of {n} things")
    left, p = list(range(n)), []
    for base in range(n, 0, -1):
        number, digit = divmod(number, base)
        p.append(left.pop(digit))
    return tuple(p)


def to_number(p: Permutation) -> int:
    """Number of a permutation, see `from_number`.

    >>> to_number((2, 1, 0))
    5
    """
    _check(p)
    left, number, unit = list(range(len(p))), 0, 1
    for image in p:
        digit = left.index(image)
        number, unit = number + digit * unit, unit * len(left)
        left.pop(digit)
    return number


def random_permutation(n: int, generator: np.random.Generator | None = None) -> Permutation:
    """One of the n! permutations, all equally likely.

    >>> is_permutation(random_permutation(5))
    True
    """
    generator = np.random.default_rng() if generator is None else generator
    return tuple(int(i) for i in generator.permutation(n))


def symmetric_group(n: int) -> set[Permutation]:
    """All permutations of n things.

    >>> len(symmetric_group(4))
    24
    """
    return set(itertools.permutations(range(n)))


def closure(generators: Iterable[Permutation]) -> set[Permutation]:
    """The smallest group that holds these permutations.

    Raises:
        ValueError: when there are none, or they are not permutations of equally many things.

    >>> sorted(closure([(1, 2, 0)]))
    [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    """
    return set(signed_closure((1, p) for p in generators))


def signed_closure(generators: Iterable[tuple[int, Permutation]]) -> dict[Permutation, int]:
    """The group that signed permutations generate, with the sign of each element.

    Raises:
        ValueError: when there are no generators, when they are not permutations of equally many
            things, or when one permutation comes with both signs.

    >>> signed_closure([(-1, (1, 0))])
    {(0, 1): 1, (1, 0): -1}
    """
    generators = list(generators)
    if not generators:
        raise ValueError("a group needs at least one generator")
    start = identity(len(generators[0][1]))
    for _, p in generators:
        compose(start, p)  # refuses what is no permutation of as many things
    signs, frontier = {start: 1}, [start]
    while frontier:
        reached = []
        for p, (s, q) in itertools.product(frontier, generators):
            pq, both = tuple([p[i] for i in q]), signs[p] * s
            if pq not in signs:
                signs[pq] = both
                reached.append(pq)
            elif signs[pq] != both:
                raise ValueError(f"the permutation {pq} has the sign +1 and the sign -1")
        frontier = reached
    return signs


def is_group(permutations: Iterable[Permutation]) -> bool:
    """Whether these are closed under composition (a finite set then has inverses too).

    >>> is_group([(0, 1, 2), (1, 0, 2)]), is_group([(1, 0, 2)])
    (True, False)
    """
    members = set(permutations)
    return bool(members) and closure(members) == members


def permutation_matrix(p: Permutation) -> NDArray[np.float64]:
    """The natural representation: component i of a vector becomes component ``p[i]``.

    >>> permutation_matrix((1, 2, 0)) @ np.array([10.0, 20.0, 30.0])
    array([30., 10., 20.])
    """
    _check(p)
    matrix = np.zeros((len(p), len(p)))
    matrix[list(p), range(len(p))] = 1
    return matrix


def standard_representation(p: Permutation) -> NDArray[np.float64]:
    """The irrep of dimension n - 1 of S_n: the natural one without the vector (1, ..., 1).

    Returns:
        Orthogonal, shape (n - 1, n - 1). Its basis is that of `zero_sum_basis`.

    >>> abs(np.trace(standard_representation((1, 2, 0))).round(12) + 1) < 1e-12
    np.True_
    """
    basis = zero_sum_basis(len(p))
    return basis @ permutation_matrix(p) @ basis.T


def zero_sum_basis(n: int) -> NDArray[np.float64]:
    """Orthonormal vectors whose components sum to zero, shape (n - 1, n).

    Row i is what is left of unit vector i when (1, ..., 1) and the rows before are taken out.

    >>> zero_sum_basis(2).round(4)
    array([[ 0.7071, -0.7071]])
    """
    basis = np.zeros((n - 1, n))
    for i in range(n - 1):
        m = n - i - 1
        basis[i, i], basis[i, i + 1 :] = m, -1
        basis[i] /= np.sqrt(m * (m + 1))
    return basis


def _check(p: Permutation) -> None:
    if not is_permutation(p):
        raise ValueError(f"{p} is not a permutation: every number 0..{len(p) - 1} must appear once")
