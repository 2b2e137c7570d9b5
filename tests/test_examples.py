"""The examples run as they stand, for a few steps and with a small untrained potential."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.core import TyperGroup

import clebsch.cli as cli
import clebsch.lammps
from clebsch.models import Potential, PotentialConfig, save_model

EXAMPLES = Path(__file__).parents[1] / "examples"

#: Lengths of the LAMMPS examples, a few steps instead of thousands.
SHORT = {
    "in.nve": {"steps": 20, "cells": 2},
    "in.nvt": {"equilibrate": 5, "steps": 40, "every": 20, "cells": 2},
    "in.npt": {"equilibrate": 5, "steps": 20, "every": 10, "cells": 2},
    "in.melt-quench": {
        "heat": 0.01, "melt": 0.02, "quench": 0.01, "relax": 0.02, "every": 5, "cells": 2,
        "hot": 400,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A potential that holds the crystal together: weak and repulsive at short range."""
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["Si"], cutoff=3.5, channels=4, lmax=1, layers=2, scales=[0.02], zbl=True
    )
    path = tmp_path_factory.mktemp("model") / "silicon.clebsch"
    save_model(Potential(config), path, {})
    return path


@pytest.fixture
def lammps_folder(silicon: Path, tmp_path: Path) -> Path:
    reason = clebsch.lammps.available()
    if reason is not None:
        pytest.skip(f"LAMMPS cannot run here: {reason}")
    shutil.copytree(EXAMPLES / "lammps", tmp_path, dirs_exist_ok=True)
    shutil.copy(silicon, tmp_path)
    return tmp_path


def lammps(folder: Path, script: str, ranks: int = 1, **variables: object) -> list[str]:
    """The lines that LAMMPS prints."""
    lines: list[str] = []
    options = [word for name, value in variables.items() for word in ("-var", name, str(value))]
    clebsch.lammps.run(script, ranks, folder, lines.append, options)
    assert not [line for line in lines if line.startswith("ERROR")]
    return lines


def test_every_input_is_tested() -> None:
    assert {path.name for path in (EXAMPLES / "lammps").glob("in.*")} == set(SHORT)


def test_nve(lammps_folder: Path) -> None:
    lines = lammps(lammps_folder, "in.nve", ranks=2, **SHORT["in.nve"])
    rows = [line.split() for line in lines if re.match(r" +20 ", line)]
    assert abs(float(rows[-1][5])) < 0.5  # meV per atom
    assert float(rows[-1][1]) > 100.0


def test_nvt(lammps_folder: Path) -> None:
    lammps(lammps_folder, "in.nvt", **SHORT["in.nvt"])
    averages = np.loadtxt(lammps_folder / "nvt.averages")
    assert averages[:, 0].tolist() == [20, 40]
    assert (averages[:, 3] > 0).all()
    assert (lammps_folder / "nvt.dump").read_text().count("ITEM: TIMESTEP") == 3
    assert (lammps_folder / "nvt.restart").exists()


def test_npt_and_its_restart(lammps_folder: Path) -> None:
    lines = lammps(lammps_folder, "in.npt", **SHORT["in.npt"])
    (said,) = [line for line in lines if line.startswith("lattice constant at 300 K:")]
    assert 5.3 < float(said.split()[-2]) < 5.7
    lines = lammps(lammps_folder, "in.npt", **SHORT["in.npt"], restart="npt.restart")
    assert any("Resetting global fix info" in line for line in lines)
    assert any(re.match(r" +50 ", line) for line in lines)  # 25 steps after 25


