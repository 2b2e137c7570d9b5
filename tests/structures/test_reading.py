"""Readers: what they find, convert and refuse."""

import gzip
import lzma
import os
import warnings
from itertools import product
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import UserError
from clebsch.structures import DataWarning, GraphDataset, read_dataset, write_hdf5
from clebsch.structures.labels import kind_of_key
from clebsch.structures.sites import coincident_atoms
from clebsch.structures.units import suspected_unit

RNG = np.random.default_rng(0)


def labelled(atoms, **more):
    atoms = atoms.copy()
    atoms.rattle(0.05, rng=RNG)
    results = {"energy": -3.0 * len(atoms), "forces": RNG.normal(size=(len(atoms), 3)), **more}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.fixture
def frames():
    crystal = labelled(bulk("Si", cubic=True), stress=RNG.normal(size=6) * 0.01)
    crystal.info["config_type"] = "bulk"
    return [labelled(molecule("H2O")), crystal, labelled(molecule("CH4"))]


def assert_same(dataset, frames, atol=1e-7):
    assert len(dataset) == len(frames)
    for i, (got, wanted) in enumerate(zip(dataset, frames, strict=True)):
        assert dataset.n_atoms[i] == len(wanted)
        np.testing.assert_array_equal(got.numbers, wanted.numbers)
        np.testing.assert_allclose(got.positions, wanted.positions, atol=atol)
        assert got.calc.results.keys() == wanted.calc.results.keys()
        for key, value in wanted.calc.results.items():
            np.testing.assert_allclose(got.calc.results[key], value, atol=atol)


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.xyz.xz", "a.extxyz.gz", "a.traj", "a.db"])
def test_formats(tmp_path, frames, name):
    path = tmp_path / name
    plain = tmp_path / name.removesuffix(".xz").removesuffix(".gz")
    if name == "a.db":
        with ase.db.connect(path) as database:
            for atoms in frames:
                database.write(atoms)
    else:
        ase.io.write(plain, frames, **({"format": "extxyz"} if "xyz" in name else {}))
    if name.endswith(".xz"):
        path.write_bytes(lzma.compress(plain.read_bytes()))
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    dataset = read_dataset(path)
    assert_same(dataset, frames)
    dataset.require("energy", "forces")
    if name != "a.db":
        assert dataset.column("config_type").tolist() == ["default", "bulk", "default"]
    assert dataset.where(2) == f"{path}, frame 2"


def test_several_files_and_their_names(tmp_path, frames):
    ase.io.write(tmp_path / "one.xyz", frames, format="extxyz")
    ase.io.write(tmp_path / "two.traj", frames)
    dataset = read_dataset([tmp_path / "one.xyz", tmp_path / "two.traj"])
    assert_same(dataset, frames + frames)
    assert dataset.column("config_type")[[0, 1, 3]].tolist() == ["one", "bulk", "two"]
    assert dataset.where(4).endswith("two.traj, frame 1")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("energy", "energy"), ("REF_energy", "energy"), ("energy_dft", "energy"),
        ("dft_energy", "energy"), ("free_energy", "energy"), ("TotEnergy", "energy"),
        ("E", "energy"), ("force", "forces"), ("REF_forces", "forces"), ("F", "forces"),
        ("virials", "virial"), ("dft_virial", "virial"), ("REF_stress", "stress"),
        ("bond_energy", None), ("energy_per_atom", None), ("stress_raw", None),
        ("virial_stress_kbar", None), ("free_force", None), ("e_unit", None),
    ],
)  # fmt: skip
def test_names_of_labels(key, kind):
    assert kind_of_key(key) == kind


def test_reference_wins_and_virial_becomes_stress(tmp_path):
    atoms = bulk("Si", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((8, 3)))
    virial = np.array([[1.0, 0.2, 0.3], [0.2, 2.0, 0.4], [0.3, 0.4, 3.0]])
    atoms.info.update(REF_energy=-40.0, dft_virial=virial)
    atoms.arrays["REF_forces"] = np.full((8, 3), 0.5)
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    results = read_dataset(tmp_path / "a.xyz")[0].calc.results
    assert results["energy"] == -40.0
    assert (results["forces"] == 0.5).all()
    expected = -np.array([1.0, 2.0, 3.0, 0.4, 0.3, 0.2]) / atoms.get_volume()
    np.testing.assert_allclose(results["stress"], expected)
    plain = read_dataset(tmp_path / "a.xyz", energy_key="energy", forces_key="forces")[0]
    assert plain.calc.results["energy"] == 1.0
    assert (plain.calc.results["forces"] == 0.0).all()


