"""Alloys as virtual crystals: sites shared by elements, on a lattice by Vegard's law."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, covalent_radii
from numpy.typing import NDArray

from clebsch.errors import UserError
from clebsch.phonons.alloy_formula import AlloyFormula, written
from clebsch.structures.graph import neighbour_list

Array = NDArray[np.float64]
#: Shares of the elements on every group of sites, in the order of the groups.
GroupShares = Sequence[Mapping[str, Fraction]]

#: Occupancies of a file are rounded: they may miss one by this much.
OCCUPANCY_TOLERANCE = 0.005
_SHOWN = 12  # elements in a message
_BOND = 1.25  # of the sum of covalent radii
_SAME_SITE = 0.35  # of the shortest bond: how far a site may lie from that of another end member
_LONGER, _WIDER = 1.25, 8.0  # ratio of cell lengths, degrees: two settings of one structure


@dataclass(frozen=True)
class MixedCrystal:
    """A crystal whose sites may be shared by elements.

    Attributes:
        atoms: cell and positions; each site has the number of its most frequent element and the
            mean mass, u.
        elements: symbols.
        shares: (N, elements), one in every row.
        group: (N,) sites that are occupied alike have the same number.
        text: its formula.

    Raises:
        UserError: shares below zero, or that do not sum to one.
    """

    atoms: Atoms
    elements: tuple[str, ...]
    shares: Array
    group: NDArray[np.int64]
    text: str

    def __post_init__(self) -> None:
        shares = np.asarray(self.shares, dtype=np.float64)
        wrong = (shares < 0).any(-1) | (np.abs(shares.sum(-1) - 1) > 1e-9)
        if wrong.any():
            site = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"{self.text}: the occupancies of site {site} are "
                f"{_listed(dict(zip(self.elements, shares[site], strict=True)))}; they must sum "
                "to one."
            )
        numbers = np.array([atomic_numbers[s] for s in self.elements])
        atoms = self.atoms.copy()
        atoms.calc, atoms.info = None, {}  # what is said there is of an ordered crystal
        atoms.numbers = numbers[shares.argmax(-1)]
        atoms.set_masses(shares @ atomic_masses[numbers])
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "shares", shares)

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """(N,) whether a site is shared."""
        return np.asarray((self.shares > 0).sum(-1) > 1)

    @property
    def mass(self) -> float:
        """Of the cell, u."""
        return float(self.atoms.get_masses().sum())

    def shares_of(self, species: Sequence[str]) -> Array:
        """(N, species) shares in the order of a model's species.

        Raises:
            UserError: an element that is not among them.
        """
        present = [s for s, n in zip(self.elements, self.shares.sum(0), strict=True) if n > 0]
        unknown = [s for s in present if s not in species]
        if unknown:
            more = f", ... {len(species)} in all" if len(species) > _SHOWN else ""
            raise UserError(
                f"{self.text}: the model does not know {', '.join(unknown)} (it was trained on "
                f"{', '.join(species[:_SHOWN])}{more}); take another model."
            )
        shares = np.zeros((len(self.shares), len(species)))
        for column, symbol in enumerate(self.elements):
            if symbol in present:
                shares[:, species.index(symbol)] = self.shares[:, column]
        return shares


class Alloy(Protocol):
    """What can be asked for a virtual crystal at a composition."""

    @property
    def text(self) -> str:
        """As it was given."""

    @property
    def lattice_rule(self) -> str:
        """How the cell of a composition is found, in a few words."""

    @property
    def varies(self) -> bool:
        """Whether the composition depends on x."""

    def shares_at(self, x: Fraction) -> GroupShares:
        """Shares of every group of sites at ``x``."""

    def crystal(self, shares: GroupShares) -> MixedCrystal:
        """The virtual crystal with these shares."""


@dataclass(frozen=True)
class DisorderedCrystal:
    """An alloy that a file gives with its occupancies; the cell is that of the file."""

    found: MixedCrystal
    text: str = field(init=False)
    lattice_rule: str = "of the file"

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.found.text)

    @property
    def varies(self) -> bool:
        """Never: a file has one composition."""
        return False

    def shares_at(self, x: Fraction) -> GroupShares:
        """Those of the file, whatever ``x`` is."""
        rows = [self.found.shares[self.found.group == g][0] for g in np.unique(self.found.group)]
        return [
            {
                s: Fraction(float(n)).limit_denominator(100000)
                for s, n in zip(self.found.elements, row, strict=True)
                if n
            }
            for row in rows
        ]

    def crystal(self, shares: GroupShares) -> MixedCrystal:
        """The file's crystal with other shares."""
        return mixed_crystal(self.found.atoms, self.found.group, shares)


