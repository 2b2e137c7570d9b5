"""Training a phonon-DoS model: targets, losses, errors, a run from file to report, wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from clebsch import cli
from clebsch.errors import UserError
from clebsch.models import load_dos_model
from clebsch.phonons import FrequencyGrid, PhononDos, heat_capacity
from clebsch.phonons.reading import read_phonons
from clebsch.structures import split_dataset
from clebsch.train.dos_config import DosLossConfig, DosTargetConfig, DosTrainConfig
from clebsch.train.dos_metrics import DosPredictions, dos_metrics, published_heat_capacity
from clebsch.train.dos_run import train_dos
from clebsch.train.dos_task import dos_targets, spectrum_loss
from made_crystals import crystals, write_dfpt

GRID = FrequencyGrid(0, 1000, 20)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command line."""
    monkeypatch.setattr("sys.argv", ["clebsch", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dfpt(tmp_path_factory.mktemp("dos") / "made.jsonl")


def test_targets_hold_every_state(data: Path) -> None:
    dataset = read_phonons(data)
    for kind in ("states", "published"):
        target = dos_targets(dataset, GRID, DosTargetConfig(kind=kind))
        np.testing.assert_allclose(target.sum(-1), 6.0, atol=1e-9)
        assert (target >= 0).all()
    short = dos_targets(dataset, FrequencyGrid(0, 200, 10), DosTargetConfig())
    i = int(np.argmax([r.atoms.get_masses().min() < 20 for r in dataset.records]))
    above = float(dataset.dos(i).states() - dataset.dos(i).cumulative(205.0))
    assert above > 1
    assert short[i, -1] == pytest.approx(above, rel=1e-6)


def test_losses_are_the_distances_they_are_named_after() -> None:
    rng = np.random.default_rng(0)
    p, q = (torch.from_numpy(0.1 + rng.random((4, len(GRID) + 1))) for _ in range(2))
    off = {"kl": 0.0, "wasserstein": 0.0, "mse": 0.0}
    a, b = (x / x.sum(-1, keepdim=True) for x in (p, q))
    kl = spectrum_loss(p, q, GRID, DosLossConfig(**off | {"kl": 1.0}))
    reference = torch.nn.functional.kl_div(a.log(), b, reduction="batchmean")
    assert float(kl) == pytest.approx(float(reference), rel=2e-3)
    w = np.append(GRID.centres, 1020.0)
    moved = [wasserstein_distance(w, w, u, v) for u, v in zip(a, b, strict=True)]
    earth = spectrum_loss(p, q, GRID, DosLossConfig(**off | {"wasserstein": 1.0}))
    assert float(earth) == pytest.approx(np.mean(moved) / 100, rel=1e-9)
    whole = DosLossConfig(kl=1, wasserstein=1, mse=1)
    assert float(spectrum_loss(3 * p, p, GRID, whole)) == pytest.approx(0, abs=1e-9)
    # what lies beyond the grid does not count where it is not known
    unknown = q.clone()
    unknown[:, -1] = torch.nan
    other = p.clone()
    other[:, -1] = 7.0
    torch.testing.assert_close(
        spectrum_loss(p, unknown, GRID, whole), spectrum_loss(other, unknown, GRID, whole)
    )
    p.requires_grad_()
    spectrum_loss(p, unknown, GRID, whole).backward()
    assert bool(p.grad.isfinite().all())


def test_errors_of_known_spectra() -> None:
    w = GRID.centres
    label, shifted = (np.exp(-0.5 * ((w - c) / 30) ** 2) for c in (400.0, 440.0))
    states = np.stack([np.append(x, 0.0) * 6 / x.sum() for x in (label, shifted)])
    p = DosPredictions(
        states[1:], states[:1], np.zeros((1, 52)), np.array([2]), np.array([False]), np.array([0])
    )
    errors = dos_metrics(p, GRID)
    assert errors["mean_frequency_mae_cm1"] == pytest.approx(40.0, abs=1e-3)
    assert errors["dos_wasserstein_cm1"] == pytest.approx(40.0, abs=1e-3)
    assert errors["dos_mae"] == pytest.approx(np.abs(label - shifted).mean(), abs=1e-6)
    both = [8.31446 * heat_capacity(w, x, 300.0) / 8.617333e-5 for x in states[:, :-1]]
    expected = abs(both[0] - both[1])
    assert errors["heat_capacity_mae_J_per_K_mol"] == pytest.approx(expected, rel=1e-3)
    assert errors["heat_capacity_mae_J_per_K_mol_atoms"] == pytest.approx(expected / 2, rel=1e-3)
    dos = PhononDos(w, label)
    assert published_heat_capacity(label[None], GRID)[0] == pytest.approx(
        float(heat_capacity(w, dos.normalized(3.0).states_at(), 300.0)) * 8.31446 / 8.617333e-5,
        rel=1e-4,
    )


def test_split_by_element_shares_every_element(data: Path) -> None:
    dataset = read_phonons(data)
    split = split_dataset(dataset, None, 0.25, 0.25, seed=1, by="element")
    parts = (split.train, split.valid, split.test)
    assert sorted(np.concatenate(parts)) == list(range(32))
    assert [len(p) for p in parts] == [16, 8, 8]
    for symbol in ("Na", "K", "Mg", "Ca", "Cl", "Br", "O", "S"):
        have = [sum(symbol in dataset[int(i)].get_chemical_symbols() for i in p) for p in parts]
        assert sum(have) == 8
        assert 3 <= have[0] <= 5
        assert min(have) >= 1


def test_from_file_to_report(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = DosTrainConfig(
        model={"channels": 16, "cutoff": 4.0, "members": 2, "lmax": 1},
        epochs=40,
        optimiser={"lr": 0.01},
    )
    result = train_dos(str(data), settings, out, progress=False)
    # a third of the error of the training set's mean spectrum
    split = json.loads((out / "split.json").read_text())
    target = dos_targets(read_phonons(data), result.model.config.grid, settings.target)[:, :-1]
    target /= target.max(-1, keepdims=True)
    mean = target[split["train"]["frames"]].mean(0)
    baseline = np.abs(target[split["test"]["frames"]] - mean / mean.max()).mean()
    assert result.metrics["test_dos_mae"] < baseline / 3
    assert result.metrics["test_mean_frequency_mae_cm1"] < 15
    model = load_dos_model(out / "model.clebsch")
    assert model.config.stop >= 300
    assert model.header["target"]["kind"] == "states"
    for name in ("metrics.csv", "report.html", "test_predictions.csv", "figures/spectra.png"):
        assert (out / name).stat().st_size > 100
    rows = (out / "test_predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * result.metrics["n_test"]
    assert "Wasserstein" in (out / "report.html").read_text()
    with pytest.raises(UserError, match="holds a run already"):
        train_dos(str(data), settings, out, progress=False)


def test_resumed_run_is_the_run(data: Path, tmp_path: Path) -> None:
    settings = DosTrainConfig(
        model={"channels": 4, "lmax": 1, "cutoff": 4.0},
        epochs=4,
        optimiser={"schedule": "constant", "warmup": 0.0},
    )
    whole = train_dos(str(data), settings, tmp_path / "whole", progress=False)
    half = settings.model_copy(update={"epochs": 2})
    train_dos(str(data), half, tmp_path / "parts", progress=False)
    go_on = DosTrainConfig(epochs=4)
    again = train_dos(config=go_on, out=tmp_path / "parts", resume=True, progress=False)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train": ["c-0", "c-1"], "valid": ["c-1"], "test": []}, "c-1 is in train and in valid"),
        ({"train": ["c-0"], "valid": ["c-99"], "test": []}, "c-99 (valid) is not in"),
        ({"train": ["c-0"]}, "is no split"),
        ({"train": ["c-0"], "valid": [], "test": ["c-31"]}, "no training frame has"),
    ],
)
def test_wrong_splits(
    data: Path, tmp_path: Path, capsys, monkeypatch, change: dict, sentence: str
) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps(change))
    argv = ["train", "dos", str(data), "--split", str(split), "--out", str(tmp_path / "run")]
    assert run(monkeypatch, *argv) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_wrong_files(data: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    lines = data.read_text().splitlines()
    broken = tmp_path / "data.jsonl"
    cases = {
        "more than once": [lines[0], lines[0]],
        "line 2: is no DFPT phonon record": [lines[0], lines[1].replace('"ph_dos"', '"dos"')],
        "line 2: a density of states needs a value": [
            lines[0],
            lines[1].replace('"dos_frequencies": [0.0, ', '"dos_frequencies": ['),
        ],
        "is no phonon data": ["{}"],
    }
    for sentence, content in cases.items():
        broken.write_text("\n".join(content))
        assert run(monkeypatch, "train", "dos", str(broken), "--out", str(tmp_path / "run")) == 2
        assert sentence in capsys.readouterr().err
    for setting, sentence in (
        ("model.stop=500", "whose grid is 0 to 1000"),
        ("model.chanels=4", "did you mean 'channels'"),
        ("model.species=[Na]", "lacks"),
        ("loss.kll=1", "did you mean 'kl'"),
    ):
        argv = ["train", "dos", str(data), "--out", str(tmp_path / "run"), "--set", setting]
        if "stop" in setting:
            argv += ["--set", "target.kind=published"]
        assert run(monkeypatch, *argv) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert len(crystals()) == 32
