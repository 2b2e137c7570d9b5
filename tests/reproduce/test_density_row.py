"""A row of densities: variants, baselines and larger structures in one result and figure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clebsch.density import read_density, write_density
from clebsch.reproduce import Row, reproduce, run
from made_densities import write

pytest.importorskip("pyscf")


def test_result_of_a_density_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_density(write(tmp_path / "made.h5"))
    moved = [replace(r, positions=r.positions + 2.0) for r in data][:4]
    write_density(replace(data, records=moved), tmp_path / "larger.h5")
    row = Row(
        title="short",
        learns="density",
        train="made.h5",
        larger="larger.h5",
        config={
            "epochs": 2,
            "model": {"channels": 4, "layers": 1, "cutoff": 3.5, "lmax": 2},
            "largest_train": 3,
        },
        seeds=[0],
        variants={"lmax-0": {"model": {"lmax": 0}}, "n-03": {"split": {"train": 6}}},
        metrics={"test_density_error_percent": "mean over the test structures"},
    )
    monkeypatch.setattr(run, "load_row", lambda name: row)
    monkeypatch.setattr("clebsch.train.density_run.DRAWN", 0)
    monkeypatch.setenv("CLEBSCH_DATA", str(tmp_path))
    content = reproduce("short", tmp_path / "runs", tmp_path / "results")
    assert json.loads((tmp_path / "results" / "short.json").read_text()) == content
    assert (tmp_path / "results" / "short.png").stat().st_size > 10_000
    assert set(content["variants"]) == {"lmax-0", "n-03"}
    assert content["largest_train"] == 1
    assert set(content["by_molecules"]) == {"1", "2"}
    assert content["variants"]["n-03"]["n_train"] < content["n_train"]
    for name, sizes in content["baselines"].items():
        assert set(sizes) == {"1", "2"}, name
        assert all(e["density_error_percent"] > 0 for e in sizes.values())
    metrics = json.loads((tmp_path / "runs/short/seed-0/metrics.json").read_text())
    for size, e in content["by_molecules"].items():  # two of each size are in the larger file
        assert e["n"] == metrics["test_by_molecules"][size]["n"] + 2
    assert "test_density_error_percent" in content["figures"]
