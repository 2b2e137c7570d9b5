"""Whole runs on a few crystals with energies, forces and stresses of effective-medium theory."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections import namedtuple
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from lightning.pytorch import Callback
from typer.testing import CliRunner

import clebsch.train.callbacks
import clebsch.train.potential_run
from clebsch.cli.train import app
from clebsch.errors import UserError
from clebsch.models import load_model
from clebsch.train.checkpoint import load_checkpoint
from clebsch.train.config import TrainConfig, load_config
from clebsch.train.data import read_parts
from clebsch.train.potential_run import RunResult, train_potential
from clebsch.train.resolve import resolve

TINY = {"layers": 1, "lmax": 1, "channels": 4, "radial_width": 8, "cutoff": 3.0, "n_basis": 4}


def crystals(n: int, seed: int = 0, symbols: str = "AlCu3") -> list[Atoms]:
    """Rattled and strained crystals of four atoms with labels from ASE's EMT."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols = symbols
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.08 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = "hot" if i % 2 else "cold"
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "alloy.xyz"
    ase.io.write(path, crystals(20), format="extxyz")
    return str(path)


def tiny(**changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "model": dict(TINY),
        "epochs": 4,
        "split": {"train": 12, "valid": 4, "test": 4},
        "batch": {"frames": 3},
        "dtype": "float64",
    }
    return TrainConfig(**(settings | changes))


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Four epochs without a break."""
    return train_potential(data, tiny(), tmp_path_factory.mktemp("runs") / "whole", progress=False)


class Interrupt(Callback):
    """Ctrl-C after a batch of an epoch (both counted from 0)."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.when = (epoch, batch)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.when:
            os.kill(os.getpid(), signal.SIGINT)


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "elapsed_s"} for row in history]


def assert_same_run(a: RunResult, b: RunResult) -> None:
    """Equal bit for bit: exported weights, last weights, averages, Adam's moments, history."""
    assert without_time(a.history) == without_time(b.history)
    for name, value in a.model.state_dict().items():
        assert torch.equal(value, b.model.state_dict()[name]), name
    last = [load_checkpoint(r.folder / "checkpoints" / "last.ckpt") for r in (a, b)]
    for part in ("state_dict", "ema"):
        for name, value in last[0][part].items():
            other = last[1][part][name]
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other)), (part, name)
    moments = [c["optimizer_states"][0]["state"] for c in last]
    for i, state in moments[0].items():
        for name, value in state.items():
            assert torch.equal(value, moments[1][i][name])
    keep = [{k: v for k, v in r.metrics.items() if k not in ("wall_s", "train_s")} for r in (a, b)]
    assert keep[0] == keep[1]


