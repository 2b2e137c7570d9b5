import csv
import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import UserError
from clebsch.simulate import Calculator, evaluate, predict, write_predictions
from clebsch.simulate.prediction import graph_batches
from clebsch.structures import read_dataset


@pytest.fixture
def frames(rng):
    """Ten structures of 1 to 8 atoms, crystals and clusters, in no order."""
    result = []
    for number in range(10):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=number % 3 == 0).repeat((1 + number % 2, 1, 1))
        atoms.rattle(0.1, seed=number)
        atoms.pbc = number % 4 != 1
        atoms.info["config_type"] = "crystal" if atoms.pbc.all() else "cluster"
        result.append(atoms)
    return result


@pytest.fixture
def labelled(frames, argon, tmp_path):
    """The same with the potential's own values, but forces of frame 6 off by 0.1 eV/Å."""
    for number, atoms in enumerate(frames):
        calculator = Calculator(argon)
        calculator.calculate(atoms)
        results = {k: v for k, v in calculator.results.items() if k in ("energy", "forces")}
        if atoms.pbc.all():
            results["stress"] = calculator.results["stress"]
        if number == 6:
            results["forces"] = results["forces"] + [0.1, 0.0, 0.0]
        atoms.calc = SinglePointCalculator(atoms, **results)
    path = tmp_path / "labelled.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return path


@pytest.mark.parametrize("max_atoms", [1, 5, 1000])
def test_batches_predict_what_the_calculator_does(argon, frames, max_atoms):
    predictions = list(predict(argon, frames, max_atoms=max_atoms))
    assert len(predictions) == len(frames)
    for atoms, predicted in zip(frames, predictions, strict=True):
        calculator = Calculator(argon)
        calculator.calculate(atoms)
        np.testing.assert_array_equal(atoms.positions, predicted.positions)
        names = {"energy", "energies", "forces"} | ({"stress"} if atoms.pbc.all() else set())
        assert set(predicted.calc.results) == names
        for name in names:
            np.testing.assert_allclose(
                predicted.calc.results[name], calculator.results[name], atol=1e-12
            )


def test_batches_keep_to_their_limit(argon, frames):
    sizes = [batch.n_atoms for batch in graph_batches(argon, frames, max_atoms=9)]
    assert sum(sizes) == sum(len(f) for f in frames)
    assert max(sizes) <= 9
    assert len(sizes) < len(frames)


def test_extxyz_out(argon, frames, tmp_path):
    assert write_predictions(predict(argon, frames), tmp_path / "p.extxyz") == 10
    read = ase.io.read(tmp_path / "p.extxyz", ":")
    expected = next(iter(predict(argon, frames)))
    assert read[0].get_potential_energy() == pytest.approx(expected.get_potential_energy())
    np.testing.assert_allclose(read[0].get_forces(), expected.get_forces(), atol=1e-7)
    energies = read[0].get_potential_energies()
    assert energies.sum() == pytest.approx(read[0].get_potential_energy())


def test_csv_and_json_out(argon, frames, tmp_path):
    write_predictions(predict(argon, frames), tmp_path / "p.csv")
    write_predictions(predict(argon, frames), tmp_path / "p.json")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    records = json.loads((tmp_path / "p.json").read_text())
    assert len(rows) == len(records) == 10
    for atoms, row, record in zip(frames, rows, records, strict=True):
        assert float(row["energy_eV"]) == record["energy_eV"]
        assert sum(record["atomic_energies_eV"]) == pytest.approx(record["energy_eV"])
        assert np.shape(record["forces_eV_per_A"]) == (len(atoms), 3)
        assert (row["stress_xx_eV_per_A3"] != "") == ("stress_eV_per_A3" in record)


def test_predictions_name_file_and_frame(argon, frames, tmp_path):
    files = [str(tmp_path / "a b.extxyz"), str(tmp_path / "c.extxyz")]
    ase.io.write(files[0], frames[:3], format="extxyz")
    ase.io.write(files[1], frames[3:], format="extxyz")
    dataset = read_dataset(files)
    expected = [(files[0], n) for n in range(3)] + [(files[1], n) for n in range(7)]
    for suffix in ("csv", "json", "extxyz"):
        write_predictions(predict(argon, dataset), tmp_path / f"p.{suffix}")
    rows = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    assert [(row["source"], int(row["frame"])) for row in rows] == expected
    records = json.loads((tmp_path / "p.json").read_text())
    assert [(record["source"], record["frame"]) for record in records] == expected
    read = ase.io.read(tmp_path / "p.extxyz", ":")
    assert [(atoms.info["source"], atoms.info["frame"]) for atoms in read] == expected
    assert "source" not in dataset[0].info
    # predicted again, each names the file that it was read from now
    again = next(predict(argon, read_dataset(tmp_path / "p.extxyz")))
    assert again.info["source"] == str(tmp_path / "p.extxyz")


def test_unknown_suffix_and_element_write_nothing(argon, frames, tmp_path):
    with pytest.raises(UserError, match=r"written as \.xyz"):
        write_predictions(predict(argon, frames), tmp_path / "p.cif")
    frames[7].symbols[0] = "Xe"
    path = tmp_path / "mixed.extxyz"
    ase.io.write(path, frames, format="extxyz")
    with pytest.raises(UserError, match=r"mixed\.extxyz, frame 7: the model does not know Xe"):
        write_predictions(predict(argon, read_dataset(path)), tmp_path / "p.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["mixed.extxyz"]


def test_evaluation_finds_the_wrong_frame(argon, labelled, tmp_path):
    dataset = read_dataset(labelled)
    seen = []
    result = evaluate(argon, dataset, tmp_path / "out", worst=2, on_batch=seen.append)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics == result.metrics
    assert sum(seen) == metrics["frames"] == 10
    n = metrics["atoms"]
    wrong = len(dataset[6])
    assert metrics["overall"]["energy_mae_meV_per_atom"] == pytest.approx(0.0, abs=1e-4)
    assert metrics["overall"]["stress_mae_meV_per_A3"] == pytest.approx(0.0, abs=1e-4)
    expected = 100.0 * wrong / (3 * n)
    assert metrics["overall"]["forces_mae_meV_per_A"] == pytest.approx(expected, rel=1e-4)
    assert metrics["by_element"]["Ar"]["forces_mae_meV_per_A"] == pytest.approx(expected, rel=1e-4)
    assert set(metrics["by_config_type"]) == {"crystal", "cluster"}
    first = metrics["worst_frames"][0]
    assert first["index"] == 6
    assert first["where"].endswith("labelled.extxyz, frame 6")
    assert first["forces_rmse_meV_per_A"] == pytest.approx(100.0 / 3**0.5, rel=1e-4)
    assert first["worst_atom_error_meV_per_A"] == pytest.approx(100.0, rel=1e-4)
    assert (tmp_path / "out" / "parity.png").stat().st_size > 5000


def test_evaluation_without_labels(argon, frames, tmp_path):
    for atoms in frames:
        atoms.calc = None
    path = tmp_path / "bare.extxyz"
    ase.io.write(path, frames, format="extxyz")
    with pytest.raises(UserError, match="no energy, forces or stress to compare"):
        evaluate(argon, read_dataset(path), tmp_path / "out")
    assert argon.edges_seen == 0  # said before the work
    assert not (tmp_path / "out").exists()


def test_evaluation_looks_at_the_place_first(argon, labelled, tmp_path):
    (tmp_path / "file").write_text("kept")
    argon.edges_seen = 0
    with pytest.raises(UserError, match="cannot be written"):
        evaluate(argon, read_dataset(labelled), tmp_path / "file")
    assert argon.edges_seen == 0
