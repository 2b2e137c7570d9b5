"""Phonon spectra from a trained model: library, files, command line, wrong input."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ase.io
import h5py
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, make_supercell
from PIL import Image

from clebsch import cli
from clebsch.cli.predict.phonons import predict_phonons as predict_command
from clebsch.errors import UserError
from clebsch.models import (
    PhononDosModel,
    Potential,
    PotentialConfig,
    load_dos_model,
    save_model,
)
from clebsch.o3 import rand_matrix
from clebsch.phonons import (
    debye_temperature,
    entropy,
    free_energy,
    heat_capacity,
    internal_energy,
    zero_point_energy,
)
from clebsch.structures import AtomGraph
from clebsch.train.dos_config import DosTrainConfig
from clebsch.train.dos_run import train_dos
from clebsch.vibrations.crystals import read_crystals
from clebsch.vibrations.output import PhononOutput, write_phonons
from clebsch.vibrations.prediction import bin_widths, predict_phonons, rank
from made_crystals import crystals, spectrum, write_dfpt


class Trained(NamedTuple):
    file: Path
    model: PhononDosModel


def train(folder: Path, members: int) -> Trained:
    settings = DosTrainConfig(
        model={"channels": 8, "cutoff": 4.0, "members": members, "lmax": 1, "step": 25.0},
        epochs=20,
        optimiser={"lr": 0.01},
    )
    train_dos(str(write_dfpt(folder / "made.jsonl")), settings, folder / "run", progress=False)
    file = folder / "run" / "model.clebsch"
    return Trained(file, load_dos_model(file))


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two networks."""
    return train(tmp_path_factory.mktemp("ensemble"), 2)


