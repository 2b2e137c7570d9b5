"""Phonon densities of states of an alloy over its composition: virtual crystals and supercells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from clebsch.errors import UserError
from clebsch.models import PhononDosModel
from clebsch.phonons.alloy_formula import AlloyFormula
from clebsch.phonons.alloys import (
    Alloy,
    FormulaAlloy,
    GroupShares,
    MixedCrystal,
    read_disordered,
)
from clebsch.phonons.properties import Thermodynamics
from clebsch.phonons.reading import read_phonons
from clebsch.phonons.special_quasirandom import ClusterStatistics, Size, Supercell, anneal
from clebsch.phonons.spectrum import FrequencyGrid, PhononDos
from clebsch.structures import AtomGraph, collate
from clebsch.train.dos_metrics import max_normalized, wasserstein
from clebsch.vibrations.crystals import check_crystal, read_crystals

Array = NDArray[np.float64]
Treatment = Literal["sqs", "random"]
_STATES_PER_ATOM = 3.0
_STRUCTURES = (".cif", ".cif.gz", ".mcif", ".vasp", ".json")


@dataclass(frozen=True)
class Lattice:
    """A structure that an alloy is built on.

    Attributes:
        name: of its file, or record of a file.
        atoms: the structure.
        dos: its reference density of states, where the record has one.
    """

    name: str
    atoms: Atoms
    dos: PhononDos | None = None


@dataclass(frozen=True)
class SweepSettings:
    """How a sweep is done.

    Attributes:
        supercells: kinds that are compared with the virtual crystal.
        size: of a supercell, in cells of the lattice.
        number: supercells of each kind and composition.
        seed: of drawing and annealing.
        temperature: of the heat capacity, K.
        max_atoms: in one batch.

    Raises:
        UserError: an unknown kind, or what is not positive.
    """

    supercells: tuple[Treatment, ...] = ()
    size: Size = (2, 2, 2)
    number: int = 5
    seed: int = 0
    temperature: float = 300.0
    max_atoms: int = 1000

    def __post_init__(self) -> None:
        for kind in self.supercells:
            if kind not in get_args(Treatment):
                raise UserError(f"supercells are sqs or random, not {kind!r}.")
        if self.number < 1 or min(self.size) < 1 or self.seed < 0:
            raise UserError(
                "the number of supercells and their size are at least 1, the seed at least 0."
            )
        if not 0 < self.temperature < np.inf:
            raise UserError(f"a temperature must be above 0 K, not {self.temperature:g} K.")


@dataclass(frozen=True)
class AlloyPrediction:
    """Predicted states of one crystal.

    Attributes:
        grid: K bins, cm^-1.
        states: (K + 1,) per atom, three in all; the last bin is what lies beyond the grid.
        member_states: (M, K + 1) of every network of an ensemble, per atom, or None.
        mass: mean mass of an atom, u.
    """

    grid: FrequencyGrid
    states: Array
    member_states: Array | None
    mass: float

    def thermodynamics(self, temperature: float) -> Thermodynamics:
        """Of one mean atom."""
        return Thermodynamics(
            self.grid, self.states, self.member_states, [temperature], 1, self.mass
        )


@dataclass(frozen=True)
class Figure:
    """A value and its standard deviation, None where there is a single one."""

    value: float
    std: float | None


@dataclass(frozen=True)
class SupercellAverage:
    """Supercells of one kind and composition.

    Attributes:
        kind: how they were made.
        text: the composition that they hold exactly.
        supercells: the structures.
        predictions: of each.
        virtual: the virtual crystal of exactly this composition.
        x: of exactly this composition; None where no x has it.
    """

    kind: Treatment
    text: str
    supercells: list[Supercell]
    predictions: list[AlloyPrediction]
    virtual: AlloyPrediction
    x: float | None = None

    @property
    def states(self) -> Array:
        """(K + 1,) mean over the supercells, per atom."""
        return np.asarray(np.mean([p.states for p in self.predictions], axis=0))

    @property
    def spread(self) -> Array | None:
        """(K + 1,) standard deviation over the supercells; None for a single one."""
        if len(self.predictions) < 2:
            return None
        return np.asarray(np.std([p.states for p in self.predictions], axis=0, ddof=1))

    def distance(self) -> float:
        """Wasserstein distance of mean and virtual crystal, each normalised to one, cm^-1."""
        step = self.virtual.grid.step
        return float(wasserstein(self.states[None], self.virtual.states[None], step)[0])

    def mae(self) -> float:
        """Mean absolute difference of both on the grid, each with maximum 1."""
        a, b = (max_normalized(s[None, :-1]) for s in (self.states, self.virtual.states))
        return float(np.abs(a - b).mean())


@dataclass(frozen=True)
class SweepPoint:
    """One composition.

    Attributes:
        x: as in the formula; None where it has none.
        crystal: the virtual crystal.
        virtual: its prediction.
        averages: of supercells, by kind.
    """

    x: float | None
    crystal: MixedCrystal
    virtual: AlloyPrediction
    averages: dict[Treatment, SupercellAverage] = field(default_factory=dict)

    def figures(self, temperature: float) -> dict[str, dict[str, Figure]]:
        """Treatment -> name -> figure: mean frequency and heat capacities.

        The standard deviation is that over the supercells, and for the virtual crystal that over
        the networks of an ensemble.
        """
        found = {"virtual": _quantities(self.virtual, temperature)}
        for kind, average in self.averages.items():
            each = [_quantities(p, temperature) for p in average.predictions]
            found[kind] = {name: _mean([e[name].value for e in each]) for name in each[0]}
        return found


def read_lattice(place: str) -> Lattice:
    """A structure file, or one record of a data set that `read_phonons` reads: ``FILE#NAME``.

    Raises:
        UserError: it cannot be read, is no ordered crystal, or holds several.
    """
    path, mark, name = place.rpartition("#")
    if mark and Path(path).expanduser().exists():
        dataset = read_phonons(path)
        if name not in dataset.names:
            raise UserError(f"{path}: there is no record {name} in it; check the name.")
        record = dataset.records[dataset.names.index(name)]
        check_crystal(record.atoms, record.where)
        return Lattice(name, record.atoms, record.dos if record.whole else None)
    crystals = []
    for crystal in read_crystals([place]):
        crystals.append(crystal)
        if len(crystals) > 1:
            raise UserError(
                f"{place}: holds several structures; give a file with one, or FILE#NAME of a "
                "data set."
            )
    check_crystal(crystals[0].atoms, place)
    return Lattice(Path(place).name, crystals[0].atoms)


def read_alloy(text: str, lattices: Sequence[Lattice]) -> Alloy:
    """An alloy from a formula on lattices, or from a file with partial occupancies.

    Raises:
        UserError: what `AlloyFormula.parse`, `FormulaAlloy` or `read_disordered` raise, or
            nothing is mixed.
    """
    if Path(text).expanduser().is_file() or text.lower().endswith(_STRUCTURES):
        if lattices:
            raise UserError(f"{text}: has its own lattice; leave --lattice out.")
        crystal = read_disordered(text)
        if not crystal.found.mixed.any():
            raise UserError(
                f"{text}: is ordered, no site is shared; clebsch predict is for such crystals."
            )
        return crystal
    formula = AlloyFormula.parse(text)
    if not any(group.mixed for group in formula.groups):
        raise UserError(
            f"{text}: mixes nothing; write shares, such as Mg3(Bi0.5Sb0.5)2 or "
            "Mg3(Bi{1-x}Sb{x})2."
        )
    if not lattices:
        raise UserError(f"{text}: needs a structure; give that of an end member by --lattice.")
    return FormulaAlloy(formula, [l.atoms for l in lattices], [l.name for l in lattices])


def compositions(alloy: Alloy, points: int, low: str = "0", high: str = "1") -> list[Fraction]:
    """Equally spaced ``x``, exact; a single one where the alloy has none.

    Raises:
        UserError: what are no numbers, or a range that does not ascend.
    """
    if not alloy.varies:
        return [Fraction(0)]
    try:
        first, last = Fraction(low), Fraction(high)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"x goes from one number to another, not from {low} to {high}.") from None
    if points < 2 or first >= last:
        raise UserError(
            f"x needs a range that ascends and at least 2 points, not {low} to {high} in {points}."
        )
    return [first + (last - first) * i / (points - 1) for i in range(points)]


def predict_mixed(
    model: PhononDosModel, crystals: Sequence[MixedCrystal], max_atoms: int = 1000
) -> list[AlloyPrediction]:
    """Predict crystals whose sites are shared, batched, in their order.

    Raises:
        UserError: an element that the model does not know.
    """
    model.eval()
    device = next(model.parameters()).device
    found: list[AlloyPrediction] = []
    for batch in _batched(crystals, max_atoms):
        graph = collate([_graph(crystal.atoms, model) for crystal in batch])
        shares = np.concatenate([crystal.shares_of(model.species) for crystal in batch])
        with torch.inference_mode():
            out = model(graph.to(device), torch.from_numpy(shares).to(device, model.dtype))
        states = _per_atom(out["states"])
        members = _per_atom(out["member_states"]) if "member_states" in out else None
        for i, crystal in enumerate(batch):
            found.append(
                AlloyPrediction(
                    model.config.grid,
                    states[i],
                    None if members is None else members[:, i],
                    crystal.mass / len(crystal.atoms),
                )
            )
    return found


def sweep(
    model: PhononDosModel,
    alloy: Alloy,
    at: Sequence[Fraction],
    settings: SweepSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SweepPoint]:
    """Predict an alloy at each composition.

    Supercells hold the whole numbers of atoms nearest to the composition, and are compared with
    the virtual crystal of just these numbers. No structure is relaxed.

    Args:
        model: as loaded.
        alloy: see `read_alloy`.
        at: compositions.
        settings: kinds and number of supercells.
        progress: told how many structures of how many are done.

    Raises:
        UserError: an element that the model does not know, shares outside of 0 to 1.
    """
    settings = settings or SweepSettings()
    crystals = [alloy.crystal(alloy.shares_at(x)) for x in at]
    kinds = settings.supercells
    total = len(at) * (1 + len(kinds) * settings.number)
    predictions = predict_mixed(model, crystals, settings.max_atoms)
    done = len(at)
    progress(done, total)
    points = []
    for x, crystal, prediction in zip(at, crystals, predictions, strict=True):
        averages: dict[Treatment, SupercellAverage] = {}
        if kinds:
            statistics = ClusterStatistics(crystal, settings.size) if crystal.mixed.any() else None
            for kind in kinds:
                made: list[Supercell] = []
                for cell in _supercells(statistics, crystal, kind, settings):
                    made.append(cell)
                    progress(min(done + len(made), total), total)
                done += settings.number
                realised = alloy.shares_at(x) if statistics is None else statistics.realised()
                exact = alloy.crystal(realised)
                ordered = [_ordered(cell.atoms, exact.atoms, settings.size) for cell in made]
                virtual, *each = predict_mixed(model, [exact, *ordered], settings.max_atoms)
                averages[kind] = SupercellAverage(
                    kind,
                    exact.text,
                    [
                        Supercell(o.atoms, cell.mismatch)
                        for o, cell in zip(ordered, made, strict=True)
                    ],
                    each,
                    virtual,
                    _x_of(alloy, realised),
                )
        points.append(SweepPoint(float(x) if alloy.varies else None, crystal, prediction, averages))
    progress(total, total)
    return points


def end_member_mixture(
    model: PhononDosModel, alloy: Alloy, x: Fraction
) -> tuple[list[str], Array] | None:
    """Predictions of the ordered end members in the alloy's proportion: names, (K + 1,) per atom.

    None where more than one group of sites is mixed: the end members are then not unique.
    """
    shares = list(alloy.shares_at(x))
    mixed = [i for i, g in enumerate(shares) if sum(n > 0 for n in g.values()) > 1]
    if len(mixed) != 1:
        return None
    place = mixed[0]
    present = {s: n for s, n in shares[place].items() if n}
    crystals = []
    for symbol in present:
        pure = [*shares]
        pure[place] = {symbol: Fraction(1)}
        crystals.append(alloy.crystal(pure))
    predictions = predict_mixed(model, crystals)
    mean = sum(float(n) * p.states for n, p in zip(present.values(), predictions, strict=True))
    return [c.text for c in crystals], np.asarray(mean)


def _supercells(
    statistics: ClusterStatistics | None,
    crystal: MixedCrystal,
    kind: Treatment,
    settings: SweepSettings,
) -> Iterator[Supercell]:
    if statistics is None or all((n > 0).sum() < 2 for n in statistics.counts):
        # one element on every site: there is one supercell only
        atoms = crystal.atoms.repeat(settings.size)
        if statistics is not None:
            atoms = statistics.supercell(statistics.draw(np.random.default_rng(0))).atoms
        yield Supercell(atoms, 0.0)
        return
    for k in range(settings.number):
        rng = np.random.default_rng([settings.seed, k])
        if kind == "sqs":
            yield anneal(statistics, rng)
        else:
            yield statistics.supercell(statistics.draw(rng))


def _x_of(alloy: Alloy, shares: GroupShares) -> float | None:
    """The x at which a formula has these shares, or None."""
    if not isinstance(alloy, FormulaAlloy) or not alloy.varies:
        return None
    found = {
        (present.get(symbol, Fraction(0)) - share.constant) / share.slope
        for group, present in zip(alloy.formula.groups, shares, strict=True)
        for symbol, share in group.shares.items()
        if share.slope
    }
    return float(found.pop()) if len(found) == 1 else None


def _ordered(atoms: Atoms, exact: Atoms, size: Size) -> MixedCrystal:
    """A supercell on the lattice of the composition that it holds."""
    frame = exact.repeat(size)
    elements = tuple(dict.fromkeys(atoms.get_chemical_symbols()))
    symbols = np.array(atoms.get_chemical_symbols())
    shares = (symbols[:, None] == np.array(elements)).astype(np.float64)
    text = atoms.get_chemical_formula()
    return MixedCrystal(frame, elements, shares, np.zeros(len(atoms), dtype=np.int64), text)


def _batched(crystals: Sequence[MixedCrystal], max_atoms: int) -> Iterator[list[MixedCrystal]]:
    waiting: list[MixedCrystal] = []
    atoms = 0
    for crystal in crystals:
        if waiting and atoms + len(crystal.atoms) > max_atoms:
            yield waiting
            waiting, atoms = [], 0
        waiting.append(crystal)
        atoms += len(crystal.atoms)
    if waiting:
        yield waiting


def _graph(atoms: Atoms, model: PhononDosModel) -> AtomGraph:
    # near the origin: far from it, single precision would see bonds change
    share = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    positions = (share - np.floor(share)) @ atoms.cell.array
    inside = Atoms(atoms.numbers, positions=positions, cell=atoms.cell, pbc=True)
    return AtomGraph.from_atoms(inside, model.cutoff, model.dtype)


def _per_atom(states: torch.Tensor) -> Array:
    """(..., K + 1) with three states in all: those of a softmax in float32 miss it by 1e-7."""
    found = states.double().cpu().numpy()
    return np.asarray(found * (_STATES_PER_ATOM / found.sum(-1, keepdims=True)))


def _quantities(prediction: AlloyPrediction, temperature: float) -> dict[str, Figure]:
    cell = prediction.thermodynamics(temperature)
    quantities = (
        cell.mean_frequency(),
        cell.heat_capacity(temperature, "mol of atoms"),
        cell.heat_capacity(temperature, "kg"),
    )
    return {q.column: Figure(q.value, q.std) for q in quantities}


def _mean(values: Sequence[float]) -> Figure:
    return Figure(
        float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    )
