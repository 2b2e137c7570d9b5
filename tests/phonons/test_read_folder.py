"""A user's own phonon data: every format gives the same spectra, every mistake a sentence."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io import read, write

from clebsch.errors import UserError
from clebsch.phonons import PhononDos
from clebsch.phonons.reading import holds_phonons, read_phonons
from clebsch.phonons.units import PER_WAVENUMBER
from clebsch.structures.reading import DataWarning
from made_crystals import crystals, spectrum, write_dfpt

SALT = crystals()[0]


def curve(atoms: Atoms, unit: str = "THz") -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and states per ``unit`` of a made crystal."""
    w, per_ev = spectrum(atoms)
    factor = PER_WAVENUMBER[unit]
    return w * factor, per_ev * units.invcm / factor


def expected(atoms: Atoms) -> PhononDos:
    return PhononDos(*curve(atoms, "cm^-1"))


def write_table(path: Path, atoms: Atoms, header: str, unit: str, scale: float = 1.0) -> None:
    w, g = curve(atoms, unit)
    sep = "," if path.suffix == ".csv" else " "
    rows = [f"{a:.10f}{sep}{b * scale:.10e}" for a, b in zip(w, g, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


def structure_dict(atoms: Atoms) -> dict:
    sites = [
        {"species": [{"element": s, "oxidation_state": 1.0, "occu": 1}], "abc": x.tolist()}
        for s, x in zip(atoms.symbols, atoms.get_scaled_positions(), strict=True)
    ]
    return {"@class": "Structure", "lattice": {"matrix": atoms.cell.tolist()}, "sites": sites}


def dos_dict(atoms: Atoms) -> dict:
    w, g = curve(atoms)
    return {"@class": "PhononDos", "frequencies": w.tolist(), "densities": g.tolist()}


def same(record: object, atoms: Atoms, rtol: float = 1e-6) -> None:
    """The record is this crystal with its made spectrum."""
    wanted = expected(atoms)
    assert record.whole
    assert float(record.dos.states()) == pytest.approx(3 * len(atoms), rel=1e-12)
    np.testing.assert_allclose(record.dos.frequencies, wanted.frequencies, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(record.dos.density, wanted.density, rtol=rtol, atol=1e-7)
    assert sorted(record.atoms.symbols) == sorted(atoms.symbols)
    assert record.atoms.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-5)
    assert record.atoms.pbc.all()


def subfolder(path: Path, atoms: Atoms) -> Path:
    path.mkdir()
    write(path / "POSCAR", atoms, format="vasp")
    write_table(path / "total_dos.dat", atoms, "# Tetrahedron method", "THz")
    return path


def test_sub_folders_with_phonopys_files(tmp_path: Path) -> None:
    chosen = crystals()[:3]
    for i, atoms in enumerate(chosen):
        subfolder(tmp_path / f"c{i}", atoms)
    (tmp_path / "c1" / "disp-001").mkdir()
    write(tmp_path / "c1" / "disp-001" / "POSCAR", chosen[1].repeat(2), format="vasp")
    write(tmp_path / "c1" / "POSCAR-001", chosen[1].repeat(2), format="vasp")
    (tmp_path / "c2" / "README.txt").write_text("made\n")
    data = read_phonons(tmp_path)
    assert data.names == ["c0", "c1", "c2"]
    for record, atoms in zip(data.records, chosen, strict=True):
        same(record, atoms)
    assert data.where(1) == str(tmp_path / "c1" / "total_dos.dat")
    same(read_phonons(tmp_path / "c0" / "total_dos.dat").records[0], chosen[0])


@pytest.mark.parametrize(
    ("unit", "header"),
    [("cm^-1", "wavenumber_cm-1,dos"), ("THz", "frequency (THz),dos"), ("meV", "# E_meV,g")],
)
def test_files_with_a_common_stem(tmp_path: Path, unit: str, header: str) -> None:
    chosen = crystals()[:2]
    for name, atoms in zip(("NaCl", "NaCl-wide"), chosen, strict=True):
        write(tmp_path / f"{name}.cif", atoms)
        write_table(tmp_path / f"{name}_dos.csv", atoms, header, unit)
    (tmp_path / "split.json").write_text('{"train": [], "valid": [], "test": []}')
    (tmp_path / "notes.csv").write_text("name,colour\nNaCl,white\n")
    data = read_phonons(tmp_path)
    assert data.names == ["NaCl", "NaCl-wide"]
    assert data.records[0].facts["unit"] == unit
    for record, atoms in zip(data.records, chosen, strict=True):
        same(record, atoms)


def test_structures_without_a_curve_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.cif", SALT)
    write_table(tmp_path / "a.csv", SALT, "THz,dos", "THz")
    with pytest.warns(DataWarning, match=r"1 structures without .*b\.cif"):
        assert read_phonons(tmp_path).names == ["a"]


def test_columns_of_a_projected_dos_are_added(tmp_path: Path) -> None:
    write(tmp_path / "POSCAR", SALT, format="vasp")
    w, g = curve(SALT)
    table = np.column_stack([w, 0.25 * g, 0.75 * g])
    np.savetxt(tmp_path / "projected_dos.dat", table, header="Tetrahedron method")
    same(read_phonons(tmp_path).records[0], SALT)


def test_pymatgen_json(tmp_path: Path) -> None:
    a, b = crystals()[:2]
    complete = dos_dict(a) | {"@class": "CompletePhononDos", "structure": structure_dict(a)}
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "phonon_dos.json").write_text(json.dumps(complete))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "x.json").write_text(json.dumps(structure_dict(b)))
    (tmp_path / "two" / "x_dos.json").write_text(json.dumps(dos_dict(b)))
    several = tmp_path / "several.json"
    several.write_text(json.dumps({"p": complete, "q": complete}))
    data = read_phonons(tmp_path)
    assert data.names == ["p", "q", "one", "two"]
    for record, atoms in zip(data.records, (a, a, a, b), strict=True):
        same(record, atoms)
    assert read_phonons(several).names == ["p", "q"]
    shared = json.loads(json.dumps(complete))
    shared["structure"]["sites"][1]["species"][0]["occu"] = 0.5
    several.write_text(json.dumps([shared]))
    with pytest.raises(UserError, match="several-0: site 1 is not fully occupied"):
        read_phonons(several)


