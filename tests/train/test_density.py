"""Training a density model: its loss, a run from file to report and prediction, wrong input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clebsch import cli
from clebsch.density import (
    AuxiliaryBasis,
    DensityDataset,
    density_error_percent,
    metric_matrix,
    read_density,
    write_density,
)
from clebsch.errors import UserError
from clebsch.models import DensityModel, load_density_model, predict_density
from clebsch.simulate.density_prediction import predict_densities, predicted_dataset
from clebsch.structures import AtomGraph, collate, read_dataset
from clebsch.train.density_config import DensityLossConfig, DensityTrainConfig
from clebsch.train.density_data import DensityFrames, read_density_parts
from clebsch.train.density_metrics import count_molecules, part_errors
from clebsch.train.density_run import DensityJob, starts_and_scales, train_density
from clebsch.train.density_task import DensityTask
from made_densities import configuration, dataset, model, waters, write

pytest.importorskip("pyscf")

TINY = {
    "model": {"channels": 8, "layers": 2, "lmax": 2, "cutoff": 3.5, "radial_width": 16},
    "epochs": 12,
}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command line."""
    monkeypatch.setattr("sys.argv", ["clebsch", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("densities") / "made.h5")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train_density(str(data), DensityTrainConfig(**TINY), out, progress=False)
    return out


@pytest.mark.parametrize("metric", ["overlap", "coulomb", "coefficients"])
def test_the_loss_is_the_squared_distance_per_electron(metric: str) -> None:
    frames = DensityFrames([dataset()])
    weights = {"overlap": 0.0, "coulomb": 0.0, "coefficients": 0.0} | {metric: 2.0}
    task = DensityTask(frames, DensityLossConfig(**weights))
    network = model(seed=3)
    graphs = [
        AtomGraph.from_atoms(frames[i], network.cutoff, torch.float64, frame=i) for i in (1, 4)
    ]
    expected = []
    for i in (1, 4):
        record = frames.records[i]
        d = predict_density(network, frames[i]).coefficients - torch.from_numpy(record.coefficients)
        M = (
            torch.eye(len(d)).double()
            if metric == "coefficients"
            else metric_matrix(frames.basis, record.numbers, record.positions, metric)  # type: ignore[arg-type]
        )
        expected.append(2000 * float(d @ M @ d) / record.electrons)
    loss = task.loss(network, collate(graphs))
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-9)
    predictions = task.predict(network, [collate(graphs)], torch.device("cpu"))
    assert task.errors(predictions)["loss"] == pytest.approx(np.mean(expected), rel=1e-9)


def test_starts_and_scales_whiten_what_is_learnt(data: Path) -> None:
    frames, parts = read_density_parts(DensityTrainConfig(data={"train": str(data)}))
    start, scales = starts_and_scales(frames, parts.train, "mean")
    given = configuration().model_dump() | {"start": start, "scales": scales}
    network = DensityModel(type(configuration())(**given)).double()
    for z in frames.basis.elements:
        rows = []
        for i in parts.train.indices:
            record = frames.records[i]
            places = frames.basis.index(record.numbers)[z].coefficients.numpy()
            rows.append(record.coefficients[places])
        c = torch.from_numpy(np.concatenate(rows))
        for block in frames.basis.blocks(z):
            own = c[:, block.inside].unflatten(1, (2 * block.l + 1, -1))
            if block.l == 0:
                own = own - network._of(z, "start")
                assert float(own.mean(0).abs().max()) < 1e-10
            A = network._buffers[f"_to_basis_{z}_{block.l}"]
            assert A is not None
            features = torch.linalg.solve(A, own.movedim(2, 1))
            torch.testing.assert_close(
                features.square().mean((0, 2)), torch.ones(len(block.exponents)).double()
            )
    free, _ = starts_and_scales(frames, parts.train, "free_atoms")
    assert free["O"] == pytest.approx(frames.free_atoms[8].numpy()[: len(free["O"])].tolist())