class FormulaAlloy:
    """A formula on the lattice of one or several of its end members.

    The cell follows Vegard's law: lengths and angles of the cells, and positions of the sites,
    are those of the given lattices in the proportion in which they make up the composition. With
    one lattice, the cell is scaled as the covalent radii scale the sum of its bonds.

    Args:
        formula: of the alloy.
        lattices: ordered crystals of that structure, such as the end members.
        names: of their files, for messages.

    Raises:
        UserError: a formula that does not fit a lattice, or lattices that do not fit each other.
    """

    def __init__(
        self, formula: AlloyFormula, lattices: Sequence[Atoms], names: Sequence[str] = ()
    ) -> None:
        if not lattices:
            raise UserError(
                f"{formula.text}: there is no lattice for it; give that of an end member."
            )
        self.formula = formula
        self.text = formula.text
        self.names = [*names, *(f"lattice {i + 1}" for i in range(len(names), len(lattices)))]
        groups = [assign_sites(formula, *pair) for pair in zip(lattices, self.names, strict=True)]
        self.atoms, self.group = lattices[0], groups[0]
        self._bases = [
            _basis(self.atoms, self.group, atoms, group, f"{self.names[0]} and {name}")
            for atoms, group, name in zip(lattices, groups, self.names, strict=True)
        ]
        self._known = np.stack(
            [self._vector(_ordered_shares(a, g)) for a, g in zip(lattices, groups, strict=True)]
        )
        if len(lattices) > 1:
            self.lattice_rule = f"Vegard's law between {' and '.join(self.names)}"
        else:
            self.lattice_rule = f"{self.names[0]} scaled with the mean covalent radii of its bonds"

    @property
    def varies(self) -> bool:
        """Whether there is an x in the formula."""
        return self.formula.varies

    def shares_at(self, x: Fraction) -> GroupShares:
        """Shares of every group at ``x``."""
        return self.formula.at(x)

    def weights(self, shares: GroupShares) -> Array:
        """(lattices,) how much of each lattice makes up the composition; one in all.

        Raises:
            UserError: no proportion of the lattices has that composition.
        """
        wanted = self._vector(shares)
        weights = np.linalg.lstsq(self._known.T, wanted, rcond=None)[0].round(12)
        if np.abs(weights @ self._known - wanted).max() > 1e-6:
            raise UserError(
                f"{self.text}: no mixture of {' and '.join(self.names)} has the composition "
                f"{self.written(shares)}; give the lattice of every end member, or only one."
            )
        return np.asarray(weights)

    def crystal(self, shares: GroupShares) -> MixedCrystal:
        """The virtual crystal with these shares of the elements.

        Raises:
            UserError: the lattices do not span the composition.
        """
        if len(self._bases) == 1:
            atoms = self.atoms.copy()
            found = mixed_crystal(atoms, self.group, shares, self.written(shares))
            scale = radius_scale(self.atoms, found)
            if scale != 1:
                atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
            return mixed_crystal(atoms, self.group, shares, found.text)
        weights = self.weights(shares)
        lower = sum(w * basis[0] for w, basis in zip(weights, self._bases, strict=True))
        scaled = sum(w * basis[1] for w, basis in zip(weights, self._bases, strict=True))
        rotation = np.linalg.solve(self._bases[0][0], self.atoms.cell.array)
        cell = lower @ rotation
        atoms = Atoms(self.atoms.numbers, cell=cell, positions=scaled @ cell, pbc=True)
        return mixed_crystal(atoms, self.group, shares, self.written(shares))

    def written(self, shares: GroupShares) -> str:
        """The formula of a composition."""
        return written(
            [(dict(s), g.amount) for s, g in zip(shares, self.formula.groups, strict=True)]
        )

    def _vector(self, shares: GroupShares) -> Array:
        groups = zip(self.formula.groups, shares, strict=True)
        return np.array([float(s.get(symbol, 0)) for g, s in groups for symbol in g.shares])


def mixed_crystal(
    atoms: Atoms, group: NDArray[np.int64], shares: GroupShares, text: str | None = None
) -> MixedCrystal:
    """A crystal from the shares of its groups of sites.

    Args:
        atoms: cell and positions.
        group: (N,) group of each site.
        shares: of every group.
        text: formula; by default made of the shares.
    """
    elements = tuple(dict.fromkeys(s for g in shares for s in g))
    table = np.array([[float(g.get(s, 0)) for s in elements] for g in shares])
    if text is None:
        counts = np.bincount(group, minlength=len(shares))
        common = int(np.gcd.reduce(counts[counts > 0]))
        text = written(
            [(dict(s), Fraction(int(n), common)) for s, n in zip(shares, counts, strict=True) if n]
        )
    return MixedCrystal(atoms, elements, table[group], group, text)


