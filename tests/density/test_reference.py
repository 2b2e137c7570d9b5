"""Reference data: fits, rotation of the molecule, restart, refusals, the ready data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from ase.units import Bohr, Hartree

from clebsch.density import (
    AuxiliaryBasis,
    ElectronDensity,
    density_error_percent,
    read_density,
    write_density,
)
from clebsch.errors import UserError

H2 = Atoms("H2", [[0, 0, 0], [0.1, 0.2, 0.7]])
HF = Atoms("HF", [[0, 0, 0], [0.5, 0.3, 0.72]])
WATER = Atoms("OH2", [[0, 0, 0.117], [0, 0.757, -0.471], [0.1, -0.757, -0.471]])


def level(**changes):
    from clebsch.density import Level

    return Level(**{"xc": "pbe0", "basis": "sto-3g", "grid_level": 1, **changes})


@pytest.fixture(scope="session")
def pyscf():
    return pytest.importorskip("pyscf")


@pytest.fixture(scope="session")
def made(pyscf, tmp_path_factory):
    """H2 and HF, with the density on a grid."""
    from clebsch.density import make_data

    path = tmp_path_factory.mktemp("made") / "data.h5"
    return make_data([H2, HF], path, level(), workers=2, keep_grid=True)


def fitted(atoms, of_level, **options):
    from clebsch.density.fitting import fit_density
    from clebsch.density.reference import run_scf

    basis = AuxiliaryBasis.from_pyscf(atoms.numbers, of_level.aux)
    scf = run_scf(atoms.numbers, atoms.positions, of_level, **options)
    dm = scf.make_rdm1()
    return scf, fit_density(scf.mol, dm, basis, atoms.numbers, atoms.positions, of_level.metric)


def turn_error(atoms, of_level, **options) -> float:
    """Largest |D c - c of the turned molecule|."""
    from clebsch.o3 import rand_matrix

    R = rand_matrix(dtype=torch.float64)
    turned = Atoms(atoms.numbers, atoms.positions @ R.numpy().T)
    first, second = (fitted(x, of_level, **options)[1].coefficients for x in (atoms, turned))
    basis = AuxiliaryBasis.from_pyscf(atoms.numbers, of_level.aux)
    o = basis.offsets(atoms.numbers).tolist()
    expected = torch.cat(
        [
            basis.irreps(int(z)).rotate(first[o[i] : o[i + 1]], R)
            for i, z in enumerate(atoms.numbers)
        ]
    )
    return float((expected - second).abs().max())


def test_turning_the_molecule_turns_the_coefficients(pyscf) -> None:
    exact = level(xc="hf", conv_tol=1e-12, density_fit=False)  # no grid takes part
    assert turn_error(WATER, exact, gradient_tol=1e-9) < 1e-10


def test_turning_the_molecule_turns_its_reference(pyscf) -> None:
    from clebsch.density.orientation import turn_coefficients
    from clebsch.density.reference import compute_reference
    from clebsch.o3 import rand_matrix

    R = rand_matrix(dtype=torch.float64)
    basis, numbers = AuxiliaryBasis.from_pyscf(WATER.numbers), WATER.numbers.astype(np.int64)
    turned = WATER.positions @ R.numpy().T + [1.0, -2.0, 0.5]
    first, second = (
        compute_reference(numbers, x, level(), basis, keep_grid=True)
        for x in (WATER.positions, turned)
    )
    expected = turn_coefficients(torch.from_numpy(first.coefficients), basis, numbers, R)
    assert np.abs(expected.numpy() - second.coefficients).max() < 1e-8
    assert second.energy == pytest.approx(first.energy, abs=1e-8)
    np.testing.assert_allclose(second.forces, first.forces @ R.numpy().T, atol=1e-7)
    np.testing.assert_allclose(second.dipole, R.numpy() @ first.dipole, atol=1e-8)
    assert np.abs(first.forces).max() > 0.1
    assert np.abs(first.dipole).max() > 0.1
    for record, positions in ((first, WATER.positions), (second, turned)):  # the grid went along
        grid, density = record.grid, torch.from_numpy(record.coefficients)
        fit = ElectronDensity(
            basis, torch.from_numpy(numbers), torch.from_numpy(positions), density
        )
        wrong = np.abs(fit.at(torch.from_numpy(grid.points)).numpy() - grid.density)
        error = 100 * float(grid.weights @ wrong) / 10
        assert error == pytest.approx(record.fit_error_percent, rel=0.05)


def test_fit_is_the_best_with_its_electrons(pyscf) -> None:
    from clebsch.density import ElectronDensity, integration_grid, metric_matrix
    from clebsch.density.fitting import fit_density
    from clebsch.density.reference import kohn_sham_density

    scf, coulomb = fitted(WATER, level())
    dm = scf.make_rdm1()
    basis = AuxiliaryBasis.from_pyscf(WATER.numbers)
    overlap = fit_density(scf.mol, dm, basis, WATER.numbers, WATER.positions, "overlap")
    numbers, positions = torch.tensor([8, 1, 1]), torch.from_numpy(WATER.positions)
    grid = integration_grid(numbers, positions)
    exact = kohn_sham_density(scf.mol, dm, grid.points.numpy() / Bohr) / Bohr**3
    squares = []
    for fit in (coulomb, overlap):
        density = ElectronDensity(basis, numbers, positions, fit.coefficients)
        assert float(density.electrons()) == pytest.approx(10, abs=1e-10)
        assert fit.free_electrons == pytest.approx(10, abs=0.1)
        error = density.at(grid.points) - torch.from_numpy(exact)
        squares.append(float(grid.weights @ error**2))
    assert squares[1] < 0.9 * squares[0]  # each is the best in its own metric

    matrix = metric_matrix(basis, WATER.numbers, WATER.positions)
    energy = Hartree / 2 * float(coulomb.coefficients @ matrix @ coulomb.coefficients)
    expected = Hartree / 2 * float(np.einsum("ij,ji", scf.get_j(dm=dm), dm))
    assert energy == pytest.approx(expected, rel=2e-4)  # wrong in the second order only
    density = ElectronDensity(basis, numbers, positions, coulomb.coefficients)
    dipole = scf.dip_moment(unit="AU", verbose=0) * Bohr
    np.testing.assert_allclose(density.dipole().numpy(), dipole, atol=0.01)
    quadrupole = scf.quad_moment(unit="AU", verbose=0) * Bohr**2
    np.testing.assert_allclose(density.quadrupole().numpy(), quadrupole, atol=0.02)


def test_data_set(made) -> None:
    assert (made.computed, made.kept, made.failed) == (2, 0, [])
    data = read_density(made.data.path)
    assert len(data) == 2
    assert data.level["basis"] == "sto-3g"
    assert set(data.versions) >= {"pyscf", "clebsch"}
    assert data.fingerprint() == made.data.fingerprint()
    assert not os.path.exists(made.data.path + ".parts")
    assert [r.source for r in data] == ["structure 0", "structure 1"]
    for i, record in enumerate(data):
        density = data.density(i)
        assert float(density.electrons()) == pytest.approx(record.electrons, abs=1e-9)
        np.testing.assert_allclose(density.dipole(), record.dipole, atol=0.02)
        assert np.abs(record.forces.sum(0)).max() < 1e-3
        values = density.at(torch.from_numpy(record.grid.points)).numpy()
        error = record.grid.weights @ abs(values - record.grid.density) / record.electrons
        assert 100 * error == pytest.approx(record.fit_error_percent, rel=0.03)
        assert record.atoms().get_potential_energy() == record.energy
    hydrogen = data.free_atoms[1]
    assert hydrogen[5:].abs().max() == 0


def test_forces_are_the_derivative_of_the_energy(pyscf, made) -> None:
    from clebsch.density.reference import run_scf

    h = 1e-3
    energies = []
    for sign in (1, -1):
        moved = HF.positions.copy()
        moved[1, 2] += sign * h
        energies.append(run_scf(HF.numbers, moved, level(conv_tol=1e-11)).e_tot * Hartree)
    slope = -(energies[0] - energies[1]) / (2 * h)
    assert made.data[1].forces[1, 2] == pytest.approx(slope, abs=2e-3)


def test_free_atoms_are_a_poor_density(made) -> None:
    from clebsch.density.free_atoms import superposition

    density = made.data.density(1)
    free = superposition(made.data.free_atoms, made.data.basis, density.numbers, density.positions)
    assert float(free.electrons()) == pytest.approx(10, abs=1e-9)
    assert 5 < density_error_percent(free, density) < 40


@pytest.mark.slow
def test_more_structures_and_no_repetition(made, tmp_path) -> None:
    from clebsch.density import make_data

    path = tmp_path / "data.h5"
    shutil.copy(made.data.path, path)
    seen = []
    again = make_data([HF, H2, HF], path, level(), on_progress=seen.append)
    assert (again.computed, again.kept) == (0, 2)
    assert seen[-1].finished == 2
    assert again.data.fingerprint() == made.data.fingerprint()  # the file's order stays
    more = make_data([WATER], path, level())
    assert (more.computed, more.kept, len(more.data)) == (1, 0, 3)
    assert more.data[0].grid is not None
    assert more.data[2].grid is None
    assert more.data.basis.elements == (1, 8, 9)
    assert set(more.data.free_atoms) == {1, 8, 9}


def test_interrupted_run_goes_on(pyscf, tmp_path) -> None:
    from clebsch.density import make_data

    path = tmp_path / "data.h5"

    def stop(progress) -> None:
        if progress.finished == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_data([H2, HF], path, level(), on_progress=stop)
    assert len(read_density(path)) == 1
    parts = list((tmp_path / "data.h5.parts").glob("*.npz"))
    assert len(parts) >= 3  # a molecule and two atoms
    path.unlink()  # as after a kill
    with pytest.raises(UserError, match=r"data\.h5\.parts: was made with xc = pbe0, not pbe"):
        make_data([H2, HF], path, level(xc="pbe"))
    done = make_data([H2, HF], path, level())
    assert (done.computed, done.kept) == (1, 1)
    assert [r.source for r in read_density(path)] == ["structure 0", "structure 1"]
    assert not (tmp_path / "data.h5.parts").exists()


def test_scf_that_does_not_converge_is_left_out(pyscf, tmp_path, monkeypatch) -> None:
    from clebsch.density import making, reference

    def hopeless(jobs, atoms, of_level, basis, workers, keep_grid):
        monkeypatch.setattr(reference, "_MAX_CYCLES", 1)
        for job in jobs:
            yield job, making._molecule(job, of_level, basis, keep_grid)

    monkeypatch.setattr(making, "_run", hopeless)
    with pytest.raises(UserError, match=r"no molecule could be computed \(structure 0: the SCF"):
        making.make_data([HF], tmp_path / "data.h5", level())
    assert not (tmp_path / "data.h5").exists()


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("OH", [[0, 0, 0], [0, 0, 1]]), "9 electrons, an open shell"),
        (Atoms("OH2", WATER.positions, info={"charge": 1}), "has the charge 1"),
        (Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=[1, 1]), "unpaired spins, an open shell"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.1]]), r"atoms 0 \(H\) and 1 \(H\) lie on each other"),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), "not numbers"),
        (Atoms("H2", H2.positions, cell=[5, 5, 5], pbc=True), "is periodic"),
        (Atoms("HI", [[0, 0, 0], [0, 0, 1.6]]), "no orbital basis '6-31g' for I"),
        (Atoms("UO", [[0, 0, 0], [0, 0, 2]]), "no orbital basis"),
        (Atoms(), "there are no atoms"),
    ],
)
def test_structures_that_are_refused(pyscf, tmp_path, atoms, message) -> None:
    from clebsch.density import make_data

    basis = "6-31g" if "6-31g" in message else "def2-tzvp"
    with pytest.raises(UserError, match=message):
        make_data([WATER, atoms], tmp_path / "data.h5", level(basis=basis))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xc": "nonsense"}, "does not know the functional"),
        ({"basis": "nonsense"}, "no orbital basis 'nonsense' for H"),
        ({"aux": "nonsense"}, "no auxiliary basis 'nonsense' for H"),
        ({"metric": "euclid"}, "metric must be"),
        ({"grid_level": 12}, "grid level must be 0 to 9"),
        ({"conv_tol": 1.0}, "tolerance"),
    ],
)
def test_levels_that_are_refused(pyscf, tmp_path, changes, message) -> None:
    from clebsch.density import make_data

    with pytest.raises(UserError, match=message):
        make_data([H2], tmp_path / "data.h5", level(**changes))
    assert list(tmp_path.iterdir()) == []


def test_iodine_needs_a_core_potential(pyscf) -> None:
    with pytest.raises(UserError, match="leaves the core of I"):
        level(basis="def2-tzvp").check([1, 53])


def test_files_of_another_level_or_kind_are_refused(made, tmp_path) -> None:
    from clebsch.density import make_data

    path = made.data.path
    with pytest.raises(UserError, match="made with metric = coulomb, not overlap"):
        make_data([WATER], path, level(metric="overlap"))
    with pytest.raises(UserError, match=r"let its name end with \.h5"):
        make_data([H2], tmp_path / "data.npz", level())
    other = AuxiliaryBasis("other", {1: ((1.0,),), 9: ((1.0,),)})
    with pytest.raises(UserError, match="coefficients on H are of the auxiliary basis def2"):
        read_density(path, other)
    broken = tmp_path / "broken.h5"
    with open(path, "rb") as file:
        broken.write_bytes(file.read(3000))
    with pytest.raises(UserError, match="truncated or broken"):
        read_density(broken)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match="no archive of densities"):
        read_density(tmp_path / "text.npz")
    with pytest.raises(UserError, match="no such file"):
        read_density(tmp_path / "absent.h5")


@pytest.mark.slow
def test_command(made, tmp_path) -> None:
    write(tmp_path / "h2.xyz", [H2])
    shutil.copy(made.data.path, tmp_path / "data.h5")
    command = [sys.executable, "-m", "clebsch.cli", "density", "make-data", "h2.xyz", "--quiet"]
    # xyz files round positions, so this is another structure than the one in the file
    done = subprocess.run(
        [*command, "--basis", "sto-3g", "--grid-level", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "molecules at pbe0/sto-3g, def2-universal-jfit in the coulomb metric" in done.stdout
    done = subprocess.run(
        [*command, "--basis", "sto-3g"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "was made with grid_level = 1, not 3" in done.stderr


def test_ready_data_set(clebsch_data) -> None:
    from clebsch.density.free_atoms import superposition

    data = read_density(clebsch_data("water_density/water_density.npz"))
    assert len(data) == 107
    assert len(data.split("transfer")) == 7
    checked = 0
    for i, record in enumerate(data):
        density = data.density(i)
        assert float(density.electrons()) == pytest.approx(record.electrons, abs=1e-6)
        np.testing.assert_allclose(density.dipole(), record.dipole, atol=0.01)
        if record.grid is not None and len(record.numbers) < 12:
            points, weights = map(torch.from_numpy, (record.grid.points, record.grid.weights))
            values = density.at(points)
            error = weights @ (values - torch.from_numpy(record.grid.density)).abs()
            percent = 100 * float(error) / record.electrons
            assert percent == pytest.approx(record.fit_error_percent, rel=0.01)
            free = superposition(data.free_atoms, data.basis, density.numbers, density.positions)
            percent = 100 * float(weights @ (free.at(points) - values).abs()) / record.electrons
            assert percent == pytest.approx(12.3, abs=0.4)
            checked += 1
    assert checked == 2


@pytest.mark.slow
def test_our_own_making_agrees_with_the_ready_data_set(pyscf, clebsch_data) -> None:
    from clebsch.density.free_atoms import free_atom
    from clebsch.density.reference import compute_reference

    data = read_density(clebsch_data("water_density/water_density.npz"))
    record = data[0]
    assert len(record.numbers) == 3
    from clebsch.density import Level

    ours = compute_reference(record.numbers, record.positions, Level(), data.basis)
    np.testing.assert_allclose(ours.coefficients, record.coefficients, atol=1e-5)
    assert ours.energy == pytest.approx(record.energy, rel=2e-8)  # another hartree in eV
    np.testing.assert_allclose(ours.forces, record.forces, atol=1e-4)
    np.testing.assert_allclose(ours.dipole, record.dipole, atol=1e-6)
    assert ours.fit_error_percent == pytest.approx(
        record.fit_error_percent, rel=1e-3
    )  # a turned grid
    for z, expected in data.free_atoms.items():
        torch.testing.assert_close(free_atom(z, Level(), data.basis), expected, rtol=0, atol=5e-3)


def test_writing_checks_the_basis(made, tmp_path) -> None:
    import dataclasses

    wrong = dataclasses.replace(made.data, basis=AuxiliaryBasis("x", {1: ((1.0,),), 9: ((1.0,),)}))
    with pytest.raises(UserError, match="structure 0: has 32 coefficients, but the basis x"):
        write_density(wrong, tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []
    assert json.loads(made.data.basis.to_json())["name"] == "def2-universal-jfit"