def test_a_run_leaves_model_metrics_figures_and_report(trained: Path, data: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    for name in ("config.yaml", "split.json", "metrics.csv", "report.html", "model.clebsch"):
        assert (trained / name).stat().st_size > 100
    for name in ("error_by_size", "learning_curves", "density", "density-error", "potential"):
        assert (trained / "figures" / f"{name}.png").stat().st_size > 5000
    assert metrics["n_train"] == 10
    assert metrics["test_electron_count_error"] < 1e-10
    # it learnt: the mean density is several times as far away
    assert metrics["test_density_error_percent"] < 0.7 * metrics["test_free_atoms_error_percent"]
    assert set(metrics["test_by_molecules"]) == {"1", "2"}
    network = load_density_model(trained / "model.clebsch")
    assert network.header["level"] == {"xc": "made", "basis": "none"}
    # the reported error is that of the model in the file, on a finer grid
    reference = read_density(data)
    chosen = reference.split("test")
    errors = [
        density_error_percent(
            predict_density(network, reference[i].atoms()), reference.density(int(i))
        )
        for i in chosen
    ]
    assert metrics["test_density_error_percent"] == pytest.approx(np.mean(errors), rel=0.02)


def test_the_metrics_are_zero_for_the_reference_itself(data: Path) -> None:
    frames = DensityFrames([read_density(data)])
    task = DensityTask(frames, DensityLossConfig())
    teacher = model(seed=7)
    graphs = [AtomGraph.from_atoms(frames[i], teacher.cutoff, torch.float64, i) for i in range(4)]
    predictions = task.predict(teacher, [collate(graphs)], torch.device("cpu"))
    e = part_errors(frames, task, predictions, 3)
    assert len(e.frame) == 3
    for values in (e.density_percent, e.dipole, e.hartree, e.electrons):
        assert np.abs(values).max() < 1e-9
    assert e.free_percent.min() > 1


def test_what_is_left_open_is_chosen_from_the_data(data: Path) -> None:
    config = DensityTrainConfig(data={"train": "embedded:water-density"})
    config = DensityJob().prepare(config, progress=False).config
    assert config.model["lmax"] == 4  # of the basis on oxygen
    assert config.optimiser.weight_decay > 0
    assert config.epochs > 10
    given = {"model": {"lmax": 1}, "optimiser": {"weight_decay": 0.0}, "epochs": 3}
    config = DensityTrainConfig(data={"train": str(data)}, **given)
    config = DensityJob().prepare(config, progress=False).config
    assert (config.model["lmax"], config.optimiser.weight_decay, config.epochs) == (1, 0.0, 3)


def test_molecules_are_counted_by_their_bonds() -> None:
    data = dataset()
    assert [count_molecules(r) for r in data.records[:4]] == [1, 2, 1, 2]


def test_resuming_changes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clebsch.train.density_run.DRAWN", 0)  # no pictures: they take seconds
    config = DensityTrainConfig(**TINY)
    config.epochs = 3
    whole = train_density(str(data), config, tmp_path / "whole", progress=False)
    config.epochs = 2
    train_density(str(data), config, tmp_path / "parts", progress=False)
    config.epochs = 3
    parts = train_density(str(data), config, tmp_path / "parts", resume=True, progress=False)
    first, second = (r.history[0]["train_loss"] for r in (whole, parts))
    assert first != second  # the schedule ends elsewhere
    again = train_density(str(data), config, tmp_path / "again", progress=False)
    assert [r["valid_loss"] for r in again.history] == [r["valid_loss"] for r in whole.history]


def test_parts(data: Path, tmp_path: Path) -> None:
    def parts(**given: object) -> dict[str, list[int]]:
        content = {"data": {"train": str(data)}} | given
        _, found = read_density_parts(DensityTrainConfig(**content))  # type: ignore[arg-type]
        return {name: part.indices.tolist() for name, part in found.named().items()}

    named = parts()
    assert [len(named[p]) for p in ("train", "valid", "test")] == [10, 3, 3]
    fewer = parts(split={"train": 4})
    assert len(fewer["train"]) == 4
    assert set(fewer["train"]) < set(named["train"])
    assert fewer["test"] == named["test"]
    small = parts(largest_train=3)
    frames = DensityFrames([read_density(data)])
    assert frames.n_atoms[small["train"]].max() == 3
    assert sorted(i for part in small.values() for i in part) == list(range(16))
    other = tmp_path / "unnamed.h5"
    write(other, split=False)
    drawn = parts(data={"train": str(other)})
    assert [len(drawn[p]) for p in ("train", "valid", "test")] == [12, 2, 2]
    # what is tested on can have a file of its own
    shifted = [replace(r, positions=r.positions + 1.0) for r in read_density(other)]
    write_density(replace(read_density(other), records=shifted[:5]), tmp_path / "test.h5")
    both = parts(data={"train": str(other), "test": str(tmp_path / "test.h5")})
    assert both["test"] == list(range(16, 21))
    assert [len(both[p]) for p in ("train", "valid")] == [14, 2]


def test_densities_without_dipoles_are_learnt_too(data: Path, tmp_path: Path) -> None:
    known = read_density(data)
    records = [replace(record, dipole=np.full(3, np.nan)) for record in known]
    bare = tmp_path / "bare.h5"
    write_density(replace(known, records=records), bare)
    config = DensityTrainConfig(**TINY | {"epochs": 1})
    result = train_density(str(bare), config, tmp_path / "run", progress=False)
    assert "test_density_error_percent" in result.metrics
    assert result.metrics["test_dipole_error_D_per_molecule"] > 0  # that of the fitted one
    assert (tmp_path / "run" / "report.html").stat().st_size > 100


def test_predicting_from_the_command_line(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    structures = [waters(2, seed=50), waters(1, seed=51)]
    from ase.io import write as write_structures

    write_structures(tmp_path / "w.extxyz", structures)
    out = tmp_path / "d.h5"
    arguments = ("predict", str(trained / "model.clebsch"), str(tmp_path / "w.extxyz"))
    assert run(monkeypatch, *arguments, "--out", str(out), "--quiet") == 0
    assert "20.000000 electrons" in capsys.readouterr().out
    found = read_density(out)
    network = load_density_model(trained / "model.clebsch")
    for i, atoms in enumerate(structures):
        expected = predict_density(network, atoms)
        np.testing.assert_allclose(found[i].coefficients, expected.coefficients, atol=1e-6)
        assert float(found.density(i).electrons()) == pytest.approx(atoms.numbers.sum(), abs=1e-9)
    assert run(monkeypatch, *arguments, "--out", str(tmp_path / "d.csv")) == 2
    assert "ends in .h5" in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--temperature", "300") == 2
    assert "holds an electron density, but --temperature is for" in capsys.readouterr().err
    charged = waters(1)
    charged.info["charge"] = 1
    write_structures(tmp_path / "ion.extxyz", charged)
    assert run(monkeypatch, *arguments[:2], str(tmp_path / "ion.extxyz"), "--quiet") == 2
    assert "only neutral" in capsys.readouterr().err


def test_wrong_data_and_configurations(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = read_density(data)
    other = AuxiliaryBasis("other", dict.fromkeys((1, 8), ((1.0,),)))
    records = [
        replace(r, coefficients=np.zeros(3), positions=r.positions + 1)
        for r in whole
        if len(r.numbers) == 3
    ]
    write_density(DensityDataset("", other, {}, records), tmp_path / "other.h5")
    empty = replace(whole, records=[])
    write_density(empty, tmp_path / "empty.h5")
    (tmp_path / "text.h5").write_text("no densities")
    cases = (
        ([str(data), str(tmp_path / "other.h5")], "use data of one basis"),
        ([str(data), str(data)], "same structure"),
        ([str(tmp_path / "empty.h5")], "no molecules"),
        ([str(tmp_path / "text.h5")], "not an HDF5 file"),
        ([], "no data given"),
        ([str(data), "--set", "model.chanels=3"], "channels"),
        ([str(data), "--set", "model.channels=0"], "model.channels"),
        ([str(data), "--set", "split.train=11"], "asks for 11"),
        ([str(data), "--set", "largest_train=2"], "no molecule to train on"),
    )
    for arguments, message in cases:
        out = tmp_path / "run"
        assert run(monkeypatch, "train", "density", *arguments, "--out", str(out)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
        assert not out.exists()
    frames = DensityFrames([replace(whole, free_atoms={})])
    _, parts = read_density_parts(DensityTrainConfig(data={"train": str(data)}))
    with pytest.raises(UserError, match="no free atom of H"):
        starts_and_scales(frames, parts.train, "free_atoms")


def test_a_crystal_goes_through_a_file_of_densities(trained: Path, tmp_path: Path) -> None:
    network = load_density_model(trained / "model.clebsch")
    ice = waters(1)
    ice.set_cell([[3.6, 0, 0], [0.2, 3.8, 0], [0, 0, 4.0]])
    ice.pbc = True
    records = list(predict_densities(network, [ice, waters(1)]))
    write_density(predicted_dataset(network, records), tmp_path / "d.h5")
    back = read_dataset(tmp_path / "d.h5")
    np.testing.assert_allclose(back[0].cell.array, ice.cell.array)
    assert back[0].pbc.all()
    assert not back[1].pbc.any()
    density = read_density(tmp_path / "d.h5").density(0)
    assert float(density.electrons()) == pytest.approx(10.0, abs=1e-9)
    expected = predict_density(network, ice).coefficients
    torch.testing.assert_close(density.coefficients, expected, rtol=0, atol=1e-6)
