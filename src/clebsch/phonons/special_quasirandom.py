"""Supercells of an alloy: drawn at random, or as like the infinite random alloy as they can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from clebsch.errors import UserError
from clebsch.phonons.alloys import MixedCrystal
from clebsch.structures.graph import neighbour_list

Array = NDArray[np.float64]
Size = tuple[int, int, int]

#: Pairs and triplets up to so many times the shortest distance of mixed sites are compared.
PAIRS, TRIPLETS = 2.05, 1.45
#: Sweeps of the annealing: each tries one exchange per mixed site.
SWEEPS = 150
_HOT, _COLD = 0.3, 1e-3  # first and last temperature, in units of the mismatch at the start
_EQUAL = 0.05  # A: distances of one shell
_MOST_SITES = 4000


@dataclass(frozen=True)
class Supercell:
    """An ordered supercell of an alloy.

    Attributes:
        atoms: the structure; sites are where the virtual crystal has them, not relaxed.
        mismatch: of its pair and triplet probabilities with those of the random alloy.
    """

    atoms: Atoms
    mismatch: float


class ClusterStatistics:
    """How often elements meet on pairs and triplets of a supercell's mixed sites.

    For every shell of pairs (two kinds of sites, one distance) and of triplets (three kinds, three
    distances), images included, the share of each combination of elements is compared with that of
    the random alloy: the product of the concentrations. Concentrations fix the single sites, so
    for two elements these shares say the same as the correlation functions of Zunger et al., Phys.
    Rev. Lett. 65, 353 (1990); they stay readable for more.

    Args:
        crystal: the virtual crystal.
        size: of the supercell, in its cells.

    Raises:
        UserError: no site is shared, or a supercell that is too large.
    """

    def __init__(self, crystal: MixedCrystal, size: Size) -> None:
        if not crystal.mixed.any():
            raise UserError(f"{crystal.text}: is ordered, no site is shared; no supercells of it.")
        if min(size) < 1:
            raise UserError(f"a supercell has at least one cell along each direction, not {size}")
        copies = int(np.prod(size))
        if copies * int(crystal.mixed.sum()) > _MOST_SITES:
            raise UserError(
                f"{crystal.text}: a supercell of {copies * len(crystal.atoms)} atoms is too large "
                "for this search; choose a smaller --size."
            )
        self.crystal, self.size = crystal, size
        self.atoms = crystal.atoms.repeat(size)
        self.sites = np.flatnonzero(np.tile(crystal.mixed, copies))
        group = np.tile(crystal.group, copies)[self.sites]
        kinds, self.group = np.unique(group, return_inverse=True)
        self.shares = np.stack(
            [crystal.shares[np.flatnonzero(crystal.group == k)[0]] for k in kinds]
        )
        self.counts = [
            occupation_counts(row, int((self.group == g).sum()))
            for g, row in enumerate(self.shares)
        ]
        # what the supercell holds exactly is what its random alloy is compared with
        self.concentrations = np.array([n / n.sum() for n in self.counts])
        self._kinds = kinds
        pairs = self._pairs()
        self._clusters = [self._shells(*pairs)]
        triplets = self._triplets(*pairs)
        if len(triplets[0]):
            self._clusters.append(self._shells(*triplets))

    def realised(self) -> list[dict[str, Fraction]]:
        """Shares of every group of the crystal that the supercell holds exactly."""
        found: list[dict[str, Fraction]] = []
        for g in range(int(self.crystal.group.max()) + 1):
            place = np.flatnonzero(self._kinds == g)
            if len(place):
                n = self.counts[int(place[0])]
                shares = {
                    s: Fraction(int(k), int(n.sum()))
                    for s, k in zip(self.crystal.elements, n, strict=True)
                }
            else:
                inside = np.flatnonzero(self.crystal.group == g)
                row = self.crystal.shares[inside[0]] if len(inside) else np.zeros(0)
                shares = {
                    s: Fraction(round(float(k)))
                    for s, k in zip(self.crystal.elements, row, strict=False)
                }
            found.append({s: n for s, n in shares.items() if n})
        return found

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(mixed sites,) elements drawn at random, with the exact composition."""
        elements = np.empty(len(self.sites), dtype=np.int64)
        for g, counts in enumerate(self.counts):
            drawn = np.repeat(np.arange(len(counts)), counts)
            elements[self.group == g] = rng.permutation(drawn)
        return elements

    def mismatch(self, elements: NDArray[np.int64]) -> float:
        """Weighted sum over shells of what their shares differ from the random alloy's; >= 0.

        Each shell weighs the inverse square of its longest distance over the shortest one.
        """
        total = 0.0
        q = len(self.crystal.elements)
        for sites, shell, weight, target in self._clusters:
            code = shell.copy()
            for column in sites:
                code = code * q + elements[column]
            shares = np.bincount(code, minlength=target.size).reshape(target.shape)
            total += float(weight @ np.abs(shares - target).sum(-1))
        return total

    def pair_shares(self, elements: NDArray[np.int64]) -> list[tuple[float, Array, Array]]:
        """Distance (A), and shares of element pairs as they are and as at random, by shell."""
        sites, shell, _, target = self._clusters[0]
        q = len(self.crystal.elements)
        code = (shell * q + elements[sites[0]]) * q + elements[sites[1]]
        counts = np.bincount(code, minlength=target.size).reshape(target.shape)
        total = target.sum(-1, keepdims=True)
        return [
            (float(d), a.reshape(q, q), b.reshape(q, q))
            for d, a, b in zip(self._distances, counts / total, target / total, strict=True)
        ]

    def supercell(self, elements: NDArray[np.int64]) -> Supercell:
        """The structure with these elements on its mixed sites."""
        numbers = np.array([atomic_numbers[s] for s in self.crystal.elements])
        atoms = Atoms(
            self.atoms.numbers, positions=self.atoms.positions, cell=self.atoms.cell, pbc=True
        )
        atoms.numbers[self.sites] = numbers[elements]
        return Supercell(atoms, self.mismatch(elements))

    def _pairs(self) -> tuple[list[NDArray[np.int64]], Array]:
        """Ordered pairs of mixed sites and their distances (P, 1)."""
        positions = self.atoms.positions[self.sites]
        cell = self.atoms.cell.array
        # a primitive cell's sites are nearest to their own images, never farther than a vector
        reach = float(np.linalg.norm(self.crystal.atoms.cell.array, axis=1).min()) + _EQUAL
        nearest = _distances(positions, cell, reach)[3].min()
        self._shortest = float(nearest)
        src, dst, shifts, r = _distances(positions, cell, PAIRS * self._shortest)
        self._shifts = shifts
        return [dst, src], r[:, None]

    def _triplets(
        self, pair: list[NDArray[np.int64]], r: Array
    ) -> tuple[list[NDArray[np.int64]], Array]:
        """Ordered triplets whose three distances are short, and these distances (T, 3)."""
        near = r[:, 0] < TRIPLETS * self._shortest
        a, b, shifts = pair[0][near], pair[1][near], self._shifts[near]
        cell, positions = self.atoms.cell.array, self.atoms.positions[self.sites]
        degree = np.bincount(a, minlength=len(self.sites))
        start = np.concatenate([[0], np.cumsum(degree)])
        # every ordered pair of neighbours of one centre
        first = np.repeat(np.arange(len(a)), degree[a])
        offset = np.arange(len(first)) - np.repeat(
            np.concatenate([[0], np.cumsum(degree[a])[:-1]]), degree[a]
        )
        second = start[a[first]] + offset
        across = (
            positions[b[second]]
            - positions[b[first]]
            + (shifts[second] - shifts[first]).astype(np.float64) @ cell
        )
        third = np.linalg.norm(across, axis=1)
        kept = (third > _EQUAL) & (third < TRIPLETS * self._shortest)
        first, second, third = first[kept], second[kept], third[kept]
        short = r[near, 0]
        return [a[first], b[first], b[second]], np.stack([short[first], short[second], third], 1)

    def _shells(
        self, sites: list[NDArray[np.int64]], distances: Array
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], Array, Array]:
        """Sites and shell of each cluster, weight of each shell, and counts at random."""
        rounded = np.stack([_rounded(column) for column in distances.T], axis=1)
        keys = np.column_stack([*(self.group[column] for column in sites), rounded])
        shells, first, shell = np.unique(
            keys.round(4), axis=0, return_index=True, return_inverse=True
        )
        shell = shell.reshape(-1).astype(np.int64)
        number = np.bincount(shell, minlength=len(shells))
        q = self.shares.shape[1]
        target = np.ones((len(shells), 1))
        for column in sites:
            row = self.concentrations[self.group[column[first]]]
            target = (target[:, :, None] * row[:, None, :]).reshape(len(shells), -1)
        longest = distances[first].max(-1)
        if distances.shape[1] == 1:
            self._distances = distances[first, 0]
        weight = (self._shortest / longest) ** 2 / number
        assert target.shape[1] == q ** len(sites)
        return sites, shell, weight, target * number[:, None]


