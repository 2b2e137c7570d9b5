"""The driver of i-PI: its numbers are ASE's, in process and over a socket."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig, save_model
from clebsch.simulate import Calculator
from clebsch.simulate.ipi_driver import ClebschDriver

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi.utils.units import unit_to_internal

EXAMPLE = Path(__file__).parents[2] / "examples" / "ipi"
BOHR = unit_to_internal("length", "angstrom", 1.0)
HARTREE = unit_to_internal("energy", "electronvolt", 1.0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["Si", "C"], cutoff=3.2, channels=4, lmax=1, layers=2, mean_neighbours=6.0,
        scales=[0.05, 0.05],
    )  # fmt: skip
    return Potential(config).double()


@pytest.fixture
def crystal():
    atoms = bulk("SiC", "zincblende", a=4.36).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def folder():
    """A short path: that of a socket has a hundred characters."""
    path = Path(tempfile.mkdtemp(prefix="ipi"))
    yield path
    shutil.rmtree(path)


def driver(model, atoms, folder):
    ase.io.write(folder / "start.extxyz", atoms, format="extxyz")
    return ClebschDriver(model, str(folder / "start.extxyz"))


def test_a_crystal_has_the_numbers_of_ase(network, crystal, tmp_path):
    pes = driver(network, crystal, tmp_path)
    energy, forces, virial, extra = pes(crystal.cell.array.T * BOHR, crystal.positions * BOHR)
    crystal.calc = Calculator(network)
    assert energy / HARTREE == pytest.approx(crystal.get_potential_energy(), abs=1e-11)
    np.testing.assert_allclose(forces * BOHR / HARTREE, crystal.get_forces(), atol=1e-11)
    expected = -crystal.get_stress(voigt=False) * crystal.get_volume()
    np.testing.assert_allclose(virial / HARTREE, expected, atol=1e-11)
    assert extra == ""


def test_periodicity_is_that_of_the_template(network, crystal, tmp_path):
    """i-PI always has a cell; a molecule or slab has only the neighbours it should have."""
    for pbc in (False, (True, True, False)):
        crystal.pbc = pbc
        pes = driver(network, crystal, tmp_path)
        _, forces, virial, _ = pes(crystal.cell.array.T * BOHR, crystal.positions * BOHR)
        crystal.calc = Calculator(network)
        np.testing.assert_allclose(forces * BOHR / HARTREE, crystal.get_forces(), atol=1e-11)
        if pbc is False:
            expected = np.einsum("na,nb->ab", crystal.positions, crystal.get_forces())
            np.testing.assert_allclose(virial / HARTREE, expected, atol=1e-11)


def test_a_batch_is_its_structures(network, crystal, tmp_path, rng):
    pes = driver(network, crystal, tmp_path)
    beads = [crystal.positions + rng.normal(0, 0.1, (len(crystal), 3)) for _ in range(3)]
    cells = [crystal.cell.array.T * BOHR * scale for scale in (0.98, 1.0, 1.03)]
    together = pes(cells, [x * BOHR for x in beads])
    for cell, x, found in zip(cells, beads, together, strict=True):
        for part, alone in zip(found[:3], pes(cell, x * BOHR)[:3], strict=True):
            np.testing.assert_allclose(part, alone, atol=1e-12)


SERVER = """
import sys
import numpy as np
from ipi.scripting import InteractiveSimulation
from ipi.utils.depend import dstrip

simulation = InteractiveSimulation(open("input.xml"))
(system,) = simulation.syslist
states = []
for step in range(int(sys.argv[1]) + 1):
    if step:
        simulation.run(1, write_outputs=False)
    found = system.beads.q, system.beads.p / system.beads.m3, system.forces.f
    energy = dstrip(system.forces.pots).copy()
    states.append([dstrip(x).copy().reshape(-1, 3) for x in found] + [energy])
states = {name: np.array([state[k] for state in states]) for k, name in enumerate("qvfe")}
np.savez("states.npz", cell=dstrip(system.cell.h), **states)
"""

NVE = """
<simulation verbosity="quiet" sockets_prefix="{folder}/">
  <ffsocket name="clebsch" mode="unix" pbc="false"> <address> socket </address> </ffsocket>
  <system>
    <initialize nbeads="1">
      <file mode="ase"> start.extxyz </file>
      <velocities mode="thermal" units="kelvin"> 600 </velocities>
    </initialize>
    <forces> <force forcefield="clebsch"/> </forces>
    <motion mode="dynamics">
      <dynamics mode="nve"> <timestep units="femtosecond"> 1.0 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""