def test_run_directory_is_complete(whole: RunResult, data: str) -> None:
    folder = whole.folder
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for key in (
        "test_forces_mae_meV_per_A",
        "test_energy_mae_meV_per_atom",
        "test_stress_mae_meV_per_A3",
        "valid_forces_rmse_meV_per_A",
        "wall_s",
    ):
        assert metrics[key] > 0
    assert (metrics["n_train"], metrics["n_valid"], metrics["n_test"]) == (12, 4, 4)
    assert set(metrics["by_element"]) == {"Al", "Cu"}
    assert set(metrics["by_config_type"]) <= {"hot", "cold"}
    lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    for name in ("parity", "force_errors", "learning_curves"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 10_000
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert "alloy.xyz" in page
    assert any((folder / "tensorboard").iterdir())
    split = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    frames = [i for part in split.values() for i in part["frames"]]
    assert sorted(frames) == list(range(20))


def test_training_learns(whole: RunResult) -> None:
    losses = [row["train_loss"] for row in whole.history]
    assert losses[-1] < 0.5 * losses[0]


def test_exported_model_gives_the_reported_errors(whole: RunResult, data: str) -> None:
    from clebsch.structures import AtomGraph, collate

    model = load_model(whole.folder / "model.clebsch")
    split = json.loads((whole.folder / "split.json").read_text(encoding="utf-8"))
    frames = ase.io.read(data, ":")
    graph = collate(
        [AtomGraph.from_atoms(frames[i], 3.0, torch.float64) for i in split["test"]["frames"]]
    )
    out = model(graph, stress=True)
    for name, key in (
        ("forces", "test_forces_mae_meV_per_A"),
        ("stress", "test_stress_mae_meV_per_A3"),
    ):
        error = 1000 * (out[name] - getattr(graph, name)).abs().mean().item()
        assert error == pytest.approx(whole.metrics[key], rel=1e-9)
    assert model.header["metrics"]["test_forces_mae_meV_per_A"] == pytest.approx(
        whole.metrics["test_forces_mae_meV_per_A"]
    )


def test_header_says_what_training_covered(whole: RunResult, data: str) -> None:
    header = load_model(whole.folder / "model.clebsch").header
    split = json.loads((whole.folder / "split.json").read_text(encoding="utf-8"))
    frames = [ase.io.read(data, ":")[i] for i in split["train"]["frames"]]
    domain = header["domain"]
    assert domain["max_force"] == pytest.approx(
        max(np.linalg.norm(a.get_forces(), axis=1).max() for a in frames)
    )
    energies = [a.get_potential_energy() / len(a) for a in frames]
    assert domain["energy_per_atom"] == pytest.approx([min(energies), max(energies)])
    near = [
        a.get_distances(i, [j for j in range(4) if a.symbols[j] == "Cu"], mic=True)
        for a in frames
        for i in range(4)
        if a.symbols[i] == "Al"
    ]
    assert domain["min_distance"]["Al-Cu"] == pytest.approx(np.min(near), rel=1e-9)
    assert len(header["training_data"]["sha256"]) == 64


def test_resolved_configuration_repeats_the_run(whole: RunResult, tmp_path: Path) -> None:
    config = load_config(whole.folder / "config.yaml")
    assert config.model_dump() == whole.config.model_dump()
    again = train_potential(None, config, tmp_path / "again", progress=False)
    assert again.config.model_dump() == config.model_dump()
    assert_same_run(whole, again)


@pytest.mark.parametrize("when", [(1, 3), (2, 1)], ids=["end of epoch", "within an epoch"])
def test_resume_equals_an_uninterrupted_run(
    whole: RunResult,
    data: str,
    tmp_path: Path,
    when: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clebsch.train.callbacks, "CHECKPOINT_SHARE", 1e9)  # every epoch
    out = tmp_path / "run"
    stopped = train_potential(data, tiny(), out, progress=False, callbacks=[Interrupt(*when)])
    assert stopped.interrupted
    assert len(stopped.history) == 2
    assert load_model(out / "model.clebsch").header["epoch"] == stopped.best_epoch
    assert not (out / "report.html").exists()
    resumed = train_potential(out=out, resume=True, progress=False)
    assert not resumed.interrupted
    assert_same_run(whole, resumed)


def test_interrupt_before_the_first_epoch_ends(data: str, tmp_path: Path) -> None:
    runner = CliRunner()
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        real = train_potential

        def interrupted(*args: Any, **kwargs: Any) -> RunResult:
            return real(*args, **kwargs, callbacks=[Interrupt(0, 1)], progress=False)

        patch.setattr(clebsch.train.potential_run, "train_potential", interrupted)
        arguments = ["potential", data, "--out", str(out), "--set", f"model={json.dumps(TINY)}"]
        result = runner.invoke(app, [*arguments, "--set", "epochs=2"])
    assert result.exit_code == 130
    assert "--resume" in result.output
    assert load_model(out / "model.clebsch").species == ["Al", "Cu"]
    resumed = train_potential(out=out, resume=True, progress=False)
    assert len(resumed.history) == 2


def test_finished_run_resumes_without_training(whole: RunResult, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole.folder, out)
    again = train_potential(out=out, resume=True, progress=False)
    assert_same_run(whole, again)


def test_time_limit_ends_the_run_with_its_learning_rate_decayed(data: str, tmp_path: Path) -> None:
    config = tiny(epochs=None, max_time=2 / 60)
    result = train_potential(data, config, tmp_path / "run", progress=False)
    assert result.metrics["train_s"] >= 2.0
    assert result.config.optimiser.lr
    assert result.history[-1]["lr"] < 0.3 * result.config.optimiser.lr


def test_patience_stops_early(data: str, tmp_path: Path) -> None:
    config = tiny(epochs=20, patience=2, optimiser={"lr": 1e-30})
    result = train_potential(data, config, tmp_path / "run", progress=False)
    assert (result.metrics["best_epoch"], result.metrics["epochs"]) == (1, 3)


def test_missing_labels_are_left_out(tmp_path: Path) -> None:
    frames = crystals(10)
    for atoms in frames[::2]:
        del atoms.calc.results["stress"]
    for atoms in frames[::3]:
        del atoms.calc.results["forces"]
    ase.io.write(tmp_path / "some.xyz", frames, format="extxyz")
    with pytest.raises(UserError, match=r"there is no forces .*--forces-key"):
        train_potential(str(tmp_path / "some.xyz"), tiny(split={}), tmp_path / "run")
    # A weight given by hand says that frames without the label are meant.
    config = tiny(epochs=1, split={}, loss={"forces": 1.0})
    result = train_potential(str(tmp_path / "some.xyz"), config, tmp_path / "run", progress=False)
    assert np.isfinite(result.history[0]["train_loss"])
    assert (result.metrics["n_valid"], result.metrics["n_test"]) == (1, 1)


def test_choices_from_the_data(data: str) -> None:
    config = TrainConfig(data={"train": data})
    parts = read_parts(config.data, config.split, 0)
    chosen = resolve(config, parts)
    assert chosen.model["species"] == ["Al", "Cu"]
    assert chosen.loss.energy
    assert chosen.loss.forces
    volumes = [parts.train.dataset[int(i)].get_volume() / 4 for i in parts.train.indices]
    assert chosen.loss.kind == "mae"
    assert chosen.loss.stress == pytest.approx(0.1 * np.mean(volumes), rel=1e-2)
    squares = resolve(TrainConfig(data={"train": data}, loss={"kind": "mse"}), parts)
    assert squares.loss.stress == pytest.approx(np.mean(volumes) ** 2, rel=1e-2)
    assert chosen.epochs
    assert resolve(chosen, parts).model_dump() == chosen.model_dump()


def test_existing_run_is_not_overwritten(whole: RunResult, data: str) -> None:
    with pytest.raises(UserError, match="--resume, replace it with --overwrite"):
        train_potential(data, tiny(), whole.folder)
    with pytest.raises(UserError, match=r"cannot change 'optimiser\.lr'"):
        train_potential(config=tiny(optimiser={"lr": 3.0}), out=whole.folder, resume=True)
    with pytest.raises(UserError, match=r"cannot change 'data\.train'"):
        train_potential("embedded:silicon", tiny(), whole.folder, resume=True)
    with pytest.raises(UserError, match=r"cannot change 'data\.energy_key'"):
        train_potential(data, tiny(data={"energy_key": "e"}), whole.folder, resume=True)
    with pytest.raises(UserError, match="no run to resume"):
        train_potential(data, tiny(), whole.folder / "none", resume=True)


def test_element_unknown_to_training(data: str, tmp_path: Path) -> None:
    frames = [*crystals(2), *crystals(1, symbols="AuCu3")]
    ase.io.write(tmp_path / "gold.xyz", frames, format="extxyz")
    config = tiny(data={"test": str(tmp_path / "gold.xyz")})
    with pytest.raises(UserError, match=r"gold\.xyz, frame 2: the test set has the element Au"):
        train_potential(data, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"cutof": 3}}, "unknown key 'model.cutof'; did you mean 'cutoff'"),
        ({"model": {"cutoff": "far"}}, "'model.cutoff' is 'far'"),
        ({"model": {"layers": "many"}}, "'model.layers' is 'many'"),
        ({"model": {"species": ["Cu"]}}, "lacks Al"),
        ({"split": {"train": 30}}, "30"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
    ],
)
def test_wrong_configuration(
    data: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_potential(data, tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {cutof: 3}", "unknown key 'model.cutof'; did you mean 'cutoff'"),
        ("model: {cutoff: far}", "'model.cutoff' is 'far'"),
        ("model: {layers: many}", "'model.layers' is 'many'"),
        ("model: {species: [Cu]}", "'model.species' lacks Al"),
    ],
)
def test_a_mistake_that_the_data_show_names_the_file(
    data: str, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{message}"):
        train_potential(data, load_config(file), tmp_path / "run")
    override = text.replace(": {", ".", 1).replace(": ", "=", 1).removesuffix("}")
    with pytest.raises(UserError, match=rf"^--set {re.escape(override)}: .*{message}"):
        train_potential(data, load_config(None, [override]), tmp_path / "run")


def test_too_little_space(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="but only 0 MB are free"):
        train_potential(data, tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_checkpoint_with_code_is_refused(whole: RunResult, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole.folder, out)
    torch.save({"x": Path("anything")}, out / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        train_potential(out=out, resume=True, progress=False)
