"""What users write in their input scripts: styles, units, restarts, mistakes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from clebsch.errors import UserError
from clebsch.lammps import run
from clebsch.lammps.box import Box, data_file
from clebsch.models import load_model
from lammps_structures import structures

pytestmark = pytest.mark.usefixtures("lammps")

QUIET = ["-log", "none", "-nocite"]
KCAL = 23.060549  # per eV, LAMMPS's own


def _data(folder: Path, atoms: Atoms, elements: str = "Si O", name: str = "atoms.data") -> None:
    text = data_file(atoms, Box.around(atoms), elements.split())
    (folder / name).write_text(text, encoding="ascii")


def _run(folder: Path, script: str, ranks: int = 1) -> list[str]:
    """The lines that LAMMPS prints."""
    (folder / "in.test").write_text(script, encoding="utf-8")
    lines: list[str] = []
    run("in.test", ranks, folder, lines.append, QUIET)
    return lines


def _forces(file: Path) -> np.ndarray:
    return np.loadtxt(file, skiprows=9, ndmin=2)[:, 1:4]


SETUP = """
units {units}
atom_style {style}
atom_modify map array
boundary p p p
box tilt large
read_data {data}
"""
FORCES = "write_dump all custom {file} id fx fy fz modify sort id format float %.17g\n"
ELEMENTS = "O Si"


def _setup(units: str = "metal", style: str = "atomic", data: str = "atoms.data") -> str:
    return SETUP.format(units=units, style=style, data=data)


def test_two_ranks_run_the_same_trajectory(model_file: Path, tmp_path: Path) -> None:
    """200 steps of NVE, across migrations of atoms between domains."""
    atoms = structures()["crystal"]
    _data(tmp_path, atoms)
    script = (
        _setup()
        + f"pair_style clebsch domain off\npair_coeff * * {model_file} Si O\n"
        + "velocity all create 2000 11 loop all\nfix 1 all nve\ntimestep 0.0005\n"
        + "neighbor 0.3 bin\nrun 200\n"
        + "write_dump all custom {name} id xu yu zu modify sort id format float %.17g\n"
    )
    for ranks in (1, 2):
        _run(tmp_path, script.replace("{name}", f"end.{ranks}"), ranks)
    one, two = (_forces(tmp_path / f"end.{ranks}") for ranks in (1, 2))
    assert np.abs(one - Box.around(atoms).positions).max() > 0.02  # they have moved
    np.testing.assert_allclose(two, one, atol=1e-8)


def test_styles_units_and_other_pair_styles(model_file: Path, tmp_path: Path) -> None:
    """One structure in several scripts' ways, each against the calculator."""
    atoms = structures()["crystal"]
    _data(tmp_path, atoms)
    box = Box.around(atoms)
    lines = (tmp_path / "atoms.data").read_text(encoding="ascii").split("Atoms  # atomic\n\n")
    rows = [line.split() for line in lines[1].splitlines()]
    charge = "\n".join(" ".join([r[0], r[1], "0.5", *r[2:]]) for r in rows)
    full = "\n".join(" ".join([r[0], "1", r[1], "0.5", *r[2:]]) for r in rows)
    (tmp_path / "charge.data").write_text(f"{lines[0]}Atoms  # charge\n\n{charge}\n")
    (tmp_path / "full.data").write_text(f"{lines[0]}Atoms  # full\n\n{full}\n")
    pair = f"pair_style clebsch domain off\npair_coeff * * {model_file} Si O\n"
    end = 'run 0\nprint "$(pe:%.17g)" file {file}.pe\n' + FORCES
    overlay = (
        "pair_style hybrid/overlay clebsch domain off zbl 1.0 2.0\n"
        f"pair_coeff * * clebsch {model_file} Si O\npair_coeff 1 1 zbl 14 14\n"
        "pair_coeff 1 2 zbl 14 8\npair_coeff 2 2 zbl 8 8\n"
    )
    zbl = "pair_style zbl 1.0 2.0\npair_coeff 1 1 14 14\npair_coeff 1 2 14 8\npair_coeff 2 2 8 8\n"
    # Oxygen by Lennard-Jones, silicon by the model, nothing between them.
    partial = (
        "pair_style hybrid clebsch domain off lj/cut 4.0\n"
        f"pair_coeff * * clebsch {model_file} Si NULL\n"
        "pair_coeff 2 2 lj/cut 0.01 2.5\npair_coeff 1 2 lj/cut 0.0 1.0\n"
    )
    scripts = {
        "atomic": _setup() + pair,
        "charge": _setup(style="charge", data="charge.data") + pair,
        "full": _setup(style="full", data="full.data")
        + "special_bonds lj/coul 1.0 1.0 1.0\n"
        + pair,
        "real": _setup(units="real") + pair,
        "overlay": _setup() + overlay,
        "zbl": _setup() + zbl,
        "partial": _setup() + partial,
        "lj": _setup() + "pair_style lj/cut 4.0\npair_coeff * * 0.0 1.0\npair_coeff 2 2 0.01 2.5\n",
        "tiled": _setup() + "neighbor 0.5 bin\ncomm_style tiled\n" + pair + "balance 0.9 rcb\n",
    }
    text = "".join(f"clear\n{part}" + end.replace("{file}", name) for name, part in scripts.items())
    _run(tmp_path, text, 2)
    energy = {name: float((tmp_path / f"{name}.pe").read_text()) for name in scripts}
    forces = {name: box.back(_forces(tmp_path / name)) for name in scripts}
    calculator = load_model(model_file).calculator()
    atoms.calc = calculator
    e, f = atoms.get_potential_energy(), atoms.get_forces()
    for name in ("atomic", "charge", "full", "tiled"):
        assert abs(energy[name] - e) < 1e-9, name
        np.testing.assert_allclose(forces[name], f, atol=1e-9, err_msg=name)
    assert abs(energy["real"] - KCAL * e) < 1e-8 * abs(e)
    np.testing.assert_allclose(forces["real"], KCAL * f, rtol=1e-8, atol=1e-8)
    assert abs(energy["overlay"] - energy["zbl"] - e) < 1e-9
    np.testing.assert_allclose(forces["overlay"], forces["zbl"] + f, atol=1e-9)
    silicon = atoms.numbers == 14
    alone = atoms[silicon]
    alone.calc = calculator
    assert abs(energy["partial"] - energy["lj"] - alone.get_potential_energy()) < 1e-9
    expected = forces["lj"].copy()
    expected[silicon] += alone.get_forces()
    np.testing.assert_allclose(forces["partial"], expected, atol=1e-9)


