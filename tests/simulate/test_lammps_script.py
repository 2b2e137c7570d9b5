"""LAMMPS's input script and the reading of its output, without LAMMPS."""

import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule

from clebsch.lammps.box import Box
from clebsch.simulate.lammps_output import (
    DumpFrame,
    Follower,
    FrameReader,
    Orientation,
    Screen,
    Totals,
)
from clebsch.simulate.lammps_script import (
    MASS_FACTOR,
    NKTV2P,
    LammpsRun,
    Limits,
    continuation_script,
    input_script,
    restart_steps,
)
from clebsch.simulate.settings import MDSettings


def run(fixed=(), limits=None, **settings):
    return LammpsRun(
        settings=MDSettings(**settings),
        title="a run",
        elements=["C", "Si"],
        boundary="p p p",
        triclinic=False,
        lost_dof=3,
        fixed=list(fixed),
        limits=limits or Limits(temperature_K=1500.0),
    )


def commands(script):
    """The commands of a script without comments, blanks in rows and continuations."""
    text = re.sub(r"&\n", " ", script)
    lines = (re.sub(r"#.*", "", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def test_each_ensemble_has_its_integrator():
    def fixes(**settings):
        found = commands(input_script(run(**settings)))
        return [line for line in found if line.startswith(("fix motion", "fix thermostat"))]

    bussi = "fix thermostat all temp/csvr ${temperature} ${temperature} ${tau_t} ${seed}"
    assert fixes() == ["fix motion all nve"]
    assert fixes(ensemble="nvt") == ["fix motion all nve", bussi]
    assert fixes(ensemble="nvt", thermostat="langevin") == [
        "fix motion all nve",
        "fix thermostat all langevin ${temperature} ${temperature} ${tau_t} ${seed}",
    ]
    assert fixes(ensemble="npt") == [
        "fix motion all nph iso ${pressure} ${pressure} ${tau_p} ptemp ${temperature} flip no",
        bussi,
    ]


def test_settings_are_the_variables():
    script = input_script(
        run(
            ensemble="npt", temperature_K=450.0, pressure_GPa=2.0, time_ps=3.0, timestep_fs=2.0,
            thermostat_time_fs=70.0, barostat_time_fs=900.0, sample_fs=8.0, frame_fs=40.0, seed=4,
        )
    )  # fmt: skip
    values = dict(re.findall(r"^variable +(\w+) +index (\S+)", script, re.MULTILINE))
    assert float(values.pop("pressure")) == pytest.approx(2.0e4, rel=1e-6)
    assert values == {
        "steps": "1500", "timestep": "0.002", "sample": "4", "frame": "20", "restart": "100",
        "check": "10", "temperature": "450", "tau_t": "0.07", "seed": "5", "tau_p": "0.9",
    }  # fmt: skip
    for name in [*values, "pressure"]:
        assert "${" + name + "}" in script, f"{name} is set and not used"


@pytest.mark.parametrize(("time_ps", "steps"), [(0.01, 100), (25.0, 500), (1000.0, 1000)])
def test_restart_files_are_written_often_enough(time_ps, steps):
    """A run of a million steps may take days; what a power cut takes is bounded."""
    settings = MDSettings(time_ps=time_ps, timestep_fs=0.5)
    assert restart_steps(settings) == steps


def test_forces_of_langevin_stay_out_of_the_trajectory():
    for thermostat, columns in (("bussi", "fx fy fz"), ("langevin", "f_model[1] f_model[2]")):
        script = input_script(run(ensemble="nvt", thermostat=thermostat))
        assert script.count(f"vx vy vz {columns}") == 2
    lines = commands(script)
    stored = lines.index("fix model all store/force")
    assert lines[stored + 1].startswith("fix thermostat all langevin")


def test_fixed_atoms_are_a_group_that_nothing_moves():
    lines = commands(input_script(run(fixed=[0, 1, 2, 5, 7, 8], ensemble="nvt")))
    assert "group fixed id 1:3 6 8:9" in lines
    assert "group mobile subtract all fixed" in lines
    assert "fix motion mobile nve" in lines


def test_limits_are_checked_and_absent_ones_are_not():
    limits = Limits(temperature_K=1500.0, force=30.0, energy=0.25)
    lines = commands(input_script(run(limits=limits)))
    halts = [line for line in lines if " halt " in line]
    assert [line.split()[1] for line in halts] == ["stop", "too_hot", "too_strong", "drifted"]
    assert halts[1].endswith("v_heat > 1500 error continue")
    assert halts[2].endswith("v_strongest > 30 error continue")
    assert halts[3].endswith("v_drift > 0.25 error continue")
    # the energy at the start is that of a run of no steps
    assert lines.index("run 0 post no") < lines.index(halts[3])
    few = commands(input_script(run()))
    assert [line.split()[1] for line in few if " halt " in line] == ["stop", "too_hot"]
    assert "run 0 post no" not in few[:-4]  # there is one at the end


def test_a_continuation_reads_no_start_and_keeps_the_fixes():
    settings = {"ensemble": "nvt", "thermostat": "langevin", "time_ps": 1.0}
    first = commands(input_script(run(**settings)))
    then = commands(continuation_script(run(**settings), "restart.b", 700, -12.5))
    assert "read_restart restart.b" in then
    assert not [line for line in then if line.startswith(("read_data", "units", "boundary"))]
    names = [
        [line.split()[1] for line in lines if line.startswith("fix ")] for lines in (first, then)
    ]
    assert names[0] == names[1]
    assert "variable reseed equal ${seed}+700" in then
    nve = run(limits=Limits(1500.0, None, 0.1))
    assert "variable drift equal abs(etotal-(-12.5))" in commands(
        continuation_script(nve, "restart.a", 10, -12.5)
    )


def test_masses_undo_the_rounding_of_lammps():
    assert pytest.approx(1.0, abs=1e-7) == MASS_FACTOR
    assert abs(MASS_FACTOR - 1.0) > 1e-8
    # a = F ftm2v / m of LAMMPS, in Å/ps^2, is that of ASE
    assert pytest.approx((1000 * units.fs) ** 2, rel=1e-14) == 1 / 1.0364269e-4 / MASS_FACTOR


SCREEN = """\
LAMMPS (22 Jul 2025 - Update 4)
1 2 3 4 5 6 7
   Step          Temp          PotEng         KinEng         TotEng         Press          Volume
         0  299.9  -0.25  0.5  0.25  1602176.5  165.7
WARNING: step 7: atoms 3 (Si) and 12 (C) are 1.31 A apart, closer than the 1.44 A that the model's \
training allows; this is said once per run (src/pair_clebsch.cpp:421)
        10  310.2  -0.5  0.75  0.25  -3204353  165.7
Loop time of 2.4 on 1 procs for 100 steps with 16 atoms
Fix halt condition for fix-id too_hot met on step 10 with value 2000.5 (src/fix_halt.cpp:308)
1 2 3 4 5 6 7
"""


def test_screen():
    screen = Screen()
    lines = SCREEN.splitlines()
    thermo = [found for line in lines if (found := screen.thermo(line))]
    assert [line.step for line in thermo] == [0, 10]
    assert thermo[1].potential == -0.5
    assert thermo[1].pressure == pytest.approx(-2.0)
    assert [Screen.halt(line) for line in lines if Screen.halt(line)] == ["too_hot"]
    (pair,) = [found for line in lines if (found := Screen.close_pair(line))]
    assert (pair.step, pair.atoms, pair.elements, pair.distance) == (7, (2, 11), ("Si", "C"), 1.31)


def dump_text(step, box, columns, low=(0.0, 0.0, 0.0), scale=1.0):
    """A frame as LAMMPS writes it, with the box that bounds a tilted one."""
    cell = box.cell * scale
    xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
    lo, hi = np.array(low), np.array(low) + cell.diagonal()
    tilts = ["", "", ""]
    names = "ITEM: BOX BOUNDS pp pp pp"
    if box.triclinic:
        lo = lo + np.array([min(0, xy, xz, xy + xz), min(0, yz), 0])
        hi = hi + np.array([max(0, xy, xz, xy + xz), max(0, yz), 0])
        tilts, names = [xy, xz, yz], "ITEM: BOX BOUNDS xy xz yz pp pp pp"
    rows = [f"{a:.16e} {b:.16e} {t}" for a, b, t in zip(lo, hi, tilts, strict=True)]
    table = [f"{n} " + " ".join(f"{x:.17g}" for x in row) for n, row in enumerate(columns, 1)]
    head = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(columns)), names]
    return "\n".join([*head, *rows, "ITEM: ATOMS id xu yu zu vx vy vz fx fy fz", *table]) + "\n"


