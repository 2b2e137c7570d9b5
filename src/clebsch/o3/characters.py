"""Content of products and powers of representations of O(3), from their characters, in integers.

The character of a representation is its weights: how often the rotation about the polar axis acts
as exp(i m phi), for each parity. Characters multiply, and the irrep of degree l has the weights
-l..l once each, so what a product contains is counted, not diagonalised.
"""

from __future__ import annotations

from collections import Counter
from math import comb
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# {(m, parity): how often}
Weights: TypeAlias = "Counter[tuple[int, int]]"


def weights(content: Iterable[tuple[int, tuple[int, int]]]) -> Weights:
    """Weights of the sum of mul x (l, p).

    >>> sorted(weights([(2, (1, -1))]).items())
    [((-1, -1), 2), ((0, -1), 2), ((1, -1), 2)]
    """
    found: Weights = Counter()
    for mul, (l, p) in content:
        for m in range(-l, l + 1):
            found[m, p] += mul
    return found


def content(found: Weights) -> list[tuple[int, tuple[int, int]]]:
    """The irreps with these weights, sorted by (l, p): the inverse of `weights`.

    >>> content(weights([(1, (2, 1)), (3, (0, -1))]))
    [(3, (0, -1)), (1, (2, 1))]
    """
    highest = sorted((m, p) for m, p in found if m >= 0)
    muls = [(found[m, p] - found[m + 1, p], (m, p)) for m, p in highest]
    return [(mul, ir) for mul, ir in muls if mul]


def product(a: Weights, b: Weights) -> Weights:
    """Weights of the tensor product.

    >>> content(product(weights([(1, (1, -1))]), weights([(1, (1, -1))])))
    [(1, (0, 1)), (1, (1, 1)), (1, (2, 1))]
    """
    out: Weights = Counter()
    for (m, p), count in a.items():
        for (n, q), times in b.items():
            out[m + n, p * q] += count * times
    return out


def symmetric_power(a: Weights, n: int) -> Weights:
    """Weights of the n-th symmetric power: n of the weights, each as often as one likes.

    >>> content(symmetric_power(weights([(1, (1, -1))]), 2))
    [(1, (0, 1)), (1, (2, 1))]
    """
    return _power(a, n, lambda copies, k: comb(copies + k - 1, k))


def antisymmetric_power(a: Weights, n: int) -> Weights:
    """Weights of the n-th antisymmetric power: n different ones of the weights.

    >>> content(antisymmetric_power(weights([(1, (1, -1))]), 2))
    [(1, (1, 1))]
    """
    return _power(a, n, comb)


def _power(a: Weights, n: int, choices: Callable[[int, int], int]) -> Weights:
    """``choices(copies, k)`` says in how many ways k are taken of a weight with so many copies."""
    by_degree: list[Weights] = [Counter({(0, 1): 1}), *(Counter() for _ in range(n))]
    for (m, p), copies in a.items():
        for degree in range(n, 0, -1):  # downwards: the lower degrees are still without this weight
            for k in range(1, degree + 1):
                ways = choices(copies, k)
                for (rest, q), count in by_degree[degree - k].items() if ways else ():
                    by_degree[degree][rest + k * m, q * p**k] += ways * count
    return by_degree[n]
