"""What an inspection counts and names, on made data and on the published set."""

from __future__ import annotations

import json
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from clebsch.phonons import PhononDos
from clebsch.phonons.dataset import PhononDataset, PhononRecord
from clebsch.phonons.inspection import inspect_phonons
from clebsch.phonons.inspection_figures import place_in_table, save_phonon_figures
from clebsch.phonons.reading import read_phonons
from made_crystals import crystals, spectrum, write_dfpt


def record(name: str, atoms: Atoms, **changes: object) -> PhononRecord:
    w, g = spectrum(atoms)
    dos = PhononDos(w, g).normalized(3 * len(atoms))
    return PhononRecord(name, name, atoms, changes.pop("dos", dos), **changes)


def test_made_set_has_what_was_made(tmp_path: Path) -> None:
    data = read_phonons(write_dfpt(tmp_path / "set.jsonl"))
    found = inspect_phonons(data, cutoff=4.0)
    assert found.elements == dict.fromkeys(("Na", "K", "Mg", "Ca", "Cl", "Br", "O", "S"), 8)
    assert not found.suspicious
    assert not found.duplicates  # a = 5.0 and 5.6 Å are two crystals
    np.testing.assert_allclose(found.integrals, 1, atol=1e-6)
    a = np.array([5.0, 5.6] * 16)
    np.testing.assert_allclose(found.lengths, (a / np.sqrt(2))[:, None] * np.ones(3), rtol=1e-4)
    np.testing.assert_allclose(found.volume, a**3 / 8, rtol=1e-4)
    # a/2: 6 neighbours, a/sqrt(2) = 3.54 or 3.96 Å: 12 more
    assert set(found.neighbours.tolist()) == {18}
    assert len(found.neighbours) == 64
    # each spectrum is two peaks of equal weight: their mean is the mean frequency
    for i, atoms in enumerate(crystals()):
        centres = 1200 * np.sqrt((5.0 / atoms.cell.cellpar()[0]) ** 3 / atoms.get_masses())
        assert found.mean_frequencies[i] == pytest.approx(centres.mean(), rel=1e-3)
    assert found.mean.sum() * 5 == pytest.approx(3, rel=0.02)  # states per atom below the 95th
    json.dumps(found.to_dict(), allow_nan=False)


def test_suspicious_records_are_named() -> None:
    salt = crystals()[0]
    w, g = spectrum(salt)
    good = PhononDos(w, g).normalized(6)
    wrong = {
        "integral": (good.normalized(7), "7 states, not 6"),
        "imaginary": (PhononDos(w - 300, g).normalized(6), "of the states are imaginary"),
        "negative": (
            PhononDos(w, good.density - 0.1 * good.density.max() * (w > 700)),
            "the density falls to -10%",
        ),
        "unit": (PhononDos(w / 30, g).normalized(6), "another unit?"),
        "cut": (PhononDos(w[:300], g[:300]).normalized(6), "cut off at 299 cm^-1"),
    }
    records = [record("good", salt)]
    records += [record(name, salt, dos=dos) for name, (dos, _) in wrong.items()]
    records.append(record("problem", salt, facts={"problem": "as the reader said"}))
    records.append(record("unitless", salt, dos=good.normalized(3.3), whole=False))
    found = inspect_phonons(PhononDataset("made", records))
    assert set(found.suspicious) == {*wrong, "problem"}
    for name, (_, sentence) in wrong.items():
        assert any(sentence in why for why in found.suspicious[name]), found.suspicious[name]


def test_one_crystal_in_other_cells_is_a_duplicate_and_a_leak() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64)
    turned = make_supercell(salt, [[1, 1, 0], [0, 1, 0], [0, 1, 2]])
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    turned.positions += [0.3, 0.1, -2.0]
    turned = turned[np.random.default_rng(0).permutation(len(turned))]
    near = bulk("NaCl", "rocksalt", a=5.64 * 1.03)
    hcp, fcc = bulk("Mg", "hcp", a=3.2, c=3.2 * np.sqrt(8 / 3)), bulk("Mg", "fcc", a=3.2 * 2**0.5)
    zincblende = bulk("ZnS", "zincblende", a=5.41)
    wurtzite = bulk("ZnS", "wurtzite", a=5.41 / 2**0.5, c=5.41 / 2**0.5 * np.sqrt(8 / 3), u=0.375)
    named = {
        "salt": (salt, "train"),
        "turned": (turned, "test"),
        "near": (near, "test"),
        "hcp": (hcp, "train"),
        "fcc": (fcc, "train"),
        "zincblende": (zincblende, "train"),
        "wurtzite": (wurtzite, "train"),
        "cubic": (bulk("Mg", "fcc", a=3.2 * 2**0.5, cubic=True), "train"),
    }
    records = [record(name, atoms, part=part) for name, (atoms, part) in named.items()]
    found = inspect_phonons(PhononDataset("made", records))
    assert found.duplicates == [["salt", "turned"], ["fcc", "cubic"]]
    assert found.leaks == [["salt", "turned"]]


def test_periodic_table_has_a_place_for_each_element() -> None:
    places = [place_in_table(z) for z in range(1, 119)]
    assert len(set(places)) == 118
    for z, group in (
        (2, 17),
        (4, 1),
        (3, 0),
        (5, 12),
        (13, 12),
        (21, 2),
        (30, 11),
        (80, 11),
        (118, 17),
        (88, 1),
    ):
        assert place_in_table(z)[1] == group
    assert place_in_table(92) == (8, 5)


def test_figures_are_drawn(tmp_path: Path) -> None:
    found = inspect_phonons(read_phonons(write_dfpt(tmp_path / "set.jsonl")))
    for file in save_phonon_figures(found, tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")


def clebsch(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clebsch.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_phonon_data_from_others(tmp_path: Path) -> None:
    file = write_dfpt(tmp_path / "set.jsonl")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["c-0", "c-1"], "valid": [], "test": ["c-2"]}))
    done = clebsch("inspect", file, "--split-file", split, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "32, 0 of them suspicious" in done.stdout
    assert "train 2, test 1" in done.stdout
    written = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert written["records"]["c-1"]["part"] == "train"
    assert (tmp_path / "out" / "elements.png").exists()
    other = clebsch("inspect", "embedded:silicon", "--split-file", split)
    assert other.returncode == 2
    assert "is no phonon data" in other.stderr


def test_the_published_set_has_alike_crystals(tmp_path: Path) -> None:
    root = Path(os.environ.get("CLEBSCH_DATA", "")) / "phonon"
    file = root / "petretto2018_dfpt.jsonl.xz"
    if not os.environ.get("CLEBSCH_DATA") or not file.exists():
        pytest.skip("petretto2018_dfpt.jsonl.xz is not in $CLEBSCH_DATA/phonon")
    keep = ("mp-6930", "mp-7000", "mp-22913", "mp-32880", "mp-149", "mp-1009009")
    with lzma.open(file, "rt") as lines:
        few = [x for x in lines if re.search(r'"material_id": ?"([^"]+)"', x).group(1) in keep]
    (tmp_path / "few.jsonl").write_text("".join(few))
    found = inspect_phonons(read_phonons(tmp_path / "few.jsonl"))
    assert found.duplicates == [["mp-22913", "mp-32880"], ["mp-6930", "mp-7000"]]
    assert list(found.suspicious) == ["mp-1009009"]
    assert (np.abs(found.integrals - 1) < 0.004).all()
