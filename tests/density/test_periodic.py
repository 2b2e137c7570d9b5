"""Densities and potentials of crystals against clusters, integrals and known sums."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.units import Bohr, Hartree

from clebsch.density import (
    AuxiliaryBasis,
    Box,
    ElectronDensity,
    density_error_percent,
    hartree_energy,
)
from clebsch.density import ewald as ewald_module
from clebsch.density.electron_density import periodic_cell
from clebsch.density.moments import electrons_per_function

CELL = torch.tensor([[3.9, 0.0, 0.0], [0.6, 4.2, 0.0], [0.3, -0.5, 3.6]], dtype=torch.float64)


@pytest.fixture
def crystal(density) -> ElectronDensity:
    """The molecule in an oblique cell; one atom stands outside it."""
    return dataclasses.replace(density, cell=CELL)


@pytest.fixture
def inside() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(40, 3, generator=generator, dtype=torch.float64) @ CELL


def soft(*atoms: tuple[float, float, float], cell: torch.Tensor) -> ElectronDensity:
    """Hydrogen atoms with smooth random functions, which a coarse grid integrates."""
    basis = AuxiliaryBasis("soft", {1: ((1.2, 0.3), (0.7,), (0.8,))})
    numbers = torch.ones(len(atoms), dtype=torch.int64)
    c = torch.randn(len(atoms) * basis.dim(1), generator=torch.Generator().manual_seed(3))
    return ElectronDensity(basis, numbers, torch.tensor(atoms).double(), c.double(), cell)


def test_density_is_the_sum_over_images(crystal, inside) -> None:
    steps = torch.arange(-5, 6, dtype=torch.float64)
    shifts = torch.cartesian_prod(steps, steps, steps) @ CELL
    n = len(shifts)
    cluster = ElectronDensity(
        crystal.basis,
        crystal.numbers.repeat(n),
        (shifts[:, None] + crystal.positions).reshape(-1, 3),
        crystal.coefficients.repeat(n),
    )
    torch.testing.assert_close(crystal.at(inside), cluster.at(inside), rtol=1e-13, atol=1e-13)
    far = inside + torch.tensor([7.0, -11.0, 4.0], dtype=torch.float64) @ CELL
    torch.testing.assert_close(crystal.at(far), crystal.at(inside), rtol=0, atol=1e-11)


def test_integral_over_the_cell_is_the_electron_count() -> None:
    density = soft((0.1, 0.2, 0.3), (1.4, 2.0, -0.9), cell=CELL)
    for cell in (CELL, torch.diag(torch.tensor([2.5, 3.0, 4.0])).double()):
        one = dataclasses.replace(density, cell=cell)
        box = Box.of(one, spacing=0.25)
        total = sum(float(slab.sum()) for slab in box.density_slabs(one)) * box.volume_element
        assert total == pytest.approx(float(one.electrons()), abs=1e-8)
        assert float(one.electrons()) == float(density.electrons())


def test_a_supercell_is_the_same_crystal(crystal, inside) -> None:
    double = ElectronDensity(
        crystal.basis,
        crystal.numbers.repeat(2),
        torch.cat([crystal.positions, crystal.positions + CELL[1] + 3 * CELL[0]]),
        crystal.coefficients.repeat(2),
        CELL * torch.tensor([[1.0], [2.0], [1.0]]),
    )
    torch.testing.assert_close(double.at(inside), crystal.at(inside), rtol=0, atol=1e-11)
    for name in ("potential", "electron_potential"):
        mine, other = getattr(crystal, name)(inside), getattr(double, name)(inside)
        torch.testing.assert_close(other, mine, rtol=0, atol=1e-9)
    shift = torch.tensor([0.31, -0.27, 5.0], dtype=torch.float64)
    moved = dataclasses.replace(crystal, positions=crystal.positions + shift)
    torch.testing.assert_close(
        moved.potential(inside + shift), crystal.potential(inside), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("width", [0.15, 1.5])
def test_potential_does_not_depend_on_the_width_of_the_sum(
    crystal, inside, monkeypatch, width
) -> None:
    whole = crystal.potential(inside), crystal.electron_potential(inside)
    monkeypatch.setattr(ewald_module, "WIDTH", width)
    again = dataclasses.replace(crystal)  # keeps no Fourier coefficients
    torch.testing.assert_close(again.potential(inside), whole[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(again.electron_potential(inside), whole[1], rtol=0, atol=1e-10)


def test_mean_of_the_potential_is_zero() -> None:
    density = soft((0.1, 0.2, 0.3), (1.4, 2.0, -0.9), cell=CELL)
    values = Box.of(density, spacing=0.3).values(density.electron_potential)
    assert abs(values).max() > 1
    assert abs(values.mean()) < 1e-8


def test_laplacian_of_the_potential_is_the_density_without_its_mean(crystal) -> None:
    points = torch.tensor([[0.3, 0.4, -0.2], [1.0, -0.5, 0.7]]).double()
    hessian = torch.autograd.functional.hessian(lambda p: crystal.potential(p).sum(), points)
    laplacian = torch.einsum("pipi->p", hessian)
    charge = float(crystal.numbers.sum() - crystal.electrons())
    background = charge / float(torch.linalg.det(CELL))
    expected = 4 * math.pi * Hartree * Bohr * (crystal.at(points) + background)
    torch.testing.assert_close(laplacian, expected, rtol=1e-9, atol=1e-7)


def test_neutral_spheres_in_a_crystal_and_alone(inside) -> None:
    basis = AuxiliaryBasis("s", {1: ((2.0, 0.6),)})
    numbers = torch.tensor([1, 1])
    c = torch.tensor([0.4, 0.0, 0.1, 0.0]).double()
    per = electrons_per_function(basis, numbers, c)
    c[1::2] = (1 - (c * per)[::2]) / per[1::2]  # one electron each
    positions = torch.tensor([[0.1, 0.2, 0.3], [1.4, 2.0, -0.9]]).double()
    crystal = ElectronDensity(basis, numbers, positions, c, CELL)
    steps = torch.arange(-4, 5, dtype=torch.float64)
    shifts = torch.cartesian_prod(steps, steps, steps) @ CELL
    cluster = ElectronDensity(
        basis,
        numbers.repeat(len(shifts)),
        (shifts[:, None] + positions).reshape(-1, 3),
        c.repeat(len(shifts)),
    )
    # the potential of a neutral sphere has the integral pi sum of q / a
    exponents = torch.tensor([2.0, 0.6] * 2, dtype=torch.float64)
    volume = float(torch.linalg.det(CELL)) / Bohr**3
    mean = Hartree * math.pi * float((c * per / exponents).sum()) / volume
    torch.testing.assert_close(
        crystal.potential(inside), cluster.potential(inside) - mean, rtol=0, atol=1e-9
    )


def test_madelung_constant_of_rock_salt() -> None:
    basis = AuxiliaryBasis("tight", {1: ((40.0,),)})
    a = 4.0
    sites = torch.tensor([[0.0, 0.0, 0.0], [a / 2, 0.0, 0.0]]).double()
    cell = a / 2 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]).double()
    numbers = torch.tensor([1, 1])
    per = electrons_per_function(basis, numbers, sites)
    ions = torch.tensor([0.0, 2.0]).double() / per  # +1 and -1
    crystal = ElectronDensity(basis, numbers, sites, ions, cell)
    near = torch.tensor([[1e-3, 0.0, 0.0]], dtype=torch.float64)
    own = Hartree * Bohr / 1e-3
    madelung = -(float(crystal.potential(near)) - own) * (a / 2) / (Hartree * Bohr)
    # the mean inner potential of the extended anion is not 0
    mean = math.pi * 2 / 40.0 / (float(torch.linalg.det(cell)) / Bohr**3)
    assert madelung - mean * (a / 2) / Bohr == pytest.approx(1.747564594633, abs=2e-6)


def test_derivatives(inside) -> None:
    density = soft((0.1, 0.2, 0.3), cell=CELL[:, [1, 2, 0]].contiguous())

    def of(c, r, cell, p):
        d = dataclasses.replace(density, coefficients=c, positions=r, cell=cell)
        return d.at(p), d.potential(p)

    inputs = (density.coefficients, density.positions, density.cell, inside[:2])
    leaves = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(of, leaves, atol=1e-5, rtol=1e-5)


def test_single_precision(crystal, inside) -> None:
    single = crystal.to(torch.float32)
    assert single.potential(inside).dtype == torch.float32
    torch.testing.assert_close(
        single.potential(inside).double(), crystal.potential(inside), rtol=1e-4, atol=2e-3
    )


def test_what_a_crystal_has_not(crystal) -> None:
    with pytest.raises(ValueError, match="has no dipole"):
        crystal.dipole()
    with pytest.raises(ValueError, match="has no quadrupole"):
        crystal.quadrupole()
    with pytest.raises(ValueError, match="Hartree energy of a periodic"):
        hartree_energy(crystal)
    with pytest.raises(ValueError, match="do not fill a cell"):
        density_error_percent(crystal, crystal)
    with pytest.raises(ValueError, match="and a volume"):
        dataclasses.replace(crystal, cell=torch.ones(3, 3).double())
    with pytest.raises(ValueError, match="one dtype"):
        dataclasses.replace(crystal, cell=CELL.float())
    with pytest.raises(ValueError, match="periodic along 2 of its cell vectors"):
        periodic_cell(Atoms("H", cell=np.eye(3), pbc=(True, True, False)))