def test_nve_over_a_socket_follows_ase(network, crystal, folder):
    steps = 20
    crystal.set_cell(crystal.cell.standard_form()[0], scale_atoms=True)  # i-PI wants it so
    ase.io.write(folder / "start.extxyz", crystal, format="extxyz")
    save_model(network, folder / "model.clebsch", {})
    (folder / "input.xml").write_text(NVE.format(folder=folder))
    (folder / "server.py").write_text(SERVER)
    client_program = Path(sys.executable).with_name("i-pi-py_driver")
    with (folder / "server.log").open("w") as log, (folder / "client.log").open("w") as said:
        server = subprocess.Popen(
            [sys.executable, "server.py", str(steps)], cwd=folder, stdout=log, stderr=log
        )
        for _ in range(300):
            if (folder / "socket").exists() or server.poll() is not None:
                break
            time.sleep(0.1)
        client = subprocess.Popen(
            [
                sys.executable, client_program, "-u", "-a", "socket", "-S", f"{folder}/",
                "-m", "custom", "-P", EXAMPLE / "clebsch_pes.py",
                "-o", "model=model.clebsch,template=start.extxyz",
            ],
            cwd=folder, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            server.wait(timeout=100)
        finally:
            for process in (client, server):
                process.kill()
                process.wait()
    assert (folder / "states.npz").exists(), (folder / "server.log").read_text() + (
        folder / "client.log"
    ).read_text()
    states = np.load(folder / "states.npz")
    atoms = Atoms(
        crystal.numbers, states["q"][0] / BOHR, cell=states["cell"].T / BOHR, pbc=True,
        calculator=Calculator(network),
    )  # fmt: skip
    for q, f, e in zip(states["q"], states["f"], states["e"], strict=True):
        atoms.positions = q / BOHR
        assert e[0] / HARTREE == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(f * BOHR / HARTREE, atoms.get_forces(), atol=1e-9)
    # The same dynamics but for i-PI's own masses and rounded constants.
    atoms.positions = states["q"][0] / BOHR
    second = unit_to_internal("time", "femtosecond", 1.0)
    atoms.set_velocities(states["v"][0] / BOHR * second / units.fs)
    VelocityVerlet(atoms, units.fs).run(steps)
    moved = np.abs(atoms.positions - states["q"][0] / BOHR).max()
    assert moved > 0.1
    np.testing.assert_allclose(states["q"][-1] / BOHR, atoms.positions, atol=1e-4 * moved)


def test_bad_input(network, crystal, tmp_path):
    with pytest.raises(UserError, match=r"no\.xyz: no such file"):
        ClebschDriver(network, str(tmp_path / "no.xyz"))
    (tmp_path / "text.xyz").write_text("hello")
    with pytest.raises(UserError, match=r"text\.xyz: cannot be read"):
        ClebschDriver(network, str(tmp_path / "text.xyz"))
    with pytest.raises(UserError, match="needs a template; give it as -o model="):
        ClebschDriver(network)
    with pytest.raises(UserError, match="needs a model; give it as -o model="):
        ClebschDriver(template=str(tmp_path / "text.xyz"))
    ase.io.write(tmp_path / "gold.xyz", Atoms("Au"))
    with pytest.raises(UserError, match=r"gold\.xyz: the model does not know Au"):
        ClebschDriver(network, str(tmp_path / "gold.xyz"))
    with pytest.raises(UserError, match="unknown parameter 'temperature'"):
        ClebschDriver(network, str(tmp_path / "gold.xyz"), temperature=3)
    with pytest.raises(UserError, match="no such model file"):
        ClebschDriver(str(tmp_path / "no.clebsch"), str(tmp_path / "gold.xyz"))
    pes = driver(network, crystal, tmp_path)
    with pytest.raises(UserError, match="i-PI has 3 atoms, the template 4"):
        pes(np.eye(3), np.zeros((3, 3)))
