"""``clebsch density properties`` and ``restart``: results, comparison, refusals."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from ase.units import Debye

import clebsch.cli as cli
from clebsch.density import AuxiliaryBasis, Level, density_error_percent
from clebsch.density.data import DensityDataset, read_density, write_density

pytest.importorskip("pyscf")

WATER = Atoms("OH2", [[0, 0, 0.117], [0, 0.757, -0.471], [0.1, -0.757, -0.471]])
H2 = Atoms("H2", [[0, 0, 0], [0.1, 0.2, 0.7]])
LEVEL = Level(basis="6-31g", grid_level=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """reference.h5 and predicted.h5, whose coefficients are 1 % off."""
    from clebsch.density.reference import compute_reference

    folder = tmp_path_factory.mktemp("densities")
    basis = AuxiliaryBasis.from_pyscf([1, 8])
    records = [
        replace(
            compute_reference(a.numbers, a.positions, LEVEL, basis, keep_grid=a is WATER),
            source=name,
            split=split,
        )
        for a, name, split in ((WATER, "water.xyz, frame 0", "test"), (H2, "h2.xyz, frame 0", ""))
    ]
    data = DensityDataset("made", basis, json.loads(LEVEL.to_json()), records)
    write_density(data, folder / "reference.h5")
    generator = torch.Generator().manual_seed(1)
    off = [
        replace(
            r,
            coefficients=r.coefficients
            * (1 + 0.01 * torch.randn(len(r.coefficients), generator=generator).double().numpy()),
            dipole=np.full(3, np.nan),
        )
        for r in records
    ]
    write_density(replace(data, records=off), folder / "predicted.h5")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Call ``clebsch density ...``; gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clebsch", "density", *(str(a) for a in arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


def test_properties_of_a_file(files, run, tmp_path) -> None:
    out = tmp_path / "p.json"
    code, text, _ = run(
        "properties", files / "predicted.h5", "--out", out, "--forces",
        "--reference", files / "reference.h5", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "H2O" in text
    assert "mean of 2" in text
    water, hydrogen = json.loads(out.read_text())["molecules"]
    assert water["name"] == "water.xyz, frame 0"
    reference, predicted = (read_density(files / f"{n}.h5") for n in ("reference", "predicted"))
    density, exact = predicted.density(0), reference.density(0)
    assert water["electrons"] == pytest.approx(float(density.electrons()), abs=1e-9)
    assert sum(water["atomic_electrons"]) == pytest.approx(water["electrons"], abs=1e-9)
    dipole = density.dipole().numpy()
    np.testing.assert_allclose(water["dipole"], dipole / Debye, atol=1e-9)
    quadrupole = np.array(water["quadrupole"])
    assert np.trace(quadrupole) == pytest.approx(0, abs=1e-9)
    masses = WATER.get_masses()
    centre = torch.from_numpy(masses @ WATER.positions / masses.sum())
    np.testing.assert_allclose(quadrupole, density.quadrupole(centre).numpy() / Debye, atol=1e-9)
    assert 1000 < water["hartree_energy"] < 1600
    assert np.shape(water["forces"]) == (3, 3)
    errors = water["errors"]
    # those of water are compared with the Kohn-Sham dipole
    assert errors["dipole"] == pytest.approx(
        np.linalg.norm(dipole - reference[0].dipole) / Debye, abs=1e-9
    )
    assert errors["against_fit"] == pytest.approx(density_error_percent(density, exact), rel=1e-6)
    assert errors["against_grid"] > 0.7 * reference[0].fit_error_percent
    assert hydrogen["errors"]["against_grid"] is None


def test_a_reference_is_at_no_distance_from_itself(files, run, tmp_path) -> None:
    out, path = tmp_path / "p.csv", files / "reference.h5"
    code, _, _ = run(
        "properties", path, "--reference", path, "--out", out, "--no-hartree", "--split", "test",
        "--quiet",
    )  # fmt: skip
    assert code == 0
    with out.open() as file:
        (row,) = csv.DictReader(file)
    record = read_density(path)[0]
    assert float(row["error_of_fit_percent"]) == pytest.approx(0, abs=1e-9)
    assert float(row["error_of_dft_percent"]) == pytest.approx(record.fit_error_percent, rel=0.03)
    assert float(row["dipole_error_D"]) < 0.1
    assert row["hartree_energy_eV"] == ""
    assert len(row["atomic_electrons"].split()) == 3


def test_the_reference_may_be_in_another_order_but_not_another(files, run, tmp_path) -> None:
    data = read_density(files / "reference.h5")
    turned = tmp_path / "turned.h5"
    write_density(replace(data, records=list(data.records)[::-1]), turned)
    code, text, _ = run("properties", files / "reference.h5", "--reference", turned, "--quiet")
    assert code == 0
    assert "mean of 2: 0.000 %" in text
    lacking = tmp_path / "lacking.h5"
    write_density(replace(data, records=[data[1]]), lacking)
    code, _, error = run("properties", files / "reference.h5", "--reference", lacking, "--quiet")
    assert code == 2
    assert "has no density of this molecule" in error
    assert error.count("\n") == 1


def test_refusals_of_properties(files, run, tmp_path) -> None:
    path = files / "reference.h5"
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"not hdf5")
    text = tmp_path / "w.xyz"
    write(text, WATER)
    cases = [
        (["properties", path, "--out", tmp_path / "p.txt"], ".json or a .csv"),
        (["properties", path, "--forces"], "name a file for them"),
        (["properties", path, "--split", "nothing"], "no molecules of the part 'nothing'"),
        (["properties", tmp_path / "none.h5"], "no such file"),
        (["properties", wrong], "not an HDF5 file"),
        (["properties", path, "water.xyz"], "structures go with a model"),
        (["properties", text], "w.xyz: is no file of densities"),
        (["restart", text, path], "name a model (.clebsch) before them"),
        (["properties", path, "--device", "foo"], "leave out --device"),
        (["restart", path, "--device", "foo"], "leave out --device"),
        (["properties", path, "--out", text / "p.csv"], "p.csv: cannot be written"),
        (["properties", tmp_path / "none.clebsch", "water.xyz"], "no such model file"),
    ]
    for arguments, sentence in cases:
        code, _, error = run(*arguments, "--quiet")
        assert code == 2, arguments
        assert sentence in error
        assert error.count("\n") == 1
    assert not (tmp_path / "p.txt").exists()


def test_restart_saves_what_pyscf_takes(files, run, tmp_path) -> None:
    from pyscf import dft, gto

    from clebsch.density.molecule import without_checkpoint

    out = tmp_path / "starts"
    code, text, _ = run("restart", files / "predicted.h5", "--out", out, "--quiet")
    assert code == 0
    assert "2 density matrices at pbe0/6-31g" in text
    assert sorted(p.name for p in out.iterdir()) == ["00000.npz", "00001.npz"]
    with np.load(out / "00000.npz", allow_pickle=False) as start:
        # as the manual page says
        mol = gto.M(
            atom=list(zip(start["symbols"], start["positions"], strict=True)),
            basis=str(start["basis"]),
            verbose=0,
        )
        cycles = []
        for guess in (start["dm0"], None):
            mf = without_checkpoint(dft.RKS(mol, xc=str(start["xc"])).density_fit())
            mf.kernel(dm0=guess)
            cycles.append(mf.cycles)
        assert cycles[0] < cycles[1]
        assert start["potential"].shape == start["dm0"].shape
        assert str(start["name"]) == "water.xyz, frame 0"


def test_comparison(files, run, tmp_path) -> None:
    out = tmp_path / "starts"
    code, text, error = run(
        "restart", files / "reference.h5", "--out", out, "--compare", "--xc", "pbe", "--quiet"
    )
    assert code == 0
    assert error == ""
    assert "saved against minao" in text
    result = json.loads((out / "comparison.json").read_text())
    assert result["level"]["xc"] == "pbe"
    assert result["level"]["basis"] == "6-31g"
    for molecule in result["molecules"]:
        guesses = {r["guess"]: r for r in molecule["results"]}
        assert set(guesses) == {"density", "minao", "atom", "huckel"}
        assert molecule["energy_spread"] < 1e-6
    water = {r["guess"]: r["cycles"] for r in result["molecules"][0]["results"]}
    assert water["density"] < min(water["minao"], water["huckel"], water["atom"])
    share = np.mean(
        [1 - m["results"][0]["cycles"] / m["results"][1]["cycles"] for m in result["molecules"]]
    )
    assert result["summary"]["minao"]["cycles_saved_percent"] == pytest.approx(100 * share)
    assert (out / "comparison.png").stat().st_size > 10_000


def test_the_comparison_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from clebsch.cli.density.starts import Compared, comparison_table
    from clebsch.density.restart import GUESSES, GuessResult

    guesses = ("density", *GUESSES)
    results = [GuessResult(guess, 12, 1234.5, 0.1, 1234.5, -2.0) for guess in guesses]
    row = Compared(10234, "w.xyz, frame 0", "H24O12", 120, results)
    means = {guess: {"cycles": 12.5, "processor_seconds": 98765.4} for guess in guesses}
    Console(width=80).print(comparison_table([row], means))
    *_, molecule, mean = (
        line.split() for line in capsys.readouterr().out.splitlines() if line.strip()
    )
    assert molecule == ["10234", "H24O12", *["12", "1234.5"] * 4]
    assert mean == ["mean", *["12.5", "98765.4"] * 4]


def test_refusals_of_restart(files, run, tmp_path, monkeypatch) -> None:
    data = read_density(files / "reference.h5")
    charged = tmp_path / "charged.h5"
    record = replace(data[0], coefficients=0.9 * data[0].coefficients)
    write_density(replace(data, records=[record]), charged)
    path, taken = files / "reference.h5", tmp_path / "taken"
    taken.write_text("")
    out = ["--out", tmp_path / "starts", "--quiet"]
    cases = [
        (["restart", charged, *out], "holds 9.000 electrons"),
        (["restart", path, "--basis", "no-such", *out], "no orbital basis 'no-such'"),
        (["restart", path, "--xc", "no-such", *out], "does not know the functional"),
        (["restart", path, "--grid-level", 12, *out], "grid level must be 0 to 9"),
        (["restart", path, "--out", taken, "--quiet"], "is a file, but the results are a folder"),
        (["restart", path, "w.xyz", *out], "structures go with a model"),
    ]
    for arguments, sentence in cases:
        code, _, error = run(*arguments)
        assert code == 2, arguments
        assert sentence in error
        assert error.count("\n") == 1
    monkeypatch.setitem(sys.modules, "pyscf", None)
    code, _, error = run("restart", path, *out)
    assert code == 2
    assert "needs PySCF" in error
    assert not (tmp_path / "starts").exists()


def test_an_scf_that_does_not_converge_is_left_out(files, run, tmp_path, monkeypatch) -> None:
    from clebsch.density import reference

    monkeypatch.setattr(reference, "_MAX_CYCLES", 2)
    out = tmp_path / "starts"
    code, text, error = run("restart", files / "reference.h5", "--out", out, "--compare", "--quiet")
    assert code == 0
    assert error.count("left out of the comparison") == 2
    assert "2 density matrices" in text
    assert not (out / "comparison.json").exists()


@pytest.fixture
def model(tmp_path, files):
    """An untrained network, which gives free atoms or nearly so."""
    from clebsch.models import DensityConfig, DensityModel, save_model

    basis = read_density(files / "reference.h5").basis
    names = {1: "H", 8: "O"}
    from clebsch.density.free_atoms import free_atom

    config = DensityConfig(
        species=["H", "O"],
        basis=basis.name,
        exponents={n: [list(row) for row in basis.exponents[z]] for z, n in names.items()},
        start={
            n: free_atom(z, LEVEL, basis)[: basis.blocks(z)[0].inside.stop].tolist()
            for z, n in names.items()
        },
        scales={n: [[1e-3] * len(row) for row in basis.exponents[z]] for z, n in names.items()},
        layers=1,
        lmax=1,
        channels=4,
    )
    path = tmp_path / "model.clebsch"
    torch.manual_seed(0)
    save_model(DensityModel(config), path, {"level": json.loads(LEVEL.to_json())})
    return path


def test_a_model_and_structures(model, files, run, tmp_path) -> None:
    write(tmp_path / "water.xyz", WATER)
    out = tmp_path / "p.json"
    code, _, error = run(
        "properties", model, files / "reference.h5", "--reference", files / "reference.h5",
        "--out", out, "--quiet",
    )  # fmt: skip
    assert code == 0, error
    water, _ = json.loads(out.read_text())["molecules"]
    assert water["electrons"] == pytest.approx(10, abs=1e-6)
    assert 3 < water["errors"]["against_fit"] < 30
    code, text, error = run(
        "properties", model, files / "reference.h5", "--split", "test", "--quiet"
    )
    assert code == 0, error
    assert "H2O" in text
    assert "│ H2 " not in text
    code, text, error = run(
        "restart", model, tmp_path / "water.xyz", "--out", tmp_path / "s", "--quiet"
    )
    assert code == 0, error
    assert "1 density matrices at pbe0/6-31g" in text


def test_structures_that_a_model_cannot_take(model, run, tmp_path) -> None:
    cases = [
        ({"symbols": "OH"}, "open shell"),
        (
            {"symbols": "He", "positions": [[0, 0, 0]]},
            "x.extxyz, frame 0: the model does not know He",
        ),
        ({"symbols": "OH2", "pbc": True, "cell": [9, 9, 9]}, "is periodic"),
        ({"symbols": "OH2", "info": {"charge": 2}}, "charge 2"),
    ]
    for what, sentence in cases:
        n = len(Atoms(what["symbols"]))
        atoms = Atoms(**{"positions": WATER.positions[:n], **what})
        write(tmp_path / "x.extxyz", atoms)
        for verb in ("properties", "restart"):
            code, _, error = run(verb, model, tmp_path / "x.extxyz", "--quiet")
            assert code == 2
            assert sentence in error
            assert error.count("\n") == 1
    code, _, error = run("properties", model, "--quiet")
    assert code == 2
    assert "name the structures" in error
