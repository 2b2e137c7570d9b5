"""``clebsch freeze``, and the frozen file in the verbs that take a model."""

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from clebsch.cli import app
from clebsch.errors import UserError
from clebsch.models import (
    FrozenPotential,
    Potential,
    PotentialConfig,
    freezing,
    load_model,
    read_header,
    save_model,
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    config = PotentialConfig(
        species=["Si", "C"], cutoff=3.2, channels=4, lmax=1, layers=2, mean_neighbours=6.0,
        scales=[0.02, 0.02],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "sic.clebsch"
    save_model(Potential(config), path, {"domain": {"min_distance": {"C-Si": 1.6}}})
    return path


@pytest.fixture
def unverified(monkeypatch):
    """Freezing alone, for tests that ask for nothing else."""
    monkeypatch.setattr("clebsch.cli.freeze._verify", lambda *arguments: None)


@pytest.fixture
def without_lammps(monkeypatch):
    """Its start is what takes longest."""
    monkeypatch.setattr("clebsch.lammps.launch.available", lambda: "LAMMPS is not asked here.")


@pytest.fixture
def cells(tmp_path):
    atoms = bulk("SiC", "zincblende", a=4.36)
    frames = []
    for seed in range(3):
        frames.append(atoms.copy())
        frames[-1].rattle(0.05, seed=seed)
    path = tmp_path / "sic.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def call(verb, *arguments):
    result = CliRunner().invoke(app, [verb, *(str(a) for a in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.usefixtures("unverified")
def test_freeze_and_use(model_file, cells, tmp_path):
    out = tmp_path / "frozen.clebsch"
    done = call("freeze", model_file, "--out", out, "--data", cells, "--tolerance", "1e-5")
    assert done.exit_code == 0, done.output
    assert "spline intervals" in done.output
    assert "MiB" in done.output
    assert "on 3 given structures" in done.output
    frozen = load_model(out)
    assert isinstance(frozen, FrozenPotential)
    assert frozen.facts["energy_error_eV_per_atom"] <= 1e-5
    assert frozen.facts["forces_error_eV_per_A"] <= 1e-4

    energies = []
    for number, model in enumerate((model_file, out)):
        place = tmp_path / f"{number}.csv"
        assert call("predict", model, cells, "--out", place, "--quiet").exit_code == 0
        table = np.genfromtxt(place, delimiter=",", names=True)
        energies.append(table["energy_per_atom_eV"])
    np.testing.assert_allclose(energies[1], energies[0], atol=1.2e-5, rtol=0)

    run = call("md", out, cells, "--out", tmp_path / "md", "--time", 0.005, "--quiet")
    assert run.exit_code == 0, run.output
    assert (tmp_path / "md" / "md.json").exists()


@pytest.mark.usefixtures("unverified")
@pytest.mark.filterwarnings("ignore")  # energies of an untrained network look like no unit
def test_evaluate_a_frozen_model(model_file, cells, tmp_path):
    out, reference = tmp_path / "frozen.clebsch", tmp_path / "reference.extxyz"
    call("freeze", model_file, "--out", out, "--data", cells, "--tolerance", "1e-5")
    call("predict", model_file, cells, "--out", reference, "--quiet")
    done = call("evaluate", out, reference, "--out", tmp_path / "e", "--quiet")
    assert done.exit_code == 0, done.output
    assert "element Si" in done.output


@pytest.mark.usefixtures("unverified")
def test_the_default_name_and_generated_structures(model_file, tmp_path):
    copied = tmp_path / "mine.clebsch"
    copied.write_bytes(model_file.read_bytes())
    done = call("freeze", copied, "--tolerance", "1e-3")
    assert done.exit_code == 0, done.output
    assert "generated structures" in done.output
    assert isinstance(load_model(tmp_path / "mine-frozen.clebsch"), FrozenPotential)
    with pytest.raises(UserError, match="is frozen already"):
        call("freeze", tmp_path / "mine-frozen.clebsch")


@pytest.mark.usefixtures("without_lammps")
def test_what_is_frozen_is_verified_first(model_file, cells, tmp_path):
    out = tmp_path / "frozen.clebsch"
    done = call("freeze", model_file, "--out", out, "--data", cells, "--tolerance", "1e-5")
    assert done.exit_code == 0, done.output
    assert "not run: LAMMPS on 2 ranks: LAMMPS is not asked here." in done.output
    assert "passed: " in done.output
    facts = read_header(out)["verification"]
    assert facts["passed"] is True
    assert facts["not_run"]["LAMMPS on 1 rank"] == "LAMMPS is not asked here."
    assert facts["failed"] == []
    assert load_model(out).header["frozen"]["tolerance"] == 1e-5


@pytest.mark.usefixtures("without_lammps")
def test_a_frozen_model_that_is_wrong_is_not_written(model_file, tmp_path, monkeypatch):
    """Splines of one layer that are a little off: no error, wrong numbers."""
    right = freezing.freeze

    def wrong(model, *arguments):
        frozen = right(model, *arguments)
        frozen.layers[0].table *= 1.1
        return frozen

    monkeypatch.setattr(freezing, "freeze", wrong)
    out = tmp_path / "frozen.clebsch"
    out.write_bytes(b"what was there before")
    arguments = ("freeze", model_file, "--out", out, "--tolerance", "1e-5")
    done = call(*arguments)
    assert done.exit_code == 1
    assert "fail: source, float64, triclinic cell: forces" in done.output
    assert "not written" in done.output
    assert out.read_bytes() == b"what was there before"
    done = call(*arguments, "--force")
    assert done.exit_code == 0
    assert isinstance(load_model(out), FrozenPotential)
    facts = read_header(out)["verification"]
    assert facts["passed"] is False
    assert facts["failed"] == ["source, float64"]


@pytest.mark.usefixtures("unverified")
def test_wrong_input_is_told(model_file, cells, tmp_path):
    before = model_file.read_bytes()
    with pytest.raises(UserError, match="would replace its own source"):
        call("freeze", model_file, "--out", model_file)
    with pytest.raises(UserError, match="is a folder; name a file"):
        call("freeze", model_file, "--out", tmp_path, "--data", tmp_path / "none.xyz")
    with pytest.raises(
        UserError, match=r"f\.clebsch: cannot be written \(.*sic\.extxyz is no folder"
    ):
        call("freeze", model_file, "--out", cells / "f.clebsch", "--tolerance", -1)
    with pytest.raises(UserError, match="no such model file"):
        call("freeze", tmp_path / "nothing.clebsch")
    with pytest.raises(UserError, match="tolerance must be a positive"):
        call("freeze", model_file, "--out", tmp_path / "f.clebsch", "--tolerance", "-1")
    with pytest.raises(UserError, match="spline intervals leave errors of"):
        call("freeze", model_file, "--data", cells, "--tolerance", "1e-30", "--out", tmp_path / "f")
    ase.io.write(tmp_path / "gold.xyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]]))
    with pytest.raises(UserError, match=r"gold\.xyz, frame 0: the model does not know Au"):
        call("freeze", model_file, "--data", tmp_path / "gold.xyz")
    ase.io.write(tmp_path / "alone.xyz", Atoms("Si"))
    with pytest.raises(UserError, match="no structure but isolated atoms"):
        call("freeze", model_file, "--data", tmp_path / "alone.xyz")
    with pytest.raises(UserError, match=r"none\.xyz"):
        call("freeze", model_file, "--data", tmp_path / "none.xyz")
    assert model_file.read_bytes() == before
    assert sorted(p.name for p in model_file.parent.iterdir()) == ["sic.clebsch"]
    assert not (tmp_path / "f.clebsch").exists()
