"""Thermodynamics against closed forms, derivatives, and the published values of real crystals."""

from __future__ import annotations

import io
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.thermochemistry import CrystalThermo

from clebsch.errors import UserError
from clebsch.phonons import (
    PhononDos,
    debye_temperature,
    entropy,
    free_energy,
    heat_capacity,
    internal_energy,
    mean_frequency,
    per,
    zero_point_energy,
)

DATA = Path(os.environ.get("CLEBSCH_DATA", "no data"))


@pytest.fixture
def modes() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return np.sort(rng.uniform(20, 900, 40)), rng.uniform(0, 1, (2, 40))


def test_heat_capacity_and_entropy_are_derivatives(modes) -> None:
    w, g = modes
    T = np.array([30.0, 120.0, 300.0, 900.0])
    h = 1e-3 * T
    slope = (internal_energy(w, g, T + h) - internal_energy(w, g, T - h)) / (2 * h)
    np.testing.assert_allclose(heat_capacity(w, g, T), slope, rtol=1e-5)
    slope = -(free_energy(w, g, T + h) - free_energy(w, g, T - h)) / (2 * h)
    np.testing.assert_allclose(entropy(w, g, T), slope, rtol=1e-5)
    np.testing.assert_allclose(
        free_energy(w, g, T), internal_energy(w, g, T) - T * entropy(w, g, T), rtol=1e-12
    )


def test_limits(modes) -> None:
    w, g = modes
    np.testing.assert_allclose(heat_capacity(w, g, 1e5), units.kB * g.sum(-1), rtol=1e-4)
    np.testing.assert_allclose(internal_energy(w, g, 0.5), zero_point_energy(w, g), rtol=1e-12)
    assert np.all(np.isfinite(heat_capacity(w, g, 1e-2)))
    assert np.all(np.isfinite(entropy(w, g, 1e-2)))
    assert heat_capacity(w, g, 300.0).shape == (2,)


def test_agrees_with_ase() -> None:
    w = np.linspace(1.0, 600.0, 6001)
    g = w**2
    dos = PhononDos(w, g).normalized(6.0)
    energies = w * units.invcm
    ase = CrystalThermo(
        phonon_energies=energies, phonon_DOS=dos.density / units.invcm, potentialenergy=0.0
    )
    ours = float(internal_energy(w, dos.states_at(), 300.0))
    assert ours == pytest.approx(ase.get_internal_energy(300.0, verbose=False), rel=2e-4)
    s = float(entropy(w, dos.states_at(), 300.0))
    assert s == pytest.approx(ase.get_entropy(300.0, verbose=False), rel=2e-4)


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_debye_temperature_of_a_debye_spectrum(moment: int) -> None:
    w = np.linspace(0, 450, 20001)
    dos = PhononDos(w, w**2).normalized(3.0)
    expected = 450 * units.invcm / units.kB
    got = float(debye_temperature(w, dos.states_at(), moment))
    assert got == pytest.approx(expected, rel=1e-4)
    assert float(mean_frequency(w, dos.states_at())) == pytest.approx(337.5, rel=1e-4)


def test_amounts() -> None:
    assert per(3 * units.kB, "mol of cells", 2, 50.0) == pytest.approx(24.943, abs=1e-3)
    assert per(3 * units.kB, "mol of atoms", 2, 50.0) == pytest.approx(12.4717, abs=1e-3)
    assert per(3 * units.kB, "kg", 2, 50.0) == pytest.approx(498.87, abs=1e-2)
    assert per(3.0, "atom", 2, 50.0) == 1.5
    with pytest.raises(UserError, match="not 'litre'"):
        per(1.0, "litre", 1, 1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="above 0 K"):
        heat_capacity([100.0], [1.0], 0.0)


@pytest.mark.skipif(
    not (DATA / "phonon/petretto2018_dfpt.jsonl.xz").exists(),
    reason="the DFPT phonons are not in CLEBSCH_DATA",
)
def test_published_heat_capacities_entropies_and_energies() -> None:
    with lzma.open(DATA / "phonon/petretto2018_dfpt.jsonl.xz", "rt") as file:
        records = [json.loads(next(file)) for _ in range(200)]
    with lzma.open(DATA / "phonon/petretto2018_thermo.npz.xz") as file:
        table = np.load(io.BytesIO(file.read()))
    temperature = table["temperature"]
    checked = 0
    for i, record in enumerate(records):
        if np.isnan(table["c_v"][i]).any():
            continue
        curve = record["phonon"]
        meV = PhononDos(curve["dos_frequencies"], np.array(curve["ph_dos"]) * units.invcm)
        w, g = meV.frequencies, meV.states_at()
        cells = float(meV.states()) / 3  # atoms; the table is per formula unit
        mol = per(heat_capacity(w, g, temperature), "mol of cells", cells, 1.0)
        ratio = np.median(mol / table["c_v"][i])
        formulas = round(ratio)
        assert ratio == pytest.approx(formulas, rel=1e-3)
        warm = temperature >= 50
        np.testing.assert_allclose((mol / formulas)[warm], table["c_v"][i][warm], rtol=2e-3)
        s = per(entropy(w, g, temperature), "mol of cells", cells, 1.0) / formulas
        np.testing.assert_allclose(s[warm], table["entropy"][i][warm], rtol=5e-3)
        f = per(free_energy(w, g, temperature), "mol of cells", cells, 1.0) / formulas
        span = np.ptp(table["helmholtz_energy"][i])
        np.testing.assert_allclose(f, table["helmholtz_energy"][i], atol=1e-3 * span)
        checked += 1
    assert checked > 100