@pytest.fixture(scope="module")
def single(ensemble: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The first of them alone."""
    model = PhononDosModel(ensemble.model.config.model_copy(update={"members": 1}))
    model.members[0].load_state_dict(ensemble.model.members[0].state_dict())
    file = tmp_path_factory.mktemp("single") / "single.clebsch"
    save_model(model, file, ensemble.model.header)
    return Trained(file, load_dos_model(file))


def odd_crystal() -> Atoms:
    """Six atoms of three elements, no symmetry, all bonds near 2.5 A."""
    atoms = bulk("NaCl", "rocksalt", a=5.2) * (3, 1, 1)
    atoms.rattle(0.1, seed=3)
    atoms.symbols[4] = "K"
    strain = np.array([[0.1, 0, 0.2], [0, 0.3, 0], [0, 0, -0.1]])
    atoms.set_cell(atoms.cell.array + strain, scale_atoms=True)
    return atoms


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of ``clebsch predict``."""
    monkeypatch.setattr("sys.argv", ["clebsch", "predict", *map(str, arguments), "--quiet"])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_batches_predict_what_the_model_says_of_each(ensemble: Trained) -> None:
    model = ensemble.model
    structures = [*crystals()[:7], odd_crystal()]
    for limit in (1, 5, 1000):
        found = list(predict_phonons(model, structures, max_atoms=limit))
        assert len(found) == len(structures)
        for atoms, p in zip(structures, found, strict=True):
            with torch.no_grad():
                out = model(AtomGraph.from_atoms(atoms, model.cutoff, model.dtype))
            np.testing.assert_allclose(p.states, out["states"][0], atol=2e-5)
            np.testing.assert_allclose(p.atomic_states, out["atomic_states"], atol=1e-5)
            np.testing.assert_allclose(p.spread, out["spread"][0], atol=2e-5)
            assert p.members == 2
            assert p.states.sum() == pytest.approx(3 * len(atoms), abs=1e-10)
            assert p.member_states.sum(-1) == pytest.approx(3 * len(atoms), abs=1e-10)
    parts = found[-1].element_states()
    assert list(parts) == ["Na", "Cl", "K"]
    assert [round(float(g.sum())) for g in parts.values()] == [6, 9, 3]
    np.testing.assert_allclose(sum(parts.values()), found[-1].states, atol=1e-12)
    assert (found[-1].states >= 0).all()


def test_it_has_learnt_the_spectra(ensemble: Trained) -> None:
    structures = crystals()
    errors = []
    for p, atoms in zip(predict_phonons(ensemble.model, structures), structures, strict=True):
        w, g = spectrum(atoms)
        capacity = heat_capacity(w, g * 6 / g.sum(), 300.0) / 2 * units._e * units._Nav
        errors.append(p.thermodynamics().heat_capacity(300.0).value - float(capacity))
    assert np.abs(errors).mean() < 0.3  # of 20 J/(K mol), over 4 J/(K mol) apart


def test_thermodynamics_of_every_member(ensemble: Trained) -> None:
    (p,) = predict_phonons(ensemble.model, [odd_crystal()])
    temperatures = [30.0, 300.0]
    table = p.thermodynamics(temperatures)
    w, n, mass = p.grid.middles, 6, odd_crystal().get_masses().sum()
    mol = units._e * units._Nav
    factors = {"atom": 1 / n, "mol of atoms": mol / n, "mol of cells": mol, "kg": 1e3 * mol / mass}
    functions = {
        "heat_capacity": heat_capacity, "entropy": entropy, "free_energy": free_energy,
        "internal_energy": internal_energy,
    }  # fmt: skip
    found = {q.column: q for q in table.quantities()}
    assert len(found) == 3 + 4 + 2 * 4 * 4
    for amount, factor in factors.items():
        for name, function in functions.items():
            for T in temperatures:
                q = getattr(table, name)(T, amount)
                assert found[q.column] == q
                assert f"_{T:g}K_" in q.column
                assert q.value == pytest.approx(factor * float(function(w, p.states, T)), rel=1e-9)
                members = factor * function(w, p.member_states, T)
                assert q.std == pytest.approx(members.std(ddof=1), rel=1e-6)
        q = table.zero_point_energy(amount)
        assert q.value == pytest.approx(factor * float(zero_point_energy(w, p.states)), rel=1e-9)
    assert table.heat_capacity(300.0, "kg").unit == "J/(K kg)"
    assert table.free_energy(300.0, "atom").unit == "eV/atom"
    # F = U - T S
    parts = [getattr(table, f)(300.0, "atom").value for f in functions]
    assert parts[2] == pytest.approx(parts[3] - 300 * parts[1], rel=1e-9)
    debye = table.debye_temperature()
    assert debye.value == pytest.approx(float(debye_temperature(w, p.states)))
    assert debye.std == pytest.approx(debye_temperature(w, p.member_states).std(ddof=1))
    below = np.interp(
        table.band_limit().value,
        np.append(p.grid.edges, p.grid.edges[-1] + p.grid.step),
        np.append(0.0, p.states.cumsum()),
    )
    assert below == pytest.approx(0.99 * 18, abs=1e-9)
    with pytest.raises(UserError, match="77 K is not among the temperatures 30, 300 K"):
        table.entropy(77.0)
    with pytest.raises(UserError, match="above 0 K"):
        p.thermodynamics([0.0])


def test_one_network_has_no_uncertainty(single: Trained) -> None:
    (p,) = predict_phonons(single.model, [odd_crystal()])
    assert p.spread is None
    assert p.spectrum().std is None
    assert all(q.std is None for q in p.thermodynamics().quantities())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_integrals_of_spectra(ensemble: Trained, dtype: torch.dtype) -> None:
    model = load_dos_model(ensemble.file, dtype=dtype)
    (p,) = predict_phonons(model, [odd_crystal()])
    beyond = p.states[-1]
    for unit, per_cm in (("cm^-1", 1.0), ("THz", 0.0299792458), ("meV", 0.12398420)):
        widths = p.widths * per_cm
        for norm, whole in (("3N", 18.0), ("1", 1.0)):
            s = p.spectrum(unit, norm)
            integral = (s.total * widths).sum() + beyond * whole / 18
            assert integral == pytest.approx(whole, abs=1e-6)
            np.testing.assert_allclose(sum(s.elements.values()), s.total, atol=1e-12)
            np.testing.assert_allclose(s.frequencies, p.grid.centres * per_cm, rtol=1e-6)
        top = p.spectrum(unit, "maximum")
        assert top.total.max() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(top.std / top.total, s.std / s.total)
    assert p.spectrum("THz").density_unit == "states/THz"
    with pytest.raises(UserError, match='"cm\\^-1", "THz" or "meV"'):
        p.spectrum("nm")


def test_published_targets_are_values_at_the_centres(single: Trained) -> None:
    header = single.model.header
    assert bin_widths(single.model)[0] == 12.5
    single.model.header = header | {"target": {"kind": "published"}}
    assert set(bin_widths(single.model)) == {25.0}
    single.model.header = header


def test_memory_holds_one_batch(single: Trained) -> None:
    taken = 0

    def endless() -> Iterator[Atoms]:
        nonlocal taken
        while True:
            taken += 1
            yield crystals()[taken % 32]

    predictions = predict_phonons(single.model, endless(), max_atoms=10)
    for _ in range(12):
        next(predictions)
    assert taken <= 16


def test_same_crystal_same_rows(ensemble: Trained, tmp_path: Path, monkeypatch) -> None:
    atoms = odd_crystal()
    R = rand_matrix(dtype=torch.float64).numpy()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ R.T)
    turned.positions = atoms.positions @ R.T
    moved = atoms.copy()
    moved.positions += [812.3, -456.7, 1234.5]
    wrapped = atoms.copy()
    wrapped.positions += atoms.cell.array[0] * [[30.0], [0], [-2], [0], [1], [0]]
    order = atoms[[3, 0, 5, 1, 4, 2]]
    other = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [2, 0, 1]])
    big = make_supercell(atoms, [[2, 0, 0], [0, 1, 1], [1, 0, 2]])
    same = [atoms, turned, moved, wrapped, order, other, big]
    assert len(other) == 6
    assert len(big) == 24
    for out in ("p.csv", "p.json", "p.h5"):
        ase.io.write(tmp_path / "same.extxyz", same)
        argv = (ensemble.file, tmp_path / "same.extxyz", "--normalise", "1")
        assert run(monkeypatch, *argv, "--out", tmp_path / out) == 0
    rows = rows_of(tmp_path / "p.csv")
    columns = [c for c in rows[0] if c.startswith("dos_at") and c.endswith("_per_cm1")]
    assert len(columns) == len(ensemble.model.config.grid)
    density = np.array([[float(row[c]) for c in columns] for row in rows])
    assert density.max() > 1e-3
    # relative to the largest value as well as in itself
    assert np.abs(density - density[0]).max() < 1e-4 * density.max()
    for column in ("heat_capacity_300K_J_per_K_mol_atoms", "debye_temperature_K"):
        values = np.array([float(row[column]) for row in rows])
        assert np.abs(values / values[0] - 1).max() < 1e-5
    with h5py.File(tmp_path / "p.h5") as file:
        spectra = file["dos"][:]
    assert np.abs(spectra - spectra[0]).max() < 1e-4 * spectra.max()
    records = json.loads((tmp_path / "p.json").read_text())["crystals"]
    for symbol in ("Na", "Cl", "K"):
        parts = np.array([r["partial_dos"][symbol] for r in records])
        assert np.abs(parts - parts[0]).max() < 1e-4 * density.max()


