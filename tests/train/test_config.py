"""The configuration: YAML in, checked settings out, and one clear sentence for a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from clebsch.errors import UserError
from clebsch.train.config import TrainConfig, load_config, save_config


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {size: small, cutoff: 4}\nmax_time: 00:05:00\nepochs: 7\n")
    config = load_config(path, ["optimiser.lr=0.002", "model.cutoff=5.5", "loss.kind=huber"])
    assert config.max_time == 300.0
    assert config.epochs == 7
    assert config.optimiser.lr == 0.002
    assert config.loss.kind == "huber"
    assert config.model == {"size": "small", "cutoff": 5.5}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('"00:05:00"', 300.0), ("5", 300.0), ("0.5", 30.0), ('"1:30"', 90.0), ("01:00:30", 3630.0)],
)
def test_times(tmp_path: Path, text: str, seconds: float) -> None:
    assert load_config(write(tmp_path, f"max_time: {text}")).max_time == pytest.approx(seconds)


@pytest.mark.parametrize("seconds", [300.0, 0.25, 59.5, 90.125, 360000.0])
def test_saved_configuration_reads_back_equal(tmp_path: Path, seconds: float) -> None:
    config = TrainConfig(model={"lmax": 2}, max_time=seconds / 60.0, seed=3)
    assert config.max_time == pytest.approx(seconds)
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml").model_dump() == config.model_dump()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("optimiser:\n  learning_rte: 1", "unknown key 'optimiser.learning_rte'; the keys here"),
        ("loss: {force: 1}", "unknown key 'loss.force'; did you mean 'forces'?"),
        ("loss: {kind: mae2}", "'loss.kind' is 'mae2'"),
        ("epochs: -1", "'epochs' is -1"),
        ("max_time: soon", "'max_time' is 'soon'; give a time"),
        ("- 1\n- 2", "must hold 'key: value' lines"),
        ("a: b: c", "line 1: is not valid YAML"),
        ("optimiser: 3", "'optimiser' is 3"),
        ("optimiser: {lr: .inf}", "'optimiser.lr' is inf; input should be a finite number"),
        (
            "loss: {energy: 0, forces: 0, stress: 0}",
            "; give energy, forces or stress a weight above 0",
        ),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_every_key_knows_where_it_was_given(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {size: small, lmax: 1}\nloss: {kind: mse, energy: 1}\n")
    config = load_config(path, ["model.lmax=2", "loss={forces: 3}", "optimiser.lr=0.1"])
    config = config.model_copy(deep=True)
    assert config.where("model.size") == config.where("model") == str(path)
    assert config.where("model.lmax") == "--set model.lmax=2"
    assert config.where("loss.forces") == config.where("loss.kind") == "--set loss={forces: 3}"
    assert config.where("optimiser.lr") == "--set optimiser.lr=0.1"
    assert config.where("model.cutoff") == str(path)  # of the section that it gave
    assert config.where("optimiser.ema") == config.where("epochs") == "configuration"
    assert TrainConfig().where("epochs") == "configuration"


def test_where_a_key_was_given_makes_no_difference(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "epochs: 3")) == load_config(None, ["epochs=3"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr", "write key=value"),
        ("optimizer.lr=1", "unknown key 'optimizer'; did you mean 'optimiser'?"),
        ("seed.x=1", "unknown key|'seed'"),
        ("split.train=[", "not valid YAML"),
    ],
)
def test_mistakes_in_overrides(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, [override])


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a directory"):
        load_config(tmp_path)