def assign_sites(formula: AlloyFormula, atoms: Atoms, name: str) -> NDArray[np.int64]:
    """(N,) the formula's group that each site of an ordered crystal belongs to.

    Raises:
        UserError: there is no way, or more than one.
    """
    symbols = atoms.get_chemical_symbols()
    present = list(dict.fromkeys(symbols))
    homes = [[i for i, g in enumerate(formula.groups) if s in g.shares] for s in present]
    units = Fraction(len(symbols)) / formula.sites
    wanted = [group.amount * units for group in formula.groups]
    found = []
    for choice in itertools.product(*homes):
        sizes = [0] * len(formula.groups)
        for symbol, group in zip(present, choice, strict=True):
            sizes[group] += symbols.count(symbol)
        if sizes == wanted:
            found.append(choice)
    lattice = f"{name} ({atoms.get_chemical_formula(empirical=True)})"
    if not found:
        raise UserError(
            f"{formula.text}: does not fit {lattice}; give the lattice of an end "
            "member, with the formula's elements in the formula's proportions."
        )
    if len(found) > 1:
        raise UserError(
            f"{formula.text}: fits {lattice} in more than one way; write each element "
            "in one group only."
        )
    home = dict(zip(present, found[0], strict=True))
    if formula.loose and list(home.values()).count(len(formula.groups) - 1) > 1:
        raise UserError(
            f"{formula.text}: leaves open which elements share the sites of {lattice}; write each "
            "mixture in brackets, such as Mg3(Bi0.5Sb0.5)2."
        )
    return np.array([home[s] for s in symbols], dtype=np.int64)


def radius_scale(reference: Atoms, crystal: MixedCrystal) -> float:
    """How much longer the bonds become, by mean covalent radii (Cordero et al., 2008).

    The ratio of the sums of both atoms' radii over all bonds of the reference.

    Args:
        reference: ordered crystal.
        crystal: the same sites, shared.
    """
    radii = covalent_radii[reference.numbers]
    numbers = [atomic_numbers[s] for s in crystal.elements]
    mean = crystal.shares @ covalent_radii[numbers]
    reach = 2 * _BOND * float(radii.max())
    src, dst, shifts = neighbour_list(reference.positions, reference.cell, reference.pbc, reach)
    between = reference.positions[src] + shifts @ reference.cell.array - reference.positions[dst]
    bonds = np.linalg.norm(between, axis=1) < _BOND * (radii[src] + radii[dst])
    if not bonds.any():
        return float(mean.sum() / radii.sum())
    src, dst = src[bonds], dst[bonds]
    return float((mean[src] + mean[dst]).sum() / (radii[src] + radii[dst]).sum())


