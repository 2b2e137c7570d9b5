"""Forces and virial against finite differences of the energy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from ase import Atoms

from clebsch.verify.comparison import (
    Array,
    Deviation,
    Prediction,
    Tolerance,
    force_deviation,
    virial_deviation,
)
from clebsch.verify.engines import Eager

#: Å, and strain. The error of the formula is step^4 / 30 times the fifth derivative, which is
#: enormous where a network extrapolates (two atoms at 0.5 Å): what misses its tolerance at one
#: step is looked at with the next. Wrong forces are wrong at all.
STEPS = (1e-3, 1e-4, 1e-5)
#: eV/Å, by which the digits of the energies may make a difference wrong: no finer steps.
_MOST_ROUNDING = 1e-5
#: f'(0) is the sum of weight x f(place x step), over step.
_PLACES = (-2.0, -1.0, 1.0, 2.0)
_WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12
#: eV/Å, of forces in a structure with small numbers.
TOLERANCE = Tolerance(1e-7, 1e-7)
_STRAINS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def check_forces(
    engine: Eager, atoms: Atoms, predicted: Prediction, size: float, count: int
) -> Deviation:
    """Forces on up to ``count`` atoms against central differences of fourth order.

    Args:
        engine: gives energies; in float64.
        atoms: the structure.
        predicted: its forces are judged.
        size: of the structure's numbers.
        count: atoms to displace: the one with the largest force, one of each species, others.
    """
    chosen = _chosen(atoms, predicted.forces, count)

    def moved(step: float) -> Iterator[Atoms]:
        for atom, component, place in product(chosen, range(3), _PLACES):
            copy = atoms.copy()
            copy.positions[atom, component] += place * step
            yield copy

    def judge(step: float) -> Deviation:
        tolerance = TOLERANCE.for_size(size).forces + _rounding(predicted, step)
        difference = np.zeros((len(atoms), 3))
        slopes = _slopes(engine, list(moved(step)), step).reshape(-1, 3)
        difference[chosen] = predicted.forces[chosen] + slopes
        return force_deviation(difference, atoms, tolerance)

    return _nearest(judge, predicted)


def check_virial(
    engine: Eager, atoms: Atoms, predicted: Prediction, size: float, reach: float
) -> Deviation:
    """The virial against differences of the energy under six symmetric strains.

    Args:
        engine: gives energies; in float64.
        atoms: the structure; without a cell its positions alone are strained.
        predicted: its virial is judged.
        size: of the structure's numbers.
        reach: the cutoff, Å.
    """
    virial = predicted.virial
    assert virial is not None

    def strained(step: float) -> Iterator[Atoms]:
        for (a, b), place in product(_STRAINS, _PLACES):
            strain = np.eye(3)
            strain[a, b] += place * step / 2
            strain[b, a] += place * step / 2
            copy = atoms.copy()
            copy.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            copy.positions = atoms.positions @ strain
            yield copy

    def judge(step: float) -> Deviation:
        slopes = np.zeros((3, 3))
        found = _slopes(engine, list(strained(step)), step)
        for (a, b), slope in zip(_STRAINS, found, strict=True):
            slopes[a, b] = slopes[b, a] = slope
        tolerance = TOLERANCE.for_size(size).forces + _rounding(predicted, step)
        return virial_deviation(virial - slopes, atoms, tolerance, reach)

    return _nearest(judge, predicted)


def _nearest(judge: Callable[[float], Deviation], predicted: Prediction) -> Deviation:
    """At the first step that passes, else at the one that comes nearest."""
    found: list[Deviation] = []
    for step in STEPS:
        if found and _rounding(predicted, step) > _MOST_ROUNDING:
            break
        found.append(judge(step))
        if found[-1].within:
            break
    return min(found, key=lambda deviation: deviation.ratio)


def _slopes(engine: Eager, moved: Sequence[Atoms], step: float) -> Array:
    """Derivatives from runs of four structures each."""
    energies = engine.energies(moved)
    found = []
    for start in range(0, len(moved), 4):
        # Atom by atom: energies of the species' atoms, which can be large, drop out.
        four = np.stack(energies[start : start + 4])
        found.append(float((_WEIGHTS @ four).sum()) / step)
    return np.array(found)


def _rounding(predicted: Prediction, step: float) -> float:
    """What the last digits of the atoms' energies do to a difference, eV/Å."""
    square = float(np.square(predicted.atomic_energy).sum())
    return 4 * float(np.finfo(np.float64).eps) * square**0.5 / step


def _chosen(atoms: Atoms, forces: Array, count: int) -> list[int]:
    if len(atoms) <= count:
        return list(range(len(atoms)))
    first = [int(np.abs(forces).max(axis=1).argmax())]
    first += [int(np.flatnonzero(atoms.numbers == z)[0]) for z in np.unique(atoms.numbers)]
    spread = np.linspace(0, len(atoms) - 1, count).round().astype(int).tolist()
    return sorted(list(dict.fromkeys([*first, *spread]))[: max(count, 1)])