def test_pymatgens_own_json(tmp_path: Path) -> None:
    pytest.importorskip("pymatgen", reason="pymatgen is not installed")
    from monty.json import MontyEncoder
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.phonon.dos import CompletePhononDos

    structure = AseAtomsAdaptor.get_structure(SALT)
    w, g = curve(SALT)
    dos = CompletePhononDos(structure, _pymatgen_dos(w, g), dict.fromkeys(structure, g / 2))
    (tmp_path / "x.json").write_text(json.dumps(dos, cls=MontyEncoder))
    same(read_phonons(tmp_path / "x.json").records[0], SALT)


def _pymatgen_dos(w: np.ndarray, g: np.ndarray) -> object:
    from pymatgen.phonon.dos import PhononDos as Theirs

    return Theirs(w, g)


@pytest.mark.parametrize("suffix", ["db", "json"])
def test_ase_databases(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows.{suffix}"
    a, b = crystals()[:2]
    with ase.db.connect(file) as database:
        w, g = curve(a, "meV")
        database.write(a, name="first", data={"frequencies": w, "dos": g, "unit": "meV"})
        w, g = curve(b, "cm^-1")
        database.write(b, data={"frequencies_cm-1": w, "dos": g})
        database.write(a, name="without")
    data = read_phonons(file)
    assert data.names == ["first", "rows-2"]
    for record, atoms in zip(data.records, (a, b), strict=True):
        same(record, atoms)
    assert holds_phonons(file)
    with ase.db.connect(tmp_path / f"other.{suffix}") as database:
        database.write(a, data={"frequencies": w, "dos": g})
    with pytest.raises(UserError, match="row 1: no unit is given"):
        read_phonons(tmp_path / f"other.{suffix}")


def test_extended_xyz_with_arrays(tmp_path: Path) -> None:
    atoms = SALT.copy()
    w, g = curve(atoms)
    atoms.info |= {"frequencies_THz": w, "dos": g, "name": "salt"}
    write(tmp_path / "x.extxyz", [atoms], format="extxyz")
    data = read_phonons(tmp_path / "x.extxyz")
    assert data.names == ["salt"]
    same(data.records[0], SALT, rtol=1e-5)


@pytest.fixture(scope="module")
def springs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """phonopy's files of a diamond-like crystal, made with phonopy from a pair potential."""
    phonopy = pytest.importorskip("phonopy", reason="phonopy is not installed")
    from ase.calculators.lj import LennardJones
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk("Ar", cubic=True, a=5.256)
    cell = PhonopyAtoms(
        symbols=list(atoms.symbols),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
    )
    phonons = phonopy.Phonopy(cell, np.diag([2, 2, 2]), primitive_matrix="F", log_level=0)
    phonons.generate_displacements(distance=0.01)
    forces = []
    for displaced in phonons.supercells_with_displacements:
        each = Atoms(displaced.symbols, cell=displaced.cell, pbc=True)
        each.set_scaled_positions(displaced.scaled_positions)
        each.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=5.0, smooth=True)
        forces.append(each.get_forces())
    phonons.forces = forces
    phonons.produce_force_constants()
    folder = tmp_path_factory.mktemp("springs")
    for name in ("forces", "constants"):
        (folder / name).mkdir()
        settings = {"force_constants": name == "constants", "force_sets": name == "forces"}
        phonons.save(folder / name / "phonopy_params.yaml", settings=settings)
    (folder / "table").mkdir()
    phonons.run_mesh(100.0)
    phonons.run_total_dos(freq_pitch=0.005)
    phonons.write_total_dos(folder / "table" / "total_dos.dat")
    phonons.save(folder / "table" / "phonopy.yaml", settings={"force_sets": False})
    return folder


