"""The parts of the verification, each against what is known."""

import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import primitive_neighbor_list

from clebsch.errors import UserError
from clebsch.o3 import spherical_harmonics, wigner_3j, wigner_D
from clebsch.verify import Settings, built_in_cases, full_table, sentence, summary_table
from clebsch.verify.comparison import Deviation, Prediction, Tolerance, compare, count, size_of
from clebsch.verify.engines import ASE, Compiled, Eager, Splined
from clebsch.verify.exactness import rotation_matrix, symbol_error, was_single
from clebsch.verify.neighbours import all_edges
from clebsch.verify.report import Finding, Report, failed, judged, not_run, worst
from clebsch.verify.symmetries import random_rotation, symmetries

from .conftest import small_potential


def prediction(n=3, energy=-3.0):
    draw = np.random.default_rng(0)
    virial = draw.normal(size=(3, 3))
    return Prediction(energy, np.full(n, energy / n), draw.normal(size=(n, 3)), virial + virial.T)


# Comparison


def test_the_largest_deviation_is_named():
    atoms = Atoms("SiCSi", positions=np.eye(3) * 4, cell=[2, 3, 4], pbc=True)
    one = prediction()
    forces, virial = one.forces.copy(), one.virial.copy()
    forces[1, 2] += 1e-3
    virial[0, 2] -= 0.24
    other = Prediction(one.energy + 6e-6, one.atomic_energy, forces, virial)
    found = {d.quantity: d for d in compare(one, other, atoms, Tolerance(1e-6, 1e-4), reach=5.0)}
    assert found["energy"].value == pytest.approx(2e-6)  # per atom
    assert (found["forces"].value, found["forces"].place) == (
        pytest.approx(1e-3),
        "atom 1 (C), z",
    )
    assert found["stress"].value == pytest.approx(0.24 / 24)
    assert (found["stress"].place, found["stress"].unit) == ("xz", "eV/Å³")
    assert found["atomic energy"].within
    assert not any(found[name].within for name in ("energy", "forces", "stress"))
    atoms.pbc = [True, True, False]
    quantities = [d.quantity for d in compare(one, other, atoms, Tolerance(1, 1), 5.0)]
    assert quantities[-1] == "virial"
    lacking = Prediction(one.energy, one.atomic_energy, one.forces, None)
    assert len(compare(one, lacking, atoms, Tolerance(1, 1), 5.0)) == 3


def test_what_is_no_number_is_never_within():
    atoms = Atoms("Si2", positions=[[0, 0, 0], [2, 0, 0]])
    one = prediction(2)
    forces = one.forces.copy()
    forces[1, 0] = np.nan
    broken = Prediction(np.inf, one.atomic_energy, forces, one.virial)
    assert not broken.finite
    found = compare(one, broken, atoms, Tolerance(1e9, 1e9), 5.0)
    assert [d.within for d in found] == [False, True, False, True]
    assert found[2].place == "atom 1 (Si), x"
    assert found[2].ratio == math.inf


def test_tolerances_grow_with_the_numbers():
    atoms = Atoms("SiC", positions=[[0, 0, 0], [2, 0, 0]])
    strong = Prediction(0.0, np.array([-100.0, 40.0]), np.zeros((2, 3)), np.zeros((3, 3)))
    assert size_of(strong, atoms, {"Si": -90.0, "C": 0.0}) == 40.0
    assert Tolerance(1.0, 2.0).for_size(40.0) == Tolerance(5.0, 10.0)
    assert Tolerance(1.0, 2.0) + Tolerance(0.5, 0.0) == Tolerance(1.5, 2.0)


# Report


