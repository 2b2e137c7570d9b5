"""Both ways on made crystals: figures by their definition, restart, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from typer.testing import CliRunner

from clebsch.cli.phonons import app
from clebsch.errors import UserError
from clebsch.models import DosConfig, PhononDosModel, save_model
from clebsch.phonons import PhononDos, published_target
from clebsch.phonons.dataset import PhononDataset
from clebsch.phonons.reading import read_phonons
from clebsch.vibrations.comparison import (
    GRID,
    MEASURES,
    choose_crystals,
    compare,
    compute_by_displacements,
    summary,
    write_comparison,
)
from clebsch.vibrations.finite_displacements import DisplacementSettings
from clebsch.vibrations.prediction import predict_phonons
from made_crystals import ELEMENTS, write_dfpt

pytest.importorskip("phonopy", reason="phonopy is not installed (extra phonons)")

SETTINGS = DisplacementSettings(relax="none", least_side=5.0, mesh=15.0)


def dataset(folder: Path) -> PhononDataset:
    return read_phonons(write_dfpt(folder / "made.jsonl"))


def network(published: bool = True) -> PhononDosModel:
    config = DosConfig(species=list(ELEMENTS), cutoff=4.0, channels=4, layers=1, lmax=1)
    model = PhononDosModel(config).eval()
    model.header = {"target": {"kind": "published" if published else "states"}}
    return model


def pairs() -> Calculator:
    """Pairs that like their distance in the made crystals."""
    return LennardJones(sigma=2.3, epsilon=0.2, rc=6.0, smooth=True)


def test_figures_are_those_of_the_definitions(tmp_path: Path) -> None:
    data, model = dataset(tmp_path), network()
    computed = compute_by_displacements(data, [0, 3], pairs, "pairs", tmp_path / "o", SETTINGS)
    rows = compare(data, [0, 3], model, computed, repeats=1)
    assert [r.name for r in rows] == [data.names[0], data.names[3]]
    row = rows[1]
    content = computed[row.name]
    w = content["start"] + np.arange(len(content["density"]))
    by_hand = published_target(PhononDos(w, np.array(content["density"])))
    np.testing.assert_allclose(row.values["potential"], by_hand)
    states = next(predict_phonons(model, [data[3]])).states[:-1]
    np.testing.assert_allclose(row.values["direct"], states / states.max())
    np.testing.assert_allclose(row.reference, published_target(data.dos(3)))
    for way in ("direct", "potential"):
        g, ref = row.values[way], row.reference
        assert row.errors[way]["dos_mae"] == pytest.approx(np.abs(g - ref).mean())
        a, b = np.cumsum(g / g.sum()), np.cumsum(ref / ref.sum())
        distance = row.errors[way]["dos_wasserstein_cm1"]
        assert distance == pytest.approx(20 * np.abs(a - b).sum(), rel=1e-6)
        means = g @ GRID.centres / g.sum(), ref @ GRID.centres / ref.sum()
        error = row.errors[way]["mean_frequency_mae_cm1"]
        assert error == pytest.approx(abs(means[0] - means[1]))
        assert row.seconds[way] > 0
    figures = summary(rows)
    mean = np.mean([r.errors["potential"]["dos_mae"] for r in rows])
    assert figures["potential"]["dos_mae"] == pytest.approx(mean)
    assert set(MEASURES) <= set(figures["direct"])


def test_perfect_ways_have_no_error(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    dos = data.dos(0)
    perfect = {
        "start": 0.0,
        "step": 1.0,
        "density": dos.density.tolist(),
        "seconds": {"relaxation": 1.0, "forces": 2.0, "phonons": 3.0, "processor": 4.0},
        "facts": {"imaginary": 0.0},
    }
    row = compare(data, [0], network(), {data.names[0]: perfect}, repeats=1)[0]
    assert row.seconds["potential"] == 6.0
    assert all(value == pytest.approx(0, abs=1e-12) for value in row.errors["potential"].values())


def test_a_finer_network_is_smoothed_as_the_reference_is(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    computed = compute_by_displacements(data, [0], pairs, "pairs", tmp_path / "o", SETTINGS)
    model = network(published=False)
    row = compare(data, [0], model, computed, repeats=1)[0]
    p = next(predict_phonons(model, [data[0]]))
    w = np.arange(0.0, 1001.0)
    density = np.interp(w, p.grid.centres, p.states[:-1] / p.widths)
    np.testing.assert_allclose(row.values["direct"], published_target(PhononDos(w, density)))


def test_finished_crystals_are_not_computed_again(tmp_path: Path) -> None:
    data, out = dataset(tmp_path), tmp_path / "o"
    first = compute_by_displacements(data, [0, 1], pairs, "pairs", out, SETTINGS)

    def refuse() -> Calculator:
        raise AssertionError("everything is there")

    told: list[str] = []
    again = compute_by_displacements(data, [1, 0], refuse, "pairs", out, SETTINGS, told.append)
    assert again == json.loads(json.dumps(first))
    assert told == [data.names[1], data.names[0]]
    other = DisplacementSettings(relax="none", least_side=6.0, mesh=15.0)
    with pytest.raises(UserError, match=r"other settings \(least_side 5.0 there, 6.0 here\)"):
        compute_by_displacements(data, [0], pairs, "pairs", out, other)
    with pytest.raises(UserError, match=r"other forces \(pairs there, springs here\)"):
        compute_by_displacements(data, [0], pairs, "springs", out, SETTINGS)
    next((out / "crystals").glob("*.json")).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        compute_by_displacements(data, [0, 1], pairs, "pairs", out, SETTINGS)


def test_a_crystal_that_fails_is_kept_with_its_reason(tmp_path: Path) -> None:
    class Picky(LennardJones):
        def calculate(self, atoms: Atoms | None = None, *args: object, **kwargs: object) -> None:
            if atoms is not None and 19 in atoms.numbers:
                raise ValueError("potassium is unknown")
            super().calculate(atoms, *args, **kwargs)

    data, out = dataset(tmp_path), tmp_path / "o"
    potassium = next(i for i, a in enumerate(data) if 19 in a.numbers)
    computed = compute_by_displacements(
        data, [0, potassium], lambda: Picky(sigma=2.3, rc=6.0), "picky", out, SETTINGS
    )
    rows = compare(data, [0, potassium], network(), computed, repeats=1)
    content = write_comparison(rows, computed, out, {"data": "made"})
    assert content["crystals"] == 1
    name = data.names[potassium]
    assert list(content["failed"]) == [name]
    assert "the potential refuses it (potassium is unknown)" in content["failed"][name]
    assert content == json.loads((out / "comparison.json").read_text())
    header, line = (out / "comparison.csv").read_text().splitlines()
    assert len(header.split(",")) == len(line.split(","))
    assert (out / "comparison.png").stat().st_size > 10_000
    failed = {data.names[potassium]: computed[data.names[potassium]]}
    with pytest.raises(UserError, match=r"no crystal could be computed \(.*potassium is unknown"):
        write_comparison([], failed, out, {})


def test_more_crystals_keep_the_first_ones() -> None:
    indices = [40, 2, 7, 13, 99, 5]
    chosen = choose_crystals(indices, 3, 0)
    assert choose_crystals(indices[::-1], 5, 0)[:3] == chosen
    assert sorted(choose_crystals(indices, None, 0)) == sorted(indices)
    assert choose_crystals(range(100), 10, 1) != choose_crystals(range(100), 10, 2)


def test_command_compares_a_part_of_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path)
    monkeypatch.setattr(
        "clebsch.simulate.named_potentials.potential_calculator", lambda *_: pairs()
    )
    save_model(network(), tmp_path / "m.clebsch", {"target": {"kind": "published"}})
    options = ["--direct", str(tmp_path / "m.clebsch"), "--out", str(tmp_path / "o"), "--quiet"]
    options += ["--least-side", "5", "--relax", "none"]
    run = CliRunner()
    done = run.invoke(app, ["compare", str(tmp_path / "made.jsonl"), *options])
    assert "name a --split file" in str(done.exception)
    split = {"train": data.names[4:], "valid": [], "test": data.names[:4]}
    (tmp_path / "tutorial_split_ids.json").write_text(json.dumps(split))
    done = run.invoke(app, ["compare", str(tmp_path / "made.jsonl"), *options, "--number", "2"])
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "o" / "comparison.json").read_text())
    lines = (tmp_path / "o" / "comparison.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} <= set(data.names[:4])
    assert content["crystals"] == 2
    assert "2 crystals" in done.output
    wrong = run.invoke(app, ["compare", str(tmp_path / "made.jsonl"), *options, "--part", "trial"])
    assert isinstance(wrong.exception, UserError)