def test_restart_files(model_file: Path, tmp_path: Path) -> None:
    """A run that goes on from a restart file ends where the uninterrupted one does."""
    _data(tmp_path, structures()["triclinic"])
    pair = f"pair_style clebsch domain off\npair_coeff * * {model_file} Si O\n"
    move = "fix 1 all nve\ntimestep 0.0005\n"
    end = "write_dump all custom {name} id xu yu zu modify sort id format float %.17g\n"
    first = _setup() + pair + "velocity all create 300 11 loop all\n" + move
    script = (
        first
        + "run 10\nwrite_restart half.restart\nrun 10\n"
        + end.replace("{name}", "whole")
        + "clear\nbox tilt large\nread_restart half.restart\n"
        + pair
        + move
        + "run 10\n"
        + end.replace("{name}", "resumed")
    )
    _run(tmp_path, script)
    np.testing.assert_allclose(
        _forces(tmp_path / "resumed"), _forces(tmp_path / "whole"), atol=1e-9
    )


def test_minimisation_and_a_change_of_the_box(model_file: Path, tmp_path: Path) -> None:
    """The energy falls, and forces vanish at its end: energy and forces belong together."""
    _data(tmp_path, structures()["wire"].repeat((2, 1, 1)))
    script = (
        _setup().replace("p p p", "p f f")
        + f"pair_style clebsch domain off\npair_coeff * * {model_file} Si O\n"
        + 'run 0\nprint "$(pe:%.17g)" file before\nminimize 0 1e-4 300 3000\n'
        + 'print "$(pe:%.17g) $(fmax:%.17g)" file after\n'
    )
    _run(tmp_path, script)
    before = float((tmp_path / "before").read_text())
    after, largest = (float(word) for word in (tmp_path / "after").read_text().split())
    assert after < before
    assert largest < 1e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Si O\n", "Si\n"), r"one element \(or NULL\) for each of the 2 atom types"),
        (("Si O\n", "Si Xe\n"), r"knows O, Si but not Xe"),
        (("domain off", "colour red"), r"'colour red' is none of: device NAME"),
        (("domain off", "domain"), r"'domain' needs a value"),
        (("domain off", "device nowhere"), r"device 'nowhere' cannot be used"),
        (("units metal", "units lj"), r"the unit styles metal and real, not lj"),
        (("units metal", "units metal\nnewton off"), r"needs 'newton on'"),
        (("MODEL", "missing.clebsch"), r"missing\.clebsch"),
        (("MODEL", "short.clebsch"), r"short\.clebsch"),
        (("MODEL", "newer.clebsch"), r"newer\.clebsch"),
        (("domain off", "domain stop"), r"atoms 1 \(Si\) and 2 \(Si\) are 1\.00 A apart, closer"),
        (("1.0 0 0", "0.0 0 0"), r"atoms 1 and 2 are at the same place"),
        (("run 0", "bond_style zero\nspecial_bonds lj/coul 0 0 1\nrun 0"), r"special_bonds"),
    ],
    ids=lambda value: value[1].strip().replace("\n", " ") if isinstance(value, tuple) else "",
)
def test_mistakes_get_one_sentence(
    model_file: Path, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    raw = model_file.read_bytes()
    (tmp_path / "short.clebsch").write_bytes(raw[: len(raw) // 2])
    size = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + size].replace(b'\\"format\\": 1', b'\\"format\\": 9')
    assert header != raw[8 : 8 + size]
    (tmp_path / "newer.clebsch").write_bytes(raw[:8] + header + raw[8 + size :])
    script = (
        "units metal\natom_style full\natom_modify map array\nboundary f f f\n"
        "special_bonds lj/coul 1 1 1\n"
        "region box block -5 5 -5 5 -5 5\ncreate_box 2 box bond/types 1 extra/bond/per/atom 1 "
        "extra/special/per/atom 2\nmass * 28\ncreate_atoms 1 single 0 0 0\n"
        "create_atoms 1 single 1.0 0 0\n"
        "pair_style clebsch domain off\npair_coeff * * MODEL Si O\nrun 0\n"
    ).replace(*change)
    with pytest.raises(UserError, match=message):
        _run(tmp_path, script.replace("MODEL", str(model_file)))


def test_a_close_pair_is_said_once_and_the_run_goes_on(model_file: Path, tmp_path: Path) -> None:
    atoms = Atoms("SiO", positions=[[0, 0, 0], [1.0, 0, 0]], cell=[9, 9, 9], pbc=True)
    _data(tmp_path, atoms)
    pair = f"pair_style clebsch\npair_coeff * * {model_file} Si O\n"
    lines = _run(tmp_path, _setup() + pair + "fix 1 all nve\ntimestep 1e-5\nrun 5\n")
    said = [line for line in lines if "closer than the 1.26 A" in line]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"was ended by SIGKILL \(too little memory"),
        ("sys.exit(-9)", r"was ended by SIGKILL \(too little memory"),  # as LAMMPS's own launcher
        ("sys.exit(139)", r"was ended by SIGSEGV\.$"),  # as a shell
        ("sys.exit(255)", r"ended with exit code 255: 38 312\.5$"),
    ],
)
def test_lammps_that_the_system_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, said: str
) -> None:
    program = [sys.executable, "-c", f"import os, signal, sys; print('38 312.5'); {end}"]
    monkeypatch.setattr("clebsch.lammps.launch.command", lambda *arguments: program)
    with pytest.raises(UserError, match=rf"^in\.test: LAMMPS {said}"):
        _run(tmp_path, "")


