"""Molecular dynamics by LAMMPS: the files and, where it can be, the numbers of the engine ase."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms
from typer.testing import CliRunner

import clebsch.lammps
from clebsch.cli import app
from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig, load_model, save_model
from clebsch.simulate import Calculator, resume_lammps_md, run_lammps_md, run_md
from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.record import read_thermo, read_trajectory

reason = clebsch.lammps.available()
if reason is not None:
    pytest.skip(f"LAMMPS cannot run here: {reason}", allow_module_level=True)

SHORT = {
    "timestep_fs": 1.0,
    "sample_fs": 5.0,
    "frame_fs": 10.0,
    "progress": False,
    "figures": False,
}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["Si", "C"], cutoff=3.2, channels=4, lmax=1, layers=2, mean_neighbours=6.0,
        scales=[0.05, 0.05],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "si c.clebsch"  # a blank, which LAMMPS splits at
    domain = {"min_distance": {"C-Si": 1.2}, "max_force": 10.0}
    save_model(Potential(config).double(), path, {"domain": domain})
    return path


def crystal():
    atoms = bulk("SiC", "zincblende", a=4.36).repeat((2, 2, 1))
    atoms.rattle(0.05, seed=1)
    return atoms


def turned():
    atoms = crystal()
    atoms.rotate(30, (1, 2, 3), rotate_cell=True)
    atoms.positions += 0.6 * atoms.cell.array[0]
    return atoms


def slab():
    atoms = fcc111("Si", (2, 2, 2), a=4.6, vacuum=None)
    atoms.numbers[::2] = 6
    atoms.rattle(0.05, seed=1)
    return atoms


def cluster():
    positions = [[0, 0, 0], [1.8, 0, 0.1], [0.2, 1.7, 0], [1.9, 1.8, 0.5], [0.9, 0.8, 1.6]]
    return Atoms("SiCCSiC", positions=positions)


@pytest.mark.parametrize(
    ("structure", "ranks"), [(turned, 1), (turned, 2), (slab, 1), (cluster, 2)]
)
def test_nve_is_that_of_ase(model_file, tmp_path, structure, ranks):
    options = SHORT | {"time_ps": 0.1, "temperature_K": 300.0, "relax": structure is cluster}
    theirs = run_md(load_model(model_file), structure(), tmp_path / "ase", **options)
    ours = run_lammps_md(model_file, structure(), tmp_path / "lammps", ranks=ranks, **options)
    moved = np.abs(theirs.atoms.positions - structure().positions).max()
    assert moved > 0.1
    np.testing.assert_allclose(ours.atoms.positions, theirs.atoms.positions, atol=1e-8)
    np.testing.assert_allclose(ours.atoms.get_momenta(), theirs.atoms.get_momenta(), atol=1e-8)
    expected, found = read_thermo(theirs.out), read_thermo(ours.out)
    for name, values in expected.items():
        tolerance = 1e-5 if name == "temperature_K" else 1e-8
        np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=name)
    for a, b in zip(read_trajectory(theirs.out), read_trajectory(ours.out), strict=True):
        assert a.info["time_ps"] == b.info["time_ps"]
        np.testing.assert_allclose(b.positions, a.positions, atol=2e-8)
        np.testing.assert_allclose(b.cell, a.cell, atol=1e-12)
        np.testing.assert_allclose(b.get_forces(), a.get_forces(), atol=2e-8)
        assert b.get_potential_energy() == pytest.approx(a.get_potential_energy(), abs=2e-8)
        assert b.calc.results.keys() == a.calc.results.keys()
        if "stress" in a.calc.results:
            np.testing.assert_allclose(b.get_stress(), a.get_stress(), atol=2e-8)
    assert ours.summary["steps"] == theirs.summary["steps"] == 100
    assert ours.summary["engine"]["ranks"] == ranks


def test_the_folder_can_be_run_by_hand(model_file, tmp_path):
    out = tmp_path / "run"
    run_lammps_md(model_file, crystal(), out, time_ps=0.02, **SHORT | {"figures": True})
    names = {path.name for path in out.iterdir()}
    assert {"in.lammps", "start.data", "model.clebsch", "restart.end", "log.lammps"} <= names
    assert {"thermo.csv", "trajectory.extxyz", "md.json", "figures"} <= names
    assert not names & {"trajectory.dump", "frames.dat", "last.dump", "last.dat", "STOP"}
    assert (out / "figures" / "energy.png").stat().st_size > 5000
    lines = []
    clebsch.lammps.run("in.lammps", 1, out, lines.append, ["-var", "steps", "5", "-log", "none"])
    assert any(line.startswith("Loop time of") and "for 5 steps" in line for line in lines)
    assert (out / "trajectory.dump").exists()


@pytest.mark.parametrize(
    "ensemble",
    [
        {"ensemble": "nvt", "thermostat": "bussi", "thermostat_time_fs": 20.0},
        {"ensemble": "nvt", "thermostat": "langevin", "thermostat_time_fs": 20.0},
        {"ensemble": "npt", "thermostat_time_fs": 20.0, "barostat_time_fs": 100.0},
    ],
)
def test_frames_hold_the_model_s_own_numbers(model_file, tmp_path, ensemble):
    """Not those of a thermostat, and in the cell of the moment."""
    result = run_lammps_md(
        model_file, turned(), tmp_path / "run", time_ps=0.06, temperature_K=300.0,
        **SHORT | ensemble,
    )  # fmt: skip
    calculator = Calculator(load_model(model_file))
    thermo, frames = read_thermo(result.out), read_trajectory(result.out)
    assert len(frames) == 7
    volumes = [frame.get_volume() for frame in frames]
    assert (np.ptp(volumes) > 1e-3) == (ensemble["ensemble"] == "npt")
    for frame, row in zip(frames, range(0, 13, 2), strict=True):
        told = frame.get_potential_energy(), frame.get_forces(), frame.get_stress()
        frame.calc = calculator
        assert told[0] == pytest.approx(frame.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(told[1], frame.get_forces(), atol=1e-6)
        np.testing.assert_allclose(told[2], frame.get_stress(), atol=1e-6)
        assert thermo["time_ps"][row] == frame.info["time_ps"]
        assert thermo["potential_eV"][row] == pytest.approx(told[0], abs=1e-7)
        assert thermo["kinetic_eV"][row] == pytest.approx(frame.get_kinetic_energy(), abs=1e-6)
        assert thermo["volume_A3"][row] == pytest.approx(frame.get_volume(), abs=1e-6)
        pressure = -frame.get_stress(include_ideal_gas=True)[:3].mean() / units.GPa
        assert thermo["pressure_GPa"][row] == pytest.approx(pressure, abs=1e-3)
    total = thermo["kinetic_eV"] + thermo["potential_eV"]
    assert np.ptp(total) > 1e-3  # a thermostat was at work
    differences = json.loads((result.out / "md.json").read_text())["engine"]["differences_from_ase"]
    assert any("random" in sentence for sentence in differences)


@pytest.mark.slow
@pytest.mark.parametrize("thermostat", ["bussi", "langevin"])
def test_thermostats_reach_the_temperature(tmp_path, thermostat):
    """Bussi's conserves momentum, so that three degrees of freedom hold no kinetic energy."""
    torch.manual_seed(0)
    config = PotentialConfig(  # smooth enough to stay in one place
        species=["Si", "C"], cutoff=3.2, channels=2, lmax=0, layers=1, scales=[0.01] * 2, zbl=True
    )
    model_file = tmp_path / "model.clebsch"
    save_model(Potential(config).double(), model_file, {})
    result = run_lammps_md(
        model_file, crystal(), tmp_path / "run", ensemble="nvt", thermostat=thermostat,
        temperature_K=100.0, time_ps=4.0, thermostat_time_fs=20.0, seed=3, guard=DomainGuard(),
        **SHORT,
    )  # fmt: skip
    assert result.stopped is None
    temperature = read_thermo(result.out)["temperature_K"][40:]
    n_dof = result.summary["n_degrees_of_freedom"]
    assert n_dof == (21 if thermostat == "bussi" else 24)
    assert temperature.mean() == pytest.approx(100.0, rel=0.1)
    assert temperature.std() == pytest.approx(100.0 * np.sqrt(2 / n_dof), rel=0.2)


