"""The structures that every engine computes: hard ones that are built in, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from clebsch.errors import UserError
from clebsch.models import PotentialConfig
from clebsch.models.domain import min_distances
from clebsch.simulate.calculator import check_elements
from clebsch.structures import Dataset
from clebsch.structures.graph import neighbour_list, periodic_volume

CLOSEST = 0.5  # Å, the shortest of the pairs
_SAME_PLACE = 0.01  # Å, below which two atoms are one
_MOST_PAIRS = 28  # of species; all pairs of seven species
_DIRECTIONS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.48, -0.6, 0.64]])
Shortest = Mapping[frozenset[str], float]


class Model(Protocol):
    """What is asked of a model here; ``Potential`` and ``FrozenPotential`` have it."""

    config: PotentialConfig
    header: dict[str, Any]

    @property
    def cutoff(self) -> float: ...

    @property
    def species(self) -> list[str]: ...


@dataclass(frozen=True)
class Case:
    """Structures that are one row of the table.

    Attributes:
        name: of the row.
        structures: what is computed.
        places: what tells the structures apart, one for each.
        given: whether they are the user's.
    """

    name: str
    structures: tuple[Atoms, ...]
    places: tuple[str, ...]
    given: bool = False

    @property
    def n_atoms(self) -> int:
        """Atoms of all structures together."""
        return sum(len(atoms) for atoms in self.structures)


def built_in_cases(model: Model, quick: bool = False, seed: int = 0) -> list[Case]:
    """Isolated atoms, pairs, a small cell, triclinic, slab, wire, molecule, void, 1,000 atoms.

    Distances are those of the model's training where its header knows them (``domain``), else
    sums of covalent radii; the largest case has the model's typical number of neighbours. Pairs
    go from 0.5 Å to their cutoff.

    Args:
        model: its species, cutoffs and header are read.
        quick: fewer pairs, and 216 atoms in the place of 1,000.
        seed: of the displacements.
    """
    draw = np.random.default_rng(seed)
    bonds = _bonds(model)
    spacing = 1.25 * max(bonds.values())
    cases = [_isolated(model)]
    cases += [_pair(model, a, b, 5 if quick else 11) for a, b in species_pairs(model.species)]
    cases += [
        _small_cell(model, bonds),
        _triclinic(model, spacing, draw),
        _slab(model, spacing, draw),
        _wire(model, spacing, draw),
        _molecule(model, spacing, draw),
        _void(model, spacing, draw),
        _large(model, _typical_spacing(model, bonds), 6 if quick else 10, draw),
    ]
    return cases


def given_cases(dataset: Dataset, model: Model, count: int) -> list[Case]:
    """Up to ``count`` structures of a data set, evenly spaced, each a case.

    Isolated atoms are left out where there is anything else: they are among the built-in cases.

    Raises:
        UserError: names file and frame: an element that the model does not know, a position that
            is not a number, atoms on top of each other, a cell without volume, no atom at all.
    """
    short = _short_names(dataset)
    frames = dataset.frames if len(dataset.frames) else dataset.isolated
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    cases = []
    for index in frames[places].tolist():
        atoms = dataset[index].copy()
        atoms.calc = None
        atoms.set_constraint()
        where = dataset.where(index)
        check_structure(atoms, model, where)
        cases.append(Case(short(where), (atoms,), ("",), given=True))
    return cases


def _short_names(dataset: Dataset) -> Callable[[str], str]:
    """Leaves the folder out of a frame's place, where files are told apart without."""
    files = dict.fromkeys(source.file for source in dataset.sources)
    names = [Path(file).name for file in files]
    if len(set(names)) < len(names):
        return lambda where: where
    return lambda where: next(
        (
            name + where[len(f) :]
            for f, name in zip(files, names, strict=True)
            if where.startswith(f)
        ),
        where,
    )


def check_structure(atoms: Atoms, model: Model, where: str) -> None:
    """Refuse a structure that has no energy.

    Args:
        atoms: the structure.
        model: its species are read.
        where: names the structure.

    Raises:
        UserError: see ``given_cases``.
    """
    if not len(atoms):
        raise UserError(f"{where}: has no atoms; remove the frame.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise UserError(
            f"{where}: a position or the cell is not a number; mend or remove the frame."
        )
    check_elements(model, atoms.numbers, where)  # type: ignore[arg-type]
    periodic = np.asarray(atoms.pbc)
    if periodic.any() and periodic_volume(atoms.cell.array, periodic) < 1e-8:
        raise UserError(
            f"{where}: the cell has no volume in its periodic directions; give the cell, or set "
            "pbc to False."
        )
    src, dst, shifts = neighbour_list(atoms.positions, atoms.cell.array, periodic, CLOSEST)
    apart = atoms.positions[src] + shifts @ atoms.cell.array - atoms.positions[dst]
    distance = np.linalg.norm(apart, axis=1)
    if len(distance) and distance.min() < _SAME_PLACE:
        worst = int(distance.argmin())
        i, j = sorted((int(src[worst]), int(dst[worst])))
        raise UserError(
            f"{where}: atoms {i} and {j} are on top of each other ({distance[worst]:.1e} Å "
            "apart); remove one of them."
        )


