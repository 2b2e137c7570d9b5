"""Is the energy smooth where atoms begin to see each other, and everywhere before?

An atom j crosses the cutoff of an atom i that is bound to a third atom k on its other side, out of
j's reach. Beyond the cutoff j is free; inside, energy E and force F must begin without a step:

    |E(rc - d) - E(rc + d)| -> 0,  |F(rc - d)| -> 0  as d -> 0,  and F(rc - d) / d stays bounded

so that a time step meets no kick. A scan of pairs from 0.5 Å to beyond the cutoff then asks
everywhere whether energy differences are the integral of the forces, which a step of the energy at
any distance breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from clebsch.verify.cases import CLOSEST, Model, bond_length, pair_cutoff
from clebsch.verify.comparison import STRONG, Array, Deviation
from clebsch.verify.engines import Eager

#: Å, distances from the cutoff, on either side.
GAPS = np.array([1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6])
#: eV and eV/Å, steps of energy and force at the cutoff.
STEP_TOLERANCE = 1e-8
#: The force over the distance from the cutoff may be this times what it is far from it.
STEEPER = 3.0
_COARSE, _FINEST = 3e-2, 1e-4  # Å, between which that is looked at
#: eV: a difference of energies against the integral of the forces between.
SCAN_TOLERANCE = 1e-7
_CLEARLY = 0.1  # of the tolerance: an interval that needs more is halved
_HALVINGS = 14
_MOST_HALVED = 100
_OBLIQUE = np.array([0.48, -0.6, 0.64])


@dataclass(frozen=True)
class Crossing:
    """What was found at the cutoff of a pair; ``curve`` is for the figure."""

    deviations: list[Deviation]
    curve: dict[str, Any]


def check_crossing(engine: Eager, model: Model, a: str, b: str) -> Crossing:
    """An atom ``b`` crosses the cutoff of an ``a`` that has a neighbour.

    Args:
        engine: the reference.
        model: species and cutoffs.
        a, b: chemical symbols.
    """
    cutoff = pair_cutoff(model, a, b)
    bond = bond_length(model, a, a)

    def at(r: float) -> Atoms:
        # k at the left, i in the middle, j at the right: k and j are farther apart than cutoff.
        along = np.array([-bond, 0.0, r])[:, None] * _OBLIQUE
        return Atoms([a, a, b], positions=along)

    distances = np.concatenate([cutoff - GAPS, cutoff + GAPS])
    found = engine.evaluate([at(r) for r in distances])
    energy = np.array([p.atomic_energy for p in found])
    force = np.array([p.forces[2] @ _OBLIQUE for p in found])
    n = len(GAPS)
    # Atom by atom, so that the energies of the species' atoms drop out.
    energy_step = np.abs((energy[:n] - energy[n:]).sum(axis=1))
    force_step = np.abs(force[:n] - force[n:])
    near = GAPS >= _FINEST
    steepness = force_step[near] / GAPS[near]
    bound = STEEPER * float(steepness[GAPS[near] >= _COARSE].max()) + STEP_TOLERANCE / _FINEST
    rounding = 8 * float(np.finfo(np.float64).eps) * float(np.abs(energy).max())
    place = f"{a}-{b}"
    steepest = int(steepness.argmax())
    deviations = [
        Deviation(
            "energy step",
            float(energy_step[-1]),
            "eV",
            STEP_TOLERANCE + rounding,
            f"{place} at {cutoff:g} Å",
        ),
        Deviation(
            "force step", float(force_step[-1]), "eV/Å", STEP_TOLERANCE, f"{place} at {cutoff:g} Å"
        ),
        Deviation(
            "force slope",
            float(steepness.max()),
            "eV/Å²",
            bound,
            f"{place}, {GAPS[steepest]:.0e} Å from {cutoff:g} Å",
        ),
    ]
    curve = {
        "pair": place,
        "gap_A": GAPS.tolist(),
        "energy_step_eV": energy_step.tolist(),
        "force_step_eV_per_A": force_step.tolist(),
    }
    return Crossing(deviations, curve)


def check_scan(engine: Eager, model: Model, a: str, b: str, intervals: int) -> Deviation:
    """Energy of a pair from 0.5 Å to beyond the cutoff against the integral of its forces.

    Simpson's rule over each interval, whose middle is computed, too. Intervals that come near
    their tolerance are halved, again and again: the error of the rule falls with the fifth power
    of the width, while a step of the energy stays in one of the halves.

    Args:
        engine: the reference.
        model: cutoffs.
        a, b: chemical symbols.
        intervals: number of them.
    """
    cutoff = pair_cutoff(model, a, b)
    ends = np.linspace(min(CLOSEST, 0.5 * cutoff), 1.02 * cutoff, intervals + 1)
    left, right = ends[:-1], ends[1:]
    worst: Deviation | None = None
    for halving in range(_HALVINGS + 1):
        residual, tolerance = _residuals(engine, a, b, left, right)
        wrong = ~(residual <= _CLEARLY * tolerance)
        settled = ~wrong if halving < _HALVINGS else np.ones_like(wrong)
        for index in np.flatnonzero(settled):
            place = f"{a}-{b} from {left[index]:.6g} to {right[index]:.6g} Å"
            found = Deviation(
                "energy", float(residual[index]), "eV", float(tolerance[index]), place
            )
            if worst is None or found.ratio > worst.ratio:
                worst = found
        if not wrong.any():
            break
        # Where much is wrong the worst intervals are enough to say so.
        keep = np.argsort(-residual / tolerance, kind="stable")[: min(wrong.sum(), _MOST_HALVED)]
        middle = (left[keep] + right[keep]) / 2
        left, right = np.append(left[keep], middle), np.append(middle, right[keep])
    assert worst is not None
    return worst


def _residuals(engine: Eager, a: str, b: str, left: Array, right: Array) -> tuple[Array, Array]:
    """Of each interval: difference of energies and integral, eV, and what that may be."""
    r = np.stack([left, (left + right) / 2, right])
    found = engine.evaluate([Atoms([a, b], positions=[[0, 0, 0], x * _OBLIQUE]) for x in r.flat])
    energy = np.array([p.atomic_energy for p in found]).reshape(3, -1, 2)
    force = np.array([p.forces[1] @ _OBLIQUE for p in found]).reshape(3, -1)
    # Atom by atom, so that the energies of the species' atoms drop out.
    change = (energy[2] - energy[0]).sum(axis=1)
    integral = (right - left) / 6 * (force[0] + 4 * force[1] + force[2])
    rounding = 8 * float(np.finfo(np.float64).eps) * float(np.abs(energy).max())
    tolerance = SCAN_TOLERANCE * (1 + np.abs(force).max(axis=0) / STRONG) + rounding
    return np.abs(change + integral), tolerance