def read_disordered(path: str | Path) -> DisorderedCrystal:
    """A structure file with partial occupancies, read by pymatgen.

    Raises:
        UserError: pymatgen is missing, no such file, no structure in it, occupancies that do not
            sum to one.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; check the path.")
    try:
        from pymatgen.core.structure import Structure
    except ImportError as error:
        raise UserError(
            f"{file}: partial occupancies are read by pymatgen, which is not installed; "
            "pip install 'clebsch[crystals]'."
        ) from error
    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            structure = Structure.from_file(file, **_reading(file))
    except Exception as error:  # the parsers' own, of many kinds
        told = " ".join(str(remark.message) for remark in remarks) + str(error)
        if "occupanc" in told.lower():
            raise UserError(
                f"{file}: has a site whose occupancies sum to more than one; mend them."
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{file}: cannot be read ({reason}); give a CIF with occupancies."
        ) from error
    rows: list[dict[str, float]] = []
    for number, site in enumerate(structure):
        shares = {str(k): float(v) for k, v in site.species.get_el_amt_dict().items()}
        for symbol in shares:
            if symbol not in atomic_numbers:
                raise UserError(f"{file}: site {number} is occupied by {symbol}, no element.")
        total = sum(shares.values())
        if abs(total - 1) > OCCUPANCY_TOLERANCE:
            raise UserError(
                f"{file}: the occupancies of site {number} are {_listed(shares)} and sum to "
                f"{total:g}, not to one; vacancies are not known here: mend them."
            )
        rows.append({s: n / total for s, n in shares.items()})
    atoms = Atoms(
        [next(iter(row)) for row in rows],
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
        pbc=True,
    )
    kinds = list(dict.fromkeys(tuple(sorted(row.items())) for row in rows))
    group = np.array([kinds.index(tuple(sorted(row.items()))) for row in rows], dtype=np.int64)
    shares_of_groups = [_exact(dict(kind)) for kind in kinds]
    return DisorderedCrystal(mixed_crystal(atoms, group, shares_of_groups))


def _reading(file: Path) -> dict[str, Any]:
    """Options of pymatgen for this kind of file: rounded occupancies are scaled to one."""
    cif = file.name.lower().removesuffix(".gz").endswith((".cif", ".mcif"))
    return {"occupancy_tolerance": 1 + OCCUPANCY_TOLERANCE} if cif else {}


def _exact(shares: dict[str, float]) -> dict[str, Fraction]:
    """Fractions that sum to one."""
    found = {s: Fraction(n).limit_denominator(10000) for s, n in shares.items()}
    largest = max(found, key=lambda s: found[s])
    found[largest] += 1 - sum(found.values())
    return found


def _ordered_shares(atoms: Atoms, group: NDArray[np.int64]) -> list[dict[str, Fraction]]:
    """What the sites of each group of an ordered crystal hold."""
    symbols = np.array(atoms.get_chemical_symbols())
    found = []
    for g in range(int(group.max()) + 1):
        inside = symbols[group == g]
        found.append(
            {str(s): Fraction(int((inside == s).sum()), len(inside)) for s in np.unique(inside)}
        )
    return found


def _basis(
    reference: Atoms,
    reference_group: NDArray[np.int64],
    atoms: Atoms,
    group: NDArray[np.int64],
    names: str,
) -> tuple[Array, Array]:
    """Cell as a lower triangle (3, 3), and scaled positions (N, 3) in the reference's order.

    Raises:
        UserError: the two are not the same structure in the same setting.
    """
    setting = UserError(
        f"{names}: are not the same structure in the same setting (cells or sites differ); give "
        "both with the same cell vectors and origin."
    )
    if len(atoms) != len(reference):
        raise UserError(
            f"{names}: have {len(reference)} and {len(atoms)} atoms; give the same cell of both."
        )
    a, b = reference.cell.cellpar(), atoms.cell.cellpar()
    if max(b[:3] / a[:3]) > _LONGER or max(a[:3] / b[:3]) > _LONGER:
        raise setting
    if np.abs(a[3:] - b[3:]).max() > _WIDER:
        raise setting
    lower = np.linalg.cholesky(atoms.cell.array @ atoms.cell.array.T)
    if atoms is reference:
        return lower, np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    scaled = _matched(reference, reference_group, atoms, group)
    if scaled is None:
        raise setting
    return lower, scaled


def _matched(
    reference: Atoms,
    reference_group: NDArray[np.int64],
    atoms: Atoms,
    group: NDArray[np.int64],
) -> Array | None:
    """Scaled positions in the order of the reference, next to its sites; None without a way.

    The origin may differ: that with the smallest displacements is taken, none before any other.
    """
    from scipy.optimize import linear_sum_assignment

    cell = reference.cell.array
    there = np.linalg.solve(cell.T, reference.positions.T).T
    here = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    rare = int(np.bincount(reference_group)[np.unique(reference_group)].argmin())
    rare = int(np.unique(reference_group)[rare])
    first = here[group == rare][0]
    origins = [np.zeros(3), *(site - first for site in there[reference_group == rare])]
    foreign = reference_group[:, None] != group[None, :]
    best: tuple[float, Array] | None = None
    for origin in origins:
        apart = here[None, :] + origin - there[:, None]
        image = np.round(apart)
        far = np.linalg.norm((apart - image) @ cell, axis=-1)
        rows, columns = linear_sum_assignment(np.where(foreign, 1e6, far**2))
        worst = float(far[rows, columns].max())
        if foreign[rows, columns].any():
            continue
        if best is None or worst < best[0] - 1e-3:
            best = worst, here[columns] + origin - image[rows, columns]
    nearest = _nearest(reference)
    return best[1] if best is not None and best[0] < _SAME_SITE * nearest else None


def _nearest(atoms: Atoms) -> float:
    """The shortest distance between two atoms, images included, A."""
    reach = float(np.linalg.norm(atoms.cell.array, axis=1).min()) + 1e-6
    src, dst, shifts = neighbour_list(atoms.positions, atoms.cell, atoms.pbc, reach)
    between = atoms.positions[src] + shifts @ atoms.cell.array - atoms.positions[dst]
    return float(np.linalg.norm(between, axis=1).min())


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{symbol} {float(n):g}" for symbol, n in shares.items() if n)