def special_quasirandom(
    crystal: MixedCrystal, size: Size, seed: int = 0, sweeps: int = SWEEPS
) -> Supercell:
    """A supercell whose pairs and triplets are those of the random alloy, as nearly as found.

    Simulated annealing: exchanges of two elements on sites of one group, so that the composition
    stays exact.

    Source: Zunger et al., Phys. Rev. Lett. 65, 353 (1990); the search by annealing as in van de
    Walle et al., Calphad 42, 13 (2013).

    Args:
        crystal: the virtual crystal.
        size: of the supercell, in its cells.
        seed: of the search.
        sweeps: of the search; each tries one exchange per mixed site.
    """
    return anneal(ClusterStatistics(crystal, size), np.random.default_rng(seed), sweeps)


def random_supercell(crystal: MixedCrystal, size: Size, seed: int = 0) -> Supercell:
    """A supercell with elements drawn at random, the composition exact."""
    statistics = ClusterStatistics(crystal, size)
    return statistics.supercell(statistics.draw(np.random.default_rng(seed)))


def anneal(
    statistics: ClusterStatistics, rng: np.random.Generator, sweeps: int = SWEEPS
) -> Supercell:
    """The best supercell of one search; see `special_quasirandom`."""
    elements = statistics.draw(rng)
    cost = statistics.mismatch(elements)
    best, least = elements.copy(), cost
    movable = [
        np.flatnonzero(statistics.group == g)
        for g, counts in enumerate(statistics.counts)
        if (counts > 0).sum() > 1
    ]
    if not movable:
        return statistics.supercell(elements)
    mobile = np.concatenate(movable)
    steps = sweeps * len(mobile)
    for temperature in max(cost, 1e-12) * np.geomspace(_HOT, _COLD, steps) / len(mobile):
        i = rng.choice(mobile)
        others = np.flatnonzero(
            (statistics.group == statistics.group[i]) & (elements != elements[i])
        )
        j = rng.choice(others)
        elements[i], elements[j] = elements[j], elements[i]
        trial = statistics.mismatch(elements)
        if trial <= cost or rng.random() < np.exp((cost - trial) / temperature):
            cost = trial
            if cost < least - 1e-12:
                best, least = elements.copy(), cost
                if least < 1e-9:
                    break
        else:
            elements[i], elements[j] = elements[j], elements[i]
    return statistics.supercell(best)


def occupation_counts(shares: Array | Mapping[str, float], n: int) -> NDArray[np.int64]:
    """Whole numbers nearest to ``shares`` of ``n`` sites, ``n`` in all (largest remainders).

    >>> occupation_counts(np.array([0.75, 0.25]), 16).tolist()
    [12, 4]
    """
    row = np.array(list(shares.values()) if isinstance(shares, Mapping) else shares, dtype=float)
    wanted = row * n
    counts = np.floor(wanted + 1e-6).astype(np.int64)
    order = np.argsort(-(wanted - counts), kind="stable")
    counts[order[: n - int(counts.sum())]] += 1
    return counts


def _distances(
    positions: Array, cell: Array, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], Array]:
    src, dst, shifts = neighbour_list(positions, cell, [True] * 3, reach)
    between = positions[src] + shifts @ cell - positions[dst]
    return src, dst, shifts, np.linalg.norm(between, axis=1)


def _rounded(distances: Array) -> Array:
    """Distances of one shell as one number: the first of those closer than ``_EQUAL``."""
    values, place = np.unique(distances, return_inverse=True)
    starts = np.concatenate([[True], np.diff(values) > _EQUAL])
    return np.asarray(values[starts][np.cumsum(starts) - 1][place.reshape(-1)])