def test_three_formats_say_the_same(ensemble: Trained, tmp_path: Path) -> None:
    predictions = list(predict_phonons(ensemble.model, [*crystals()[:3], odd_crystal()]))
    output = PhononOutput((100.0, 300.0), "THz", "3N", "m.clebsch")
    for name in ("p.csv", "p.json", "p.hdf5"):
        assert write_phonons(iter(predictions), tmp_path / name, output) == 4
    rows = rows_of(tmp_path / "p.csv")
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["frequency_unit"] == "THz"
    assert content["dos_unit"] == "states/THz"
    assert content["uncertainty"] == "standard deviation over the 2 networks of the model"
    assert content["model"] == "m.clebsch"
    widths = np.array(content["bin_widths"])
    with h5py.File(tmp_path / "p.hdf5") as file:
        assert file.attrs["dos_unit"] == file["dos"].attrs["unit"] == "states/THz"
        np.testing.assert_allclose(file["frequencies"][:], content["frequencies"])
        for i, (row, record, p) in enumerate(
            zip(rows, content["crystals"], predictions, strict=True)
        ):
            assert row["name"] == record["name"] == file["name"].asstr()[i] == p.name
            assert int(row["n_atoms"]) == record["n_atoms"] == file["n_atoms"][i] == len(p.atoms)
            total = np.array(record["dos"])
            integral = (total * widths).sum() + record["states_above_grid"]
            assert integral == pytest.approx(3 * len(p.atoms), abs=1e-5)
            np.testing.assert_allclose(sum(map(np.array, record["partial_dos"].values())), total)
            bins = [c for c in row if c.startswith("dos_at") and c.endswith("states_per_THz")]
            np.testing.assert_allclose([float(row[c]) for c in bins], total)
            np.testing.assert_allclose([float(row[f"{c}_std"]) for c in bins], record["dos_std"])
            np.testing.assert_allclose(file["dos"][i], total, rtol=1e-8)
            np.testing.assert_allclose(file["dos_std"][i], record["dos_std"], rtol=1e-7, atol=1e-12)
            mine = file["partial/crystal"][:] == i
            symbols = file["partial/element"].asstr()[mine].tolist()
            assert symbols == list(record["partial_dos"])
            first = file["partial/dos"][mine][0]
            np.testing.assert_allclose(first, record["partial_dos"][symbols[0]], rtol=1e-8)
            columns = list(file["thermodynamics"])
            assert len(columns) == 2 * (3 + 4 + 2 * 16)
            assert set(columns) <= set(row)
            for column in columns:
                value = file["thermodynamics"][column][i]
                assert float(row[column]) == pytest.approx(value, rel=1e-7)
                assert record[column] == pytest.approx(value)
            assert file["thermodynamics/entropy_100K_J_per_K_kg"].attrs["unit"] == "J/(K kg)"
            mean = p.thermodynamics().mean_frequency().value * 0.0299792458
            assert float(row["mean_frequency_THz"]) == pytest.approx(mean)
            above = [c for c in row if c.startswith("states_above_")]
            assert len(above) == 1
            assert float(row[above[0]]) == pytest.approx(p.states[-1])