def test_isolated_atoms_are_kept_apart(tmp_path, frames):
    hydrogen = Atoms("H", info={"config_type": "IsolatedAtom"}, cell=[9, 9, 9], pbc=True)
    hydrogen.calc = SinglePointCalculator(hydrogen, energy=-13.6)
    oxygen = Atoms("O")
    oxygen.calc = SinglePointCalculator(oxygen, energy=-2040.0)
    crystal = labelled(bulk("Cu"))
    ase.io.write(tmp_path / "a.xyz", [hydrogen, *frames, oxygen, crystal], format="extxyz")
    dataset = read_dataset(tmp_path / "a.xyz")
    assert dataset.isolated.tolist() == [0, 4]
    assert dataset.frames.tolist() == [1, 2, 3, 5]
    assert dataset.isolated_energies() == {"H": -13.6, "O": -2040.0}
    dataset.require("energy", "forces")


def test_units_are_converted_or_suspected(tmp_path):
    water = molecule("H2O")
    energy = -2078.0
    arrays = {"z": water.numbers, "R": water.positions[None], "F": np.ones((1, 3, 3))}
    np.savez(tmp_path / "said.npz", E=[[energy * 23.0605]], e_unit="kcal/mol", **arrays)
    results = read_dataset(tmp_path / "said.npz")[0].calc.results
    assert results["energy"] == pytest.approx(energy, rel=1e-5)
    assert results["forces"][0, 0] == pytest.approx(0.0433641, rel=1e-5)
    np.savez(tmp_path / "silent.npz", E=[[energy * 23.0605]], **arrays)
    with pytest.warns(DataWarning, match=r"-47919.*kcal/mol.*-2078"):
        read_dataset(tmp_path / "silent.npz")
    np.savez(tmp_path / "odd.npz", E=[[energy]], units="kcal/mole", **arrays)
    with pytest.raises(UserError, match="did you mean kcal/mol"):
        read_dataset(tmp_path / "odd.npz")
    assert suspected_unit(water.numbers, energy) is None
    assert suspected_unit(water.numbers, -76.4) == "Hartree"
    assert suspected_unit(water.numbers, energy * 1000) == "meV"
    assert suspected_unit(water.numbers, -14.2) is None  # a pseudopotential energy


