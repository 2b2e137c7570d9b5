"""The auxiliary basis: which functions stand on an atom of each element.

A density is rho(r) = sum over atoms A and functions k of c_Ak chi_k(r - R_A), with

    chi(r) = N r^l exp(-a r^2) Y_lm(r/|r|),   integral of chi^2 = 1,   lengths in bohr.

Y_lm are the library's real harmonics (``integral`` normalisation, polar axis y). Coefficients of an
atom are features of ``irreps(Z)`` in the ``ir_mul`` layout: by l, then component, then exponent.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from clebsch.errors import UserError
from clebsch.o3 import Irreps

DEFAULT_BASIS = "def2-universal-jfit"


class Block(NamedTuple):
    """The shells of one degree l on an element; float64, lengths in bohr.

    Attributes:
        l: degree.
        exponents: a, falling, (n,), bohr^-2.
        norms: N of each, (n,).
        inside: their place in the coefficients of an atom; there they are (2l+1, n).
    """

    l: int
    exponents: npt.NDArray[np.float64]
    norms: npt.NDArray[np.float64]
    inside: slice


class ElementIndex(NamedTuple):
    """Where the atoms of one element are.

    Attributes:
        atoms: (n,) int64, their places in the structure.
        coefficients: (n, dim) int64, the places of their coefficients in the flat tensor.
    """

    atoms: Tensor
    coefficients: Tensor


@dataclass(frozen=True)
class AuxiliaryBasis:
    """Primitive Gaussians on each element.

    Args:
        name: what it is called.
        exponents: for each atomic number the exponents in bohr^-2 of each l = 0, 1, ...

    Raises:
        UserError: no element, an element without s functions, exponents that are not positive,
            repeated or not in falling order.

    >>> basis = AuxiliaryBasis("tiny", {1: ((2.0, 0.5), (1.0,)), 8: ((9.0, 3.0, 0.4), (1.5, 0.5))})
    >>> basis.irreps(8), basis.dim(1)
    (3x0e+2x1o, 5)
    >>> basis.offsets([8, 1, 1]).tolist()
    [0, 9, 14, 19]
    >>> AuxiliaryBasis.from_json(basis.to_json()) == basis
    True
    """

    name: str
    exponents: Mapping[int, tuple[tuple[float, ...], ...]]

    def __post_init__(self) -> None:
        if not self.exponents:
            raise UserError(f"the auxiliary basis {self.name} has no element; name at least one.")
        tidy = {}
        for z, shells in sorted(self.exponents.items()):
            if not 0 < int(z) < len(chemical_symbols):
                raise UserError(f"the auxiliary basis {self.name}: there is no element {z}.")
            rows = tuple(tuple(float(a) for a in row) for row in shells)
            if not rows or not rows[0]:
                raise UserError(
                    f"the auxiliary basis {self.name} has no s functions on "
                    f"{chemical_symbols[int(z)]}, so it could hold no electrons there."
                )
            for l, row in enumerate(rows):
                falling = all(a > b for a, b in pairwise(row))
                if not falling or not all(math.isfinite(a) and a > 0 for a in row):
                    raise UserError(
                        f"the auxiliary basis {self.name}: the exponents of l = {l} on "
                        f"{chemical_symbols[int(z)]} must be positive, different and falling."
                    )
            tidy[int(z)] = rows
        object.__setattr__(self, "exponents", tidy)

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.exponents.items())))

    @classmethod
    def from_pyscf(cls, elements: Iterable[int | str], name: str = DEFAULT_BASIS) -> AuxiliaryBasis:
        """PySCF's basis of this name, decontracted: every primitive is a function of its own.

        Args:
            elements: atomic numbers or symbols.
            name: any name that PySCF knows, such as ``"def2-universal-jfit"``, ``"cc-pvtz-jkfit"``.

        Raises:
            UserError: PySCF is not installed, or the basis is unknown or lacks an element.
        """
        from clebsch.density.molecule import load_basis

        exponents = {}
        for element in elements:
            z = atomic_numbers[element] if isinstance(element, str) else int(element)
            by_l: dict[int, set[float]] = {}
            for shell in load_basis(name, chemical_symbols[z], "auxiliary"):
                # a shell is [l, (exponent, factor, ...), ...], after l perhaps a kappa
                rows = [row for row in shell[1:] if not isinstance(row, int)]
                by_l.setdefault(int(shell[0]), set()).update(float(row[0]) for row in rows)
            exponents[z] = tuple(
                tuple(sorted(by_l.get(l, ()), reverse=True)) for l in range(max(by_l) + 1)
            )
        return cls(name, exponents)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(self.exponents)

    @property
    def lmax(self) -> int:
        """Highest degree on any element."""
        return max(len(rows) for rows in self.exponents.values()) - 1

    def irreps(self, z: int) -> Irreps:
        """Irreps of the coefficients of an atom; a function of degree l has the parity (-1)^l."""
        rows = self.exponents[z]
        return Irreps([(len(row), (l, (-1) ** l)) for l, row in enumerate(rows) if row])

    def dim(self, z: int) -> int:
        """How many coefficients an atom has."""
        return sum((2 * l + 1) * len(row) for l, row in enumerate(self.exponents[z]))

    def common_irreps(self) -> Irreps:
        """For each l as many as any element has: what a network can give before it knows Z."""
        counts = [
            max(len(rows[l]) if l < len(rows) else 0 for rows in self.exponents.values())
            for l in range(self.lmax + 1)
        ]
        return Irreps([(n, (l, (-1) ** l)) for l, n in enumerate(counts) if n])

    def blocks(self, z: int) -> list[Block]:
        """The functions of an element, one block for each l that it has."""
        found, first = [], 0
        for l, row in enumerate(self.exponents[z]):
            if row:
                a = np.array(row)
                last = first + (2 * l + 1) * len(row)
                found.append(Block(l, a, radial_norm(l, a), slice(first, last)))
                first = last
        return found

    def check_elements(self, numbers: npt.ArrayLike | Tensor, where: str) -> None:
        """Raise UserError where an atom has no functions."""
        lacking = sorted(set(np.asarray(numbers).tolist()) - set(self.exponents))
        if lacking:
            known = ", ".join(chemical_symbols[z] for z in self.elements)
            raise UserError(
                f"{where}: {chemical_symbols[lacking[0]]} has no functions in the auxiliary basis "
                f"{self.name} at hand, which holds {known}."
            )

    def offsets(self, numbers: npt.ArrayLike | Tensor) -> Tensor:
        """Coefficients of atom i are ``offsets[i]:offsets[i+1]`` of the flat tensor; (N+1,)."""
        kinds, which = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
        self.check_elements(kinds, "the structure")
        dims = np.array([self.dim(z) for z in kinds.tolist()], dtype=np.int64)
        return torch.from_numpy(np.concatenate([[0], np.cumsum(dims[which])]))

    def index(self, numbers: npt.ArrayLike | Tensor) -> dict[int, ElementIndex]:
        """For each element that is there its atoms and the places of their coefficients."""
        z = torch.as_tensor(np.asarray(numbers), dtype=torch.int64)
        starts = self.offsets(z)[:-1]
        found = {}
        for element in torch.unique(z).tolist():
            atoms = (z == element).nonzero()[:, 0]
            places = starts[atoms][:, None] + torch.arange(self.dim(element))
            found[element] = ElementIndex(atoms, places)
        return found

    def fingerprint(self) -> str:
        """SHA-256 of elements and exponents; the name does not count."""
        return hashlib.sha256(json.dumps(self._plain()["exponents"]).encode()).hexdigest()

    def check_same(self, other: AuxiliaryBasis, where: str) -> None:
        """Raise UserError unless every element of ``other`` has the same functions here."""
        self.check_elements(np.array(other.elements), where)
        for z in other.elements:
            if self.exponents[z] != other.exponents[z]:
                raise UserError(
                    f"{where}: the coefficients on {chemical_symbols[z]} are of the auxiliary "
                    f"basis {other.name} ({other.irreps(z)}), not of {self.name} "
                    f"({self.irreps(z)}); use data of one basis."
                )

    def restricted(self, numbers: npt.ArrayLike) -> AuxiliaryBasis:
        """The same basis with these elements only."""
        self.check_elements(numbers, "the structure")
        wanted = set(np.asarray(numbers).tolist())
        return AuxiliaryBasis(self.name, {z: e for z, e in self.exponents.items() if z in wanted})

    def _plain(self) -> dict[str, Any]:
        exponents = {chemical_symbols[z]: rows for z, rows in self.exponents.items()}
        return {"name": self.name, "exponents": exponents}

    def to_json(self) -> str:
        """Text that `from_json` reads; numbers keep every digit."""
        return json.dumps(self._plain())

    @classmethod
    def from_json(cls, text: str) -> AuxiliaryBasis:
        """The inverse of `to_json`.

        Raises:
            UserError: the text is no basis.
        """
        try:
            plain = json.loads(text)
            exponents = {
                atomic_numbers[symbol]: tuple(tuple(row) for row in rows)
                for symbol, rows in plain["exponents"].items()
            }
            return cls(str(plain["name"]), exponents)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"this text describes no auxiliary basis ({error!r}).") from error


def radial_norm(l: int, exponents: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """N with integral of (N r^l exp(-a r^2))^2 r^2 dr = 1."""
    return np.sqrt(2 * (2 * exponents) ** (l + 1.5) / math.gamma(l + 1.5))


def function_electrons(block: Block) -> npt.NDArray[np.float64]:
    """Integral over space of each function of an s block, (n,)."""
    return block.norms * (math.pi / block.exponents) ** 1.5 / math.sqrt(4 * math.pi)