def test_melt_quench(lammps_folder: Path) -> None:
    lines = lammps(lammps_folder, "in.melt-quench", **SHORT["in.melt-quench"])
    assert any(line.startswith("not molten: atoms moved by") for line in lines)
    for name in ("melt.rdf", "glass.rdf"):
        text = (lammps_folder / name).read_text().splitlines()
        table = np.array([line.split() for line in text[4:]], dtype=float)
        assert table.shape == (120, 4)
        r, g = table[:, 1], table[:, 2]
        assert (g[r < 1.8] == 0).all()  # atoms keep their distance
        assert g.max() > 2.0
        assert 40 < table[-1, 3] < 50  # neighbours within 6 Å
    assert "64 atoms" in (lammps_folder / "glass.data").read_text()


def test_openmm(silicon: Path, tmp_path: Path) -> None:
    pytest.importorskip("openmm", reason="OpenMM is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "openmm" / "nvt.py", silicon, "20"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) == 12
    assert rows[10].split()[0] == "0.040"
    assert 100 < float(rows[1].split()[2]) < 900
    done = subprocess.run(
        [sys.executable, EXAMPLES / "openmm" / "nvt.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "usage: python nvt.py MODEL.clebsch [STEPS]\n"


@pytest.fixture
def short_path() -> Iterator[Path]:
    """The path of a socket has a hundred characters."""
    path = Path(tempfile.mkdtemp(prefix="ipi"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("way", ["socket", "direct"])
def test_ipi(way: str, short_path: Path) -> None:
    pytest.importorskip("ipi", reason="i-PI is not installed")
    folder = short_path
    shutil.copytree(EXAMPLES / "ipi", folder, dirs_exist_ok=True)
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["H", "C", "O"], cutoff=3.0, channels=4, lmax=1, layers=1, scales=[0.01] * 3
    )
    save_model(Potential(config), folder / "model.clebsch", {})
    text = (folder / "input.xml").read_text().replace(" 4000 ", " 8 ")
    if way == "direct":  # as the comment says
        text = re.sub(r"<ffsocket.*?</ffsocket>", "", text, flags=re.DOTALL)
        text = re.sub(r"<!-- The same.*?\n(.*?) -->", r"\1", text, flags=re.DOTALL)
    else:
        text = text.replace("<simulation ", f'<simulation sockets_prefix="{folder}/" ')
    (folder / "input.xml").write_text(text)
    programs = [[sys.executable, Path(sys.executable).with_name("i-pi"), "input.xml"]]
    if way == "socket":
        readme = (EXAMPLES / "ipi" / "README.md").read_text()
        (line,) = re.findall(r"^i-pi-py_driver (.*)$", readme, re.MULTILINE)
        driver = Path(sys.executable).with_name("i-pi-py_driver")
        programs.append([sys.executable, driver, "-S", f"{folder}/", *shlex.split(line)])
    running = []
    with (folder / "log").open("w") as log:
        try:
            for program in programs:
                running.append(subprocess.Popen(program, cwd=folder, stdout=log, stderr=log))
                for _ in range(300):
                    if (folder / "clebsch").exists() or running[0].poll() is not None:
                        break
                    time.sleep(0.1)
                    if way == "direct":
                        break
            running[0].wait(timeout=100)
        finally:
            for process in running:
                process.kill()
                process.wait()
    table = np.loadtxt(folder / "ethanol.out")
    assert table[:, 0].tolist() == [0, 4, 8], (folder / "log").read_text()
    assert np.isfinite(table).all()
    assert len(list(folder.glob("ethanol.pos_*"))) == 8


PAGES = sorted(set(EXAMPLES.rglob("*.md")) - {EXAMPLES / "networks" / "README.md"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_commands_of_the_pages_are_accepted(page: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    words = re.findall(r"^clebsch [^\n&]*", "".join(blocks), re.MULTILINE)
    assert words
    for line in words:
        command = typer.main.get_command(cli.app)
        context = command.make_context("clebsch", ["--help"], resilient_parsing=True)
        arguments = shlex.split(line)[1:]
        while isinstance(command, TyperGroup):
            name, command, arguments = command.resolve_command(context, arguments)
            context = command.make_context(name, arguments, parent=context)
            arguments = [*getattr(context, "_protected_args", []), *context.args]