def closest_pair(atoms: Atoms, model: Model) -> float:
    """Smallest distance of two atoms over the shortest at which a model is used.

    That is the shortest in the model's training where its header knows it, else 0.9 of the sum of
    the covalent radii.
    """
    known = min_distances(model.header)
    worst = np.inf
    reach = min(model.cutoff, 4.0)
    src, dst, shifts = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    apart = atoms.positions[src] + shifts @ atoms.cell.array - atoms.positions[dst]
    distances = np.linalg.norm(apart, axis=1)
    for a, b in combinations_with_replacement(sorted(set(atoms.get_chemical_symbols())), 2):
        za, zb = atomic_numbers[a], atomic_numbers[b]
        between = (atoms.numbers[src] == za) & (atoms.numbers[dst] == zb)
        radii = float(covalent_radii[za] + covalent_radii[zb])
        shortest = known.get(f"{a}-{b}", 0.9 * radii)
        worst = min(worst, float(distances[between].min(initial=np.inf)) / shortest)
    return worst


def rounded_positions(case: Case, seed: int) -> Iterator[list[Atoms]]:
    """The structures with positions off by float32's last digit: in turns, and at random."""
    draw = np.random.default_rng(seed)
    for at_random in (False, True):
        moved = []
        for atoms in case.structures:
            digit = np.finfo(np.float32).eps * max(1.0, float(np.abs(atoms.positions).max()))
            signs = np.where(np.arange(len(atoms)) % 2, -1.0, 1.0)[:, None] * np.ones(3)
            if at_random:
                signs = draw.choice([-1.0, 1.0], signs.shape)
            moved.append(atoms.copy())
            moved[-1].positions += digit * signs
        yield moved


