"""Symmetric subspaces of a tensor product by coupling one index after the other.

The trees ((V1 x V2) x V3) x ... give, by 3j symbols, an orthonormal basis of the product of all
indices: for each irrep a multiplicity space, one dimension per tree. The projector on tensors with
an index symmetry commutes with rotations, so by Schur's lemma it acts on the multiplicity space
alone, and one component of the irreps is enough to find it. Index k is joined with the symmetry of
the first k indices already imposed, which keeps these spaces small.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from clebsch.o3.irreps import Irrep, Irreps
from clebsch.o3.permutations import Permutation, identity, signed_closure
from clebsch.o3.wigner import real_3j

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# An eigenvalue of the projector is 1 to rounding, or clearly less.
_TOLERANCE = 1e-9


@dataclass
class Subspace:
    """All copies of one irrep in the symmetric tensors of the first indices.

    Attributes:
        basis: orthonormal, shape (copies, 2l + 1, product of the dimensions so far).
        trees: the copies as combinations of coupling trees, shape (copies, number of trees).
    """

    basis: NDArray[np.float64]
    trees: NDArray[np.float64]


@dataclass
class Level:
    """The symmetric tensors of the first indices, and their coupling trees in order."""

    spaces: dict[Irrep, Subspace]
    order: list[tuple[Irrep, int]]


@dataclass
class Join:
    """One way to an irrep: copies of ``left`` with one block of the next index."""

    left: Irrep
    right: Irrep
    mul: int
    start: int

    @property
    def columns(self) -> slice:
        """Where the block lies in the index."""
        return slice(self.start, self.start + self.mul * self.right.dim)


def symmetric_subspaces(
    signs: dict[Permutation, int],
    irreps: tuple[Irreps, ...],
    keep: frozenset[Irrep] | None,
    between: frozenset[Irrep] | None,
) -> dict[Irrep, NDArray[np.float64]]:
    """Orthonormal bases of the tensors with an index symmetry, irrep by irrep.

    Args:
        signs: the group of index permutations, each with its sign.
        irreps: of each index.
        keep: irreps that are wanted; None for all.
        between: irreps that intermediate results, and the last one, may have; None for all.

    Returns:
        By irrep, sorted, shape (copies, 2l + 1, dim_1, dim_2, ...). The copies are the coupling
        trees, projected on the symmetric tensors and made orthonormal one after the other; trees
        that bring nothing new are left out, and a copy's first tree has a positive coefficient.
    """
    reachable = _wanted(irreps, keep, between)
    level = _first_level(irreps[0], reachable[0])
    for k in range(1, len(irreps)):
        last = k == len(irreps) - 1
        level = _join(level, irreps[: k + 1], signs, reachable[k], canonical=last)
    dims = [i.dim for i in irreps]
    return {
        ir: space.basis.reshape(-1, ir.dim, *dims) for ir, space in sorted(level.spaces.items())
    }


def _wanted(
    irreps: tuple[Irreps, ...], keep: frozenset[Irrep] | None, between: frozenset[Irrep] | None
) -> list[set[Irrep]]:
    """Irreps at each level from which one that is kept can be reached."""
    levels = [{ir for mul, ir in irreps[0] if mul}]
    for right in irreps[1:]:
        products = {ir for a in levels[-1] for mul, b in right if mul for ir in a * b}
        levels.append(products if between is None else products & between)
    if keep is not None:
        levels[-1] &= keep
    for k in range(len(irreps) - 1, 0, -1):
        rights = {ir for mul, ir in irreps[k] if mul}
        levels[k - 1] = {
            a for a in levels[k - 1] if any(not levels[k].isdisjoint(a * b) for b in rights)
        }
    return levels


def _first_level(irreps: Irreps, wanted: set[Irrep]) -> Level:
    rows: dict[Irrep, list[range]] = defaultdict(list)
    order = []
    for part, (mul, ir) in zip(irreps.slices(), irreps, strict=True):
        if ir not in wanted:
            continue
        for u in range(mul):
            order.append((ir, len(rows[ir])))
            rows[ir].append(range(part.start + u, part.stop, mul))  # layout ir_mul
    unit = np.eye(irreps.dim)
    spaces = {
        ir: Subspace(unit[np.array(copies)], np.eye(len(copies))) for ir, copies in rows.items()
    }
    return Level(spaces, order)


def _join(
    level: Level,
    irreps: tuple[Irreps, ...],
    signs: dict[Permutation, int],
    wanted: set[Irrep],
    canonical: bool,
) -> Level:
    """Couple one more index and keep what has the symmetry of all indices so far."""
    right = irreps[-1]
    joins: dict[Irrep, list[Join]] = defaultdict(list)
    for left in level.spaces:
        for part, (mul, ir) in zip(right.slices(), right, strict=True):
            for out in left * ir:
                if mul and out in wanted:
                    joins[out].append(Join(left, ir, mul, part.start))
    cosets = _double_cosets(_first_fixed(signs, len(irreps)), _first_fixed(signs, len(irreps) - 1))
    dims = tuple(i.dim for i in irreps)
    number = _number_trees(level, right, wanted)
    spaces = {}
    for out in sorted(joins):
        X = _symmetric_combinations(level, out, joins[out], dims, cosets)
        if len(X) == 0:
            continue
        trees = X @ _combinations_as_trees(level, out, joins[out], number)
        if canonical:
            turn = _in_order(trees)
            X, trees = turn @ X, turn @ trees
        spaces[out] = Subspace(_combine(level, out, joins[out], X, dims), trees)
    return Level(spaces, sorted(number.order, key=lambda tree: tree[0]))


@dataclass
class _Trees:
    """Numbers of the new trees: by (left, its tree, block, copy, out), and all in order."""

    position: dict[tuple[Irrep, int, int, int, Irrep], int]
    order: list[tuple[Irrep, int]]
    count: dict[Irrep, int]


def _number_trees(level: Level, right: Irreps, wanted: set[Irrep]) -> _Trees:
    trees = _Trees({}, [], defaultdict(int))
    starts = [part.start for part in right.slices()]
    for left, t in level.order:
        for start, (mul, ir) in zip(starts, right, strict=True):
            for out in left * ir:
                if out not in wanted:
                    continue
                for u in range(mul):
                    trees.position[left, t, start, u, out] = trees.count[out]
                    trees.order.append((out, trees.count[out]))
                    trees.count[out] += 1
    return trees


def _symmetric_combinations(
    level: Level,
    out: Irrep,
    joins: list[Join],
    dims: tuple[int, ...],
    cosets: list[tuple[float, Permutation]],
) -> NDArray[np.float64]:
    """Orthonormal combinations of the joins that are symmetric, shape (rank, joins)."""
    counts = [len(level.spaces[join.left].basis) * join.mul for join in joins]
    if len(cosets) == 1:  # no symmetry is new
        return np.eye(sum(counts))
    *_, d = dims
    A = np.zeros((sum(counts), prod(dims[:-1]), d))
    row = 0
    for join, count in zip(joins, counts, strict=True):
        basis = level.spaces[join.left].basis
        # one component is enough: the middle one, where 3j symbols are sparse
        C = _isometry(out, join)[out.l]
        block = np.tensordot(basis, C, axes=(1, 0))  # (a, D, j)
        columns = A[row : row + count, :, join.columns].reshape(
            len(basis), join.mul, -1, join.right.dim, join.mul
        )
        for u in range(join.mul):
            columns[:, u, :, :, u] = block
        A[row : row + count, :, join.columns] = columns.reshape(
            count, -1, join.mul * join.right.dim
        )
        row += count
    flat, tensor = A.reshape(len(A), -1), A.reshape(len(A), *dims)
    M = np.zeros((len(A), len(A)))
    for weight, p in cosets:
        if p == identity(len(p)):
            M += weight * np.eye(len(A))
        else:
            permuted = tensor.transpose(0, *(i + 1 for i in p)).reshape(len(A), -1)
            M += weight * (flat @ permuted.T)
    eigenvalues, vectors = np.linalg.eigh((M + M.T) / 2)
    return vectors[:, eigenvalues > 1 - _TOLERANCE].T


def _combinations_as_trees(
    level: Level, out: Irrep, joins: list[Join], number: _Trees
) -> NDArray[np.float64]:
    """The joins as combinations of coupling trees, shape (joins, trees)."""
    blocks = []
    for join in joins:
        trees = level.spaces[join.left].trees
        block = np.zeros((len(trees), join.mul, number.count[out]))
        for u in range(join.mul):
            columns = [
                number.position[join.left, t, join.start, u, out] for t in range(trees.shape[1])
            ]
            block[:, u, columns] = trees
        blocks.append(block.reshape(-1, number.count[out]))
    return np.concatenate(blocks)


def _in_order(trees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn orthonormal rows so that they come from the trees one after the other.

    Row k of the result times ``trees`` is what the k-th useful tree, projected on the space that
    the rows span, adds to the trees before it (Gram and Schmidt).
    """
    rank = len(trees)
    turn = np.zeros((rank, rank))
    k = 0
    for column in trees.T:
        if k == rank:
            break
        v = column.copy()
        for _ in range(2):  # a second pass, for orthogonality to rounding
            v -= turn[:k].T @ (turn[:k] @ v)
        size = np.linalg.norm(v)
        if size > _TOLERANCE:
            turn[k] = v / size
            k += 1
    rows = turn @ trees
    first = rows[np.arange(rank), (abs(rows) > _TOLERANCE).argmax(axis=1)]
    return turn * np.sign(first)[:, None]