STRUCTURES = {
    "cubic": lambda: bulk("SiC", "zincblende", a=4.36, cubic=True),
    "triclinic": lambda: bulk("SiC", "zincblende", a=4.36).repeat((2, 1, 1)),
    "slab": lambda: fcc111("Cu", (2, 2, 3), vacuum=4.0),
    "molecule": lambda: molecule("CH3CH2OH"),
}


@pytest.mark.parametrize(
    ("kind", "moving_cell"),
    [*((kind, False) for kind in STRUCTURES), ("cubic", True), ("triclinic", True)],
)
def test_what_goes_to_lammps_comes_back(kind, moving_cell, rng):
    """Positions outside of the cell, velocities, forces and stress in the structure's axes."""
    atoms = STRUCTURES[kind]()
    atoms.rattle(0.3, seed=2)
    atoms.positions += 0.7 * atoms.cell.array.sum(axis=0)
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    atoms.set_velocities(rng.normal(size=(len(atoms), 3)))
    forces, stress = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    stress = stress + stress.T
    box = Box.around(atoms)
    scale, low = (1.05, np.array([0.3, -0.2, 0.1])) if moving_cell else (1.0, np.zeros(3))
    columns = np.hstack(
        [
            box.positions * scale + low,
            atoms.get_velocities() @ box.rotation * (1000 * units.fs),
            forces @ box.rotation,
        ]
    )
    frame = DumpFrame.parse(dump_text(40, box, columns, low, scale).splitlines())
    turned = -box.rotation.T @ stress @ box.rotation * NKTV2P
    pressures = turned[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    totals = Totals.parse("40 -3.25 " + " ".join(f"{p:.17g}" for p in pressures))
    found = Orientation.of(atoms, box, moving_cell).structure(frame, totals)
    np.testing.assert_allclose(found.positions, atoms.positions * scale, atol=1e-12)
    np.testing.assert_allclose(found.cell, atoms.cell * scale, atol=1e-12)
    np.testing.assert_allclose(found.get_velocities(), atoms.get_velocities(), atol=1e-12)
    np.testing.assert_allclose(found.get_forces(), forces, atol=1e-12)
    assert found.get_potential_energy() == -3.25
    if atoms.pbc.all():
        np.testing.assert_allclose(found.get_stress(voigt=False), stress, atol=1e-12)
    else:
        assert "stress" not in found.calc.results


def test_frames_are_read_when_they_are_whole(tmp_path):
    atoms = Atoms("Si2", positions=[[0, 0, 0], [1, 1, 1]], cell=[4, 4, 4], pbc=True)
    box = Box.around(atoms)
    columns = np.zeros((2, 9))
    texts = [dump_text(step, box, columns) for step in (0, 20)]
    dump, totals = tmp_path / "d", tmp_path / "t"
    reader = FrameReader(dump, totals)
    assert list(reader.frames()) == []
    dump.write_text(texts[0] + texts[1][:-7])  # a number is cut in two
    assert list(reader.frames()) == []  # no energy yet
    totals.write_text("# time-averaged data\n0 -1.5 1 2 3 4 5 6\n20 -1.75 1 2 3")
    assert [frame.step for frame, _ in reader.frames()] == [0]
    dump.write_text(texts[0] + texts[1])
    with totals.open("a") as handle:
        handle.write(" 4 5 6\n")
    ((frame, energy),) = reader.frames()
    assert frame.step == 20
    assert energy.energy == -1.75
    assert list(reader.frames()) == []


def test_follower_gives_whole_lines_once(tmp_path):
    path = tmp_path / "f"
    follower = Follower(path)
    assert follower.lines() == []
    path.write_text("one\ntw")
    assert follower.lines() == ["one"]
    path.write_text("one\ntwo\nthree\n")
    assert follower.lines() == ["two", "three"]
