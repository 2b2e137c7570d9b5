"""The model as a force of OpenMM: the numbers of ASE, and dynamics that conserve or sample."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet

from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig
from clebsch.simulate import Calculator
from clebsch.simulate.integrators import thermalise
from clebsch.simulate.openmm import openmm_force, openmm_system, reduced_cell

openmm = pytest.importorskip("openmm", reason="OpenMM is not installed")
if not hasattr(openmm, "PythonForce"):
    pytest.skip("this OpenMM has no PythonForce", allow_module_level=True)

KJ_PER_MOL = units.kJ / units.mol


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["Si", "C"], cutoff=3.2, channels=4, lmax=1, layers=2, mean_neighbours=6.0,
    )  # fmt: skip
    return Potential(config).double()


def context(model, atoms, integrator=None):
    made = openmm.Context(
        openmm_system(model, atoms),
        integrator or openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    made.setPositions(atoms.positions / units.nm)
    return made


def energy_and_forces(made):
    state = made.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy().value_in_unit(openmm.unit.kilojoules_per_mole)
    return energy * KJ_PER_MOL, state.getForces(asNumpy=True)._value * KJ_PER_MOL / units.nm


def skewed():
    """A left-handed primitive cell, turned away from the axes, its vectors far from reduced."""
    atoms = bulk("SiC", "zincblende", a=4.36).repeat((2, 2, 1))
    sheared = atoms.cell.array + np.array([[0, 0, 0], [0.4, 0.1, 0], [0, 0.2, 0.3]])
    atoms.set_cell(sheared, scale_atoms=True)
    cell = atoms.cell.array[[1, 0, 2]]
    cell[2] += 2 * cell[1]
    atoms.set_cell(cell)
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.mark.parametrize("kind", ["molecule", "cubic", "triclinic"])
def test_energy_and_forces_are_those_of_ase(network, kind):
    atoms = {
        "molecule": lambda: Atoms("SiC2", positions=[[0, 0, 0], [1.8, 0, 0.1], [0.2, 1.7, 0]]),
        "cubic": lambda: bulk("SiC", "zincblende", a=4.36, cubic=True),
        "triclinic": skewed,
    }[kind]()
    atoms.rattle(0.05, seed=1)
    turned = reduced_cell(atoms)
    energy, forces = energy_and_forces(context(network, turned))
    turned.calc = Calculator(network)
    assert energy == pytest.approx(turned.get_potential_energy(), rel=1e-10)
    np.testing.assert_allclose(forces, turned.get_forces(), rtol=1e-6, atol=1e-9)
    # and the turned structure is the one we started from
    atoms.calc = Calculator(network)
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    sizes = np.linalg.norm(atoms.get_forces(), axis=1)
    np.testing.assert_allclose(np.linalg.norm(forces, axis=1), sizes, rtol=1e-6, atol=1e-9)


def test_reduced_cell_is_the_same_lattice_in_the_form_of_openmm():
    atoms = skewed()
    atoms.set_velocities(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    turned = reduced_cell(atoms)
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = turned.cell
    assert ay == az == bz == 0
    assert min(ax, by, cz) > 0
    assert max(abs(bx), abs(cx)) <= ax / 2 + 1e-12
    assert abs(cy) <= by / 2 + 1e-12
    assert turned.get_volume() == pytest.approx(atoms.get_volume())
    np.testing.assert_allclose(
        turned.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-9
    )
    assert turned.get_kinetic_energy() == pytest.approx(atoms.get_kinetic_energy())
    openmm.System().setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in turned.cell / 10))


def test_nve_follows_ase(argon, crystal):
    """OpenMM's leapfrog takes its velocities half a step earlier."""
    atoms = crystal.copy()
    atoms.calc = Calculator(argon)
    thermalise(atoms, 30.0, np.random.default_rng(5))
    step = 2.0 * units.fs
    made = context(argon, atoms, openmm.VerletIntegrator(0.002))
    half = atoms.get_velocities() - 0.5 * step * atoms.get_forces() / atoms.get_masses()[:, None]
    made.setVelocities(half * 1000 * units.fs / units.nm)
    VelocityVerlet(atoms, step).run(100)
    made.getIntegrator().step(100)
    found = made.getState(positions=True).getPositions(asNumpy=True)._value * units.nm
    assert np.abs(atoms.positions - crystal.positions).max() > 0.1
    np.testing.assert_allclose(found, atoms.positions, atol=1e-8)