def test_a_report_keeps_the_worst_of_every_check_and_case():
    def found(value, place):
        return judged("rotation", "slab", place, [Deviation("forces", value, "eV/Å", 1e-9, "x")])

    findings = [*found(1e-12, "a"), *found(3e-9, "b"), *found(2e-9, "c")]
    findings += judged("rotation", "slab", "a", [count("wrong edges", 0)])
    findings += judged("rotation", "wire", "", [count("wrong edges", 0)])
    findings += [not_run("LAMMPS on 1 rank", "not installed."), failed("dynamics", "NaN", "wire")]
    report = Report("m.clebsch", worst(findings), {"date": "", "versions": {}})
    assert [f.status for f in report.findings] == ["fail", "pass", "pass", "not run", "fail"]
    rows = {(row.check, row.case): row for row in report.rows()}
    assert rows["rotation", "slab"].place == "b, x"
    assert (report.count("pass"), report.count("fail"), report.count("not run")) == (1, 2, 1)
    assert not report.passed
    assert report.verdict() == "FAILED: 2 of 3 failed, 1 not run (check x case)"
    summary = {row.check: cases for row, cases in report.summary()}
    assert summary == {"rotation": 2, "LAMMPS on 1 rank": 0, "dynamics": 1}
    said = sentence(rows["rotation", "slab"])
    assert said == "fail: rotation, slab: forces 3.0e-09 eV/Å (allowed 1.0e-09), b, x"
    assert sentence(rows["LAMMPS on 1 rank", ""]) == "not run: LAMMPS on 1 rank: not installed."
    assert report.digest()["failed"] == ["dynamics", "rotation"]
    assert summary_table(report).row_count == 3
    assert len(summary_table(report, 80).columns) == 5
    assert full_table(report).row_count == 4


def test_a_report_of_nothing_has_not_passed():
    assert not Report("m", []).passed
    assert not Report("m", [not_run("a", "b")]).passed


def test_json_holds_no_nan(tmp_path):
    finding = Finding("a", "b", "fail", Deviation("forces", math.nan, "eV/Å", 1.0))
    Report("m", [finding], {"x": 1}).write_json(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["findings"][0]["deviation"] is None
    assert content["passed"] is False
    assert content["x"] == 1


def test_settings_know_their_keywords():
    assert Settings().wants("lammps")
    assert not Settings().wants("compile")
    assert Settings(compile=True).wants("compile")
    assert Settings(only=("ase",)).wants("ase")
    assert not Settings(only=("ase",)).wants("lammps")
    assert Settings(only=("ase",), require=("lammps",)).wants("lammps")
    with pytest.raises(UserError, match="only: there is nothing called 'lamps'; choose from plain"):
        Settings(only=("lamps",))
    with pytest.raises(UserError, match="require: there is nothing called 'cutoff'"):
        Settings(require=("cutoff",))
    with pytest.raises(UserError, match="tolerance: give an energy above 0 eV/atom, not -1"):
        Settings(tolerance=-1.0)
    with pytest.raises(UserError, match="ranks: give whole numbers from 1, not"):
        Settings(ranks=(2, 0))


# Neighbours


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_counted_edges_are_those_of_ase(pbc):
    draw = np.random.default_rng(3)
    cell = np.array([[2.5, 0, 0], [1.9, 3, 0], [-1, 0.7, 4.0]])
    atoms = Atoms("Si4", positions=draw.uniform(-6, 6, (4, 3)), cell=cell, pbc=pbc)
    dst, src, shifts = primitive_neighbor_list("ijS", pbc, cell, atoms.positions, 4.5)
    listed = {(int(j), int(i), *map(int, s)) for i, j, s in zip(dst, src, shifts, strict=True)}
    assert all_edges(atoms, 4.5, range(4)) == listed


# Symmetries


def test_random_rotations_are_proper():
    rotation = random_rotation(np.random.default_rng(5))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_every_symmetry_changes_the_structure(model):
    atoms = bulk("SiC", "zincblende", a=4.4, cubic=True)
    atoms.rattle(0.1, seed=0)
    one = prediction(8)
    for symmetry in symmetries():
        changed = symmetry.change(atoms)
        assert symmetry.fits(atoms)
        same = len(changed) == 8 and np.allclose(changed.positions, atoms.positions)
        assert not same, symmetry.name
        assert len(symmetry.expect(one, atoms).forces) == len(changed)
    repeated = {s.name: s for s in symmetries()}["supercell"]
    wire = Atoms("Si", cell=[0, 0, 3], pbc=[False, False, True])
    np.testing.assert_array_equal(repeated.change(wire).positions[:, 2], [0, 3])
    assert not repeated.fits(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2]]))


# Exactness


