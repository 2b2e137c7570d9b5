"""Density, potential and moments against PySCF's integrals, each other and finite differences."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ase.units import Bohr, Hartree

from clebsch.density import AuxiliaryBasis, ElectronDensity, integration_grid
from clebsch.density import evaluate as evaluate_module
from clebsch.density.boys import boys
from clebsch.density.order import to_quantum_chemistry_order
from clebsch.density.separable import SeparableDensity, along_axes
from clebsch.o3 import rand_matrix


def turned(density: ElectronDensity, R: torch.Tensor) -> ElectronDensity:
    """The density of the molecule after a rotation about 0."""
    basis, o = density.basis, density.basis.offsets(density.numbers).tolist()
    parts = [
        basis.irreps(z).rotate(density.coefficients[o[i] : o[i + 1]], R)
        for i, z in enumerate(density.numbers.tolist())
    ]
    return dataclasses.replace(
        density, positions=density.positions @ R.T, coefficients=torch.cat(parts)
    )


def test_values_at_points_are_those_of_pyscf(density, points) -> None:
    pytest.importorskip("pyscf")
    from clebsch.density.molecule import auxiliary_molecule

    molecule = auxiliary_molecule(density.basis, density.numbers, density.positions)
    c = to_quantum_chemistry_order(density.coefficients, density.basis, density.numbers).numpy()
    expected = molecule.eval_gto("GTOval_sph", points.numpy() / Bohr) @ c / Bohr**3
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(density.at(points).numpy(), expected, rtol=0, atol=1e-12)


def test_potential_is_that_of_pyscf(density, points) -> None:
    pytest.importorskip("pyscf")
    from pyscf import gto

    from clebsch.density.molecule import auxiliary_molecule

    molecule = auxiliary_molecule(density.basis, density.numbers, density.positions)
    c = to_quantum_chemistry_order(density.coefficients, density.basis, density.numbers).numpy()
    expected = []
    for point in points[::5].numpy():
        with molecule.with_rinv_origin(point / Bohr):
            # one-electron integrals with a constant: an s function of exponent 0, times its norm
            flat = gto.fakemol_for_charges(point[None] / Bohr)
            expected.append(gto.intor_cross("int2c2e_sph", molecule, flat)[:, 0] @ c)
    got = density.electron_potential(points[::5]).numpy()
    # a point charge is there a Gaussian of exponent 1e16
    np.testing.assert_allclose(got, -Hartree * np.array(expected), rtol=1e-9, atol=1e-9)


def test_laplacian_of_the_potential_is_the_density(density) -> None:
    points = torch.tensor([[0.3, 0.4, -0.2], [1.0, -0.5, 0.7], [0.02, 0.0, 0.117]]).double()
    steps = 2e-3 * torch.eye(3, dtype=torch.float64)

    def laplacian(h: float) -> torch.Tensor:
        around = density.electron_potential(
            (points[:, None] + torch.cat([h * steps, -h * steps])).reshape(-1, 3)
        ).reshape(len(points), 6)
        centre = density.electron_potential(points)
        return (around.sum(1) - 6 * centre) / (h * 2e-3) ** 2

    # extrapolated to no step; Å and V: the charge density is in e/Å^3, e^2/(4 pi eps0) in eV Å
    value = (4 * laplacian(1.0) - laplacian(2.0)) / 3
    expected = 4 * math.pi * Hartree * Bohr * density.at(points)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-3)
    second = torch.autograd.functional.hessian(
        lambda p: density.electron_potential(p).sum(), points
    )
    exact = torch.einsum("pipi->p", second)
    torch.testing.assert_close(exact, expected, rtol=1e-9, atol=1e-8)


def test_far_atoms_act_as_multipoles(density, points, monkeypatch) -> None:
    away = points * 20
    with_far = density.electron_potential(away)

    def endless(basis, z):
        return tuple(np.full(len(block.exponents), np.inf) for block in basis.blocks(z))

    monkeypatch.setattr(evaluate_module, "_spreads", endless)
    torch.testing.assert_close(with_far, density.electron_potential(away), rtol=1e-12, atol=1e-14)


def test_far_functions_of_an_atom_are_left_out_exactly(density, points, monkeypatch) -> None:
    whole = density.at(points), density.potential(points)
    monkeypatch.setattr(evaluate_module, "_RINGS", (0.0,))
    torch.testing.assert_close(density.at(points), whole[0], rtol=0, atol=1e-14)
    torch.testing.assert_close(density.potential(points), whole[1], rtol=1e-12, atol=1e-12)


def test_chunks_do_not_matter(density, points, monkeypatch) -> None:
    whole = density.at(points), density.potential(points)
    monkeypatch.setattr(evaluate_module, "CHUNK", 7)
    monkeypatch.setattr(evaluate_module, "_NUMBERS", 100)
    torch.testing.assert_close(density.at(points), whole[0], rtol=0, atol=1e-13)
    torch.testing.assert_close(density.potential(points), whole[1], rtol=1e-12, atol=1e-12)
    assert density.at(points[:0]).shape == (0,)
    assert density.potential(points[:0]).shape == (0,)


def test_derivatives(density) -> None:
    points = torch.tensor([[0.3, 0.4, -0.2], [0.0, 0.0, 0.117], [9.0, 1.0, 2.0]]).double()

    def of(c, r, p):
        d = dataclasses.replace(density, coefficients=c, positions=r)
        return d.at(p), d.electron_potential(p), d.dipole(), d.quadrupole(), d.electrons()

    inputs = [x.clone().requires_grad_() for x in (density.coefficients, density.positions, points)]
    assert torch.autograd.gradcheck(of, inputs, atol=1e-5, rtol=1e-5)


def test_single_precision(density, points) -> None:
    single = density.to(torch.float32)
    assert single.at(points).dtype == torch.float32
    scale = float(density.at(points).abs().max())
    error = (single.at(points).double() - density.at(points)).abs().max()
    assert error < 3e-5 * scale
    torch.testing.assert_close(
        single.electron_potential(points).double(),
        density.electron_potential(points),
        rtol=1e-4,
        atol=1e-3,
    )


def test_everything_turns_with_the_molecule(density, points) -> None:
    R = rand_matrix(dtype=torch.float64)
    other = turned(density, R)
    torch.testing.assert_close(other.at(points @ R.T), density.at(points), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        other.potential(points @ R.T), density.potential(points), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(other.dipole(), R @ density.dipole(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        other.quadrupole(), R @ density.quadrupole() @ R.T, rtol=0, atol=1e-11
    )
    inverted = turned(density, -R)
    torch.testing.assert_close(inverted.at(-points @ R.T), density.at(points), rtol=0, atol=1e-12)


def test_moments_are_the_integrals(density) -> None:
    grid = integration_grid(density.numbers, density.positions, radial=120, degree=35)
    values = density.at(grid.points)
    weighted = grid.weights * values
    torch.testing.assert_close(weighted.sum(), density.electrons(), rtol=0, atol=5e-5)
    torch.testing.assert_close(
        density.atomic_electrons().sum(), density.electrons(), rtol=0, atol=1e-12
    )
    nuclei = density.numbers.double() @ density.positions
    torch.testing.assert_close(nuclei - weighted @ grid.points, density.dipole(), rtol=0, atol=5e-5)
    origin = torch.tensor([0.3, -0.2, 0.1]).double()
    p, R = grid.points - origin, density.positions - origin
    total = torch.einsum("a,ai,aj->ij", density.numbers.double(), R, R)
    total = total - torch.einsum("p,pi,pj->ij", weighted, p, p)
    expected = 1.5 * total - total.trace() / 2 * torch.eye(3)
    torch.testing.assert_close(density.quadrupole(origin), expected, rtol=0, atol=1e-4)


def test_potential_far_away_is_that_of_the_moments(density) -> None:
    charge = density.numbers.sum() - density.electrons()
    n = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    r = 2000.0
    value = density.potential(n[None] * r)
    quadrupole = n @ density.quadrupole() @ n
    expected = charge / r + density.dipole() @ n / r**2 + quadrupole / r**3
    torch.testing.assert_close(value[0], Hartree * Bohr * expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_boys(n) -> None:
    from scipy.special import hyp1f1

    x = torch.linspace(0, 60, 301, dtype=torch.float64)
    expected = hyp1f1(n + 0.5, n + 1.5, -x.numpy()) / (2 * n + 1)
    np.testing.assert_allclose(boys(n, x).numpy(), expected, rtol=1e-12)
    y = torch.tensor([0.0, 1e-9, 1.9, 2.1, 30.0]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: boys(n, y), y)
    assert torch.autograd.gradgradcheck(lambda y: boys(n, y), y)


def test_shapes_are_checked(density) -> None:
    with pytest.raises(ValueError, match="need positions of shape"):
        dataclasses.replace(density, positions=density.positions[:2])
    with pytest.raises(ValueError, match="make them alike"):
        dataclasses.replace(density, positions=density.positions.float())


def test_one_gaussian() -> None:
    basis = AuxiliaryBasis("s", {1: ((0.5,),)})
    one = ElectronDensity(
        basis,
        torch.tensor([1]),
        torch.zeros(1, 3, dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
    )
    # N exp(-r^2/2) / sqrt(4 pi) with the integral of its square 1
    assert float(one.at(torch.zeros(1, 3))) == pytest.approx(math.pi**-0.75 / Bohr**3, rel=1e-12)
    electrons = math.pi**-0.75 * (2 * math.pi) ** 1.5
    assert float(one.electrons()) == pytest.approx(electrons, rel=1e-12)


def test_products_along_the_axes_are_the_same_density(density) -> None:
    cell = torch.diag(torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64))
    axes = [torch.linspace(-1.0, 1.5, n, dtype=torch.float64) for n in (5, 6, 7)]
    points = torch.cartesian_prod(*axes)
    for one in (density, dataclasses.replace(density, cell=cell), density.to(torch.float32)):
        got = SeparableDensity(one).values(*(x.to(one.coefficients) for x in axes)) / Bohr**3
        bound = 1e-12 if got.dtype == torch.float64 else 1e-4
        torch.testing.assert_close(got.flatten(), one.at(points), rtol=bound, atol=bound)
    assert along_axes(np.diag([0.1, -0.2, 0.3]))
    assert not along_axes(np.diag([0.1, 0.2, 0.3]) + 1e-3 * np.eye(3)[[1, 0, 2]])


def test_a_degree_that_no_element_has() -> None:
    basis = AuxiliaryBasis("gap", {1: ((0.5,), (), (1.0,))})
    c = torch.randn(6, dtype=torch.float64)
    one = ElectronDensity(basis, torch.tensor([1]), torch.zeros(1, 3).double(), c)
    x = torch.linspace(-1, 1, 4, dtype=torch.float64)
    got = SeparableDensity(one).values(x, x, x).flatten() / Bohr**3
    torch.testing.assert_close(got, one.at(torch.cartesian_prod(x, x, x)), rtol=0, atol=1e-13)