@pytest.mark.slow
def test_nvt_has_the_temperature_asked_for(argon):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1))
    thermostat = openmm.LangevinMiddleIntegrator(30.0, 5.0, 0.005)
    thermostat.setRandomNumberSeed(7)
    made = context(argon, atoms, thermostat)
    made.setVelocitiesToTemperature(30.0, 7)
    made.getIntegrator().step(400)
    temperatures = []
    for _ in range(300):
        made.getIntegrator().step(8)
        kinetic = made.getState(energy=True).getKineticEnergy()._value * KJ_PER_MOL
        temperatures.append(2 * kinetic / (3 * len(atoms) * units.kB))
    assert np.mean(temperatures) == pytest.approx(30.0, abs=2.5)
    assert np.std(temperatures) == pytest.approx(30.0 * np.sqrt(2 / 24), rel=0.3)


def test_a_barostat_moves_the_box(argon, crystal):
    system = openmm_system(argon, crystal)
    barostat = openmm.MonteCarloBarostat(5000.0, 30.0, 1)
    barostat.setRandomNumberSeed(3)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(30.0, 1.0, 0.002)
    made = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    made.setPositions(crystal.positions / units.nm)
    made.getIntegrator().step(30)
    state = made.getState(positions=True, energy=True)
    now = Atoms(
        crystal.numbers,
        positions=state.getPositions(asNumpy=True)._value * units.nm,
        cell=state.getPeriodicBoxVectors(asNumpy=True)._value * units.nm,
        pbc=True,
        calculator=Calculator(argon),
    )
    assert now.get_volume() < 0.99 * crystal.get_volume()
    energy = state.getPotentialEnergy()._value * KJ_PER_MOL
    assert energy == pytest.approx(now.get_potential_energy(), abs=1e-9)


def test_wrapped_positions_cost_no_new_neighbour_list(argon, crystal):
    """What a GPU platform hands over: atoms wrapped into the box, this way or that."""
    from clebsch.simulate.openmm import _Evaluation

    class State:
        def __init__(self, positions):
            self.positions = positions

        def getPositions(self, asNumpy):
            return openmm.unit.Quantity(self.positions / units.nm, openmm.unit.nanometer)

        def getPeriodicBoxVectors(self, asNumpy):
            return openmm.unit.Quantity(crystal.cell.array / units.nm, openmm.unit.nanometer)

    evaluation = _Evaluation(argon, crystal, None)
    energy, forces = evaluation(State(crystal.positions))
    rng = np.random.default_rng(0)
    for _ in range(5):
        jumps = rng.integers(-1, 2, size=(len(crystal), 3))
        again, same = evaluation(State(crystal.positions + jumps @ crystal.cell.array))
        assert again == pytest.approx(energy, rel=1e-10)
        np.testing.assert_allclose(same, forces, atol=1e-9)
    assert evaluation.calculator.neighbours.builds == 1


def test_what_openmm_cannot_do(argon, network):
    with pytest.raises(UserError, match="does not know O"):
        openmm_force(network, molecule("CO"))
    slab = bulk("Ar", cubic=True, a=5.3)
    slab.pbc = (True, True, False)
    with pytest.raises(UserError, match="vacuum wider than 6 Å"):
        openmm_force(argon, slab)
    with pytest.raises(UserError, match=r"take clebsch\.simulate\.openmm\.reduced_cell"):
        openmm_system(network, skewed())


@pytest.mark.parametrize(
    ("error", "said"), [(KeyboardInterrupt, "interrupted"), (MemoryError, "MemoryError")]
)
def test_an_error_without_text_is_named(pair_potential, crystal, error, said):
    """Ctrl-C in the middle of a run; OpenMM alone would say <NULL>."""

    class Interrupted(pair_potential):
        def forward(self, *args, **kwargs):
            raise error

    with pytest.raises(openmm.OpenMMException, match=f"^{said}$"):
        energy_and_forces(context(Interrupted(), crystal))


def test_an_error_of_the_model_is_told(argon, crystal):
    broken = crystal.copy()
    broken.positions[0, 0] = np.nan
    with pytest.raises(openmm.OpenMMException, match=r"[Pp]osition"):
        energy_and_forces(context(argon, broken))