def _combine(
    level: Level, out: Irrep, joins: list[Join], X: NDArray[np.float64], dims: tuple[int, ...]
) -> NDArray[np.float64]:
    """The combinations ``X`` of the joins as tensors, shape (rank, 2l + 1, prod(dims))."""
    *before, d = dims
    result = np.zeros((len(X), out.dim, prod(before), d))
    column = 0
    for join in joins:
        basis = level.spaces[join.left].basis
        count = len(basis) * join.mul
        x = X[:, column : column + count].reshape(len(X), len(basis), join.mul)
        column += count
        mixed = np.tensordot(x, basis, axes=(1, 0))  # (r, u, i, D)
        C = _isometry(out, join)
        coupled = np.tensordot(mixed, C, axes=(2, 1))  # (r, u, D, m, j)
        coupled = coupled.transpose(0, 3, 2, 4, 1)
        result[..., join.columns] += coupled.reshape(*result.shape[:3], -1)
    return result.reshape(len(X), out.dim, -1)


def _isometry(out: Irrep, join: Join) -> NDArray[np.float64]:
    """Orthonormal components of the product, shape (2 l_out + 1, 2 l_left + 1, 2 l_right + 1)."""
    return sqrt(out.dim) * real_3j(out.l, join.left.l, join.right.l)


