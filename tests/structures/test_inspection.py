"""An inspection must find what was spoilt on purpose, and nothing in sound data."""

import json

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console

from clebsch.cli.inspect import inspect_command
from clebsch.structures import Dataset, FrameList
from clebsch.structures.inspection import inspect_dataset, robust_z
from clebsch.structures.inspection_figures import FIGURES
from clebsch.structures.inspection_table import print_inspection


def argon(n=40, seed=0, **scale):
    """Rattled and strained argon with exact labels, each multiplied by ``scale``."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Ar", cubic=True, a=5.3) * 2
        strain = rng.normal(size=(3, 3)) * 0.006
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rng.normal(size=(32, 3)) * 0.02
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.05, rc=8.0, smooth=True)
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        results = {k: v * scale.get(k, 1.0) for k, v in results.items()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = "strained"
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def sound():
    return argon()


def look(frames):
    return inspect_dataset(Dataset([FrameList("argon.xyz", frames)]), 5.0)


def relabelled(frames, **scale):
    copies = []
    for atoms in frames:
        copy = atoms.copy()
        results = {k: v * scale.get(k, 1.0) for k, v in atoms.calc.results.items()}
        copy.calc = SinglePointCalculator(copy, **results)
        copies.append(copy)
    return copies


def test_sound_data_are_left_in_peace(sound):
    found = look(sound)
    assert found.work.certain
    assert found.stress.certain
    assert found.work.slope == pytest.approx(1, abs=0.1)
    assert found.stress.slope == pytest.approx(1, abs=0.1)
    assert found.outliers == {}
    assert found.duplicates == []
    assert found.warnings == ["There are only 40 frames: expect a poor validation estimate."]


@pytest.mark.parametrize(
    ("scale", "sentence"),
    [
        ({"stress": -1.0}, "the sign is reversed"),
        ({"stress": 1 / units.GPa}, "the stress is in GPa"),
        ({"stress": -10 / units.GPa}, "the sign is reversed and the stress is in kbar"),
        ({"forces": -1.0}, "these are gradients, not forces"),
        ({"energy": 23.06}, "the energies are in kcal/mol and the forces in eV/Å"),
        ({"forces": 23.06}, "the energies are in eV and the forces in kcal/mol/Å"),
        ({"forces": 0.019447}, "the energies are in eV and the forces in Hartree/Bohr"),
    ],
)
def test_wrong_units_and_signs_are_recognised(sound, scale, sentence):
    found = look(relabelled(sound, **scale))
    assert any(sentence in w for w in found.warnings)


def test_stress_that_cannot_be_checked_is_said_so(sound):
    first = sound[0]
    frames = []
    for seed in range(12):
        atoms = first.copy()
        atoms.rattle(0.01, seed=seed)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.05, rc=8.0, smooth=True)
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        results["stress"] = np.ones(6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    found = look(frames)
    assert found.work.certain
    assert not found.stress.certain
    assert "cannot be checked" in found.stress.verdict


def test_spoilt_frames_are_named(sound):
    frames = relabelled(sound)
    frames[3].calc.results["energy"] += 32 * 5.0
    frames[7].calc.results["forces"] = frames[7].calc.results["forces"] * 300
    frames[11].calc.results["forces"] = frames[11].calc.results["forces"] + [0, 0, 0.1]
    frames[15].positions[4] = frames[15].positions[5] + [0, 0, 0.7]
    frames[20] = frames[9]
    found = look(frames)
    assert any(w.startswith("energy") for w in found.outliers[3])
    assert any(w.startswith("force") for w in found.outliers[7])
    assert any("atoms 4 (Ar) and 5 (Ar) are 0.700 Å apart" in w for w in found.outliers[15])
    assert set(found.outliers) == {3, 7, 15}
    assert found.duplicates == [[9, 20]]
    text = " ".join(found.warnings)
    assert "close in 1 frame (15)" in text
    assert "Duplicates: 1 frame (20)" in text
    assert "add up to zero in 1 frame (11)" in text


def test_robust_z_sees_an_outlier_among_equals():
    values = np.zeros(30)
    values[4] = 1.0
    assert robust_z(values).argmax() == 4
    assert robust_z(values)[4] > 8
    assert (robust_z(np.full(30, 2.0)) == 0).all()


def test_figures_and_table(sound, tmp_path):
    found = look(sound)
    for draw in FIGURES.values():
        figure = draw(found)
        assert len(figure.axes) == 2
        assert all(a.get_xlabel() and a.lines + a.patches for a in figure.axes)
    console = Console(width=120, record=True)
    print_inspection(found, console)
    text = console.export_text()
    assert "1280; 32 per frame" in text
    assert "forces against energies" in text


def test_command_writes_figures_and_json(sound, tmp_path, capsys):
    import ase.io

    ase.io.write(tmp_path / "argon.xyz", sound, format="extxyz")
    inspect_command([str(tmp_path / "argon.xyz")], cutoff=4.5, out=tmp_path / "out")
    data = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert data["n_frames"] == 40
    assert data["statistics"]["cutoff"] == 4.5
    assert data["forces_check"]["certain"] is True
    for name in FIGURES:
        content = (tmp_path / "out" / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
    assert "Elements" in capsys.readouterr().out


def test_mixed_units_are_named():
    frames = []
    for k in range(12):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.02, seed=k)
        energy = -4200.0 * (23.06 if k in (3, 8) else 1.0)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((9, 3)))
        atoms.info["config_type"] = "default"
        frames.append(atoms)
    text = " ".join(look(frames).warnings)
    assert "Units are mixed: the energies of 2 frames (3, 8) seem to be in kcal/mol" in text


def test_single_frame(sound):
    found = look(sound[:1])
    assert not found.work.certain
    assert "too few frames" in found.work.verdict
    assert "There is only one frame" in " ".join(found.warnings)
    print_inspection(found, Console(quiet=True))


def test_energies_only_or_no_labels_are_said_so(sound):
    frames = relabelled(sound)
    for atoms in frames:
        del atoms.calc.results["forces"]
    found = look(frames)
    assert any("No frame has forces" in w for w in found.warnings)
    assert FIGURES["forces"](found) is None
    print_inspection(found, Console(quiet=True))
    for atoms in frames:
        atoms.calc = None
    found = look(frames)
    assert any("No frame has energy" in w for w in found.warnings)
    print_inspection(found, Console(quiet=True))
