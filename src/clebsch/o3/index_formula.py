"""Index symmetries of tensors, written as formulas such as ``ij=-ji``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from clebsch.o3.permutations import Permutation, cycles, signed_closure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True)
class IndexFormula:
    """What a tensor keeps, or changes the sign of, when its indices are permuted.

    Terms are joined by ``=``; each is the same letters in another order, with an optional minus.
    Only generators need be written: ``ijk=jik=ikj`` is the full symmetry of three indices.

    Attributes:
        text: the formula.
        letters: the indices in the order of the tensor's axes.

    Raises:
        ValueError: when a term is not the same letters permuted, a letter is repeated or is no
            letter, or the signs contradict each other, so that only the zero tensor is left.

    >>> IndexFormula("ijkl=jikl=ijlk=klij").order
    8
    >>> IndexFormula("ij=-ji").signs
    {(0, 1): 1, (1, 0): -1}
    """

    text: str

    def __post_init__(self) -> None:
        _ = self.signs  # refuses what is wrong

    @cached_property
    def letters(self) -> str:
        return self._terms[0][1]

    @property
    def rank(self) -> int:
        """Number of indices."""
        return len(self.letters)

    @property
    def order(self) -> int:
        """Number of permutations, generated ones included."""
        return len(self.signs)

    @cached_property
    def signs(self) -> dict[Permutation, int]:
        """The group: ``T[x] = sign * T[x[p[0]], x[p[1]], ...]`` for every permutation p."""
        (first, letters), *_ = self._terms
        generators = [
            (first * sign, tuple(term.index(i) for i in letters)) for sign, term in self._terms
        ]
        try:
            return signed_closure(generators)
        except ValueError:
            raise ValueError(
                f'"{self.text}": the signs contradict each other, only the zero tensor is left; '
                "check the minus signs"
            ) from None

    @cached_property
    def _terms(self) -> list[tuple[int, str]]:
        terms = []
        for part in self.text.split("="):
            term = part.strip()
            sign = -1 if term.startswith("-") else 1
            letters = term.removeprefix("-").strip()
            if not (letters.isascii() and letters.isalpha()):
                raise ValueError(
                    f'"{self.text}": "{term}" is not a row of index letters; '
                    'write for instance "ij=-ji"'
                )
            if len(set(letters)) != len(letters):
                raise ValueError(f'"{self.text}": an index is repeated in "{letters}"')
            terms.append((sign, letters))
        for _, letters in terms:
            if sorted(letters) != sorted(terms[0][1]):
                raise ValueError(
                    f'"{self.text}": "{letters}" is not a permutation of "{terms[0][1]}"'
                )
        return terms

    def expand(self, given: Mapping[str, T], what: str = "dimension") -> tuple[T, ...]:
        """One value for each index, from the values of some: permuted indices share theirs.

        Args:
            given: values by letter.
            what: what the values are, for the sentence of an error.

        Raises:
            ValueError: when a letter is not in the formula, an index has no value, or two that
                are permuted into each other have different ones.

        >>> IndexFormula("ijk=ikj").expand({"i": 2, "k": 3})
        (2, 3, 3)
        """
        for letter in given:
            if letter not in self.letters:
                raise ValueError(
                    f'"{self.text}" has no index "{letter}", but a {what} is given for it'
                )
        values: list[T] = []
        for a, letter in enumerate(self.letters):
            equivalent = sorted({p[a] for p in self.signs})
            known = [(self.letters[b], given[self.letters[b]]) for b in equivalent
                     if self.letters[b] in given]  # fmt: skip
            if not known:
                raise ValueError(f'"{self.text}": no {what} is given for the index "{letter}"')
            for other, value in known[1:]:
                if value != known[0][1]:
                    raise ValueError(
                        f'"{self.text}" exchanges {known[0][0]} and {other}, but the {what} of one '
                        f"is {known[0][1]} and of the other {value}"
                    )
            values.append(known[0][1])
        return tuple(values)

    def orbits(self, dims: tuple[int, ...]) -> list[dict[tuple[int, ...], int]]:
        """Positions of a tensor that hold the same number, up to a sign.

        Positions that the formula forces to zero are in no orbit. Sorted; the first position of
        an orbit has the sign +1.

        >>> IndexFormula("ij=-ji").orbits((2, 2))
        [{(0, 1): 1, (1, 0): -1}]
        """
        seen: set[tuple[int, ...]] = set()
        found = []
        for x in itertools.product(*map(range, dims)):
            if x in seen:
                continue
            orbit: dict[tuple[int, ...], int] = {}
            vanishes = False
            for p, s in self.signs.items():
                y = tuple(x[i] for i in p)
                vanishes |= orbit.setdefault(y, s) != s
            seen.update(orbit)
            if not vanishes:
                found.append(orbit)
        return found

    def has_tensors(self, dim: int) -> bool:
        """Whether a tensor other than zero has this symmetry, all axes being ``dim`` long.

        >>> [IndexFormula("ijk=-jik=-ikj").has_tensors(dim) for dim in (2, 3)]
        [False, True]
        """
        # the trace of the projector counts them: a permutation of c cycles has dim^c fixed points
        total = sum(
            s * dim ** (len(p) - sum(len(cycle) - 1 for cycle in cycles(p)))
            for p, s in self.signs.items()
        )
        return total > 0

    def basis(self, **dims: int) -> NDArray[np.float64]:
        """Orthonormal basis of the tensors with this symmetry, without regard to rotations.

        Args:
            dims: length of each axis by letter; permuted indices need it once.

        Returns:
            Shape (number of independent components, \\*dims).

        Raises:
            ValueError: see `expand`.

        >>> IndexFormula("ijkl=jikl=ijlk=klij").basis(i=3).shape
        (21, 3, 3, 3, 3)
        """
        lengths = self.expand(dims)
        orbits = self.orbits(lengths)
        Q = np.zeros((len(orbits), *lengths))
        for row, orbit in enumerate(orbits):
            for x, s in orbit.items():
                Q[(row, *x)] = s / np.sqrt(len(orbit))
        return Q