def _first_fixed(signs: dict[Permutation, int], k: int) -> dict[Permutation, int]:
    """The permutations of the first k indices that leave all others in place."""
    return {p[:k]: s for p, s in signs.items() if all(p[i] == i for i in range(k, len(p)))}


def _double_cosets(
    group: dict[Permutation, int], known: dict[Permutation, int]
) -> list[tuple[float, Permutation]]:
    """Representatives g of H g H with their sign times their share of the group.

    The average over the group, between tensors that have the symmetry H of all indices but the
    last, is the sum over these.
    """
    subgroup = {(*p, len(p)): s for p, s in known.items()}
    generators = _generators(subgroup)
    left = set(group)
    found = []
    for p in sorted(group):
        if p not in left:
            continue
        coset, frontier = {p}, {p}
        while frontier:
            frontier = set(_moved(frontier, generators)) - coset
            coset |= frontier
        left -= coset
        found.append((group[p] * len(coset) / len(group), p))
    return found


def _moved(permutations: set[Permutation], generators: list[Permutation]) -> Iterator[Permutation]:
    for p in permutations:
        for g in generators:
            yield tuple(p[i] for i in g)
            yield tuple(g[i] for i in p)


def _generators(group: dict[Permutation, int]) -> list[Permutation]:
    """A few elements that generate the group."""
    chosen: list[tuple[int, Permutation]] = []
    reached = {p: s for p, s in group.items() if p == identity(len(p))}
    for p in sorted(group):
        if p not in reached:
            chosen.append((group[p], p))
            reached = signed_closure(chosen)
    return [p for _, p in chosen]