def test_phonopys_yaml_gives_phonopys_spectrum(springs: Path) -> None:
    data = read_phonons(springs)
    assert data.names == ["constants", "forces", "table"]
    for record in data.records:
        assert len(record.atoms) == 1  # the primitive cell, not the conventional one
        assert record.whole
    moments = [r.dos.states_at() @ r.dos.frequencies / 3 for r in data.records]
    assert moments[0] == pytest.approx(moments[1], rel=1e-6)
    assert moments[0] == pytest.approx(moments[2], rel=3e-3)
    coarse = read_phonons(springs / "forces" / "phonopy_params.yaml", mesh=[2, 2, 2])
    assert coarse.names == ["forces"]
    assert not np.array_equal(coarse.dos(0).density, data.dos(1).density)


def test_files_of_the_current_folder_do_not_count(
    springs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "FORCE_SETS").write_text("nonsense\n")
    monkeypatch.chdir(tmp_path)
    assert read_phonons(springs / "forces").names == ["forces"]
    assert Path.cwd() == tmp_path


def test_yaml_with_forces_needs_phonopy(springs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(UserError, match=r'pip install "clebsch\[phonons\]"'):
        read_phonons(springs / "forces")
    assert read_phonons(springs / "table").names == ["table"]  # a table needs nothing


@pytest.mark.parametrize("scale", [1.0, 1 / 6, 0.25])
def test_integrals_that_are_as_good_as_3N(tmp_path: Path, scale: float) -> None:
    write(tmp_path / "POSCAR", bulk("NaCl", "rocksalt", a=5.0, cubic=True), format="vasp")
    write_table(tmp_path / "total_dos.dat", SALT, "#", "THz", scale)
    if scale == 0.25:  # neither 24, nor 6 of the primitive cell, nor 1
        with pytest.warns(DataWarning, match=r"total_dos.dat: the integral is 1.5 instead of 3N"):
            record = read_phonons(tmp_path).records[0]
        assert not record.whole
    else:
        record = read_phonons(tmp_path).records[0]
        assert record.whole
    assert float(record.dos.states()) == pytest.approx(24.0, rel=1e-12)


def test_a_curve_with_largest_value_one_is_in_arbitrary_units(tmp_path: Path) -> None:
    write(tmp_path / "POSCAR", SALT, format="vasp")
    top = curve(SALT)[1].max()
    write_table(tmp_path / "total_dos.dat", SALT, "#", "THz", 1 / top)
    assert not read_phonons(tmp_path).records[0].whole


@pytest.mark.parametrize(
    ("said", "true", "hint"),
    [
        ("THz", "cm^-1", "as cm\\^-1 it would be usual"),
        ("cm^-1", "THz", "as THz"),
        ("meV", "cm^-1", "as cm"),
    ],
)
def test_another_unit(tmp_path: Path, said: str, true: str, hint: str) -> None:
    write(tmp_path / "x.cif", crystals()[24])
    write_table(tmp_path / "x.csv", crystals()[24], f"frequency {said},dos", true)
    with pytest.raises(UserError, match=r"x\.csv: the spectrum ends at .* which cannot be") as e:
        read_phonons(tmp_path)
    assert re.search(hint, str(e.value))


def break_imaginary(folder: Path) -> None:
    w, g = curve(SALT)
    np.savetxt(folder / "total_dos.dat", np.column_stack([w - 0.4 * w.max(), g]))


def break_negative(folder: Path) -> None:
    w, g = curve(SALT)
    np.savetxt(folder / "total_dos.dat", np.column_stack([w, -g]))


def break_order(folder: Path) -> None:
    w, g = curve(SALT)
    np.savetxt(folder / "total_dos.dat", np.column_stack([g, w]))


def break_structure(folder: Path) -> None:
    (folder / "POSCAR").unlink()


def break_two_structures(folder: Path) -> None:
    (folder / "POSCAR").unlink()
    for name in ("a.cif", "b.cif"):
        write(folder / name, SALT)


def break_text(folder: Path) -> None:
    (folder / "total_dos.dat").write_text("# x\n0.0 0.1\n0.1 none\n")


def break_columns(folder: Path) -> None:
    (folder / "total_dos.dat").write_text("0.0\n0.1\n")


def break_poscar(folder: Path) -> None:
    (folder / "POSCAR").write_text("nothing\n")


def break_header(folder: Path) -> None:
    (folder / "total_dos.dat").unlink()
    (folder / "dos.csv").write_text("frequency,dos\n0,0\n1,1\n")


def break_no_header(folder: Path) -> None:
    rows = (folder / "total_dos.dat").read_text().splitlines()[1:]
    (folder / "total_dos.dat").unlink()
    (folder / "POSCAR.csv").write_text("\n".join(rows))


def break_twice(folder: Path) -> None:
    write(folder / "x.cif", SALT)
    for name in ("x.csv", "x_dos.csv"):
        write_table(folder / name, SALT, "THz,dos", "THz")


def break_molecule(folder: Path) -> None:
    (folder / "POSCAR").unlink()
    write(folder / "x.xyz", Atoms("NaCl", [[0, 0, 0], [0, 0, 2]]))


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (break_imaginary, r"% of the states have negative \(imaginary\) frequencies"),
        (break_negative, "is negative, or zero everywhere"),
        (break_order, "must ascend"),
        (break_structure, "there is no structure .* put POSCAR"),
        (break_two_structures, r"more than one structure .* \(a.cif, b.cif\)"),
        (break_text, "no table of numbers .*none"),
        (break_columns, "two columns"),
        (break_poscar, "ASE cannot read the structure"),
        (break_header, "'frequency', names no unit"),
        (break_no_header, "has no header"),
        (break_twice, "x.csv beside it is a density of states of x too"),
        (break_molecule, "no cell"),
    ],
)
def test_broken_folders_get_a_sentence(tmp_path: Path, break_it, sentence: str) -> None:
    folder = subfolder(tmp_path / "c0", SALT)
    break_it(folder)
    with pytest.raises(UserError, match=sentence) as caught:
        read_phonons(tmp_path)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    assert message.endswith((".", "?"))


