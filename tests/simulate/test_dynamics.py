import json
import os
import signal

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength

from clebsch.errors import UserError
from clebsch.simulate import resume_md, run_md
from clebsch.simulate.record import RunFiles, read_thermo

SHORT = {
    "temperature_K": 30.0,
    "timestep_fs": 5.0,
    "sample_fs": 10.0,
    "progress": False,
    "figures": False,
}


def test_run_leaves_a_complete_folder(argon, crystal, tmp_path):
    before = crystal.positions.copy()
    result = run_md(argon, crystal, tmp_path / "run", time_ps=0.5, **SHORT | {"figures": True})
    np.testing.assert_array_equal(crystal.positions, before)
    assert result.stopped is None
    assert not result.interrupted
    thermo = read_thermo(tmp_path / "run")
    np.testing.assert_allclose(thermo["time_ps"], np.arange(0, 0.501, 0.01), atol=1e-12)
    np.testing.assert_allclose(thermo["total_eV"], thermo["potential_eV"] + thermo["kinetic_eV"])
    assert thermo["temperature_K"][0] == pytest.approx(30.0)
    frames = ase.io.read(tmp_path / "run" / "trajectory.extxyz", ":")
    assert len(frames) == 51
    last = frames[-1]
    assert last.get_potential_energy() == pytest.approx(thermo["potential_eV"][-1], abs=1e-6)
    np.testing.assert_allclose(last.positions, result.atoms.positions, atol=1e-7)
    np.testing.assert_allclose(last.get_momenta(), result.atoms.get_momenta(), atol=1e-7)
    summary = json.loads((tmp_path / "run" / "md.json").read_text())
    assert summary["n_degrees_of_freedom"] == 21
    assert abs(summary["nve_drift_meV_per_atom_ps"]) < 0.05
    assert summary["nve_drift_standard_error"] > 0
    assert summary["second_half"]["temperature_K"]["mean"] < 30.0
    for name in ("energy", "temperature", "pressure", "rdf", "msd"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5000


def test_pressure_is_that_of_the_stress_and_the_ideal_gas(argon, crystal, tmp_path):
    result = run_md(argon, crystal, tmp_path / "run", time_ps=0.05, **SHORT)
    expected = -result.atoms.get_stress(include_ideal_gas=True)[:3].mean() * 160.2176634
    assert read_thermo(tmp_path / "run")["pressure_GPa"][-1] == pytest.approx(expected)


@pytest.mark.parametrize(
    "ensemble",
    [
        {"ensemble": "nve"},
        {"ensemble": "nvt", "thermostat": "bussi"},
        {"ensemble": "nvt", "thermostat": "langevin"},
        {"ensemble": "npt", "bulk_modulus_GPa": 3.0},
    ],
)
def test_resumed_run_equals_an_uninterrupted_one(argon, crystal, tmp_path, ensemble):
    options = SHORT | ensemble | {"frame_fs": 20.0}
    run_md(argon, crystal, tmp_path / "whole", time_ps=0.2, **options)
    run_md(argon, crystal, tmp_path / "parts", time_ps=0.11, **options)
    resume_md(argon, tmp_path / "parts", time_ps=0.2, progress=False, figures=False)
    for name in ("thermo.csv", "trajectory.extxyz"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "parts" / name).read_bytes() == whole


def test_resume_drops_what_was_written_after_the_restart_file(argon, crystal, tmp_path):
    run_md(argon, crystal, tmp_path / "whole", time_ps=0.2, frame_fs=20.0, **SHORT)
    run_md(argon, crystal, tmp_path / "cut", time_ps=0.1, frame_fs=20.0, **SHORT)
    for name in ("thermo.csv", "trajectory.extxyz"):  # killed in the middle of a line
        with (tmp_path / "cut" / name).open("a") as handle:
            handle.write("0.105,0.3")
    resume_md(argon, tmp_path / "cut", time_ps=0.2, progress=False, figures=False)
    for name in ("thermo.csv", "trajectory.extxyz"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "cut" / name).read_bytes() == whole


def test_ctrl_c_leaves_valid_files_and_a_resumable_run(pair_potential, crystal, tmp_path):
    class Interrupting(pair_potential):
        calls = 0

        def forward(self, *args, **kwargs):
            self.calls += 1
            if self.calls == 30:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(*args, **kwargs)

    handler = signal.getsignal(signal.SIGINT)
    options = SHORT | {"time_ps": 0.3, "frame_fs": 20.0}
    result = run_md(Interrupting(), crystal, tmp_path / "run", **options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert result.interrupted
    summary = json.loads((tmp_path / "run" / "md.json").read_text())
    assert summary["interrupted"]
    assert 20 < summary["steps"] < 40
    assert len(ase.io.read(tmp_path / "run" / "trajectory.extxyz", ":")) >= 5
    resume_md(pair_potential(), tmp_path / "run", progress=False, figures=False)
    run_md(pair_potential(), crystal, tmp_path / "whole", **options)
    whole = (tmp_path / "whole" / "thermo.csv").read_bytes()
    assert (tmp_path / "run" / "thermo.csv").read_bytes() == whole


@pytest.mark.parametrize("calls", [2, 8])
def test_a_run_killed_in_its_first_seconds_goes_on(pair_potential, crystal, tmp_path, calls):
    class Dying(pair_potential):
        left = calls

        def forward(self, *args, **kwargs):
            self.left -= 1
            if self.left == 0:
                raise MemoryError
            return super().forward(*args, **kwargs)

    options = SHORT | {"time_ps": 0.1, "frame_fs": 20.0}
    with pytest.raises(MemoryError):
        run_md(Dying(), crystal, tmp_path / "run", **options)
    resume_md(pair_potential(), tmp_path / "run", progress=False, figures=False)
    run_md(pair_potential(), crystal, tmp_path / "whole", **options)
    for name in ("thermo.csv", "trajectory.extxyz"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "run" / name).read_bytes() == whole


def test_a_run_of_no_steps_can_be_made_longer(argon, crystal, tmp_path):
    run_md(argon, crystal, tmp_path / "run", time_ps=0.0, **SHORT)
    resume_md(argon, tmp_path / "run", time_ps=0.02, progress=False, figures=False)
    times = read_thermo(tmp_path / "run")["time_ps"]
    np.testing.assert_allclose(times, [0.0, 0.01, 0.02], atol=1e-12)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(argon, crystal, tmp_path, monkeypatch):
    """The system's own answer: a frame goes to a device that is always full."""
    options = SHORT | {"time_ps": 0.1, "frame_fs": 20.0}
    run_md(argon, crystal, tmp_path / "whole", **options)
    frame = RunFiles.frame

    def onto_a_full_disk(files, atoms, time_ps):
        if time_ps > 0.05:
            files._trajectory.close()
            files._trajectory = open("/dev/full", "w")  # noqa: SIM115
        frame(files, atoms, time_ps)

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "frame", onto_a_full_disk)
        with pytest.raises(UserError, match=r"trajectory\.extxyz: the disk is full; free some"):
            run_md(argon, crystal, tmp_path / "run", **options)
    resume_md(argon, tmp_path / "run", progress=False, figures=False)
    for name in ("thermo.csv", "trajectory.extxyz"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "run" / name).read_bytes() == whole


def test_same_seed_same_run_other_seed_other_run(argon, crystal, tmp_path):
    energies = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        result = run_md(argon, crystal, tmp_path / name, time_ps=0.05, seed=seed, **SHORT)
        energies.append(result.atoms.get_kinetic_energy())
    assert energies[0] == energies[1] != energies[2]


def test_relaxation_lowers_the_energy(argon, crystal, tmp_path):
    crystal.rattle(0.2, seed=5)
    result = run_md(argon, crystal, tmp_path / "run", time_ps=0.01, relax=True, **SHORT)
    assert result.summary["relaxation"]["converged"]
    assert result.summary["relaxation"]["max_force_eV_per_A"] <= 0.05
    assert "relaxation" in json.loads((tmp_path / "run" / "md.json").read_text())


def test_fixed_atoms_stay_and_survive_a_restart(argon, crystal, tmp_path):
    crystal.set_constraint(FixAtoms([0, 5]))
    result = run_md(argon, crystal, tmp_path / "run", time_ps=0.05, **SHORT)
    again = resume_md(argon, tmp_path / "run", time_ps=0.1, progress=False, figures=False)
    assert result.summary["n_degrees_of_freedom"] == 18
    np.testing.assert_array_equal(again.atoms.positions[[0, 5]], crystal.positions[[0, 5]])
    assert np.abs(again.atoms.positions - crystal.positions).max() > 1e-3


def test_molecule_and_zero_time(argon, pair_potential, tmp_path):
    trimer = Atoms("Ar3", positions=[[0, 0, 0], [3.8, 0, 0], [1.9, 3.3, 0]])
    result = run_md(argon, trimer, tmp_path / "run", time_ps=0.2, **SHORT)
    assert result.summary["n_degrees_of_freedom"] == 3
    assert "pressure_GPa" not in result.summary["second_half"]
    assert not (tmp_path / "run" / "figures" / "pressure.png").exists()
    nothing = run_md(argon, trimer, tmp_path / "zero", time_ps=0.0, **SHORT)
    assert nothing.summary["steps"] == 0
    assert nothing.summary["nve_drift_meV_per_atom_ps"] != nothing.summary["steps"]
    assert json.loads((tmp_path / "zero" / "md.json").read_text())["ns_per_day"] is None


# --- leaving the domain -------------------------------------------------------------------------


def test_stops_at_a_pair_closer_than_any_in_training(argon, crystal, tmp_path):
    argon.header = {"domain": {"min_distance": {"Ar-Ar": 3.4}}}
    hot = SHORT | {"temperature_K": 3000.0, "timestep_fs": 2.0}
    result = run_md(argon, crystal, tmp_path / "run", time_ps=5.0, **hot)
    assert result.stopped is not None
    assert "(Ar-Ar) are" in result.stopped
    assert "closest Ar-Ar pair in training was 3.40 Å" in result.stopped
    summary = json.loads((tmp_path / "run" / "md.json").read_text())
    assert summary["stopped"] == result.stopped
    assert summary["steps"] < 2500
    last = ase.io.read(tmp_path / "run" / "trajectory.extxyz", -1)
    distances = last.get_all_distances(mic=True)[~np.eye(len(last), dtype=bool)]
    assert distances.min() < 0.9 * 3.4
    assert read_thermo(tmp_path / "run")["time_ps"][-1] == pytest.approx(last.info["time_ps"])


def test_does_not_stop_inside_the_domain(argon, crystal, tmp_path):
    argon.header = {"domain": {"min_distance": {"Ar-Ar": 3.4}, "max_force": 0.5}}
    assert run_md(argon, crystal, tmp_path / "run", time_ps=0.1, **SHORT).stopped is None


def test_stops_at_a_force_beyond_training(argon, crystal, tmp_path):
    argon.header = {"domain": {"max_force": 1e-3}}
    result = run_md(argon, crystal, tmp_path / "run", time_ps=0.3, **SHORT)
    assert "the largest in training was 0.0 eV/Å" in result.stopped
    assert result.summary["steps"] == 0


def test_stops_when_the_energy_of_nve_drifts(argon, crystal, tmp_path):
    long_step = SHORT | {"timestep_fs": 400.0, "temperature_K": 80.0}
    result = run_md(argon, crystal, tmp_path / "run", time_ps=100.0, **long_step)
    assert "total energy" in result.stopped or "temperature" in result.stopped


def test_stops_when_it_gets_too_hot(argon, tmp_path):
    squeezed = bulk("Ar", "fcc", a=3.6, cubic=True)
    squeezed.rattle(0.2, seed=3)
    result = run_md(argon, squeezed, tmp_path / "run", time_ps=1.0, ensemble="nvt", **SHORT)
    assert "more than" in result.stopped
    assert "30 K asked for" in result.stopped


def test_stops_at_nan(pair_potential, crystal, tmp_path):
    class Broken(pair_potential):
        calls = 0

        def forward(self, *args, **kwargs):
            self.calls += 1
            output = super().forward(*args, **kwargs)
            if self.calls > 10:
                output["forces"] = output["forces"] * float("nan")
            return output

    result = run_md(Broken(), crystal, tmp_path / "run", time_ps=0.3, **SHORT)
    assert "not a number" in result.stopped
    assert result.summary["steps"] == 9 or result.summary["steps"] == 10


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ensemble": "nvp"}, "ensemble"),
        ({"timestep_fs": 0.0}, "timestep_fs"),
        ({"time_ps": -1.0}, "time_ps"),
        ({"time_ps": np.inf}, "time_ps = inf: .*finite"),
        ({"pressure_GPa": np.nan}, "pressure_GPa = nan: .*finite"),
        ({"temprature": 3.0}, "unknown setting 'temprature'"),
        ({"ensemble": "nvt", "temperature_K": 0.0}, "above 0 K"),
    ],
)
def test_wrong_settings(argon, crystal, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run_md(argon, crystal, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_npt_of_a_molecule(argon, tmp_path):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 4]])
    with pytest.raises(UserError, match="periodic in three directions"):
        run_md(argon, atoms, tmp_path / "run", ensemble="npt")


