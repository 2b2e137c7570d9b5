"""Time integrators that ASE lacks, and the choice among those that it has.

Every integrator here keeps its whole state in the atoms and the random generator (no hidden
thermostat variables), so that a restarted run goes on bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from clebsch.simulate.settings import MDSettings


def degrees_of_freedom(atoms: Atoms, conserves_momentum: bool = True) -> int:
    """Number of degrees of freedom that share the kinetic energy.

    Where the dynamics conserve momentum (and, without periodicity, angular momentum) and both
    start at zero, those directions never hold kinetic energy: 3N - 3 for a periodic system,
    3N - 6 (linear: 3N - 5) for a molecule. Counting 3N would make a small molecule too hot.
    """
    free = int(atoms.get_number_of_degrees_of_freedom())
    if not conserves_momentum or atoms.constraints:
        return free
    if atoms.pbc.any():
        return max(free - 3, 1)
    moments = atoms.get_moments_of_inertia()
    rotations = int((moments > 1e-4 * max(float(moments.max()), 1e-12)).sum())
    return max(free - 3 - rotations, 1)


def thermalise(
    atoms: Atoms, temperature_K: float, rng: np.random.Generator, conserves_momentum: bool = True
) -> None:
    """Draw Maxwell-Boltzmann momenta, without net momentum nor rotation of a molecule.

    The kinetic energy is scaled to exactly k_B T / 2 per degree of freedom. Net momentum and
    rotation stay where the dynamics would not conserve them (Langevin, fixed atoms).
    """
    masses = atoms.get_masses()[:, None]
    atoms.set_momenta(
        rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature_K)
    )
    if conserves_momentum and not atoms.constraints:
        velocities = atoms.get_velocities()
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            arms = atoms.get_positions() - atoms.get_center_of_mass()
            inertia = np.einsum(
                "n,nij->ij",
                masses[:, 0],
                np.einsum("nc,nc,ij->nij", arms, arms, np.eye(3))
                - np.einsum("ni,nj->nij", arms, arms),
            )
            momentum = (masses * np.cross(arms, velocities)).sum(axis=0)
            # pinv: a linear molecule has no rotation about its axis
            velocities -= np.cross(np.linalg.pinv(inertia, rcond=1e-6) @ momentum, arms)
        atoms.set_momenta(masses * velocities)
    kinetic = atoms.get_kinetic_energy()
    if kinetic > 0:
        target = 0.5 * units.kB * temperature_K * degrees_of_freedom(atoms, conserves_momentum)
        atoms.set_momenta(atoms.get_momenta() * math.sqrt(target / kinetic))


class StochasticCellRescaling(Bussi):
    """NPT: stochastic velocity rescaling with stochastic isotropic cell rescaling.

    Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020), eq. 8: the logarithm of the volume
    follows d ln V = -(beta/tau_p) (P0 - P) dt + sqrt(2 k_B T beta / (V tau_p)) dW, positions
    scale with the cell and momenta inversely. First order, hence no ringing of the cell from a
    bad start, and yet the exact ensemble. The cell changes every ``interval`` steps, since each
    change costs one more evaluation of the forces.

    Args:
        pressure: eV/Å^3.
        taup: time constant, ASE units.
        compressibility: beta, Å^3/eV; an estimate is enough, it only sets the time scale.
    """

    interval = 10

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        temperature_K: float,
        taut: float,
        pressure: float,
        taup: float,
        compressibility: float,
        rng: np.random.Generator,
        **kwargs: Any,
    ):
        super().__init__(atoms, timestep, temperature_K, taut, rng=rng, **kwargs)
        self.pressure = pressure
        self.rate = compressibility / taup

    def step(self, forces: np.ndarray | None = None) -> Any:
        """One velocity-Verlet step with thermostat and, now and then, a change of the volume."""
        super().step(forces)
        if (self.nsteps + 1) % self.interval == 0:
            self.scale_cell(self.interval * self.dt)
        return None

    def scale_cell(self, time: float) -> None:
        """Draw the change of ln V over ``time`` and scale cell, positions and momenta."""
        atoms = self.atoms
        volume = atoms.get_volume()
        internal = 2.0 / 3.0 * atoms.get_kinetic_energy() / volume
        internal -= float(atoms.get_stress(voigt=True)[:3].mean())
        change = -self.rate * (self.pressure - internal) * time
        change += math.sqrt(2.0 * self.temp * self.rate * time / volume) * float(
            self.rng.standard_normal()
        )
        scale = math.exp(change / 3.0)
        momenta = atoms.get_momenta() / scale
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        atoms.set_momenta(momenta)


def make_integrator(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> Any:
    """The ASE integrator that ``settings`` ask for."""
    step = settings.timestep_fs * units.fs
    temperature, taut = settings.temperature_K, settings.thermostat_time_fs * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    if not settings.conserves_momentum:
        return Langevin(
            atoms, step, temperature_K=temperature, friction=1.0 / taut, fixcm=False, rng=rng
        )
    if settings.ensemble == "nvt":
        dynamics = Bussi(atoms, step, temperature, taut, rng=rng)
    else:
        dynamics = StochasticCellRescaling(
            atoms,
            step,
            temperature,
            taut,
            pressure=settings.pressure_GPa * units.GPa,
            taup=settings.barostat_time_fs * units.fs,
            compressibility=1.0 / (settings.bulk_modulus_GPa * units.GPa),
            rng=rng,
        )
        dynamics.interval = max(
            1, min(10, int(settings.barostat_time_fs / settings.timestep_fs / 20))
        )
    dynamics.ndof = degrees_of_freedom(atoms)
    dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dynamics.ndof
    return dynamics