def test_implausible_curves_can_be_left_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        subfolder(tmp_path / name, SALT)
    break_imaginary(tmp_path / "b")
    break_negative(tmp_path / "c")
    refused: list[str] = []
    assert read_phonons(tmp_path, refused=refused).names == ["a"]
    assert len(refused) == 2
    assert refused[0].startswith(f"{tmp_path / 'b' / 'total_dos.dat'}: ")
    break_imaginary(tmp_path / "a")
    with pytest.raises(UserError, match="imaginary"):
        read_phonons(tmp_path, refused=[])


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    subfolder(tmp_path / "NaCl", SALT)
    write(tmp_path / "NaCl.cif", SALT)
    write_table(tmp_path / "NaCl.csv", SALT, "THz,dos", "THz")
    with pytest.raises(UserError, match="the record NaCl is there more than once"):
        read_phonons(tmp_path)


def test_folders_without_curves(tmp_path: Path) -> None:
    write(tmp_path / "x.cif", SALT)
    assert not holds_phonons(tmp_path)
    with pytest.raises(UserError, match="no density of states in this folder"):
        read_phonons(tmp_path)
    with pytest.raises(UserError, match="is no phonon data"):
        read_phonons(tmp_path / "x.cif")


def test_what_holds_phonons(tmp_path: Path) -> None:
    assert holds_phonons(write_dfpt(tmp_path / "set.jsonl"))
    subfolder(tmp_path / "c", SALT)
    assert holds_phonons(tmp_path)
    assert holds_phonons(tmp_path / "c" / "total_dos.dat")
    write(tmp_path / "train.xyz", [SALT])
    assert not holds_phonons(tmp_path / "train.xyz")
    assert not holds_phonons(tmp_path / "nothing")
    with ase.db.connect(tmp_path / "energies.db") as database:
        database.write(SALT)
    assert not holds_phonons(tmp_path / "energies.db")


