"""Curves and grids: no state gets lost; the published target is the published one."""

from __future__ import annotations

import numpy as np
import pytest

from clebsch.errors import UserError
from clebsch.phonons import (
    FrequencyGrid,
    PhononDos,
    convert_frequency,
    heat_capacity,
    published_target,
)
from clebsch.phonons.units import PER_WAVENUMBER


def some_dos(seed: int = 0, start: float = -50.0, stop: float = 1450.0) -> PhononDos:
    rng = np.random.default_rng(seed)
    w = np.sort(rng.uniform(start, stop, 700))
    centres, widths = rng.uniform(50, 1200, 9), rng.uniform(5, 60, 9)
    g = np.exp(-0.5 * ((w[:, None] - centres) / widths) ** 2).sum(-1)
    return PhononDos(w, g).normalized(24.0)


def test_units_agree_with_the_constants_of_nature() -> None:
    # CODATA 2018: 1 THz = 33.356 409 52 cm^-1 exactly, 1 meV = 8.065 543 937 cm^-1
    assert convert_frequency(1.0, "THz") == pytest.approx(33.35640951981521, rel=1e-10)
    assert convert_frequency(1.0, "meV") == pytest.approx(8.065543937, rel=1e-7)
    assert convert_frequency(2.5, "meV", "meV") == 2.5
    with pytest.raises(UserError, match="not 'Hz'"):
        convert_frequency(1.0, "Hz")


@pytest.mark.parametrize("unit", PER_WAVENUMBER)
def test_states_do_not_depend_on_the_unit(unit: str) -> None:
    dos = some_dos()
    other = PhononDos.from_units(
        convert_frequency(dos.frequencies, "cm^-1", unit), dos.density / PER_WAVENUMBER[unit], unit
    )
    np.testing.assert_allclose(other.frequencies, dos.frequencies, rtol=1e-12)
    np.testing.assert_allclose(other.density, dos.density, rtol=1e-12)


def test_cumulative_is_the_integral_of_the_polygon() -> None:
    dos = some_dos()
    x = np.linspace(-80, 1500, 37)
    fine = np.union1d(np.linspace(-60, 1500, 2_000_001), dos.frequencies)
    g = np.interp(fine, dos.frequencies, dos.density, left=0, right=0)
    area = np.concatenate([[0], np.cumsum(0.5 * (g[1:] + g[:-1]) * np.diff(fine))])
    np.testing.assert_allclose(dos.cumulative(x), np.interp(x, fine, area), atol=2e-5)
    assert dos.cumulative(2000.0) == pytest.approx(24.0, abs=1e-12)


@pytest.mark.parametrize("stop", [400.0, 1000.0, 2000.0])
def test_bins_and_what_lies_beyond_hold_every_state(stop: float) -> None:
    dos = some_dos(start=0.0)
    grid = FrequencyGrid(0.0, stop, 20.0)
    states = grid.states(dos)
    assert states.shape == (len(grid) + 1,)
    assert states.sum() == pytest.approx(24.0, abs=1e-10)
    k = 9
    inside = dos.cumulative(grid.edges[[k, k + 1]])
    assert states[k] == pytest.approx(inside[1] - inside[0], abs=1e-12)


def test_middles_of_bins() -> None:
    assert FrequencyGrid(0, 60, 20).middles.tolist() == [5, 20, 40, 60, 80]
    dos = some_dos(start=0.0)
    grid = FrequencyGrid(0.0, 1500.0, 2.0)
    exact = float(heat_capacity(dos.frequencies, dos.states_at(), 300.0))
    binned = float(heat_capacity(grid.middles, grid.states(dos), 300.0))
    assert binned == pytest.approx(exact, rel=1e-4)


def test_imaginary_modes_are_left_out_and_told() -> None:
    w = np.linspace(-100, 300, 401)
    dos = PhononDos(w, np.ones_like(w)).normalized(12.0)
    assert dos.imaginary_states() == pytest.approx(99 / 400)
    assert FrequencyGrid(0, 400, 10).states(dos).sum() == pytest.approx(12.0 * 300 / 400)


def test_smoothing_keeps_states_and_moments() -> None:
    w = np.linspace(0, 1000, 1001)
    dos = PhononDos(w, np.exp(-0.5 * ((w - 500) / 20) ** 2)).normalized(6.0)
    smooth = dos.smoothed(15.0)
    assert float(smooth.states()) == pytest.approx(6.0, abs=1e-9)
    p = smooth.states_at() / 6.0
    assert p @ w == pytest.approx(500.0, abs=1e-6)
    assert np.sqrt(p @ (w - 500) ** 2) == pytest.approx(25.0, rel=1e-6)  # 20 and 15 in square


def test_published_target_of_a_known_curve() -> None:
    # Savitzky-Golay of order 3 leaves a cubic as it is: the target is the cubic itself
    w = np.arange(0.0, 1200.0)
    cubic = 1e-6 * w * (1100 - w) * (w + 200)
    grid = np.arange(0.0, 1001.0, 20.0)
    expected = 1e-6 * grid * (1100 - grid) * (grid + 200)
    got = published_target(PhononDos(w, cubic))
    np.testing.assert_allclose(got, (expected / expected.max()).clip(min=0), atol=1e-9)
    short = published_target(PhononDos(w[:60], np.ones(60)))
    assert short[:3].tolist() == pytest.approx([1, 1, 1])
    assert not short[3:].any()


@pytest.mark.parametrize(
    ("frequencies", "density", "sentence"),
    [
        ([0, 2, 1], [1, 1, 1], "must ascend"),
        ([0], [1], "at least two"),
        ([0, 1], [1, 1, 1], "a value for every frequency"),
        ([0, 1], [1, np.nan], "finite"),
    ],
)
def test_curves_that_are_none(frequencies: list, density: list, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PhononDos(np.array(frequencies), np.array(density))


def test_grids_that_are_none() -> None:
    with pytest.raises(UserError, match="positive step"):
        FrequencyGrid(0, 100, 0)