def test_fixed_atoms_stay(model_file, tmp_path):
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 3, 4]))
    result = run_lammps_md(
        model_file, atoms, tmp_path / "run", ensemble="nvt", time_ps=0.03, **SHORT
    )
    moved = np.abs(result.atoms.positions - crystal().positions).max(axis=1)
    assert (moved[[0, 3, 4]] < 1e-12).all()
    assert (np.delete(moved, [0, 3, 4]) > 1e-3).all()
    assert result.summary["n_degrees_of_freedom"] == 15
    first = read_thermo(result.out)["temperature_K"][0]
    assert first == pytest.approx(300.0, rel=1e-6)
    again = resume_lammps_md(
        model_file, tmp_path / "run", time_ps=0.05, progress=False, figures=False
    )
    np.testing.assert_allclose(again.atoms.positions[3], crystal().positions[3], atol=1e-12)


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_resumed_run_goes_on(model_file, tmp_path, ensemble):
    options = SHORT | {"ensemble": ensemble, "barostat_time_fs": 200.0}
    whole = run_lammps_md(model_file, turned(), tmp_path / "whole", time_ps=0.06, **options)
    run_lammps_md(model_file, turned(), tmp_path / "parts", time_ps=0.034, **options)
    with (tmp_path / "parts" / "thermo.csv").open("a") as handle:
        handle.write("0.035,0.3")  # killed in the middle of a line
    parts = resume_lammps_md(
        model_file, tmp_path / "parts", time_ps=0.06, progress=False, figures=False
    )
    assert parts.summary["steps"] == 60
    expected, found = read_thermo(whole.out), read_thermo(parts.out)
    np.testing.assert_array_equal(found["time_ps"], expected["time_ps"])
    # LAMMPS's generators lose half a pair of normal numbers over a restart, so that thermostats
    # are others from the first step on; that step's positions do not feel it yet.
    same = slice(None) if ensemble == "nve" else slice(8)
    for name in ("potential_eV", "volume_A3"):
        np.testing.assert_allclose(
            found[name][same], expected[name][same], rtol=1e-6, atol=1e-7, err_msg=name
        )
    if ensemble == "nve":
        np.testing.assert_allclose(parts.atoms.positions, whole.atoms.positions, atol=1e-8)
    frames = [read_trajectory(result.out) for result in (whole, parts)]
    times = [[frame.info["time_ps"] for frame in each] for each in frames]
    assert times[0] == times[1]