def test_ranking_and_figures(ensemble: Trained, tmp_path: Path, monkeypatch, capsys) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for i, atoms in enumerate(crystals()[::3]):
        ase.io.write(folder / f"c{i:02}.cif", atoms)
    (folder / "notes.txt").write_text("not a structure")
    out = tmp_path / "best.csv"
    argv = (ensemble.file, folder, "--rank", "lowest", "--top", 3, "--per", "kg", "--out", out)
    assert run(monkeypatch, *argv, "--temperature", 120, "--figures", tmp_path / "figures") == 0
    printed = capsys.readouterr().out
    assert "C_v(120 K)" in printed
    assert "J/(K kg)" in printed
    assert "3 of 11 crystals" in printed
    column = "heat_capacity_120K_J_per_K_kg"
    every = list(predict_phonons(ensemble.model, read_crystals([str(folder)])))
    values = {p.name: p.thermodynamics([120.0]).heat_capacity(120.0, "kg").value for p in every}
    expected = sorted(values, key=values.__getitem__)[:3]
    rows = rows_of(out)
    assert [row["name"] for row in rows] == expected
    assert [float(row[column]) for row in rows] == pytest.approx(sorted(values.values())[:3])
    for name in expected:
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            assert image.size == (900, 540)
    best = rank(every, 120.0, "kg")
    assert [p.name for p in best] == sorted(values, key=values.__getitem__, reverse=True)


def test_too_many_figures_write_nothing(single: Trained, tmp_path: Path, monkeypatch, capsys):
    ase.io.write(tmp_path / "many.extxyz", crystals()[:3])
    argv = (single.file, tmp_path / "many.extxyz", "--out", tmp_path / "p.csv")
    figures = ("--figures", tmp_path / "figures", "--max-figures")
    assert run(monkeypatch, *argv, *figures, 2) == 2
    assert "more than 2 figures" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["many.extxyz"]
    assert run(monkeypatch, *argv, *figures, 3) == 0
    assert "no uncertainties: the model is one network" in capsys.readouterr().out
    names = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert names == [f"many-{i}.png" for i in range(3)]


