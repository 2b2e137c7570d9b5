"""Starts of SCFs: the potential against PySCF's of the same density, cycles, refusals."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from ase import Atoms

from clebsch.density import AuxiliaryBasis, ElectronDensity
from clebsch.density.basis import function_electrons
from clebsch.errors import UserError

pytest.importorskip("pyscf")

from clebsch.density import Level
from clebsch.density import restart as restart_module
from clebsch.density.fitting import fit_density
from clebsch.density.molecule import auxiliary_molecule, make_molecule, without_checkpoint
from clebsch.density.reference import make_scf, run_scf
from clebsch.density.restart import (
    compare_guesses,
    effective_potential,
    initial_density_matrix,
    prepare_scf,
)

WATER = Atoms("OH2", [[0, 0, 0.117], [0, 0.757, -0.471], [0.1, -0.757, -0.471]])
PBE0 = Level(basis="def2-svp", grid_level=1)


@pytest.fixture(scope="module")
def converged():
    return run_scf(WATER.numbers, WATER.positions, PBE0)


@pytest.fixture(scope="module")
def water(converged) -> ElectronDensity:
    basis = AuxiliaryBasis.from_pyscf([1, 8])
    matrix = converged.make_rdm1()
    fit = fit_density(converged.mol, matrix, basis, WATER.numbers, WATER.positions)
    return ElectronDensity(
        basis,
        torch.from_numpy(WATER.numbers).long(),
        torch.from_numpy(WATER.positions),
        fit.coefficients,
    )


def noisy(density: ElectronDensity, amount: float) -> ElectronDensity:
    generator = torch.Generator().manual_seed(3)
    factor = torch.randn(len(density.coefficients), generator=generator, dtype=torch.float64)
    c = density.coefficients * (1 + amount * factor)
    return dataclasses.replace(density, coefficients=c)


@pytest.mark.parametrize("xc", ["lda,vwn", "pbe"])
def test_potential_is_that_of_pyscf(xc) -> None:
    """Squares of s functions are s functions, so that a density can be exact in both."""
    from pyscf import dft

    a, numbers = 1.1, [2, 2]
    positions = np.array([[0.1, 0.2, 0.3], [0.9, -1.1, 1.6]])
    molecule = make_molecule(
        numbers, positions, {"He": [[0, [a, 1.0]], [1, [0.8, 1.0]], [2, [0.7, 1.0]]]}
    )
    first = np.flatnonzero([label[2].endswith("s") for label in molecule.ao_labels(None)])
    matrix = np.zeros((molecule.nao, molecule.nao))
    matrix[first, first] = [1.5, 2.5]
    basis = AuxiliaryBasis("squares", {2: ((2 * a,),)})
    c = np.array([1.5, 2.5]) / function_electrons(basis.blocks(2)[0])
    auxiliary = auxiliary_molecule(basis, numbers, positions)

    scf = without_checkpoint(dft.RKS(molecule, xc=xc))
    scf.grids.level = 1
    scf.grids.build()
    coulomb = restart_module._coulomb(molecule, auxiliary, c)
    np.testing.assert_allclose(coulomb, scf.get_j(dm=matrix), atol=1e-11)
    (got,) = restart_module._semilocal(molecule, auxiliary, c, [xc], scf.grids)
    _, _, expected = scf._numint.nr_rks(molecule, scf.grids, xc, matrix)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got, expected, atol=5e-7)  # where rho is next to nothing


@pytest.mark.parametrize("xc", ["pbe", "pbe0", "camb3lyp"])
def test_parts_of_a_functional_are_the_whole(converged, xc) -> None:
    level = dataclasses.replace(PBE0, xc=xc)
    scf, matrix = make_scf(WATER.numbers, WATER.positions, level), converged.make_rdm1()
    functional = restart_module._Functional(xc)
    _, _, semilocal = scf._numint.nr_rks(scf.mol, scf.grids.build(), functional.semilocal, matrix)
    got = scf.get_j(dm=matrix) + semilocal + functional.exchange(scf, matrix)
    np.testing.assert_allclose(got, np.asarray(scf.get_veff(dm=matrix)), atol=1e-9)


def test_potential_of_a_fit_is_near_that_of_the_orbitals(water, converged) -> None:
    pbe = make_scf(WATER.numbers, WATER.positions, dataclasses.replace(PBE0, xc="pbe"))
    expected = np.asarray(pbe.get_veff(dm=converged.make_rdm1()))
    assert np.abs(expected).max() > 10
    for xc in ("pbe", "pbe0", "tpss", "hf"):  # of the others a part is replaced by PBE's
        got = effective_potential(water, dataclasses.replace(PBE0, xc=xc))
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_lots_of_points_and_shells_do_not_matter(water, monkeypatch) -> None:
    whole = effective_potential(water, PBE0)
    monkeypatch.setattr(restart_module, "_NUMBERS", 30_000)
    np.testing.assert_allclose(effective_potential(water, PBE0), whole, atol=1e-11)


def test_start_is_a_closed_shell_near_the_solution(water, converged) -> None:
    overlap, exact = converged.get_ovlp(), converged.make_rdm1()
    far = converged.get_init_guess(key="minao")
    for steps, most in ((0, 0.1), (1, 0.05), (12, 0.003)):
        start = prepare_scf(water, PBE0, steps)
        matrix = np.asarray(start.density_matrix)
        assert start.steps <= steps
        np.testing.assert_allclose(matrix @ overlap @ matrix, 2 * matrix, atol=1e-10)
        assert np.trace(matrix @ overlap) == pytest.approx(10, abs=1e-10)
        assert np.abs(matrix - exact).max() < most
    assert np.abs(far - exact).max() > 0.1


def test_fewer_cycles_to_the_same_energy(water) -> None:
    seen = []
    for density, most in ((water, 0.65), (noisy(water, 0.01), 0.76)):
        results = compare_guesses(density, PBE0, ["minao"], seen.append)
        assert [r.guess for r in results] == ["density", "minao"]
        assert results[0].cycles <= most * results[1].cycles
        assert results[0].energy == pytest.approx(results[1].energy, abs=1e-6)
        assert 0 < results[0].guess_seconds < results[0].seconds
    assert len(seen) == 4


@pytest.mark.parametrize(
    "changes",
    [{"xc": "hf"}, {"xc": "tpss"}, {"xc": "lda,vwn"}, {"xc": "pbe", "density_fit": False}],
)
def test_other_levels(water, changes) -> None:
    level = dataclasses.replace(PBE0, **changes)
    density, minao = compare_guesses(water, level, ["minao"])
    assert density.cycles < minao.cycles
    assert density.energy == pytest.approx(minao.energy, abs=1e-6)


def test_hartree_fock_takes_one_step(water) -> None:
    assert prepare_scf(water, dataclasses.replace(PBE0, xc="hf")).steps == 1


def test_the_matrix_serves_an_scf_of_the_users_own(water, converged) -> None:
    # the auxiliary basis may be one that PySCF has never heard of
    matrix = initial_density_matrix(water, dataclasses.replace(PBE0, aux="of my own"))
    assert type(np.asarray(matrix)) is np.ndarray
    again = run_scf(WATER.numbers, WATER.positions, PBE0, guess=np.asarray(matrix))
    assert again.e_tot == pytest.approx(converged.e_tot, abs=1e-9)
    assert again.cycles < converged.cycles


def test_wrong_densities_are_refused(water, monkeypatch) -> None:
    charged = dataclasses.replace(water, coefficients=0.9 * water.coefficients)
    with pytest.raises(UserError, match=r"holds 9\.000 electrons, but the neutral molecule has 10"):
        prepare_scf(charged, PBE0)
    nothing = dataclasses.replace(water, coefficients=float("nan") * water.coefficients)
    with pytest.raises(UserError, match="holds nan electrons"):
        prepare_scf(nothing, PBE0)
    crystal = dataclasses.replace(water, cell=5 * torch.eye(3, dtype=torch.float64))
    with pytest.raises(UserError, match="is periodic"):
        prepare_scf(crystal, PBE0)
    o = int(water.basis.offsets(water.numbers)[2])
    radical = ElectronDensity(
        water.basis, water.numbers[:2], water.positions[:2], water.coefficients[:o]
    )
    with pytest.raises(UserError, match="open shell"):
        prepare_scf(radical, PBE0)
    with pytest.raises(UserError, match="no orbital basis 'no-such' for"):
        prepare_scf(water, dataclasses.replace(PBE0, basis="no-such"))
    with pytest.raises(ValueError, match="steps must be 0 or more"):
        prepare_scf(water, PBE0, steps=-1)
    monkeypatch.setitem(sys.modules, "pyscf", None)
    with pytest.raises(UserError, match="needs PySCF"):
        prepare_scf(water, PBE0)
