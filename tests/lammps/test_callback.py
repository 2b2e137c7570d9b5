"""LAMMPS without a compiler, and from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clebsch import compiler
from clebsch.errors import UserError
from clebsch.lammps import plugin, run
from clebsch.lammps.box import Box, data_file
from clebsch.lammps.launch import available
from lammps_structures import structures

pytestmark = pytest.mark.usefixtures("lammps")

SCRIPT = """\
units {units}
atom_style atomic
read_data atoms.data
{style}
pair_coeff * * &
    {model} Si O  # the elements
compute each all pe/atom
compute virials all stress/atom NULL virial
compute sums all reduce sum c_each c_virials[1] c_virials[4]
thermo_style custom step pe pxx pxy vol c_sums[*]
run 1
fix 1 all nve
run 3
print "$(pe:%.17g) $(pxx:%.17g) $(pxy:%.17g) $(c_sums[1]:%.17g) $(c_sums[2]:%.17g) $(vol)" &
    file {name}.totals
write_dump all custom {name}.atoms id fx fy fz modify sort id format float %.17g
"""


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plug-in can be built; the kernels' cache is as it was."""

    def missing() -> Path:
        raise compiler.NoCompiler("there is no C++ compiler; install g++")

    monkeypatch.setattr("clebsch.lammps.launch.build", missing)


def _write(folder: Path, model: Path, name: str, **words: str) -> None:
    atoms = structures()["triclinic"]
    text = data_file(atoms, Box.around(atoms), ["Si", "O"])
    (folder / "atoms.data").write_text(text, encoding="ascii")
    words = {"units": "metal", "style": "pair_style clebsch domain off", **words}
    script = SCRIPT.format(model=model, name=name, **words)
    (folder / f"in.{name}").write_text(script, encoding="ascii")


@pytest.mark.parametrize("units", ["metal", "real"])
def test_the_callback_is_the_plug_in(
    model_file: Path, tmp_path: Path, no_compiler: None, units: str
) -> None:
    for name in ("callback", "plugin"):
        _write(tmp_path, model_file, name, units=units)
    run("in.callback", 1, tmp_path, options=["-log", "none"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clebsch.lammps.launch.build", plugin.build)
        run("in.plugin", 1, tmp_path, options=["-log", "none"])
    for kind, skip in (("totals", 0), ("atoms", 9)):
        mine, theirs = (
            np.loadtxt(tmp_path / f"{name}.{kind}", skiprows=skip)
            for name in ("callback", "plugin")
        )
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-8)


def test_what_the_callback_cannot_do(model_file: Path, tmp_path: Path, no_compiler: None) -> None:
    assert available() == "there is no C++ compiler; install g++"
    _write(tmp_path, model_file, "ranks")
    with pytest.raises(UserError, match="runs on one rank only"):
        run("in.ranks", 2, tmp_path)
    _write(tmp_path, model_file, "hybrid", style="pair_style hybrid/overlay clebsch zbl 1 2")
    with pytest.raises(UserError, match="the one pair style must be clebsch"):
        run("in.hybrid", 1, tmp_path)
    _write(tmp_path, Path("${model}"), "variable")
    with pytest.raises(UserError, match="with names and no variables"):
        run("in.variable", 1, tmp_path)
    _write(tmp_path, model_file, "lj", units="lj")
    with pytest.raises(UserError, match="unit styles metal and real, not lj"):
        run("in.lj", 1, tmp_path)


def test_an_error_in_the_callback_ends_lammps(
    model_file: Path, tmp_path: Path, no_compiler: None
) -> None:
    """Python's own way is to print it and go on, here with wrong forces."""
    _write(tmp_path, model_file, "same")
    data = (tmp_path / "atoms.data").read_text(encoding="ascii").splitlines()
    first = data.index("Atoms  # atomic") + 2
    data[first + 1] = " ".join([*data[first + 1].split()[:2], *data[first].split()[2:]])
    (tmp_path / "atoms.data").write_text("\n".join(data) + "\n", encoding="ascii")
    with pytest.raises(UserError, match="two atoms are at the same place"):
        run("in.same", 1, tmp_path)


def test_a_session_in_python(model_file: Path, tmp_path: Path) -> None:
    """In a process of its own: LAMMPS initialises MPI for good."""
    _write(tmp_path, model_file, "python")
    code = (
        "from clebsch.lammps import session\n"
        "lmp = session(['-log', 'none', '-screen', 'none'])\n"
        "lmp.file('in.python')\n"
        "print(repr(lmp.get_thermo('pe')))\n"
        "lmp.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run("in.python", 1, tmp_path, options=["-log", "none"])
    expected = float((tmp_path / "python.totals").read_text().split()[0])
    assert abs(float(done.stdout.splitlines()[-1]) - expected) < 1e-9


def _clebsch(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clebsch.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command(model_file: Path, tmp_path: Path) -> None:
    _write(tmp_path, model_file, "command")
    script = str(tmp_path / "in.command")
    done = _clebsch("lammps", str(model_file), "--in", script, "--ranks", "2")
    assert done.returncode == 0, done.stderr
    assert f"pair_coeff     * * {model_file} O Si" in done.stdout
    assert "Loop time" in done.stdout
    assert (tmp_path / "command.atoms").exists()
    done = _clebsch("lammps", "--in", str(tmp_path / "in.nothing"))
    assert done.returncode == 2
    assert (
        done.stderr == f"error: {tmp_path / 'in.nothing'}: no such input script; check the path.\n"
    )
    assert not done.stdout
    done = _clebsch("lammps", "--in", script, "--ranks", "0")
    assert done.returncode == 2
    assert done.stderr == "error: --ranks 0: give 1 or more.\n"


def test_another_version_of_lammps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_file: Path
) -> None:
    """A plug-in of another version refuses in a sentence and is left out."""
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plugin, "lammps_version", lambda: 20200101)
    built = plugin.build()
    script = tmp_path / "in.other"
    script.write_text(f"plugin load {built}\npair_style clebsch\n", encoding="ascii")
    lines: list[str] = []
    monkeypatch.setenv("LAMMPS_PLUGIN_PATH", "")
    code = (
        "import subprocess, sys, lammps.executable as e, os; os.environ['LAMMPS_PLUGIN_PATH'] = '';"
        f"e._program('lmp', ['-in', {str(script)!r}, '-log', 'none'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any("was built for LAMMPS 20200101 and is left out of this one" in x for x in lines)
    assert any("Unrecognized pair style 'clebsch'" in x for x in lines)


def test_no_compiler_leaves_other_users_of_lammps_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """LAMMPS asks for the plug-in at each start: an exception would stop it."""

    def missing() -> Path:
        raise compiler.NoCompiler("there is no C++ compiler; install g++")

    monkeypatch.setattr(plugin, "build", missing)
    folder = Path(plugin.plugin_folder())
    assert not list(folder.glob("*plugin.so"))
    assert "no pair_style clebsch here: there is no C++ compiler" in capsys.readouterr().err