MOLECULE = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.4]])
SLAB = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.8]], cell=[4, 4, 20], pbc=[True, True, False])
SHARED = """data_x
_cell_length_a 5
_cell_length_b 5
_cell_length_c 5
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 0.5
K1 K 0 0 0 0.5
Cl1 Cl 0.5 0.5 0.5 1.0
"""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (MOLECULE, "bad.extxyz, frame 1: has no cell"),
        (SLAB, "bad.extxyz, frame 1: is periodic in 2 of 3 directions, a molecule, wire or slab"),
        (bulk("Au"), "bad.extxyz, frame 1: the model does not know Au (it was trained on O, Na,"),
        (bulk("Na", "bcc", a=0.5), "bad.extxyz, frame 1: has atoms closer than 0.5 Å"),
        ("", "empty"),
        ("3\nLattice=", "cannot be read"),
    ],
)
def test_wrong_structures(
    single: Trained, tmp_path: Path, monkeypatch, capsys, content: Atoms | str, sentence: str
) -> None:
    bad = tmp_path / "bad.extxyz"
    if isinstance(content, Atoms):
        ase.io.write(bad, [crystals()[0], content], format="extxyz")
    else:
        bad.write_text(content)
    good = tmp_path / "good.cif"
    ase.io.write(good, crystals()[1])
    out = tmp_path / "p.csv"
    assert run(monkeypatch, single.file, good, bad, "--out", out) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists()
    # the same is left out where that is asked for
    assert run(monkeypatch, single.file, good, bad, "--out", out, "--skip") == 0
    assert f"left out: {bad}" in capsys.readouterr().err
    assert rows_of(out)[0]["name"] == "good"
    out.unlink()
    if not isinstance(content, Atoms):
        assert run(monkeypatch, single.file, bad, "--out", out, "--skip") == 2
        error = capsys.readouterr().err
        assert f"left out: {bad}" in error
        assert "there is no crystal to write" in error


def test_shared_sites_are_alloys(single: Trained, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "alloy.cif").write_text(SHARED)
    assert run(monkeypatch, single.file, tmp_path / "alloy.cif", "--out", tmp_path / "p.csv") == 2
    error = capsys.readouterr().err
    assert "alloy.cif: site 0 is occupied by Na 0.5, K 0.5" in error
    assert "clebsch phonons" in error


