"""Losses, moving average, schedule, metrics and report, each on its own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clebsch.train.ema import Ema
from clebsch.train.losses import masked_mean
from clebsch.train.metrics import (
    Predictions,
    error_metrics,
    merge_predictions,
    metrics_by_config_type,
    metrics_by_element,
)
from clebsch.train.report import Picture, Section, Table, write_report
from clebsch.train.schedule import Budget, learning_rate_factor


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_masked_mean_is_torch_loss_of_the_known(kind: str) -> None:
    error = torch.randn(200, dtype=torch.float64) * 0.1
    holes = torch.rand(200) < 0.3
    holed = error.masked_fill(holes, torch.nan).requires_grad_()
    reference = {
        "mse": nn.MSELoss(),
        "mae": nn.L1Loss(),
        "huber": nn.HuberLoss(delta=0.05),
    }[kind](error[~holes], torch.zeros_like(error[~holes]))
    value = masked_mean(holed, kind, 0.05)  # type: ignore[arg-type]
    torch.testing.assert_close(value, reference)
    (gradient,) = torch.autograd.grad(value, holed)
    assert bool((gradient[holes] == 0).all())
    assert bool(torch.isfinite(gradient).all())


def test_masked_mean_without_labels_is_zero() -> None:
    assert masked_mean(torch.full((3,), torch.nan), "mse") == 0


def test_ema_is_the_recursion_and_restores_the_model() -> None:
    model = nn.Linear(3, 2).double()
    ema = Ema(model, decay=0.5)
    expected = model.weight.detach().clone()
    for n in range(6):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        ema.update()
    own = model.weight.detach().clone()
    with ema.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, own)

    other = Ema(nn.Linear(3, 2).double(), decay=0.5)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 6
    assert all(torch.equal(a, b) for a, b in zip(other.average, ema.average, strict=True))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_learning_rate_rises_then_falls_to_the_end(schedule: str) -> None:
    factors = [
        learning_rate_factor(p, schedule, warmup=0.1)  # type: ignore[arg-type]
        for p in np.linspace(0, 1, 101)
    ]
    assert factors[0] == pytest.approx(0.001)
    assert np.argmax(factors) == 10
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.001)
    assert (np.diff(factors[10:]) <= 0).all()


def test_budget_is_the_larger_fraction_and_keeps_earlier_time() -> None:
    budget = Budget(epochs=10, max_time=100.0)
    assert budget.progress(3.0) == pytest.approx(0.3)
    budget.spent = 60.0
    assert budget.progress(3.0) == pytest.approx(0.6)
    budget.start()
    assert budget.elapsed() >= 60.0
    budget.stop()
    assert budget.progress(30.0) == 1.0


def predictions() -> Predictions:
    nan = np.nan
    return Predictions(
        energy=np.array([1.001, 2.0, 3.0]),
        energy_label=np.array([1.0, 2.002, nan]),
        forces=np.zeros((4, 3)),
        forces_label=np.array([[0.01] * 3, [-0.03] * 3, [nan] * 3, [0.02] * 3]),
        stress=np.full((3, 3, 3), nan),
        stress_label=np.full((3, 3, 3), nan),
        numbers=np.array([1, 8, 1, 1]),
        batch=np.array([0, 0, 1, 2]),
        config_type=("a", "b", "a"),
        frame=np.arange(3),
    )


def test_metrics_in_the_named_units() -> None:
    metrics = error_metrics(predictions())
    assert metrics["energy_mae_meV_per_atom"] == pytest.approx(1.5)
    assert metrics["energy_rmse_meV_per_atom"] == pytest.approx(np.sqrt(2.5))
    assert metrics["forces_mae_meV_per_A"] == pytest.approx(20.0)
    assert "stress_mae_meV_per_A3" not in metrics


def test_metrics_by_element_and_type() -> None:
    elements = metrics_by_element(predictions())
    assert elements["O"]["forces_mae_meV_per_A"] == pytest.approx(30.0)
    assert elements["H"] == pytest.approx(
        {"atoms": 3, "forces_mae_meV_per_A": 15.0, "forces_rmse_meV_per_A": np.sqrt(250.0)}
    )
    types = metrics_by_config_type(predictions())
    assert types["b"] == pytest.approx(
        {"frames": 1, "energy_mae_meV_per_atom": 2.0, "energy_rmse_meV_per_atom": 2.0}
    )
    assert types["a"]["forces_mae_meV_per_A"] == pytest.approx(20.0)


def test_merged_predictions_count_frames_through() -> None:
    both = merge_predictions([predictions(), predictions()])
    assert both.batch.tolist() == [0, 0, 1, 2, 3, 3, 4, 5]
    assert metrics_by_config_type(both)["a"]["frames"] == 4
    assert error_metrics(both) == pytest.approx(error_metrics(predictions()))


def test_report_is_one_escaped_file(tmp_path: Path) -> None:
    from clebsch.figures import figure

    with figure(tmp_path / "a.png", 2, 2) as canvas:
        canvas.add_subplot().plot([0, 1])
    table = Table([["name", "error (meV)"], ["<Si>", 1.23456], ["Ge", 2]], "By & by")
    section = Section("Errors", "first\n\nsecond", [table], [Picture(tmp_path / "a.png", "x<y")])
    write_report(tmp_path / "report.html", "A & B", [section])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;Si&gt;" in page
    assert "<Si>" not in page
    assert "1.235" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "data:image/png;base64,iVBOR" in page