def test_unknown_element_makes_no_folder(argon, tmp_path):
    with pytest.raises(UserError, match="does not know H, C"):
        run_md(argon, molecule("CH4"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_earlier_run_is_never_overwritten(argon, crystal, tmp_path):
    run_md(argon, crystal, tmp_path / "run", time_ps=0.02, **SHORT)
    before = (tmp_path / "run" / "thermo.csv").read_bytes()
    with pytest.raises(UserError, match="already holds a run"):
        run_md(argon, crystal, tmp_path / "run", time_ps=0.02, **SHORT)
    assert (tmp_path / "run" / "thermo.csv").read_bytes() == before


def test_a_file_is_not_taken_for_a_folder(argon, crystal, tmp_path):
    (tmp_path / "run").write_text("kept")
    with pytest.raises(UserError, match=r"run: cannot be made .*it is a file"):
        run_md(argon, crystal, tmp_path / "run", time_ps=0.02, **SHORT)
    assert (tmp_path / "run").read_text() == "kept"


def test_nothing_to_resume(argon, crystal, tmp_path):
    with pytest.raises(UserError, match="no run to resume"):
        resume_md(argon, tmp_path)
    run_md(argon, crystal, tmp_path / "run", time_ps=0.02, **SHORT)
    with pytest.raises(UserError, match=r"already reached 0\.02 ps"):
        resume_md(argon, tmp_path / "run")
    whole = (tmp_path / "run" / "thermo.csv").read_bytes()
    (tmp_path / "run" / "md.json").unlink()  # killed over the figures
    with pytest.raises(UserError, match=r"already reached 0\.02 ps"):
        resume_md(argon, tmp_path / "run", time_ps=0.01)
    again = resume_md(argon, tmp_path / "run", progress=False)
    assert json.loads((tmp_path / "run" / "md.json").read_text())["steps"] == 4
    assert not again.interrupted
    assert (tmp_path / "run" / "figures" / "energy.png").exists()
    assert (tmp_path / "run" / "thermo.csv").read_bytes() == whole
    (tmp_path / "run" / "restart.npz").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="not a restart file"):
        resume_md(argon, tmp_path / "run")
    (tmp_path / "run" / "restart.npz").unlink()
    with pytest.raises(UserError, match="start it again with another --out"):
        resume_md(argon, tmp_path / "run")


def test_unsupported_constraint(argon, crystal, tmp_path):
    crystal.set_constraint(FixBondLength(0, 1))
    with pytest.raises(UserError, match="FixBondLength"):
        run_md(argon, crystal, tmp_path / "run", time_ps=0.02, **SHORT)
