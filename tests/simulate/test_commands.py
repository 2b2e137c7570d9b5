"""The verbs md, predict and evaluate, on a small untrained network."""

import json
import warnings

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from clebsch.cli import app
from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig, save_model
from clebsch.simulate import Calculator, read_structure


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["Si", "C"], cutoff=3.2, channels=4, lmax=1, layers=2, mean_neighbours=6.0,
        scales=[0.05, 0.05],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "sic.clebsch"
    save_model(Potential(config), path, {"domain": {"min_distance": {"C-Si": 1.6}}})
    return path


@pytest.fixture
def cell(tmp_path):
    atoms = bulk("SiC", "zincblende", a=4.36)
    atoms.rattle(0.02, seed=0)
    path = tmp_path / "sic.extxyz"
    ase.io.write(path, [atoms, atoms], format="extxyz")
    return path


def call(verb, *arguments):
    result = CliRunner().invoke(app, [verb, *(str(a) for a in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_md_and_resume(model_file, cell, tmp_path):
    out = tmp_path / "run"
    common = ("--out", out, "--quiet")
    first = call(
        "md", model_file, cell, *common, "--ensemble", "npt", "--temperature", 300, "--time",
        0.01, "--timestep", 1, "--supercell", 2, 1, 1, "--sample", 1,
    )  # fmt: skip
    assert first.exit_code == 0, first.output
    assert "C2Si2: 0.01 ps in 10 steps" in first.output
    assert "volume: " in first.output
    again = call("md", model_file, "--resume", "--time", 0.015, *common)
    assert again.exit_code == 0, again.output
    summary = json.loads((out / "md.json").read_text())
    assert summary["steps"] == 15
    assert summary["settings"]["ensemble"] == "npt"
    with pytest.raises(UserError, match="leave out --temperature, --relax"):
        call("md", model_file, "--resume", "--temperature", 5, "--relax", *common)
    with pytest.raises(UserError, match=r"--time -1\.0: input should be greater"):
        call("md", model_file, "--resume", "--time", -1, *common)


def test_wrong_settings_are_told_by_their_options(model_file, cell, tmp_path):
    for option, value, reason in (
        ("--every", 0, "--every 0.0: input should be greater than 0"),
        ("--thermostat-time", -1, "--thermostat-time -1.0: input should be greater than 0"),
        ("--pressure", "inf", "--pressure inf: input should be a finite number"),
        ("--seed", -1, "--seed -1: input should be greater"),
    ):
        with pytest.raises(UserError, match=reason):
            call("md", model_file, cell, option, value, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_without_effect_are_not_taken(model_file, cell, tmp_path):
    """--thermostat alone is no NVT: the ensemble is NVE unless it is named."""
    for ensemble, option, value, users in (
        ((), "--thermostat", "langevin", "nve, only with nvt"),
        (("--ensemble", "npt"), "--thermostat", "langevin", "npt, only with nvt"),
        ((), "--thermostat-time", 50, "nve, only with nvt and npt"),
        (("--ensemble", "nvt"), "--pressure", 1, "nvt, only with npt"),
        (("--ensemble", "nvt"), "--barostat-time", 1, "nvt, only with npt"),
        (("--ensemble", "nvt"), "--bulk-modulus", 1, "nvt, only with npt"),
    ):
        with pytest.raises(UserError, match=f"{option} has no effect with --ensemble {users};"):
            call("md", model_file, cell, *ensemble, option, value, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_md_that_leaves_the_domain_exits_with_3(model_file, tmp_path):
    close = Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.2]])
    ase.io.write(tmp_path / "close.xyz", close)
    result = call(
        "md", model_file, tmp_path / "close.xyz", "--out", tmp_path / "run", "--quiet", "--time", 1
    )
    assert result.exit_code == 3
    assert "volume" not in result.output
    assert "stopped: atoms 0 and 1 (C-Si) are 1.20 Å apart" in result.output
    assert (tmp_path / "run" / "md.json").exists()


def test_md_names_the_file_of_an_unknown_element(model_file, tmp_path):
    ase.io.write(tmp_path / "gold.xyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]]))
    with pytest.raises(UserError, match=r"gold\.xyz, frame 0: the model does not know Au"):
        call("md", model_file, tmp_path / "gold.xyz", "--out", tmp_path / "run")


def test_bad_models_and_devices(model_file, cell, tmp_path):
    with pytest.raises(UserError, match="no such model file"):
        call("md", tmp_path / "nothing.clebsch", cell)
    (tmp_path / "text.clebsch").write_text("hello")
    with pytest.raises(UserError, match="not a clebsch model file"):
        call("predict", tmp_path / "text.clebsch", cell)
    with pytest.raises(UserError, match="--device cpu"):
        call("evaluate", model_file, cell, "--device", "nonsense")


def test_predict(model_file, cell, tmp_path):
    out = tmp_path / "p.csv"
    result = call("predict", model_file, cell, "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert "2 structures" in result.output
    assert len(out.read_text().splitlines()) == 3


def test_evaluate(model_file, cell, tmp_path):
    from clebsch.models import load_model

    atoms = ase.io.read(cell, -1)
    atoms.calc = Calculator(load_model(model_file))
    atoms.get_forces()
    atoms.get_stress()
    ase.io.write(tmp_path / "ref.extxyz", [atoms, atoms], format="extxyz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # energies of an untrained network look like no unit
        result = call(
            "evaluate", model_file, tmp_path / "ref.extxyz", "--out", tmp_path / "e", "--quiet"
        )
    assert result.exit_code == 0, result.output
    assert "element Si" in result.output
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["overall"]["forces_mae_meV_per_A"] == pytest.approx(0.0, abs=1e-2)


def test_network_with_a_skin_equals_fresh_lists(model_file, rng):
    """Bit for bit over a trajectory, as for the analytic potential."""
    from clebsch.models import load_model

    model = load_model(model_file)
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    lazy, fresh = Calculator(model, skin=0.8), Calculator(model, skin=0.0)
    for _ in range(10):
        atoms.positions += rng.normal(0, 0.04, atoms.positions.shape)
        lazy.calculate(atoms)
        fresh.calculate(atoms)
        np.testing.assert_array_equal(lazy.results["forces"], fresh.results["forces"])
        np.testing.assert_array_equal(lazy.results["stress"], fresh.results["stress"])
    assert lazy.neighbours.builds < fresh.neighbours.builds


def test_read_structure(cell):
    atoms, where = read_structure(str(cell), 0, (2, 2, 1))
    assert len(atoms) == 8
    assert where.endswith("sic.extxyz, frame 0")
    with pytest.raises(UserError, match=r"no frame 5; they are 0 to 1\.$"):
        read_structure(str(cell), 5)
    one = cell.with_name("one.extxyz")
    ase.io.write(one, atoms)
    with pytest.raises(UserError, match=r"no frame -2; the only one is 0\.$"):
        read_structure(str(one), -2)
    with pytest.raises(UserError, match="whole numbers from 1"):
        read_structure(str(cell), 0, (0, 1, 1))


def test_supercell_of_a_molecule(tmp_path):
    ase.io.write(tmp_path / "m.xyz", Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.9]]))
    with pytest.raises(UserError, match=r"m\.xyz, frame 0: is not periodic along cell vector 1"):
        read_structure(str(tmp_path / "m.xyz"), 0, (2, 1, 1))