def test_resume_after_a_kill_drops_what_came_later(model_file, tmp_path):
    """As after losing power: no md.json, the newest restart file torn, rows beyond the other."""
    options = SHORT | {"time_ps": 0.25}
    whole = run_lammps_md(model_file, crystal(), tmp_path / "whole", **options)
    out = tmp_path / "cut"
    run_lammps_md(model_file, crystal(), out, **options)
    (out / "restart.end").unlink()
    (out / "md.json").unlink()
    state = json.loads((out / "lammps.json").read_text()) | {"step": 0}
    (out / "lammps.json").write_text(json.dumps(state))
    good, torn = sorted(out.glob("restart.[ab]"))  # steps 100 and 200
    torn.write_bytes(torn.read_bytes()[:500])
    now = time.time()
    os.utime(good, (now - 10, now - 10))
    os.utime(torn, (now, now))
    parts = resume_lammps_md(model_file, out, progress=False, figures=False)
    assert "restart.a" in (out / "in.resume").read_text()
    assert parts.summary["steps"] == 250
    expected, found = read_thermo(whole.out), read_thermo(out)
    np.testing.assert_array_equal(found["time_ps"], expected["time_ps"])
    np.testing.assert_allclose(found["total_eV"], expected["total_eV"], atol=1e-8)
    assert len(read_trajectory(out)) == len(read_trajectory(whole.out))


