"""Distances of partial spectra: exact where the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from clebsch.errors import UserError
from clebsch.models import DosConfig, PhononDosModel
from clebsch.phonons import PhononDos
from clebsch.phonons.dataset import PhononDataset, PhononRecord
from clebsch.vibrations.crystals import Crystal
from clebsch.vibrations.finite_displacements import DisplacementSettings
from clebsch.vibrations.partial_dos import (
    GUESSES,
    binned_share,
    choose_compounds,
    compare_partial,
    mass_scaled,
    projected_dos,
    summarise,
    write_partial,
)
from clebsch.vibrations.prediction import predict_phonons

SALT = bulk("NaCl", "rocksalt", a=5.64)
W = np.arange(0.0, 1100.0, 0.5)


def network() -> PhononDosModel:
    torch.manual_seed(1)
    config = DosConfig(species=["Na", "Cl", "Mg", "O"], channels=8, stop=400.0, step=10.0)
    model = PhononDosModel(config).double().eval()
    with torch.no_grad():  # atoms that differ
        model.members[0].readout[-1].weight *= 6
    return model


def own_curves(model: PhononDosModel, atoms: Atoms) -> dict[str, np.ndarray]:
    """The network's elements as fine curves, in states per cm^-1."""
    prediction = next(predict_phonons(model, [Crystal("x", "x", atoms)]))
    return {
        s: np.gradient(binned_share(prediction.grid, g, W), W) * g.sum()
        for s, g in prediction.element_states().items()
    }


def record_of(curves: dict[str, np.ndarray], name: str = "x", atoms: Atoms = SALT) -> PhononRecord:
    return PhononRecord(name, name, atoms, PhononDos(W, np.sum(list(curves.values()), axis=0)))


def content(curves: dict[str, np.ndarray], factor: float = 1.0) -> dict:
    """As of `projected_dos`, with frequencies multiplied by a factor."""
    elements = {s: (g / factor).tolist() for s, g in curves.items()}
    return {"frequencies": (W * factor).tolist(), "elements": elements, "imaginary": 0.0}


def test_the_network_against_itself() -> None:
    model = network()
    curves = own_curves(model, SALT)
    row = compare_partial(model, record_of(curves), content(curves))
    assert row.stretch == pytest.approx(1.0, rel=3e-3)
    for s in ("Na", "Cl"):
        assert row.distances["model"][s] < 0.3  # of 400 cm^-1; the curves are half a cm^-1 apart
        assert row.offsets[s][0] == pytest.approx(row.offsets[s][1], abs=0.2)
    assert row.assigned
    # equal shares are as far from each as half their difference
    shares = [np.cumsum(g) / g.sum() for g in curves.values()]
    half = 0.5 * np.abs(shares[0] - shares[1]).sum() * 0.5
    assert half > 10
    for guess in ("equal", "reference equal"):
        assert row.distances[guess]["Na"] == pytest.approx(half, rel=0.05)


def test_soft_potentials_are_stretched() -> None:
    model = network()
    curves = own_curves(model, SALT)
    row = compare_partial(model, record_of(curves), content(curves, 0.9))
    assert row.stretch == pytest.approx(1 / 0.9, rel=3e-3)
    assert max(row.distances["model"].values()) < 0.5
    for s, g in curves.items():
        mean = (W @ g) / g.sum()
        assert row.unstretched["model"][s] == pytest.approx(0.1 * mean, rel=0.02)


def test_swapped_atoms_are_found_out() -> None:
    model = network()
    curves = own_curves(model, SALT)
    swapped = dict(zip(curves, list(curves.values())[::-1], strict=True))
    row = compare_partial(model, record_of(curves), content(swapped))
    assert row.distances["model"]["Na"] > 1.8 * row.distances["equal"]["Na"]
    assert row.offsets["Na"][0] == pytest.approx(-row.offsets["Na"][1], abs=0.3)
    assert summarise([row])["offsets_correlation"] == pytest.approx(-1)
    assert not row.assigned
    assert summarise([row])["by_chance"] == 0.5


def test_mass_scaling() -> None:
    w = np.arange(0.0, 2000.0)
    share = np.clip(w / 300, 0, 1)  # uniform to 300 cm^-1, mean 150
    atoms = Atoms("MgO2", cell=np.eye(3) * 5, pbc=True)
    parts = mass_scaled(share, w, atoms)
    mean = {s: float(np.trapezoid(1 - c, w)) for s, c in parts.items()}
    assert mean["O"] / mean["Mg"] == pytest.approx(np.sqrt(24.305 / 15.999), rel=1e-3)
    assert (mean["Mg"] + 2 * mean["O"]) / 3 == pytest.approx(150, rel=1e-3)


def test_choice_of_compounds() -> None:
    model = network()
    good = {"Na": np.exp(-((W - 150) ** 2) / 800), "Cl": np.exp(-((W - 250) ** 2) / 800)}
    high = {s: np.roll(g, 1000) for s, g in good.items()}
    records = [
        record_of(good, "good"),
        record_of(high, "high"),
        record_of(good, "element", bulk("Mg", "fcc", a=4.5)),
        record_of(good, "large", SALT.repeat(2)),
        PhononRecord("soft", "soft", SALT, PhononDos(W - 200, sum(good.values()))),
        record_of(good, "other"),
    ]
    data = PhononDataset("made", records)
    chosen = choose_compounds(data, range(6), model, 5)
    assert sorted(data.names[i] for i in chosen) == ["good", "other"]
    assert choose_compounds(data, range(6), model, 1) == chosen[:1]
    with pytest.raises(UserError, match="no crystal has several elements"):
        choose_compounds(data, [1, 2, 3], model, 5)


def test_computed_crystals_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("phonopy", reason="phonopy is not installed")
    from ase.calculators.emt import EMT

    atoms = bulk("CuAu", "rocksalt", a=5.2)
    atoms.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.5]])
    record = PhononRecord("x", "x", atoms, PhononDos(W, np.ones_like(W)))
    settings = DisplacementSettings(relax="none", least_side=5.0, max_atoms=32, mesh=20.0)
    calls = []

    def calculator() -> EMT:
        calls.append(1)
        return EMT()

    path = tmp_path / "x.json"
    first = projected_dos(record, calculator, settings, {"potential": "emt"}, path)
    assert set(first["elements"]) == {"Cu", "Au"}
    for density in first["elements"].values():
        assert np.trapezoid(density, first["frequencies"]) == pytest.approx(3, rel=1e-3)
    again = projected_dos(record, calculator, settings, {"potential": "emt"}, path)
    assert json.loads(json.dumps(first)) == again
    assert len(calls) == 1
    with pytest.raises(UserError, match="was computed with other settings"):
        projected_dos(record, calculator, settings, {"potential": "lj"}, path)


def test_what_is_written(tmp_path: Path) -> None:
    model = network()
    rows = []
    for a in (5.2, 5.64, 6.0):
        atoms = bulk("NaCl", "rocksalt", a=a)
        curves = own_curves(model, atoms)
        rows.append(compare_partial(model, record_of(curves, f"a{a}", atoms), content(curves)))
    written = write_partial(rows, tmp_path, {"potential": "made"}, {"y": "failed"})
    assert json.loads((tmp_path / "partial.json").read_text())["failed"] == {"y": "failed"}
    assert written["summary"]["crystals"] == 3
    assert set(written["summary"]["wasserstein_cm1"]) == set(GUESSES)
    assert len((tmp_path / "partial.csv").read_text().splitlines()) == 7
    assert (tmp_path / "partial.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"no crystal could be computed \(y: failed\)"):
        write_partial([], tmp_path, {}, {"y": "failed"})
