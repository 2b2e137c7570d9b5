"""``clebsch verify``: exit codes, files, and one sentence for wrong input."""

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from clebsch.cli import app
from clebsch.errors import UserError
from clebsch.models import load_model, save_model
from clebsch.models.atomistic import AtomisticModel
from clebsch.nn import BesselBasis


def call(*arguments):
    result = CliRunner().invoke(app, ["verify", *(str(a) for a in arguments), "--quiet"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def cells(tmp_path):
    frames = []
    for seed in range(3):
        frames.append(bulk("SiC", "zincblende", a=4.36, cubic=True))
        frames[-1].rattle(0.05, seed=seed)
    path = tmp_path / "sic.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_a_sound_model(model_file, cells, tmp_path):
    out = tmp_path / "v"
    done = call(
        model_file, cells, "--quick", "--frames", 2, "--only", "ase,float32,conservation,cutoff",
        "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "ASE calculator, float64" in done.output
    assert "reference: eager, float64" in done.output
    assert "passed: " in done.output
    assert sorted(p.name for p in out.iterdir()) == ["verify.html", "verify.json", "verify.txt"]
    content = json.loads((out / "verify.json").read_text())
    assert content["passed"] is True
    assert content["cases"][0]["name"].endswith("sic.extxyz, frame 0")
    assert content["cases"][1]["name"].endswith("sic.extxyz, frame 2")
    assert {"eager, float32", "ASE calculator, float64", "energy conservation"} <= {
        row["check"] for row in content["findings"]
    }
    text = (out / "verify.txt").read_text()
    assert "triclinic cell" in text
    assert "1.0e-09" in text  # what is allowed
    page = (out / "verify.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.split("</style>")[1].replace("data:image", "")


def test_a_fault_ends_with_exit_code_1(model_file, tmp_path, monkeypatch):
    right = AtomisticModel.forward

    def wrong(self, *args, **options):
        result = right(self, *args, **options)
        return {**result, "stress": -result["stress"]} if "stress" in result else result

    monkeypatch.setattr(AtomisticModel, "forward", wrong)
    done = call(model_file, "--quick", "--only", "derivatives", "--out", tmp_path / "v")
    assert done.exit_code == 1
    assert "fail: stress by differences, triclinic cell: stress" in done.output
    assert "FAILED: " in done.output
    page = (tmp_path / "v" / "verify.html").read_text()
    assert "What failed" in page
    assert json.loads((tmp_path / "v" / "verify.json").read_text())["passed"] is False


def test_a_frozen_model_and_its_source(model_file, tmp_path):
    frozen = tmp_path / "frozen.clebsch"
    source = load_model(model_file)
    save_model(source.freeze(1e-5), frozen)
    alone = call(
        frozen, "--quick", "--only", "frozen,source,plain,float32,domains,derivatives,symmetries"
    )
    assert alone.exit_code == 0, alone.output
    assert "not run: source, float64: the file holds the frozen form alone" in alone.output
    content = json.loads((tmp_path / "frozen-verify" / "verify.json").read_text())
    assert content["reference"] == "frozen, float64"
    checks = {row["check"] for row in content["findings"] if row["status"] == "pass"}
    assert {"frozen, float32", "plain PyTorch, float64", "2 domains, float64", "rotation"} <= checks
    out = ("--out", tmp_path / "v")
    beside = call(frozen, "--quick", "--only", "source", "--source", model_file, *out)
    assert beside.exit_code == 0, beside.output
    assert "not run" not in beside.output
    other = load_model(model_file)
    other.embedding.data[0, 0] += 0.01
    save_model(other, tmp_path / "other.clebsch")
    differs = call(
        frozen, "--quick", "--only", "source", "--source", tmp_path / "other.clebsch", *out
    )
    assert differs.exit_code == 1
    assert "fail: source, float64" in differs.output


def test_wrong_input_is_told(model_file, cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refused(message, *arguments):
        with pytest.raises(UserError, match=message):
            call(*arguments)

    refused("no such model file", tmp_path / "nothing.clebsch")
    (tmp_path / "cut.clebsch").write_bytes(model_file.read_bytes()[:-200])
    refused(r"cut\.clebsch: not a clebsch model file or a truncated one", tmp_path / "cut.clebsch")
    model = load_model(model_file)
    monkeypatch.setattr("clebsch.models.model_file.FORMAT", 99)
    save_model(model, tmp_path / "newer.clebsch")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    refused("written in format 99, this clebsch", tmp_path / "newer.clebsch")
    refused("is not frozen, so it has no --source", model_file, "--source", model_file)
    refused("there is nothing called 'lamps'", model_file, "--only", "lamps")
    refused("--ranks are whole numbers", model_file, "--ranks", "two")
    refused("ranks: give whole numbers from 1", model_file, "--ranks", "0")

    refused(r"text: cannot be made", model_file, "--out", model_file / "text")
    refused("there is no such file", model_file, tmp_path / "none.xyz")
    (tmp_path / "text.xyz").write_text("hello\n")
    refused(r"text\.xyz, frame 0: cannot be read", model_file, tmp_path / "text.xyz")
    bad = {
        "gold.xyz": (Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]]), "does not know Au"),
        "nan.xyz": (Atoms("Si2", positions=[[0, 0, 0], [0, 0, np.nan]]), "frame 0"),
        "same.xyz": (Atoms("Si2", positions=[[1, 0, 0]] * 2), "on top of each other"),
        "flat.xyz": (Atoms("Si", cell=[[4, 0, 0]] * 3, pbc=True), "cell has no volume"),
    }
    for name, (atoms, message) in bad.items():
        ase.io.write(tmp_path / name, atoms, format="extxyz")
        refused(rf"{name}, frame 0.*{message}|{message}", model_file, tmp_path / name)
    assert not list(tmp_path.glob("*-verify"))


def test_an_engine_that_is_required_and_missing(model_file, tmp_path, monkeypatch):
    monkeypatch.setattr("clebsch.lammps.launch.available", lambda: "LAMMPS is not installed.")
    out = ("--quick", "--out", tmp_path / "v", "--ranks", "1")
    done = call(model_file, "--only", "ase,lammps", *out)
    assert done.exit_code == 0
    assert "not run: LAMMPS on 1 rank: LAMMPS is not installed." in done.output
    assert "1 not run" in done.output
    done = call(model_file, "--only", "ase", "--only", "lammps", *out)  # neither is lost
    assert "1 not run" in done.output
    assert "ASE calculator" in done.output
    done = call(model_file, "--only", "ase", "--require", "lammps", "--require", "ase", *out)
    assert done.exit_code == 1
    assert "fail: LAMMPS on 1 rank: LAMMPS is not installed." in done.output


def test_the_numbers_of_an_earlier_run(model_file, cells, tmp_path, monkeypatch):
    quick = ("--quick", "--only", "ase")
    assert call(model_file, cells, *quick, "--out", tmp_path / "before").exit_code == 0
    before = tmp_path / "before" / "verify.json"
    again = call(model_file, *quick, "--out", tmp_path / "now", "--against", before)
    assert again.exit_code == 0, again.output
    assert "numbers of before" in again.output

    # Another normalisation breaks no symmetry and no derivative, and every engine agrees on it.
    right = BesselBasis._normalise

    def wrong(self):
        right(self)
        self.scale *= 1 + 1e-6

    monkeypatch.setattr(BesselBasis, "_normalise", wrong)
    checks = ("--quick", "--only", "ase,derivatives,symmetries", "--out", tmp_path / "now")
    assert call(model_file, *checks).exit_code == 0
    done = call(model_file, *checks, "--against", before)
    assert done.exit_code == 1, done.output
    assert "fail: numbers of before, sic.extxyz, frame 0" in done.output

    (tmp_path / "other.json").write_text('{"numbers": [{"energy": 1}]}')
    with pytest.raises(UserError, match=r"other\.json: holds no numbers of a verification"):
        call(model_file, "--against", tmp_path / "other.json")
    with pytest.raises(UserError, match=r"none\.json: cannot be read"):
        call(model_file, "--against", tmp_path / "none.json")