def test_a_run_killed_before_its_first_restart_file_begins_again(model_file, tmp_path):
    out = tmp_path / "cut"
    whole = run_lammps_md(model_file, crystal(), tmp_path / "whole", time_ps=0.03, **SHORT)
    run_lammps_md(model_file, crystal(), out, time_ps=0.02, **SHORT)
    (out / "md.json").unlink()
    (out / "restart.end").unlink()
    other = tmp_path / "single.clebsch"
    save_model(load_model(model_file).float(), other)
    with pytest.raises(UserError, match="began with another model"):
        resume_lammps_md(other, out, time_ps=0.03, progress=False, figures=False)
    resume_lammps_md(model_file, out, time_ps=0.03, progress=False, figures=False)
    expected, found = read_thermo(whole.out), read_thermo(out)
    np.testing.assert_array_equal(found["time_ps"], expected["time_ps"])
    np.testing.assert_allclose(found["total_eV"], expected["total_eV"], atol=1e-8)
    assert len(read_trajectory(out)) == len(read_trajectory(whole.out))
    # rows beyond the first restart file: it was there, and is not to be written over
    (out / "restart.end").unlink()
    with (out / "thermo.csv").open("a") as handle:
        handle.write("0.5,0,0,0,0,0,0\n")
    with pytest.raises(UserError, match="has no restart file of LAMMPS"):
        resume_lammps_md(model_file, out, time_ps=0.06, progress=False, figures=False)
    assert len(read_thermo(out)["time_ps"]) == len(expected["time_ps"]) + 1


def test_stops_at_a_pair_closer_than_any_in_training(model_file, tmp_path):
    """At the start, which LAMMPS itself would not check before its tenth step."""
    close = Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.0]])
    result = run_lammps_md(model_file, close, tmp_path / "run", time_ps=0.2, **SHORT)
    assert result.stopped is not None
    assert result.stopped.startswith("atoms 0 and 1 (C-Si) are 1.00 Å apart; the closest C-Si")
    assert result.summary["steps"] == 0
    assert len(read_trajectory(result.out)) == 1


def test_stops_at_a_pair_that_meets_between_frames(model_file, tmp_path, monkeypatch):
    """The plug-in says so at the step itself."""
    atoms = Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.6]])
    velocities = np.array([[0, 0, 0.05], [0, 0, -0.1]]) / units.fs / 3

    def towards(atoms, *_):
        atoms.set_velocities(velocities)

    monkeypatch.setattr("clebsch.simulate.lammps_dynamics.thermalise", towards)
    options = SHORT | {"frame_fs": 500.0, "timestep_fs": 0.25}
    result = run_lammps_md(
        model_file, atoms, tmp_path / "run", time_ps=0.5,
        guard=DomainGuard(min_distance={"C-Si": 1.2}, temperature_factor=1e9), **options,
    )  # fmt: skip
    assert result.stopped is not None
    assert "(C-Si)" in result.stopped
    assert "the closest C-Si pair in training was 1.20 Å" in result.stopped
    assert 0 < result.summary["steps"] < 200
    thermo = read_thermo(result.out)
    assert thermo["time_ps"][-1] == pytest.approx(result.summary["time_ps"])
    assert read_trajectory(result.out)[-1].info["time_ps"] == pytest.approx(thermo["time_ps"][-1])


