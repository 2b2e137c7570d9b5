"""The embedded water densities: what the data card says of them, and reading them as structures."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from clebsch.data import embedded_path
from clebsch.density import (
    AuxiliaryBasis,
    Level,
    density_error_percent,
    read_density,
    write_density,
)
from clebsch.density.free_atoms import superposition
from clebsch.errors import UserError
from clebsch.structures import read_dataset

NAME = "embedded:water-density"


@pytest.fixture(scope="module")
def data():
    return read_density(NAME)


def test_data_card(data) -> None:
    assert data.path == NAME
    sizes = {
        split: np.bincount([len(data[i].numbers) // 3 for i in data.split(split)], minlength=5)
        for split in ("train", "val", "test", "transfer")
    }
    assert {k: v[1:].tolist() for k, v in sizes.items()} == {
        "train": [6, 8, 6, 0],
        "val": [1, 2, 1, 0],
        "test": [1, 2, 1, 0],
        "transfer": [0, 0, 0, 4],
    }
    assert Level(**data.level) == Level()  # that of make-data: more molecules can be added
    assert data.versions["pyscf"]
    assert len({record.key for record in data}) == len(data) == 32
    assert embedded_path("water-density").stat().st_size < 400_000
    large = read_density("embedded:water-density-large")
    assert [len(r.numbers) for r in large] == [36, 36]
    large.basis.check_same(data.basis, NAME)
    assert Level(**large.level) == Level()
    compact = read_density("embedded:water-density-compact")
    assert np.bincount([len(r.numbers) // 3 for r in compact]).tolist() == [0, 0, 20, 30, 30]
    compact.basis.check_same(data.basis, NAME)
    assert Level(**compact.level) == Level()
    assert {r.split for r in compact} == {"train"}
    keys = [r.key for each in (data, large, compact) for r in each]
    assert len(set(keys)) == len(keys)  # nothing is both trained and tested on


def test_densities(data) -> None:
    for i, record in enumerate(data):
        density = data.density(i)
        assert float(density.electrons()) == pytest.approx(10 * len(record.numbers) / 3, abs=1e-9)
        np.testing.assert_allclose(density.dipole(), record.dipole, atol=0.01)
        assert abs(record.free_electrons - record.electrons) < 0.01
        assert 0.7 < record.fit_error_percent < 1.2
        # forces of a free molecule have no resultant, but for the grid
        assert np.abs(record.forces.sum(0)).max() < 0.01
    assert set(data.free_atoms) == {1, 8}
    density = data.density(0)
    free = superposition(data.free_atoms, data.basis, density.numbers, density.positions)
    assert density_error_percent(free, density) == pytest.approx(12.3, abs=1.0)


def test_molecules_are_water(data) -> None:
    for record in data:
        assert record.numbers.tolist() == [8, 1, 1] * (len(record.numbers) // 3)
        np.testing.assert_allclose(record.positions.mean(0), 0, atol=1e-7)
        r = record.positions.reshape(-1, 3, 3)
        bonds = np.linalg.norm(r[:, 1:] - r[:, :1], axis=-1)
        assert bonds.min() > 0.85
        assert bonds.max() < 1.15
        between = np.linalg.norm(r[:, None, 0] - r[None, :, 0], axis=-1)
        np.fill_diagonal(between, np.inf)
        if len(r) > 1:
            assert between.min() > 2.4
            assert between.min(0).max() < 3.5


def test_as_structures(data) -> None:
    structures = read_dataset(NAME)
    assert len(structures) == len(data)
    assert structures.where(3) == f"{NAME}, frame 3"
    for i, record in enumerate(data):
        atoms = structures[i]
        np.testing.assert_array_equal(atoms.positions, record.positions)
        np.testing.assert_array_equal(atoms.get_forces(), record.forces)
        assert atoms.get_potential_energy() == record.energy
        assert atoms.info["split"] == record.split
        assert not atoms.pbc.any()


def test_densities_without_energies_as_structures(data, tmp_path) -> None:
    bare = replace(
        data[4], energy=float("nan"), forces=np.full_like(data[4].forces, np.nan), split=""
    )
    path = tmp_path / "predicted.h5"
    write_density(replace(data, records=[bare, data[5]]), path)
    structures = read_dataset(path)
    assert structures[0].calc is None
    assert "split" not in structures[0].info
    assert structures[1].get_potential_energy() == data[5].energy
    with pytest.raises(UserError, match=r"predicted\.h5, frame 0.*energy"):
        structures.require("energy")


def test_what_is_refused(data, tmp_path) -> None:
    with pytest.raises(UserError, match=r"did you mean embedded:water-density\?"):
        read_density("embedded:water_density")
    with pytest.raises(UserError, match="embedded:ethanol: has no densities; embedded:water-"):
        read_density("embedded:ethanol")
    with pytest.raises(UserError, match="embedded:water-density"):
        read_density(NAME, AuxiliaryBasis("small", {1: ((1.0,),), 8: ((1.0,),)}))
    path = tmp_path / "broken.h5"
    write_density(replace(data, records=[data[0]]), path)
    with h5py.File(path, "a") as file:
        del file["positions"]
    with pytest.raises(UserError, match=r"broken\.h5: the data set of densities is truncated"):
        read_dataset(path)
    write_density(replace(data, records=[]), path)
    with pytest.raises(UserError, match="no molecules"):
        read_dataset(path)


def test_splits_come_with_the_structures(tmp_path) -> None:
    pytest.importorskip("pyscf")
    from ase import Atoms

    from clebsch.density import make_data

    pair = [Atoms("H2", [[0, 0, 0], [0, 0, x]]) for x in (0.7, 0.8)]
    pair[0].info["split"] = "test"
    cheap = Level(xc="hf", basis="sto-3g", grid_level=0)
    path = tmp_path / "data.h5"
    assert [r.split for r in make_data(pair, path, cheap).data] == ["test", ""]
    pair[1].info["split"] = "train"  # nothing is computed, the file is written again
    made = make_data(pair[1:], path, cheap)
    assert made.computed == 0
    assert [r.split for r in read_density(path)] == ["test", "train"]
