"""``clebsch density cube`` and ``picture``: files, differences, refusals."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

import clebsch.cli as cli
from clebsch.density import AuxiliaryBasis, Box, DensityDataset, DensityRecord, read_cube
from clebsch.density.data import write_density
from clebsch.density.free_atoms import superposition

BASIS = AuxiliaryBasis("small", {1: ((2.0, 0.4), (0.9,)), 8: ((8.0, 0.5), (0.8,))})
WATER = np.array([[0, 0, 0.117], [0, 0.757, -0.471], [0.1, -0.757, -0.471]])


def record(seed: int, cell: np.ndarray | None = None) -> DensityRecord:
    c = np.random.default_rng(seed).normal(1.0, 0.3, size=3 * 5)
    return DensityRecord(
        numbers=np.array([8, 1, 1]),
        positions=WATER + seed,
        coefficients=c,
        energy=0.0,
        forces=np.zeros((3, 3)),
        dipole=np.zeros(3),
        fit_error_percent=0.0,
        free_electrons=10.0,
        scf_seconds=0.0,
        seconds=0.0,
        cell=cell,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """a.h5 with a molecule and a crystal, b.h5 with other densities of them."""
    folder = tmp_path_factory.mktemp("files")
    free = {1: torch.tensor([0.2, 0.3, 0, 0, 0]).double()}
    free[8] = torch.tensor([1.5, 1.0, 0, 0, 0]).double()
    records = [record(0), record(1, np.diag([4.0, 4.5, 5.0]))]
    data = DensityDataset("a", BASIS, {}, records, free)
    write_density(data, folder / "a.h5")
    others = [replace(r, coefficients=1.1 * r.coefficients) for r in records]
    write_density(replace(data, records=others), folder / "b.h5")
    write_density(replace(data, records=others[1:], free_atoms={}), folder / "c.h5")
    return folder, data


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["clebsch", "density", *map(str, arguments), "--quiet"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_cubes_of_a_file(files, tmp_path, monkeypatch, capsys) -> None:
    folder, data = files
    out = tmp_path / "rho.cube"
    common = ("cube", folder / "a.h5", "--spacing", 0.5, "--margin", 1.5)
    assert call(monkeypatch, *common, "--frame", 0, "--frame", 1, "--out", out) == 0
    assert "3 atoms" in capsys.readouterr().out
    molecule, box, values = read_cube(tmp_path / "rho-0.cube")
    assert molecule.numbers.tolist() == [8, 1, 1]
    density = data.density(0)
    expected = density.at(box.points().reshape(-1, 3)).reshape(box.shape)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-10)
    _, box, values = read_cube(tmp_path / "rho-1.cube")
    assert box.shape == Box.of(data.density(1), 0.5).shape == (8, 9, 10)
    expected = data.density(1).at(box.points().reshape(-1, 3)).reshape(box.shape)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-10)


def test_cubes_of_differences_and_potentials(files, tmp_path, monkeypatch, capsys) -> None:
    folder, data = files
    out = tmp_path / "x.cube"
    common = ("cube", folder / "a.h5", "--spacing", 0.5, "--margin", 1.5, "--out", out)
    density = data.density(0)

    def values() -> tuple[np.ndarray, torch.Tensor]:
        _, box, found = read_cube(out)
        return found.ravel(), box.points().reshape(-1, 3)

    assert call(monkeypatch, *common, "--quantity", "difference") == 0
    found, points = values()
    free = superposition(data.free_atoms, BASIS, density.numbers, density.positions)
    np.testing.assert_allclose(found, density.at(points) - free.at(points), rtol=1e-5, atol=1e-9)
    stored = ("--reference", f"free-atoms:{folder / 'a.h5'}")
    assert call(monkeypatch, "cube", folder / "c.h5", *common[2:], *stored) == 2
    assert "ask for --quantity difference" in capsys.readouterr().err
    other = ("cube", folder / "b.h5", *common[2:], "--quantity", "difference", *stored)
    assert call(monkeypatch, *other) == 0
    found, points = values()
    np.testing.assert_allclose(
        found, 1.1 * density.at(points) - free.at(points), rtol=1e-5, atol=1e-9
    )
    b = folder / "b.h5"
    assert call(monkeypatch, *common, "--quantity", "error", "--reference", b) == 0
    found, points = values()
    np.testing.assert_allclose(found, -0.1 * density.at(points), rtol=1e-5, atol=1e-9)
    # the error is 10 of 110 %, of the reference's electrons
    assert "density error:" in capsys.readouterr().out
    assert call(monkeypatch, *common, "--quantity", "potential", "--reference", b) == 0
    _, box, found = read_cube(out, "potential")
    expected = -0.1 * density.electron_potential(box.points().reshape(-1, 3))
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("verb", ["cube", "picture"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.h5", "--frame", "2"], "has no frame 2; they are 0 to 1"),
        (["c.h5", "--frame", "1"], "has no frame 1; the only one is 0"),
        (["a.h5", "--quantity", "spin"], "is one of density, potential, difference, error"),
        (["a.h5", "--quantity", "error"], "needs the true densities"),
        (["a.h5", "--reference", "b.h5"], "ask for --quantity difference or error"),
        (["a.h5", "--quantity", "error", "--reference", "c.h5"], "no density of the structure"),
        (["c.h5", "--quantity", "difference"], "free-atoms:FILE"),
        (["a.h5", "--spacing", "0"], "must be positive"),
        (["a.h5", "w.xyz"], "is a file of densities"),
        (["none.h5"], "there is no such file"),
        (["none.clebsch"], "no such model file"),
        (["w.xyz"], "w.xyz: is no file of densities (.h5 or .npz); to predict those of structures"),
        (["w.xyz", "m.clebsch"], "name a model (.clebsch) before them"),
        (["a.h5", "--device", "foo"], "leave out --device"),
    ],
)
def test_wrong_input_is_one_sentence(files, monkeypatch, capsys, verb, arguments, sentence) -> None:
    folder, _ = files
    write(folder / "w.xyz", Atoms("OH2", WATER))
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert call(monkeypatch, verb, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_pictures(files, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("skimage")
    folder, _ = files
    for quantity in ("density", "difference", "potential"):
        out, page = tmp_path / f"{quantity}.png", tmp_path / f"{quantity}.html"
        arguments = ("--quantity", quantity, "--spacing", 0.3, "--out", out, "--html", page)
        assert call(monkeypatch, "picture", folder / "a.h5", *arguments) == 0
        assert "electrons/Å³" in capsys.readouterr().out
        assert out.read_bytes().startswith(b"\x89PNG")
        assert "plotly" in page.read_text()
    crystal = ("--frame", 1, "--spacing", 0.4, "--out", tmp_path / "c.png", "--turn", 0, 90)
    assert call(monkeypatch, "picture", folder / "a.h5", *crystal) == 0
    assert (tmp_path / "c.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--html", "a.h5/page.html"], "a.h5/page.html: cannot be written"),
        (["--html", "."], "is a folder; name a file"),
        (["--level", "0"], "must be positive"),
        (["--level", "1e6"], "no surface at 1e\\+06: the values go up to"),
        (["--out", "x.pdf"], "is a PNG"),
        (["--limit", "2"], "end of a potential's colours"),
        (["--quantity", "potential", "--limit", "-2"], "end of a potential's colours"),
        (["--quantity", "potential", "--reference", "free-atoms"], "has no --reference"),
        (["--quantity", "error", "--reference", "a.h5"], "the same everywhere"),
    ],
)
def test_pictures_that_cannot_be_drawn(files, monkeypatch, capsys, arguments, sentence) -> None:
    pytest.importorskip("skimage")
    folder, _ = files
    monkeypatch.chdir(folder)
    assert call(monkeypatch, "picture", "a.h5", "--spacing", 0.4, *arguments) == 2
    assert sentence.replace("\\", "") in capsys.readouterr().err
    assert not (folder / "density.png").exists()