def test_npz_layouts(tmp_path):
    cell = np.diag([4.0, 5.0, 6.0])
    positions, forces = RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 4, 3))
    virial = RNG.normal(size=(2, 3, 3))
    virial += virial.transpose(0, 2, 1)
    common = {
        "coord": positions, "force": forces, "energy": np.array([-1.0, -2.0]), "box": cell,
        "virial": virial, "split": np.array(["train", "test"]),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", numbers=[3, 3, 15, 16], **common)
    dataset = read_dataset(tmp_path / "a.npz")
    assert dataset.column("split").tolist() == ["train", "test"]
    assert dataset[1].pbc.all()
    np.testing.assert_allclose(dataset[1].get_forces(), forces[1])
    stress = dataset[1].get_stress(voigt=False)
    np.testing.assert_allclose(stress, -virial[1] / 120.0, atol=1e-15)
    # Several compounds in one archive, one of them with padded atoms.
    both = {f"one/{k}": v for k, v in common.items()} | {f"two/{k}": v for k, v in common.items()}
    both["one/z"], both["two/z"] = np.array([3, 3, 15, 16]), np.array([[3, 3, 15, 0], [3, 3, 0, 0]])
    np.savez(tmp_path / "b.npz", **both)
    (tmp_path / "b.npz.xz").write_bytes(lzma.compress((tmp_path / "b.npz").read_bytes()))
    dataset = read_dataset(tmp_path / "b.npz.xz")
    assert dataset.column("config_type").tolist() == ["one", "one", "two", "two"]
    assert dataset.n_atoms.tolist() == [4, 4, 3, 2]
    np.testing.assert_allclose(dataset[3].get_forces(), forces[1][:2])


def test_hdf5_round_trip_also_from_workers(tmp_path, frames):
    from torch.utils.data import DataLoader

    from clebsch.structures import collate

    ase.io.write(tmp_path / "a.traj", frames)
    original = read_dataset(tmp_path / "a.traj")
    write_hdf5(original, tmp_path / "a.h5")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    dataset = read_dataset(tmp_path / "a.h5")
    assert_same(dataset, frames, atol=1e-14)
    assert dataset.column("config_type").tolist() == ["default", "bulk", "default"]
    assert dataset.fingerprint() == original.fingerprint()
    graphs = GraphDataset(dataset, [0, 1, 2], 4.0)
    assert graphs[1].n_atoms == 8  # opens the file before the workers are made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork in a threaded process
        loader = DataLoader(graphs, batch_size=2, num_workers=1, collate_fn=collate)
        assert [b.n_atoms for b in loader] == [11, 5]


def _spoil(path, **change):
    """Three frames of water, the second one spoilt."""
    all_frames = [labelled(molecule("H2O")) for _ in range(3)]
    for key, value in change.items():
        if key in ("energy", "forces"):
            if value is None:
                del all_frames[1].calc.results[key]
            else:
                all_frames[1].calc.results[key] = value
        else:
            setattr(all_frames[1], key, value)
    ase.io.write(path, all_frames, format="extxyz")


def test_spoilt_frames_are_named(tmp_path):
    path = tmp_path / "a.xyz"
    _spoil(path, energy=np.nan)
    with pytest.raises(UserError, match=r"a\.xyz, frame 1: 'energy' is not finite"):
        read_dataset(path)
    forces = np.zeros((3, 3))
    forces[2, 1] = np.inf
    _spoil(path, forces=forces)
    with pytest.raises(UserError, match=r"a\.xyz, frame 1: 'forces' of atom 2 is not finite"):
        read_dataset(path)
    _spoil(path, positions=np.full((3, 3), np.nan))
    with pytest.raises(UserError, match=r"a\.xyz, frame 1: the position of atom 0 is not finite"):
        read_dataset(path)
    _spoil(path, pbc=True)
    with pytest.raises(UserError, match=r"a\.xyz, frame 1: .*no volume"):
        read_dataset(path)
    _spoil(path, positions=[[0, 0, 0], [0, 0, 1], [0, 0, 0.999]])
    with pytest.raises(UserError, match=r"a\.xyz, frame 1: atoms 1 and 2 are on top of each other"):
        read_dataset(path)
    _spoil(path, forces=None)
    with pytest.raises(UserError, match=r"a\.xyz, frame 1: there is no forces \(1 lack it\)"):
        read_dataset(path).require("energy", "forces")


CIF = """data_alloy
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
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
Cl1 Cl 0.5 0.5 0.5 1.0
Na1 Na 0 0 0 {}
"""


def test_sites_that_elements_share_are_not_one_of_them(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(CIF.format("1.0"))
    assert str(read_dataset(path)[0].symbols) == "ClNa"
    path.write_text(CIF.format("0.5\nK1 K 0 0 0 0.5"))
    with pytest.raises(UserError, match=r"frame 0: site 1 is occupied by Na 0\.5, K 0\.5, a dis"):
        read_dataset(path)
    path.write_text(CIF.format("0.9"))  # vacancies
    with pytest.raises(UserError, match=r"site 1 is occupied by Na 0\.9, a disordered"):
        read_dataset(path)


def test_atoms_on_one_place_are_found_across_the_cell():
    cell = 25 * np.array([[4.0, 0, 0], [-6.0, 4, 0], [3.0, -7, 5]])
    others = [[3 * i + 2, 3 * j, 3 * k] for i in range(5) for j in range(5) for k in range(5)]
    for pbc, more in product([(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)], (0, 100)):
        places = [[0.1, 0.2, 0.3], [1, 2, 3], *others[:more]]
        atoms = Atoms(numbers=np.ones(2 + more), positions=places, cell=cell, pbc=pbc)
        assert coincident_atoms(atoms) is None
        atoms.positions[1] = atoms.positions[0] + np.multiply(pbc, [2, -1, 3]) @ cell
        assert coincident_atoms(atoms) == (0, 1)
        atoms.positions[1] += 0.004
        assert coincident_atoms(atoms) == (0, 1)
        atoms.positions[1] += 0.004
        assert coincident_atoms(atoms) is None
        atoms.positions[1] = atoms.positions[0] + cell[2]
        assert (coincident_atoms(atoms) is None) == (not pbc[2])
    # rounding: a share of -1e-20 is one of 1, which no box of length 1 holds
    assert coincident_atoms(Atoms("H2", [[-1e-20, 0, 0], [4, 4, 4]], cell=[4] * 3, pbc=True))


def test_wrong_keys_are_answered_with_the_ones_there(tmp_path, frames):
    path = tmp_path / "a.xyz"
    for atoms in frames:
        atoms.info["my_energy_value"] = 1.0
        atoms.calc.results.pop("energy")
    ase.io.write(path, frames, format="extxyz")
    with pytest.raises(UserError, match=r"frame 0.*'my_energy_value'.*--energy-key"):
        read_dataset(path).require("energy")
    with pytest.raises(UserError, match="'my_energy'; did you mean 'my_energy_value'"):
        read_dataset(path, energy_key="my_energy")
    dataset = read_dataset(path, energy_key="my_energy_value")
    assert dataset[0].calc.results["energy"] == 1.0
    np.savez(tmp_path / "a.npz", z=[1], R=np.zeros((1, 1, 3)), Energy=[1.0])
    with pytest.raises(UserError, match="did you mean 'Energy'"):
        read_dataset(tmp_path / "a.npz", energy_key="energy")


def test_wrong_files(tmp_path, frames):
    ase.io.write(tmp_path / "good.xyz", frames, format="extxyz")
    text = (tmp_path / "good.xyz").read_text()
    cases = {
        "empty.xyz": b"",
        "cut.xyz": text[: text.rindex("\n", 0, -40)].encode(),
        "cut.xyz.xz": lzma.compress(text.encode())[:-40],
        "junk.xyz": b"\x00\x01\x02 this is no structure\n",
        "junk.npz": b"PK\x03\x04 but no archive",
        "junk.h5": b"\x89HDF no more",
        "junk.abc": b"hello world\n",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_dataset(tmp_path / name)
    with pytest.raises(UserError, match=r"frame 2.*truncated"):
        read_dataset(tmp_path / "cut.xyz")
    with pytest.raises(UserError, match=r"is a directory; name a file in it.*good\.xyz"):
        read_dataset(tmp_path)
    with pytest.raises(UserError, match=r"no such file; did you mean .*good\.xyz"):
        read_dataset(tmp_path / "god.xyz")
    with pytest.raises(UserError, match="embedded:ethanl is not an embedded data set"):
        read_dataset("embedded:ethanl")


def test_npz_shapes_are_checked(tmp_path):
    good = {"z": np.array([8, 1, 1]), "R": RNG.normal(size=(4, 3, 3)), "E": np.arange(4.0)}
    for change, message in [
        ({"E": np.arange(5.0)}, r"'E' has shape \(5,\); \(4,\) expected"),
        ({"F": np.zeros((4, 2, 3))}, r"'F' has shape \(4, 2, 3\); \(4, 3, 3\) expected"),
        ({"z": np.array([8, 1])}, r"numbers have shape \(2,\)"),
        ({"R": np.zeros((4, 9))}, r"positions have shape|numbers have shape"),
        ({"E": np.array([1.0, 2.0, np.nan, 3.0])}, r"a\.npz, frame 2: 'E' is not finite"),
        ({"cell": np.zeros((2, 3, 3))}, r"the cell has shape \(2, 3, 3\)"),
    ]:
        np.savez(tmp_path / "a.npz", **{**good, **change})
        with pytest.raises(UserError, match=message):
            read_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", z=good["z"], xyz=good["R"])
    with pytest.raises(UserError, match=r"no array holds the positions.*it has xyz, z"):
        read_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **{**good, "z": np.array(["O", "H", "H"])})
    with pytest.raises(UserError, match="not atomic numbers"):
        read_dataset(tmp_path / "a.npz")


PUBLISHED = {
    "3bpa_iso_atoms.xyz.xz": 4, "3bpa_test_300K.npz.xz": 1669, "3bpa_train_300K.xyz.xz": 500,
    "acac_isolated_atoms.xyz.xz": 3, "acac_test_H_transfer.xyz.xz": None,
    "rmd17_ethanol_train.xyz.xz": 1000, "md17_ethanol_2000.npz.xz": 2000,
    "water_64h2o.npz.xz": 400, "LiPS_1000.npz.xz": 1000, "GeTe_600.npz.xz": 600,
    "LiPS20_16systems_200each.npz.xz": 3200, "mlearn_Si.extxyz.xz": 239,
    "mlearn_Mo.extxyz.xz": 217, "Ta_fitsnap.extxyz.xz": 363, "mad_val_small_1000.extxyz.xz": 1000,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets(name):
    path = Path(os.environ.get("CLEBSCH_DATA", "/nonexistent")) / "potentials" / name
    if not path.exists():
        pytest.skip(f"potentials/{name} is not under CLEBSCH_DATA")
    dataset = read_dataset(path)
    assert PUBLISHED[name] in (None, len(dataset))
    atoms = dataset[len(dataset) - 1]
    assert np.isfinite(atoms.calc.results["energy"])
    if len(dataset.frames) > 200:
        assert atoms.calc.results["forces"].shape == (len(atoms), 3)
    if name.startswith("LiPS20"):
        assert "stress" in atoms.calc.results


def test_published_set_in_mev_is_suspected():
    path = Path(os.environ.get("CLEBSCH_DATA", "/nonexistent")) / "potentials"
    path /= "rmd17_aspirin_1000_meV.xyz.xz"
    if not path.exists():
        pytest.skip("potentials/rmd17_aspirin_1000_meV.xyz.xz is not under CLEBSCH_DATA")
    with pytest.warns(DataWarning, match="meV"):
        read_dataset(path)