def test_rounded_numbers_are_told_from_short_ones():
    exact = [0.0, 1.0, -0.375, 4096.5, 1 / 3, math.pi, 1e-30, math.inf, math.nan, 3.2]
    assert not any(was_single(value) for value in exact)
    assert all(was_single(float(np.float32(v))) for v in (1 / 3, -math.pi, 3.2e20, 1e-30))


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 1), (1, 2, 2), (3, 2, 4)])
def test_symbols_are_invariant_under_independent_rotations(degrees):
    symbol = wigner_3j(*degrees, dtype=torch.float64).numpy()
    assert symbol_error(symbol, degrees) < 1e-14
    wrong = symbol.copy()
    wrong[np.unravel_index(np.abs(wrong).argmax(), wrong.shape)] *= 1.01
    assert symbol_error(wrong, degrees) > 1e-4
    assert (
        symbol_error(symbol.astype(np.float32).astype(float), degrees) > 1e-9 or max(degrees) == 0
    )


def test_rotation_matrices_are_those_of_the_library():
    draw = np.random.default_rng(1)
    rotation = torch.from_numpy(random_rotation(draw))
    for degree in range(5):
        expected = wigner_D(degree, rotation)
        np.testing.assert_allclose(rotation_matrix(degree), expected, atol=1e-12)
    x = torch.randn(3, dtype=torch.float64)
    y = spherical_harmonics(2, rotation @ x)
    torch.testing.assert_close(y, wigner_D(2, rotation) @ spherical_harmonics(2, x))


# Engines


def test_engines_leave_the_model_as_it_was(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    atoms = bulk("SiC", "zincblende", a=4.4)
    for engine in (Eager(model, "a", "a"), ASE(model), Eager(model, "b", "b", torch.float32)):
        engine.evaluate([atoms])
    assert model.dtype == torch.float32
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_virials_of_structures_without_a_volume(model):
    """The virial of a molecule is what its stress in a box times the box's volume is."""
    engine = Eager(model, "a", "a")
    molecule = Atoms("SiC2", positions=[[0, 0, 0], [1.8, 0, 0], [0, 1.9, 0.3]])
    boxed = molecule.copy()
    boxed.set_cell([20, 21, 22])
    boxed.pbc = True
    one, other = engine.evaluate([molecule, boxed])
    np.testing.assert_allclose(one.virial, other.virial, atol=1e-12)
    assert np.abs(one.virial).max() > 1e-4
    (energies,) = engine.energies([molecule])
    np.testing.assert_allclose(energies, one.atomic_energy, atol=1e-12)


def test_plain_pytorch_leaves_large_structures_out(model):
    engine = Eager(model, "plain", "plain", plain=True)
    large = bulk("Si", cubic=True).repeat(9)
    assert "edges; the plain back end" in engine.left_out(large)
    assert engine.left_out(Atoms("Si")) is None


def test_splines_are_not_asked_where_nothing_was_trained(model):
    frozen = model.freeze(1e-3)
    engine = Splined(model, frozen, "frozen", "frozen")
    near, far = (Atoms("C2", positions=[[0, 0, 0], [0, 0, r]]) for r in (1.4, 1.6))
    assert engine.left_out(far) is None
    assert "closer than in training" in engine.left_out(near)
    assert engine.tolerance == Tolerance(3e-3, 3e-2)
    single = Splined(model, frozen, "frozen", "frozen", torch.float32)
    assert single.tolerance.energy > 3e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_the_compiled_model_agrees(monkeypatch):
    model = small_potential(layers=2, lmax=1)
    compiled, eager = Compiled(model), Eager(model, "eager", "reference")
    if (reason := compiled.missing()) is not None:
        pytest.skip(reason)
    # Inductor takes minutes and is torch's own; what is ours is traced and differentiated.
    right = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **kw: right(f, backend="aot_eager", **kw))
    torch.compiler.reset()
    cases = {case.name: case for case in built_in_cases(model, quick=True)}
    structures = [cases[name].structures[0] for name in ("triclinic cell", "slab")]
    for atoms, one, other in zip(
        structures, eager.evaluate(structures), compiled.evaluate(structures), strict=True
    ):
        assert all(d.within for d in compare(one, other, atoms, Tolerance(1e-10, 1e-10), 3.5))
    assert compiled.left_out(Atoms("Si")) == "no edges"