def test_made_set_and_its_folder_train_on_the_same_targets(tmp_path: Path) -> None:
    one = read_phonons(write_dfpt(tmp_path / "set.jsonl"))
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, atoms in zip(one.names, crystals(), strict=True):
        write(folder / f"{name}.cif", atoms)
        write_table(folder / f"{name}.csv", atoms, "frequency_THz,dos", "THz")
    other = read_phonons(folder)
    assert sorted(other.names) == sorted(one.names)
    for name in one.names[:5]:
        a, b = (d.records[d.names.index(name)] for d in (one, other))
        np.testing.assert_allclose(a.dos.density, b.dos.density, rtol=1e-4, atol=1e-6)


def test_published_crystals_survive_the_way_through_a_folder(tmp_path: Path) -> None:
    root = os.environ.get("CLEBSCH_DATA")
    file = Path(root or "") / "phonon" / "petretto2018_dfpt.jsonl.xz"
    if not root or not file.exists():
        pytest.skip("petretto2018_dfpt.jsonl.xz is not in $CLEBSCH_DATA/phonon")
    import lzma

    with lzma.open(file, "rt") as stream:
        few = [next(stream) for _ in range(6)]
    (tmp_path / "few.jsonl").write_text("".join(few))
    data = read_phonons(tmp_path / "few.jsonl")
    folder = tmp_path / "folder"
    folder.mkdir()
    for record in data.records:
        write(folder / f"{record.name}.cif", record.atoms)
        table = np.column_stack([record.dos.frequencies, record.dos.density])
        np.savetxt(
            folder / f"{record.name}.csv", table, delimiter=",", header="cm^-1,dos", comments=""
        )
    back = read_phonons(folder)
    assert back.names == sorted(data.names)
    for record in back.records:
        before = data.records[data.names.index(record.name)]
        assert record.whole
        np.testing.assert_allclose(record.dos.density, before.dos.density, rtol=4e-3, atol=1e-9)
        assert len(read(folder / f"{record.name}.cif")) == len(before.atoms)
