"""Rows load, and a row's result file says what it must."""

import json

import pytest

from clebsch.errors import UserError
from clebsch.models import load_dos_model
from clebsch.reproduce import Row, load_row, reproduce, row_names, run
from clebsch.train.config import TrainConfig
from clebsch.train.density_config import DensityTrainConfig
from clebsch.train.dos_config import DosTrainConfig
from made_crystals import write_dfpt


@pytest.mark.parametrize("name", row_names())
def test_rows_are_whole(name):
    row = load_row(name)
    kinds = {"potential": TrainConfig, "dos": DosTrainConfig, "density": DensityTrainConfig}
    kind = kinds[row.learns]
    for changes in ({}, *row.variants.values()):
        kind.model_validate(run._merged(row.config, changes))
    assert {p.metric for p in row.published} <= set(row.metrics)


def test_wrong_names_and_missing_data(monkeypatch):
    with pytest.raises(UserError, match="did you mean embedded-ethanol"):
        load_row("embeded-ethanol")
    monkeypatch.delenv("CLEBSCH_DATA", raising=False)
    with pytest.raises(UserError, match="set CLEBSCH_DATA"):
        run.find_data("potentials/x.xyz")


@pytest.mark.slow
def test_result_file(tmp_path, monkeypatch):
    row = Row(
        title="short",
        train="embedded:silicon",
        config={"epochs": 1, "model": {"size": "small", "channels": 4, "layers": 1}},
        seeds=[0, 1],
        metrics={"test_forces_mae_meV_per_A": "mean absolute error"},
    )
    monkeypatch.setattr(run, "load_row", lambda name: row)
    content = reproduce("short", tmp_path / "runs", tmp_path / "results")
    written = json.loads((tmp_path / "results" / "short.json").read_text())
    assert written == content
    figure = written["figures"]["test_forces_mae_meV_per_A"]
    assert set(figure["seeds"]) == {"0", "1"}
    assert figure["standard_deviation"] > 0
    again = reproduce("short", tmp_path / "runs", tmp_path / "results")  # finished: not trained
    assert again["figures"] == content["figures"]


def test_networks_of_a_phonon_dos_are_joined(tmp_path, monkeypatch):
    row = Row(
        title="short",
        learns="dos",
        train="made.jsonl",
        split="split.json",
        config={"epochs": 2, "model": {"channels": 4, "lmax": 1, "cutoff": 4.0}},
        seeds=[0, 1, 2, 3],
        ensembles_of=2,
        metrics={"test_dos_mae": "mean absolute error"},
    )
    write_dfpt(tmp_path / "made.jsonl")
    names = [f"c-{i}" for i in range(32)]
    split = {"train": [*names[2::2], "c-1"], "valid": ["c-0", "c-3"], "test": names[5::2]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    monkeypatch.setattr(run, "load_row", lambda name: row)
    monkeypatch.setenv("CLEBSCH_DATA", str(tmp_path))
    content = reproduce("short", tmp_path / "runs", tmp_path / "results")
    figure = content["figures"]["test_dos_mae"]
    joined = figure["ensembles"]
    assert joined["of"] == 2
    assert joined["mean"] == pytest.approx(sum(joined["each"]) / 2)
    assert joined["standard_deviation"] > 0
    seeds = list(figure["seeds"].values())
    for k, error in enumerate(joined["each"]):
        joint = load_dos_model(tmp_path / "runs" / "short" / f"ensemble-{k}.clebsch")
        assert joint.config.members == 2
        # the distance is convex, but for each curve's own maximum
        assert 0 < error < 1.2 * max(seeds[2 * k : 2 * k + 2])


def test_rows_of_ensembles_need_a_split_and_whole_groups():
    row = {"title": "short", "train": "made.jsonl", "metrics": {}, "learns": "dos"}
    with pytest.raises(ValueError, match="with a split"):
        Row.model_validate({**row, "seeds": [0, 1], "ensembles_of": 2})
    with pytest.raises(ValueError, match="3 seeds are no ensembles of 2"):
        Row.model_validate({**row, "split": "ids.json", "seeds": [0, 1, 2], "ensembles_of": 2})
    with pytest.raises(ValueError, match="one data set"):
        Row.model_validate({**row, "train": ["a", "b"], "seeds": [0]})
