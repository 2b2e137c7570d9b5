"""Physics of the integrators: what they conserve and which distribution they sample."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator as ASECalculator

from clebsch.simulate.calculator import Calculator
from clebsch.simulate.integrators import degrees_of_freedom, make_integrator, thermalise
from clebsch.simulate.settings import MDSettings


def prepare(model, atoms, rng, **settings):
    chosen = MDSettings.checked(**settings)
    atoms.calc = model if isinstance(model, ASECalculator) else Calculator(model)
    thermalise(atoms, chosen.temperature_K, rng, chosen.conserves_momentum)
    return make_integrator(atoms, chosen, rng)


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (bulk("Ar", cubic=True), 3 * 4 - 3),
        (molecule("CH3CH2OH"), 3 * 9 - 6),
        (molecule("CO2"), 3 * 3 - 5),
        (Atoms("Ar2", positions=[[0, 0, 0], [1, 2, 3]]), 1),
    ],
)
def test_degrees_of_freedom(atoms, expected):
    assert degrees_of_freedom(atoms) == expected
    assert degrees_of_freedom(atoms, conserves_momentum=False) == 3 * len(atoms)


@pytest.mark.parametrize("name", ["CH3CH2OH", "CO2"])
def test_initial_velocities_of_a_molecule_neither_move_nor_turn(name, rng):
    atoms = molecule(name)
    atoms.rotate(31, (1, 2, 3))
    thermalise(atoms, 300.0, rng)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-10
    kinetic = 0.5 * units.kB * 300.0 * degrees_of_freedom(atoms)
    assert atoms.get_kinetic_energy() == pytest.approx(kinetic)


def test_initial_velocities_are_maxwell_boltzmann(rng):
    """Per component m v^2 / k_B T has mean 1 and, being chi^2_1, variance 2."""
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(8)
    thermalise(atoms, 500.0, rng)
    x = atoms.get_momenta() ** 2 / atoms.get_masses()[:, None] / (units.kB * 500.0)
    for element in ("Na", "Cl"):
        chosen = x[atoms.symbols == element].ravel()
        assert chosen.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / chosen.size))
        assert chosen.var() == pytest.approx(2.0, rel=0.15)


def test_nve_conserves_momentum_and_angular_momentum(argon, rng):
    cluster = bulk("Ar", "fcc", a=5.3, cubic=True)
    cluster.pbc = False
    dynamics = prepare(argon, cluster, rng, temperature_K=20.0, timestep_fs=5.0)
    dynamics.run(200)
    momenta = cluster.get_momenta()
    assert np.abs(momenta).max() > 0.1
    assert np.abs(momenta.sum(axis=0)).max() < 1e-11
    assert np.abs(cluster.get_angular_momentum()).max() < 1e-9


def test_nve_energy_error_falls_with_the_square_of_the_step(argon, crystal, rng):
    """Velocity Verlet conserves a shadow energy that differs from E by O(dt^2)."""
    start = crystal.copy()
    errors = []
    for step in (20.0, 10.0):
        atoms = start.copy()
        dynamics = prepare(
            argon, atoms, np.random.default_rng(3), temperature_K=40.0, timestep_fs=step
        )
        energies = []
        for _ in dynamics.irun(round(2000 / step)):
            energies.append(atoms.get_total_energy())
        errors.append(np.std(energies))
    assert 3.4 < errors[0] / errors[1] < 4.6


def correlated_error(values):
    """Standard error of the mean by 10 blocks."""
    blocks = np.array_split(np.asarray(values), 10)
    return np.std([b.mean() for b in blocks], ddof=1) / np.sqrt(10)


@pytest.mark.parametrize("thermostat", ["bussi", "langevin"])
def test_nvt_samples_the_canonical_kinetic_energy(argon, thermostat, rng):
    """<K> = n kT / 2 and var(K) = n (kT)^2 / 2 (Gamma distribution of n degrees of freedom)."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    target = 60.0
    dynamics = prepare(
        argon, atoms, rng, ensemble="nvt", thermostat=thermostat, temperature_K=target,
        timestep_fs=10.0, thermostat_time_fs=30.0,
    )  # fmt: skip
    n = degrees_of_freedom(atoms, thermostat == "bussi")
    kinetic = []
    for _ in dynamics.irun(2000):
        kinetic.append(atoms.get_kinetic_energy())
    kinetic = np.array(kinetic[200:])
    kT = units.kB * target
    assert kinetic.mean() == pytest.approx(0.5 * n * kT, abs=5 * correlated_error(kinetic))
    # 5 standard errors of the mean must be a sharp test: less than 20 % of the mean, where a
    # wrong count of degrees of freedom (12 for 9) would be 33 % off
    assert 5 * correlated_error(kinetic) < 0.2 * kinetic.mean()
    assert kinetic.var() == pytest.approx(0.5 * n * kT**2, rel=0.3)