@pytest.mark.parametrize(
    ("guard", "sentence"),
    [
        (DomainGuard(temperature_factor=0.0), "the temperature is"),
        (DomainGuard(max_force=1.02, temperature_factor=1e9), "the force on atom"),
        (
            DomainGuard(energy_factor=1e-6, temperature_factor=1e9),
            "the total energy of an NVE run has moved",
        ),
    ],
)
def test_stops_where_the_model_knows_nothing(model_file, tmp_path, guard, sentence):
    """Between frames, by LAMMPS's own checks; the sentence is that of the engine ase."""
    options = SHORT | {"frame_fs": 5000.0, "sample_fs": 1000.0, "timestep_fs": 0.2}
    options |= {"temperature_K": 10.0, "time_ps": 0.02}
    atoms = bulk("SiC", "zincblende", a=3.7, cubic=True)  # heats up: it starts far from rest
    atoms.rattle(0.3, seed=0)
    none = DomainGuard(temperature_factor=1e9)
    free = run_lammps_md(model_file, atoms, tmp_path / "free", guard=none, **options)
    assert free.stopped is None
    if guard.max_force is not None:  # given as a factor of the largest at the start
        atoms.calc = Calculator(load_model(model_file))
        largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
        guard = replace(guard, max_force=guard.max_force * largest, force_factor=1.0)
    result = run_lammps_md(model_file, atoms, tmp_path / "run", guard=guard, **options)
    assert result.stopped is not None
    assert result.stopped.startswith(sentence)
    assert 0 < result.summary["steps"] < 100
    thermo = read_thermo(result.out)
    assert thermo["time_ps"][-1] == pytest.approx(result.summary["time_ps"])


def test_a_file_ends_the_run(model_file, tmp_path, monkeypatch):
    """As the script says of STOP, which Ctrl-C makes, too."""
    from clebsch.simulate.lammps_recorder import Recorder

    def stop_at_20(recorder, line):
        found = original(recorder, line)
        if found is not None and found.step == 20:
            (recorder.folder / "STOP").touch()
        return found

    original = Recorder.line
    monkeypatch.setattr(Recorder, "line", stop_at_20)
    result = run_lammps_md(model_file, crystal(), tmp_path / "run", time_ps=100.0, **SHORT)
    assert result.interrupted
    assert result.stopped is None
    assert 20 < result.summary["steps"] < 10_000
    assert not (tmp_path / "run" / "STOP").exists()


PROGRAM = """
import sys
import ase.io
from clebsch.cli import main
sys.argv = ["clebsch", *sys.argv[1:]]
main()
"""


