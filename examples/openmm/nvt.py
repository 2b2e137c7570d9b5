"""Silicon at constant temperature in OpenMM: python nvt.py silicon.clebsch [steps].

The potential is an ordinary force: barostats, biases and other forces of OpenMM go with it.
"""

import sys

import numpy as np
import openmm
from ase.build import bulk
from openmm import unit

import clebsch
from clebsch.simulate.openmm import openmm_system, reduced_cell

if len(sys.argv) < 2:
    sys.exit("usage: python nvt.py MODEL.clebsch [STEPS]")
model = clebsch.load(sys.argv[1])
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000

atoms = reduced_cell(bulk("Si", "diamond", a=5.47, cubic=True).repeat((2, 2, 2)))
system = openmm_system(model, atoms)
integrator = openmm.LangevinMiddleIntegrator(
    600 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtosecond
)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
context.setPositions(atoms.positions * unit.angstrom)
context.setVelocitiesToTemperature(600 * unit.kelvin)

print("time (ps)  potential (eV/atom)  temperature (K)")
for _ in range(10):
    integrator.step(max(steps // 10, 1))
    state = context.getState(energy=True)
    eV = unit.AVOGADRO_CONSTANT_NA * unit.elementary_charge * unit.volt
    potential = state.getPotentialEnergy() / eV / len(atoms)
    freedom = 1.5 * len(atoms) * unit.MOLAR_GAS_CONSTANT_R
    temperature = (state.getKineticEnergy() / freedom).value_in_unit(unit.kelvin)
    time = state.getTime().value_in_unit(unit.picosecond)
    print(f"{time:9.3f}  {potential:19.4f}  {temperature:15.0f}")

positions = context.getState(positions=True).getPositions(asNumpy=True)
moved = positions.value_in_unit(unit.angstrom) - atoms.positions
print(f"root mean square displacement: {np.sqrt((moved**2).sum(axis=1).mean()):.3f} A")
