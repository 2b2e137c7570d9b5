"""Grids on SO(3): against e3nn, exactness of the quadrature, there and back."""

import pytest
import torch

from clebsch.o3 import from_e3nn, rand_matrix, rotations, to_e3nn, wigner_D
from clebsch.o3.rotation_grid import RotationGrid

GRIDS = [RotationGrid.gauss_legendre(5), RotationGrid(6, 4, 9), RotationGrid.equiangular(3)]


@pytest.mark.parametrize(("lmax", "resolution", "aspect"), [(0, 1, 2), (1, 2, 2), (3, 5, 1.3)])
def test_transforms_equal_e3nn(lmax, resolution, aspect, float64):
    e3nn = pytest.importorskip("e3nn.o3")
    theirs = e3nn.SO3Grid(lmax, resolution, aspect_ratio=aspect)
    grid, irreps = RotationGrid.equiangular(resolution, aspect), RotationGrid.irreps(lmax)
    x = irreps.randn(2, 3, -1)
    values = theirs.to_grid(to_e3nn(x, irreps))
    torch.testing.assert_close(grid.to_grid(x, lmax), values, rtol=0, atol=1e-12)
    values = torch.randn_like(values)
    expected = from_e3nn(theirs.from_grid(values), irreps)
    torch.testing.assert_close(grid.from_grid(values, lmax), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_values_are_sums_of_wigner_matrices(grid, float64):
    irreps = RotationGrid.irreps(3)
    x = irreps.randn(-1)
    expected = sum(
        (wigner_D(ir.l, grid.matrices) * x[part].view(ir.dim, ir.dim).T).sum((-2, -1))
        for (_, ir), part in zip(irreps, irreps.slices(), strict=True)
    )
    torch.testing.assert_close(grid.to_grid(x, 3, "integral"), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_matrices_have_the_angles(grid):
    alpha, beta, gamma = torch.meshgrid(*grid.angles, indexing="ij")
    expected = rotations.angles_to_matrix(alpha, beta, gamma)
    torch.testing.assert_close(grid.matrices, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("grid", [*GRIDS, RotationGrid.gauss_legendre(0)])
def test_the_degree_is_exact(grid):
    for l in range(grid.degree + 1):
        mean = grid.mean(wigner_D(l, grid.matrices).movedim((-2, -1), (0, 1)))
        assert (mean - float(l == 0)).abs().max() < 1e-14


@pytest.mark.parametrize("lmax", [0, 1, 4])
@pytest.mark.parametrize("normalization", ["component", "integral"])
def test_there_and_back_on_the_least_grid(lmax, normalization, float64):
    for grid in (RotationGrid.gauss_legendre(2 * lmax), RotationGrid.equiangular(lmax + 1)):
        x = RotationGrid.irreps(lmax).randn(2, -1)
        back = grid.from_grid(grid.to_grid(x, lmax, normalization), lmax, normalization)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-12)


def test_features_turned_by_a_rotation_are_the_function_of_the_product(float64):
    irreps, S = RotationGrid.irreps(2), rand_matrix()
    x, grid = irreps.randn(-1), RotationGrid.gauss_legendre(4)
    turned = grid.to_grid(irreps.D_from_matrix(S) @ x, 2, "integral")
    expected = sum(
        (wigner_D(ir.l, grid.matrices @ S) * x[part].view(ir.dim, ir.dim).T).sum((-2, -1))
        for (_, ir), part in zip(irreps, irreps.slices(), strict=True)
    )
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-12)


def test_a_grid_too_coarse_is_refused():
    grid = RotationGrid.gauss_legendre(3)
    with pytest.raises(ValueError, match=r"lmax=2.*gauss_legendre\(4\)"):
        grid.from_grid(torch.randn(4, 2, 4), lmax=2)
    with pytest.raises(ValueError, match="values on"):
        grid.from_grid(torch.randn(4, 4, 2), lmax=1)
    with pytest.raises(ValueError, match="lmax=1 are 10"):
        grid.to_grid(torch.randn(9), lmax=1)
    with pytest.raises(ValueError, match="normalisation"):
        grid.to_grid(torch.randn(10), 1, "norm")
    for wrong in (lambda: RotationGrid(3, 0, 3), lambda: RotationGrid.gauss_legendre(-1)):
        with pytest.raises(ValueError, match="grid"):
            wrong()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_dtypes_and_nothing(dtype):
    grid, x = RotationGrid.gauss_legendre(2), torch.zeros(0, 10, dtype=dtype, requires_grad=True)
    values = grid.to_grid(x, 1)
    assert (values.shape, values.dtype) == ((0, 3, 2, 3), dtype)
    grid.from_grid(values, 1).sum().backward()
    x = torch.randn(2, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: grid.to_grid(x, 1), x)