def test_wrong_options(single: Trained, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.cif"
    ase.io.write(good, crystals()[1])
    potential = tmp_path / "potential.clebsch"
    save_model(Potential(PotentialConfig(species=["Na"], channels=4, layers=1)), potential)
    dos = single.file
    for argv, sentence in (
        ((dos, good, "--out", "p.extxyz"), "phonon spectra are written as .csv, .json"),
        ((dos, good, "--unit", "nm"), '--unit nm: a frequency has the unit "cm^-1"'),
        ((dos, good, "--normalise", "2"), "--normalise 2: choose 3N, 1 or maximum"),
        ((dos, good, "--temperature", -5), "--temperature -5: a temperature must be above 0 K"),
        ((dos, good, "--rank", "best"), "--rank best: choose highest or lowest"),
        ((dos, good, "--top", 3), "--top goes with --rank"),
        ((dos, good, "--rank", "highest", "--per", "ton"), '--per: an amount is "cell"'),
        ((dos, good, "--max-figures", 3), "--max-figures goes with --figures"),
        ((dos, good, "--figures", good), "is a file, not a folder"),
        ((dos, good, "--device", "abacus"), "device 'abacus' cannot be used"),
        ((dos, tmp_path / "none.cif"), "there is no such file"),
        ((potential, good, "--temperature", 300), "holds a potential, but --temperature is for"),
        ((potential, good, "--skip"), "holds a potential, but --skip is for"),
    ):
        assert run(monkeypatch, *argv) == 2, argv
        error = capsys.readouterr().err
        assert sentence in error, argv
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.cif", "potential.clebsch"]


def test_slab_in_a_periodic_cell(single: Trained, tmp_path: Path) -> None:
    slab = bulk("NaCl", "rocksalt", a=5.2, cubic=True)
    ase.io.write(tmp_path / "bulk.cif", slab)
    slab.center(vacuum=4.5, axis=2)
    ase.io.write(tmp_path / "slab.cif", slab)
    argv = [str(tmp_path / name) for name in ("bulk.cif", "slab.cif")]
    with pytest.warns(UserWarning, match=r"slab\.cif: an empty layer is wider than .* 4 Å"):
        predict_command(single.file, argv, tmp_path / "p.csv", 1000, "cpu", True, {})
    assert len(rows_of(tmp_path / "p.csv")) == 2


def test_names_and_places(tmp_path: Path) -> None:
    one, two = crystals()[0], crystals()[1].copy()
    two.info["name"] = "mine"
    (tmp_path / "NaCl-600K").mkdir()
    ase.io.write(tmp_path / "NaCl-600K" / "POSCAR", one)
    ase.io.write(tmp_path / "a5.0.cif", one)
    ase.io.write(tmp_path / "pair.extxyz", [one, two])
    write_dfpt(tmp_path / "set.jsonl")
    paths = [tmp_path / p for p in ("NaCl-600K", "a5.0.cif", "pair.extxyz", "set.jsonl")]
    found = list(read_crystals([str(p) for p in paths]))
    assert [c.name for c in found[:6]] == ["NaCl-600K", "a5.0", "pair-0", "mine", "c-0", "c-1"]
    assert found[1].where == str(tmp_path / "a5.0.cif")
    assert found[3].where == f"{tmp_path / 'pair.extxyz'}, frame 1"
    progress = [c.progress for c in found]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    jarvis = {
        "freq_cm1": [0, 20, 40],
        "entries": {
            "J-7": {"lattice": one.cell.tolist(), "species": ["Na", "Cl"], "phdos": [0, 1, 0],
                    "frac_coords": one.get_scaled_positions().tolist()},
        },
    }  # fmt: skip
    (tmp_path / "set.json.gz").write_bytes(gzip.compress(json.dumps(jarvis).encode()))
    (crystal,) = read_crystals([str(tmp_path / "set.json.gz")])
    assert crystal.name == "J-7"
    assert crystal.atoms.get_chemical_formula() == "ClNa"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="folder without any structure file"):
        list(read_crystals([str(tmp_path / "empty")]))


def test_structure_of_pymatgen_without_it(single: Trained, tmp_path: Path) -> None:
    atoms = odd_crystal()
    sites = [
        {"species": [{"element": s, "occu": 1}], "abc": x.tolist()}
        for s, x in zip(atoms.symbols, atoms.get_scaled_positions(), strict=True)
    ]
    content = {"lattice": {"matrix": atoms.cell.array.tolist()}, "sites": sites}
    file = tmp_path / "structure.json"
    file.write_text(json.dumps(content))
    (crystal,) = read_crystals([str(file)])
    (a,), (b,) = (list(predict_phonons(single.model, [x])) for x in (crystal, atoms))
    np.testing.assert_allclose(a.states, b.states, atol=1e-5)
    sites[1]["species"] = [{"element": "Cl", "occu": 0.9}]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"structure.json: site 1 is occupied by Cl 0.9"):
        list(read_crystals([str(file)]))


def test_pymatgen_reads_what_ase_does_not(single: Trained, tmp_path: Path) -> None:
    structures = pytest.importorskip("pymatgen.core.structure", reason="pymatgen is not installed")
    atoms = odd_crystal()
    made = structures.Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions,
                                coords_are_cartesian=True)  # fmt: skip
    file = tmp_path / "structure.yaml"
    made.to(filename=str(file))
    (crystal,) = read_crystals([str(file)])
    (a,), (b,) = (list(predict_phonons(single.model, [x])) for x in (crystal, atoms))
    np.testing.assert_allclose(a.states, b.states, atol=1e-5)
    made[0] = {"Na": 0.25, "K": 0.75}
    made.to(filename=str(file))
    with pytest.raises(UserError, match=r"site 0 is occupied by (Na 0.25, K 0.75|K 0.75, Na 0.25)"):
        list(read_crystals([str(file)]))