def _ranks() -> list[int]:
    """Processes of LAMMPS that this one started."""
    names, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, rest = path.read_text().rsplit(")", 1)
            names[int(path.parent.name)] = name.split("(", 1)[1]
            parents[int(path.parent.name)] = int(rest.split()[1])

    def ours(process: int) -> bool:
        return process == os.getpid() or (process in parents and ours(parents[process]))

    return [process for process, name in names.items() if name == "lmp" and ours(process)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are not files here")
def test_a_rank_that_the_system_ends_ends_all(model_file: Path, tmp_path: Path) -> None:
    """As where memory runs out; the others used to wait for it for ever."""
    _data(tmp_path, structures()["crystal"])
    script = _setup() + f"pair_style clebsch\npair_coeff * * {model_file} Si O\n"
    (tmp_path / "in.test").write_text(script + "fix 1 all nve\nthermo 1\nrun 1000000\n")
    killed: list[int] = []

    def kill_one(line: str) -> None:
        if line.split()[:1] == ["3"] and not killed:
            killed.extend(_ranks())
            os.kill(killed[0], signal.SIGKILL)

    def late(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(90)
    try:
        with pytest.raises(UserError, match="LAMMPS was ended by SIGKILL"):
            run("in.test", 2, tmp_path, kill_one, QUIET)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert len(killed) == 2


def test_a_worker_that_dies_ends_lammps(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that reports an error, in its own words."""
    _data(tmp_path, structures()["crystal"])
    python = tmp_path / "python"
    script = _setup() + f"pair_style clebsch\npair_coeff * * {model_file} Si O\nrun 0\n"
    for body, message in {
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": r"ended by signal 9",
        "import sys; sys.exit(5)": r"ended with exit code 5",
        "import sys; from clebsch.lammps import engine, worker; "
        "engine.Engine.compute = lambda *a, **k: 1 / 0; sys.argv[1:] = sys.argv[4:]; "
        "worker.main()": r"ZeroDivisionError: division by zero",
    }.items():
        python.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
        python.chmod(0o755)
        monkeypatch.setenv("CLEBSCH_PYTHON", str(python))
        with pytest.raises(UserError, match=message):
            _run(tmp_path, script)
    monkeypatch.setenv("CLEBSCH_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"none cannot be started .*set CLEBSCH_PYTHON"):
        _run(tmp_path, script)


def test_a_missing_reverse_exchange_shows(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were derivatives by ghosts' features not sent back, these tests would know."""
    atoms = structures()["crystal"]
    _data(tmp_path, atoms)
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\nfrom clebsch.lammps import worker\n"
        "worker._Neighbours.reverse = lambda self, rows: rows[: self.message.local].clone()\n"
        "sys.argv[1:] = sys.argv[4:]\nworker.main()\n",
        encoding="utf-8",
    )
    python.chmod(0o755)
    monkeypatch.setenv("CLEBSCH_PYTHON", str(python))
    pair = f"pair_style clebsch\npair_coeff * * {model_file} Si O\n"
    _run(tmp_path, _setup() + pair + "run 0\n" + FORCES.replace("{file}", "forces"), 2)
    atoms.calc = load_model(model_file).calculator()
    found = Box.around(atoms).back(_forces(tmp_path / "forces"))
    assert np.abs(found - atoms.get_forces()).max() > 1e-4