def test_bussi_heats_the_internal_motion_of_a_molecule_right(springs, rng):
    """With 3N degrees of freedom counted, 3 atoms would be 3N / (3N - 6) = 3 times too hot."""
    atoms = Atoms("C3", positions=[[0, 0, 0], [1.5, 0, 0], [0.75, 1.3, 0]])
    dynamics = prepare(
        springs, atoms, rng, ensemble="nvt", temperature_K=200.0, timestep_fs=2.0,
        thermostat_time_fs=10.0,
    )  # fmt: skip
    kinetic = []
    for _ in dynamics.irun(2000):
        kinetic.append(atoms.get_kinetic_energy())
    expected = 1.5 * units.kB * 200.0
    assert np.mean(kinetic) == pytest.approx(expected, abs=5 * correlated_error(kinetic))
    assert 5 * correlated_error(kinetic) < 0.7 * expected


class IdealGas(ASECalculator):
    """No interaction at all: the volume in NPT follows a known law."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=None, system_changes=None):
        self.atoms = atoms.copy()
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def test_npt_of_an_ideal_gas_has_the_exact_volume_distribution(rng):
    """p(V) ~ V^N exp(-P V / k_B T): mean (N + 1) kT / P, relative variance 1 / (N + 1)."""
    n, temperature, pressure = 8, 300.0, 0.05
    atoms = Atoms(f"Ar{n}", cell=[10.0] * 3, pbc=True, scaled_positions=rng.random((n, 3)))
    expected = (n + 1) * units.kB * temperature / (pressure * units.GPa)
    atoms.set_cell(np.eye(3) * expected ** (1 / 3), scale_atoms=True)
    settings = {
        "ensemble": "npt", "temperature_K": temperature, "pressure_GPa": pressure,
        "timestep_fs": 2.0,
        "thermostat_time_fs": 5.0, "barostat_time_fs": 20.0, "bulk_modulus_GPa": pressure,
    }  # fmt: skip
    dynamics = prepare(IdealGas(), atoms, rng, **settings)
    dynamics.interval = 1
    # this gas has no forces that would mix momenta, but all N must be thermal: keep 3N
    dynamics.ndof = 3 * n
    dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dynamics.ndof
    volumes = []
    for _ in dynamics.irun(8000):
        volumes.append(atoms.get_volume())
    volumes = np.array(volumes[1000:])
    error = correlated_error(volumes)
    assert error < 0.04 * expected
    assert volumes.mean() == pytest.approx(expected, abs=4 * error)
    assert volumes.var() / volumes.mean() ** 2 == pytest.approx(1 / (n + 1), rel=0.3)


def test_npt_of_a_crystal_reaches_the_pressure(argon, rng):
    atoms = bulk("Ar", "fcc", a=5.5, cubic=True)
    settings = {
        "ensemble": "npt", "temperature_K": 30.0, "pressure_GPa": 0.3, "timestep_fs": 8.0,
        "thermostat_time_fs": 100.0, "barostat_time_fs": 200.0, "bulk_modulus_GPa": 3.0,
    }  # fmt: skip
    dynamics = prepare(argon, atoms, rng, **settings)
    pressures, volumes = [], []
    for _ in dynamics.irun(1200):
        stress = atoms.get_stress(include_ideal_gas=True)
        pressures.append(-stress[:3].mean() / units.GPa)
        volumes.append(atoms.get_volume())
    pressures = np.array(pressures[300:])
    error = correlated_error(pressures)
    assert error < 0.03
    assert pressures.mean() == pytest.approx(0.3, abs=5 * error)
    assert np.mean(volumes[300:]) < volumes[0]