def full_cell(cell: npt.ArrayLike, pbc: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A cell (3, 3) with some volume: directions that are not periodic get unit vectors.

    No edge crosses these, so their vectors say nothing about a structure.
    """
    periodic = np.where(np.asarray(pbc, dtype=bool)[:, None], np.asarray(cell, dtype=float), 0.0)
    return np.asarray(Atoms(cell=periodic).cell.complete().array)


def species_pairs(species: list[str]) -> list[tuple[str, str]]:
    """All pairs of species, or 28 of them, evenly spaced, where there are more."""
    pairs = list(combinations_with_replacement(species, 2))
    if len(pairs) <= _MOST_PAIRS:
        return pairs
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, _MOST_PAIRS).round().astype(int)]


def pair_cutoff(model: Model, a: str, b: str) -> float:
    """Distance in Å beyond which two species do not see each other."""
    cutoffs = model.config.pair_cutoffs
    return cutoffs.get(f"{a}-{b}", cutoffs.get(f"{b}-{a}", model.cutoff))


def bond_length(model: Model, a: str, b: str) -> float:
    """A distance in Å at which the two may be neighbours; at most 0.8 of their cutoff."""
    radii = float(covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]])
    seen = min_distances(model.header).get("-".join(sorted((a, b))))
    bond = radii if seen is None else 1.1 * seen
    return min(bond, 0.8 * pair_cutoff(model, a, b))


def _bonds(model: Model) -> Shortest:
    pairs = combinations_with_replacement(model.species, 2)
    return {frozenset((a, b)): bond_length(model, a, b) for a, b in pairs}


def _typical_spacing(model: Model, bonds: Shortest) -> float:
    """Of a simple cubic lattice with the model's typical number of neighbours, Å."""
    neighbours = model.config.mean_neighbours + 1.0
    typical = model.cutoff * (4 / 3 * np.pi / neighbours) ** (1 / 3)
    return float(max(typical, 1.1 * max(bonds.values())))


def _symbols(model: Model, count: int, draw: np.random.Generator) -> list[str]:
    """Species at random; each is there as long as there is room."""
    symbols = (model.species + draw.choice(model.species, count).tolist())[:count]
    return [str(symbol) for symbol in draw.permutation(symbols)]


def _lattice(shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3) * 1.0


def _rattled(points: np.ndarray[Any, Any], by: float, draw: np.random.Generator) -> Any:
    return points + draw.uniform(-by, by, points.shape)


def _isolated(model: Model) -> Case:
    atoms = tuple(Atoms([symbol], positions=[[0.3, -0.2, 0.1]]) for symbol in model.species)
    return Case("isolated atom", atoms, tuple(model.species))


def _pair(model: Model, a: str, b: str, count: int) -> Case:
    """One after the other along the axes, which are special to spherical harmonics, and not."""
    cutoff = pair_cutoff(model, a, b)
    distances = np.append(np.linspace(min(CLOSEST, 0.5 * cutoff), 0.98 * cutoff, count), cutoff)
    distances[-1] *= 1 - 1e-5
    structures = []
    for number, r in enumerate(distances):
        direction = _DIRECTIONS[number % len(_DIRECTIONS)]
        structures.append(Atoms([a, b], positions=[[0, 0, 0], r * direction]))
    return Case(f"pair {a}-{b}", tuple(structures), tuple(f"r = {r:.3f} Å" for r in distances))


def _small_cell(model: Model, bonds: Shortest) -> Case:
    """Cells whose atoms are neighbours of their own images."""
    structures, places = [], []
    for symbol in model.species:
        cutoff = pair_cutoff(model, symbol, symbol)
        side = min(max(1.2 * bonds[frozenset((symbol,))], 0.5 * cutoff), 0.8 * cutoff)
        cell = side * np.array([[1.0, 0.0, 0.0], [0.1, 1.05, 0.0], [-0.05, 0.15, 0.95]])
        structures.append(Atoms([symbol], positions=[[0.1, 0.2, 0.3]], cell=cell, pbc=True))
        places.append(f"1 {symbol}")
    return Case("cell smaller than the cutoff", tuple(structures), tuple(places))


def _triclinic(model: Model, spacing: float, draw: np.random.Generator) -> Case:
    points = _rattled(_lattice((2, 2, 2)), 0.06, draw) / 2
    cell = spacing * np.array([[2.0, 0.0, 0.0], [0.9, 2.0, 0.0], [-0.8, 0.7, 2.0]])
    atoms = Atoms(_symbols(model, 8, draw), scaled_positions=points, cell=cell, pbc=True)
    return Case("triclinic cell", (atoms,), ("",))


def _slab(model: Model, spacing: float, draw: np.random.Generator) -> Case:
    """Atoms lie below and above the cell, too, along the direction that is not periodic."""
    points = _rattled(_lattice((2, 2, 3)) - [0, 0, 0.5], 0.08, draw) * spacing
    points += 0.4 * points[:, 1:2] * [1, 0, 0]
    cell = spacing * np.array([[2.0, 0.0, 0.0], [0.8, 2.0, 0.0], [0.0, 0.0, 2.0]])
    atoms = Atoms(_symbols(model, 12, draw), positions=points, cell=cell, pbc=[True, True, False])
    return Case("slab", (atoms,), ("",))


def _wire(model: Model, spacing: float, draw: np.random.Generator) -> Case:
    points = _rattled(_lattice((1, 2, 3)), 0.08, draw) * spacing
    cell = [0, 0, 3 * spacing]
    symbols = _symbols(model, 6, draw)
    atoms = Atoms(symbols, positions=points, cell=np.diag(cell), pbc=[False, False, True])
    return Case("wire", (atoms,), ("",))


def _molecule(model: Model, spacing: float, draw: np.random.Generator) -> Case:
    points = _rattled(_lattice((2, 2, 2)), 0.1, draw)[:7] * spacing
    return Case("molecule", (Atoms(_symbols(model, 7, draw), positions=points),), ("",))


def _void(model: Model, spacing: float, draw: np.random.Generator) -> Case:
    """A cluster in a corner of a large periodic box and one atom alone: domains without atoms."""
    points = _rattled(_lattice((2, 2, 2)), 0.1, draw) * spacing
    side = 2 * spacing + 5 * model.cutoff
    points = np.concatenate([points, [[spacing + 2.5 * model.cutoff] * 3]])
    atoms = Atoms(_symbols(model, 9, draw), positions=points, cell=[side] * 3, pbc=True)
    return Case("cluster and a lone atom in a large box", (atoms,), ("",))


def _large(model: Model, spacing: float, side: int, draw: np.random.Generator) -> Case:
    points = _rattled(_lattice((side,) * 3), 0.1, draw) * spacing
    symbols = _symbols(model, side**3, draw)
    atoms = Atoms(symbols, positions=points, cell=[side * spacing] * 3, pbc=True)
    return Case(f"{side**3:,} atoms", (atoms,), ("",))
