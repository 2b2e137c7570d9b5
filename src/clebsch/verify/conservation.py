"""Constant-energy dynamics over a short time, at a time step and at half of it.

The error of the velocity Verlet integrator is of second order in the step: at half the step the
energy of the same trajectory is off by a quarter. What forces that are no gradient of the energy
add does not shrink at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from clebsch.simulate import Calculator
from clebsch.simulate.integrators import thermalise
from clebsch.verify.comparison import Array, Deviation
from clebsch.verify.engines import Model

TEMPERATURE = 300.0  # K
#: The energy may be off by this part of the largest kinetic energy in the run.
ALLOWED_PART = 0.02
#: At half the step the error may be this part of that at the step; 1/4 for a small step.
ALLOWED_RATIO = 0.4
_FLOOR = 1e-8  # eV/atom, below which the error is rounding
_HALVINGS = 3
_APART = 1e4  # K
_SHORTER = 4


@dataclass(frozen=True)
class Run:
    """What was found in a run, and the series for the figure."""

    deviations: list[Deviation]
    curve: dict[str, Any]


def check_dynamics(model: Model, atoms: Atoms, steps: int, seed: int = 0) -> Run:
    """Total energy along NVE dynamics from 300 K.

    Where the structure is far from a minimum the step is halved up to three times, until the
    error is small and shrinks as it should. A structure that flies apart is followed for a
    shorter time.

    Args:
        model: in float64.
        atoms: where to start; is not changed.
        steps: of the longest step.
        seed: of the velocities.
    """
    start = atoms.copy()
    start.set_constraint()
    thermalise(start, TEMPERATURE, np.random.default_rng(seed))
    step = _first_step(model, start)
    for _ in range(_SHORTER):
        first, hottest = _energies(model, start, step, steps, 1)
        if hottest < _APART:
            break
        step /= 4
    allowed = ALLOWED_PART * 1.5 * units.kB * hottest + _FLOOR
    series = [first]
    for halving in range(1, _HALVINGS + 1):
        series.append(_energies(model, start, step, steps, 2**halving)[0])
        coarse, fine = (float(np.abs(energy).max()) for energy in series[-2:])
        ratio = fine / coarse if coarse > _FLOOR else 0.0
        if ratio <= ALLOWED_RATIO and fine <= allowed:
            break
    used = step / 2 ** (len(series) - 1)
    place = f"{steps * step:.0f} fs, step {used:.3g} fs"
    deviations = [
        Deviation("total energy", fine, "eV/atom", allowed, place),
        Deviation("error at half step", ratio, "x", ALLOWED_RATIO, place),
    ]
    curve = {
        "time_fs": (np.arange(steps + 1) * step).tolist(),
        "step_fs": [step / 2**n for n in range(len(series))],
        "energy_eV_per_atom": [energy.tolist() for energy in series],
    }
    return Run(deviations, curve)


def _first_step(model: Model, atoms: Atoms) -> float:
    """fs: 0.5 for hydrogen, longer for heavier atoms; no atom starts to move by 0.01 Å in it."""
    copy = atoms.copy()
    copy.calc = Calculator(model)
    masses = atoms.get_masses()
    pull = np.abs(copy.get_forces()).max(axis=1) / masses
    by_force = np.sqrt(2 * 0.01 / max(float(pull.max()), 1e-12)) / units.fs
    return float(min(0.5 * np.sqrt(masses.min()), by_force, 2.0))


def _energies(
    model: Model, atoms: Atoms, step: float, steps: int, finer: int
) -> tuple[Array, float]:
    """Change (steps + 1,) of the total energy in eV/atom, and the highest temperature in K.

    The energies are those at multiples of ``step`` fs, whatever part of it the dynamics takes.
    """
    copy = atoms.copy()
    copy.calc = Calculator(model)
    dynamics = VelocityVerlet(copy, timestep=step / finer * units.fs)
    energy, hottest = [copy.get_total_energy()], 0.0
    for _ in range(steps):
        dynamics.run(finer)
        energy.append(copy.get_total_energy())
        hottest = max(hottest, float(copy.get_temperature()))
    return (np.array(energy) - energy[0]) / len(atoms), hottest