def test_ctrl_c_ends_with_everything_written(model_file, tmp_path):
    """Sent to the whole foreground group, as a terminal does, while two ranks run."""
    ase.io.write(tmp_path / "start.extxyz", crystal(), format="extxyz")
    out = tmp_path / "run"
    arguments = [
        "md", model_file, "start.extxyz", "--out", out, "--engine", "lammps", "--ranks", 2,
        "--time", 100, "--timestep", 1, "--sample", 10, "--every", 10, "--quiet",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *(str(a) for a in arguments)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            thermo = out / "thermo.csv"
            if process.poll() is not None or (thermo.exists() and thermo.stat().st_size > 600):
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "--resume goes on" in said
    summary = json.loads((out / "md.json").read_text())
    assert summary["interrupted"]
    assert 0 < summary["steps"] < 100_000
    assert not (out / "STOP").exists()
    assert len(read_trajectory(out)) >= 2
    longer = (summary["steps"] + 20) / 1000
    again = resume_lammps_md(model_file, out, time_ps=longer, progress=False, figures=False)
    assert again.summary["steps"] == summary["steps"] + 20
    assert not again.interrupted
    steps = np.diff(read_thermo(out)["time_ps"])
    np.testing.assert_allclose(steps, 0.01, atol=1e-9)


def call(verb, *arguments):
    result = CliRunner().invoke(app, [verb, *(str(a) for a in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command(model_file, tmp_path):
    ase.io.write(tmp_path / "sic.extxyz", crystal(), format="extxyz")
    out = tmp_path / "run"
    common = ("--out", out, "--quiet")
    first = call(
        "md", model_file, tmp_path / "sic.extxyz", *common, "--engine", "lammps", "--relax",
        "--ensemble", "npt", "--time", 0.01, "--timestep", 1, "--supercell", 2, 1, 1,
        "--sample", 1, "--pressure", 1,
    )  # fmt: skip
    assert first.exit_code == 0, first.output
    assert "C8Si8: 0.01 ps in 10 steps" in first.output
    summary = json.loads((out / "md.json").read_text())
    assert summary["relaxation"]["steps"] > 0
    assert summary["settings"]["pressure_GPa"] == 1.0
    with pytest.raises(UserError, match="it cannot go on with ase"):
        call("md", model_file, "--resume", "--time", 0.02, "--engine", "ase", *common)
    again = call("md", model_file, "--resume", "--time", 0.015, *common)
    assert again.exit_code == 0, again.output
    assert json.loads((out / "md.json").read_text())["steps"] == 15
    with pytest.raises(UserError, match=r"already reached 0\.015 ps"):
        call("md", model_file, "--resume", *common)
    with pytest.raises(UserError, match="already holds a run"):
        call("md", model_file, tmp_path / "sic.extxyz", "--engine", "lammps", *common)


def test_a_run_that_leaves_the_domain_exits_with_3(model_file, tmp_path):
    close = Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.0]])
    ase.io.write(tmp_path / "close.xyz", close)
    result = call(
        "md", model_file, tmp_path / "close.xyz", "--out", tmp_path / "run", "--quiet",
        "--time", 1, "--engine", "lammps",
    )  # fmt: skip
    assert result.exit_code == 3
    assert "stopped: atoms 0 and 1 (C-Si) are 1.00 Å apart" in result.output


def test_bad_input(model_file, tmp_path):
    out = tmp_path / "run"
    ase.io.write(tmp_path / "sic.extxyz", crystal(), format="extxyz")
    ase.io.write(tmp_path / "gold.xyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]]))
    lammps = ("--engine", "lammps", "--out", out)
    cases = [
        (
            (tmp_path / "sic.extxyz", *lammps, "--ensemble", "npt", "--bulk-modulus", 50),
            "does not use a bulk modulus",
        ),
        ((tmp_path / "sic.extxyz", "--out", out, "--ranks", 2), "--ranks is for --engine lammps"),
        ((tmp_path / "gold.xyz", *lammps), r"gold\.xyz, frame 0: the model does not know Au"),
        ((tmp_path / "gold.xyz", *lammps, "--ensemble", "npt"), "NPT needs a cell"),
        (("--resume", *lammps), "is a run of the engine ase"),
    ]
    for arguments, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            call("md", model_file, *arguments)
    heavy = crystal()
    masses = heavy.get_masses()
    masses[0] += 1
    heavy.set_masses(masses)
    with pytest.raises(UserError, match="atoms of Si have different masses in the structure"):
        run_lammps_md(model_file, heavy, out, **SHORT)
    lost = crystal()
    lost.positions[0, 0] = np.nan
    with pytest.raises(UserError, match="position of atom 0 is not finite"):
        run_lammps_md(model_file, lost, out, **SHORT)
    flat = crystal()
    flat.cell[2] = flat.cell[0]
    with pytest.raises(UserError, match="no volume"):
        run_lammps_md(model_file, flat, out, **SHORT)
    with pytest.raises(UserError, match="0 ranks"):
        run_lammps_md(model_file, crystal(), out, ranks=0, **SHORT)
    assert not out.exists()
    with pytest.raises(UserError, match=r"lammps\.json: no such file"):
        resume_lammps_md(model_file, out)
    out.mkdir()
    (out / "lammps.json").write_text("{}")
    with pytest.raises(UserError, match="does not describe a run"):
        resume_lammps_md(model_file, out)


def test_lammps_missing_is_one_sentence(model_file, tmp_path, monkeypatch):
    monkeypatch.setattr("clebsch.lammps.available", lambda: "there is no compiler.", raising=False)
    with pytest.raises(UserError, match="LAMMPS cannot run here: there is no compiler"):
        run_lammps_md(model_file, crystal(), tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_errors_of_lammps_are_told(model_file, tmp_path):
    """The run folder is left so that the same command can be given again."""
    same = crystal()
    same.positions[0] = same.positions[1]
    with pytest.raises(UserError, match="same place"):
        run_lammps_md(model_file, same, tmp_path / "run", **SHORT)
    result = run_lammps_md(model_file, crystal(), tmp_path / "run", time_ps=0.005, **SHORT)
    assert result.summary["steps"] == 5
