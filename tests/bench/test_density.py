"""``clebsch bench density``: clusters of water, exponents, and what happens without PySCF."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clebsch.bench import density, report, result, run
from clebsch.bench.density import Sizes, exponent
from clebsch.bench.pair import Clock, NotMeasured
from clebsch.bench.settings import Settings
from clebsch.bench.water import water_cluster

TINY = Sizes(scf=(1,), predict=(1, 2, 4), cube=(1, 2), memory=(2,), growth=(1, 2), large=(2, 4))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 27, 200])
def test_water_has_whole_molecules_and_sound_contacts(n: int) -> None:
    numbers, positions = water_cluster(n)
    assert numbers.tolist() == [8, 1, 1] * n
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    molecule = np.arange(3 * n) // 3
    same = molecule[:, None] == molecule
    for i in range(n):
        o, h, k = 3 * i, 3 * i + 1, 3 * i + 2
        assert apart[o, h] == pytest.approx(0.9572)
        assert apart[o, k] == pytest.approx(0.9572)
        assert apart[h, k] == pytest.approx(1.5139, abs=1e-4)
    assert n == 1 or apart[~same].min() > 1.6
    assert np.array_equal(positions, water_cluster(n)[1])
    assert not np.allclose(positions, water_cluster(n, seed=1)[1])


def test_water_is_as_dense_as_the_liquid_and_compact() -> None:
    _, positions = water_cluster(512)
    oxygen = positions[::3]
    neighbours = (np.linalg.norm(oxygen[:, None] - oxygen, axis=-1) < 3.2).sum(1) - 1
    assert neighbours.max() == 6
    extent = np.ptp(oxygen, axis=0)
    assert extent.max() == pytest.approx(7 * 3.1)
    volume = 3.1**3
    assert 18.015 / 0.602214 / volume == pytest.approx(1.0, abs=0.02)  # g/cm^3


def test_turns_are_random_without_a_preferred_direction() -> None:
    _, positions = water_cluster(343)
    r = positions.reshape(-1, 3, 3)
    axis = r[:, 1] + r[:, 2] - 2 * r[:, 0]
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    second = axis.T @ axis / len(axis)
    assert np.abs(axis.mean(0)).max() < 0.12
    assert np.abs(second - np.eye(3) / 3).max() < 0.08


def test_exponent_is_that_of_a_power_and_a_least_squares_fit() -> None:
    p, c = exponent({n: 0.2 * n**1.3 for n in (1, 3, 8, 50)})
    assert p == pytest.approx(1.3)
    assert c == pytest.approx(0.2)
    n, t = np.array([8, 16, 32, 64]), np.array([1.0, 3.0, 4.0, 9.0])
    slope, intercept = np.polyfit(np.log(n), np.log(t), 1)
    p, c = exponent(dict(zip(n.tolist(), t.tolist(), strict=True)))
    assert p == pytest.approx(slope)
    assert c == pytest.approx(np.exp(intercept))
    with pytest.raises(ValueError, match="two data points"):
        exponent({8: 1.0})


def test_growth_needs_every_size_and_uses_the_medians() -> None:
    times = {8: [1.0, 2.0, 9.0], 16: [4.0], 32: [7.0, 8.0, 8.0]}
    part = density._exponents("ours", times, [8, 16, 32])
    assert part["ours_exponent"] == pytest.approx(1.0)
    assert part["ours_fastest_exponent"] == pytest.approx(np.log2(7) / 2, abs=1e-3)
    times[16] = NotMeasured("late")
    assert density._exponents("ours", times, [8, 16, 32])["ours_exponent"] is None
    assert density._exponents("ours", times, [8])["ours_exponent"] is None


def test_the_sizes_that_the_bar_is_of_are_measured() -> None:
    for sizes in (density.FULL, density.QUICK):
        inside = [n for n in sizes.predict if sizes.growth[0] <= n <= sizes.growth[1]]
        assert inside == [8, 16, 32, 64]
        assert sizes.memory == (128, 1000)
    assert density.FULL.scf == (1, 2, 3, 4)
    assert result.EXPONENT_BARS["density/growth/predict"] == 1.15


@pytest.fixture
def without_pyscf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PySCF cannot be imported by any process that starts now."""
    (tmp_path / "pyscf.py").write_text(
        "raise ModuleNotFoundError('it is not there', name='pyscf')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_without_pyscf_the_network_is_measured_alone(
    without_pyscf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(density, "QUICK", TINY)
    out = tmp_path / "out"
    content = run("density", Settings(quick=True, threads=1), out)
    entry = content["density/predict/n1"]
    assert entry["ours_s"] > 0
    assert entry["peer_s"] is entry["ratio"] is None
    assert 'pyscf is not installed (pip install "clebsch[density]")' in entry["not_measured"]
    assert content["density/predict/n4"]["ours_s"] > 0
    assert "peer_s" not in content["density/predict/n4"]
    assert content["density/cube/n2"]["ours_s"] > 0
    assert content["density/memory/n2"]["ours_MB"] >= 0
    growth = content["density/growth/predict"]
    assert growth["ours_molecules"] == [1, 2]
    assert growth["met"] is (growth["ours_exponent"] <= growth["bar_exponent"] == 1.15)
    assert growth["peer_exponent"] is None
    assert content["parameters"]["atoms"] == 6
    assert content["parameters"]["clebsch"] > 100_000
    assert content["network"]["channels"] == 32
    assert json.loads((out / "density.json").read_text()) == content
    assert (out / "density.png").read_bytes().startswith(b"\x89PNG")
    assert any("pyscf is not installed" in line for line in report.notes("density", content))


def test_no_time_left_is_said(tmp_path: Path) -> None:
    content = density.run(Settings(quick=True, threads=1, clock=Clock(0.0)), TINY)
    assert content["density/growth/predict"]["met"] is None
    assert "no time left" in content["density/predict/n4"]["not_measured"]
    assert report.table("density", content).row_count == len(report.entries(content))
    report.draw("density", content, tmp_path / "density.png")


def measured() -> dict[str, dict]:
    """A result as a full run gives it."""
    scf = {1: 1.0, 2: 4.0, 4: 16.0}
    content = {
        f"density/predict/n{n}": result.comparison("", "PySCF", [0.01 * n], [t], unit="s")
        for n, t in scf.items()
    }
    content |= {f"density/predict/n{n}": result.alone([0.01 * n]) for n in (8, 16)}
    content |= {f"density/cube/n{n}": result.alone([0.1 * n]) for n in (8, 16)}
    growth = {"ours_exponent": 1.0, "ours_molecules": [8, 16]}
    content["density/growth/cube"] = dict(growth)
    content["density/growth/predict"] = {
        "peer": "PySCF",
        **growth,
        **density._exponents("peer", {n: [t] for n, t in scf.items()}, list(scf)),
        "bar_exponent": 1.15,
        "met": True,
    }
    content["machine"] = result.surroundings(1, "2.0", True)
    return content


def test_table_shows_exponents_and_their_bar() -> None:
    content = measured()
    cells = [list(column.cells) for column in report.table("density", content).columns]
    row = cells[0].index("growth/predict")
    assert [column[row] for column in cells] == [
        "growth/predict",
        "n^1",
        "n^2",
        "",
        "<= n^1.15 met",
    ]


def test_figure_tells_what_is_extrapolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn = {}
    plot = Axes.plot

    def watch(self, *args, **kwargs):
        drawn[kwargs.get("label", f"line {len(drawn)}")] = args
        return plot(self, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", watch)
    report.draw("density", measured(), tmp_path / "density.png")
    x, y, style = drawn["SCF, extrapolated, not measured"]
    assert style == "--"
    assert x == [4, 64]
    assert y == pytest.approx([16.0, 64.0**2])
    x, y, _ = drawn["SCF, PySCF: n$^{2.00}$ from 1 to 4"]
    assert (x, y) == ([1, 2, 4], [1.0, 4.0, 16.0])
    x, _, _ = drawn["network: n$^{1.00}$ from 8 to 16"]
    assert x == [1, 2, 4, 8, 16]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyscf") is None, reason="PySCF is not installed")
def test_beside_pyscf() -> None:
    sizes = replace(TINY, cube=(), memory=())
    content = density.run(Settings(quick=True, threads=1), sizes)
    entry = content["density/predict/n1"]
    assert entry["ratio"] > 1
    assert entry["peer"].startswith("PySCF")
    assert entry["peer"].endswith("pbe0/def2-tzvp")
