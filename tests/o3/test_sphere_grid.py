"""Grids on the sphere: against e3nn, exactness of the quadrature, there and back."""

import pytest
import torch

from clebsch.o3 import gaunt, spherical_harmonics, wigner_3j
from clebsch.o3.real_fourier import irfft, rfft
from clebsch.o3.sphere_grid import SphereGrid

e3nn = pytest.importorskip("e3nn.o3")
NORMALIZATIONS = ["component", "norm", "integral"]


@pytest.mark.parametrize("resolution", [(20, 21), (16, 15), (18, 30)])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_transforms_equal_e3nn(resolution, normalization, float64):
    grid = SphereGrid.equiangular(*resolution)
    to = e3nn.ToS2Grid(7, resolution, normalization)
    back = e3nn.FromS2Grid(resolution, 5, normalization, lmax_in=7)
    x, values = torch.randn(2, 3, 64), torch.randn(4, *resolution)
    torch.testing.assert_close(grid.to_grid(x, 7, normalization), to(x), rtol=0, atol=1e-12)
    ours = grid.from_grid(values, 5, normalization, lmax_in=7)
    torch.testing.assert_close(ours, back(values), rtol=0, atol=1e-12)


def test_factors_of_ones_own_equal_e3nn(float64):
    grid, factors = SphereGrid.equiangular(8, 9), (0.5, 2.0, -1.0)
    to = e3nn.ToS2Grid(2, (8, 9), torch.tensor(factors))
    back = e3nn.FromS2Grid((8, 9), 2, torch.tensor(factors))
    x, values = torch.randn(9), torch.randn(8, 9)
    torch.testing.assert_close(grid.to_grid(x, 2, factors), to(x))
    torch.testing.assert_close(grid.from_grid(values, 2, factors), back(values))


@pytest.mark.parametrize("resolution", [(6, 7), (5, 4), (30, 31)])
def test_points_equal_e3nn(resolution, float64):
    grid = SphereGrid.equiangular(*resolution)
    betas, alphas, polar, waves = e3nn._s2grid.spherical_harmonics_s2_grid(2, *resolution)
    for ours, theirs in zip(
        (grid.betas, grid.alphas, *grid.harmonics(2)), (betas, alphas, polar, waves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    if resolution[0] % 2 == 0:
        torch.testing.assert_close(grid.points, e3nn.ToS2Grid(1, resolution).grid)


@pytest.mark.parametrize("kwargs", [{"n_beta": 10}, {"n_alpha": 9}, {"lmax": 4}])
def test_resolutions_left_out_are_e3nns(kwargs):
    grid = SphereGrid.equiangular(**kwargs)
    given = kwargs.get("n_beta"), kwargs.get("n_alpha")
    lmax, *resolution = e3nn._s2grid._complete_lmax_res(kwargs.get("lmax"), *given)
    assert [grid.n_beta, grid.n_alpha] == resolution
    assert grid.lmax == lmax


@pytest.mark.parametrize(
    "grid",
    [
        *(SphereGrid.gauss_legendre(degree) for degree in (0, 1, 2, 7, 12, 33)),
        *(SphereGrid.equiangular(n, m) for n, m in ((1, 1), (4, 9), (7, 7), (8, 8), (5, 30))),
    ],
)
def test_the_degree_is_exact_and_one_more_is_not(grid):
    def errors(degree):
        ls = list(range(degree + 1))
        Y = spherical_harmonics(ls, grid.points, normalization="norm").movedim(-1, 0)
        mean = grid.mean(Y)
        mean[0] -= 1
        return mean.abs().max()

    assert errors(grid.degree) < 1e-14
    # the harmonics of the next degree vanish on an odd number of rings for reasons of symmetry
    assert max(errors(grid.degree + 1), errors(grid.degree + 2)) > 1e-3


@pytest.mark.parametrize("lmax", [0, 1, 2, 9, 40])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_there_and_back_on_the_least_grid(lmax, normalization, float64):
    for grid in (SphereGrid.gauss_legendre(2 * lmax), SphereGrid.equiangular(lmax=lmax)):
        assert grid.lmax == lmax
        x = torch.randn(3, (lmax + 1) ** 2)
        back = grid.from_grid(grid.to_grid(x, lmax, normalization), lmax, normalization)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-12)


def test_values_are_sums_of_harmonics(float64):
    grid, x = SphereGrid.gauss_legendre(9), torch.randn(5, 121)
    Y = spherical_harmonics(list(range(11)), grid.points, normalization="integral")
    expected = torch.einsum("bai,zi->zba", Y, x)
    torch.testing.assert_close(grid.to_grid(x, 10, "integral"), expected, rtol=0, atol=1e-12)


def test_a_grid_too_coarse_is_refused():
    with pytest.raises(ValueError, match=r"lmax=4.*gauss_legendre\(8\)"):
        SphereGrid.gauss_legendre(7).from_grid(torch.randn(4, 8), lmax=4)
    for wrong in (lambda: SphereGrid(0, 3), lambda: SphereGrid.gauss_legendre(-1)):
        with pytest.raises(ValueError, match="grid"):
            wrong()
    with pytest.raises(ValueError, match="n_beta, n_alpha or lmax"):
        SphereGrid.equiangular()
    grid = SphereGrid.gauss_legendre(4)
    with pytest.raises(ValueError, match="coefficients up to lmax=2 are 9"):
        grid.to_grid(torch.randn(8), 2)
    with pytest.raises(ValueError, match="values on"):
        grid.from_grid(torch.randn(5, 3), 2)
    with pytest.raises(ValueError, match="normalisation"):
        grid.to_grid(torch.randn(9), 2, "unit")
    with pytest.raises(ValueError, match="3 factors, not 1"):
        grid.to_grid(torch.randn(9), 2, (1.0,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_dtypes_and_nothing(dtype):
    grid = SphereGrid.gauss_legendre(4)
    x = torch.zeros(0, 2, 9, dtype=dtype, requires_grad=True)
    y = grid.from_grid(grid.to_grid(x, 2), 2)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    y.sum().backward()
    x = torch.randn(3, 9, dtype=dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(grid.from_grid(grid.to_grid(x, 2), 2), x, rtol=0, atol=tolerance)
    x = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: grid.to_grid(x, 2), x)


@pytest.mark.parametrize(("lmax", "n"), [(0, 1), (3, 7), (3, 8), (8, 101)])
def test_fourier_transforms(lmax, n, float64):
    waves = SphereGrid(1, n).harmonics(lmax)[1]
    values, series = torch.randn(2, 3, n), torch.randn(2, 3, 2 * lmax + 1)
    torch.testing.assert_close(rfft(values, lmax), values @ waves)
    torch.testing.assert_close(irfft(series, n), series @ waves.T)
    if n % 2:
        torch.testing.assert_close(rfft(values, lmax), e3nn._s2grid.rfft(values, lmax))
        torch.testing.assert_close(irfft(series, n), e3nn._s2grid.irfft(series, n))


def test_fourier_transforms_refuse():
    with pytest.raises(ValueError, match="6 values"):
        rfft(torch.randn(6), 3)
    with pytest.raises(ValueError, match="odd number"):
        irfft(torch.randn(4), 9)


@pytest.mark.parametrize("ls", [(0, 0, 0), (1, 1, 2), (3, 2, 1), (2, 2, 1), (4, 5, 7)])
def test_gaunt_coefficients_are_integrals(ls, float64):
    grid = SphereGrid.gauss_legendre(sum(ls))
    Y1, Y2, Y3 = (spherical_harmonics(l, grid.points, normalization="integral") for l in ls)
    weights = 4 * torch.pi * grid.weights
    integral = torch.einsum("bai,baj,bak,b->ijk", Y1, Y2, Y3, weights)
    torch.testing.assert_close(gaunt(*ls), integral, rtol=0, atol=1e-14)
    assert gaunt(*ls, dtype=torch.float32).dtype == torch.float32
    if sum(ls) % 2 == 0:
        C = wigner_3j(*ls)
        torch.testing.assert_close(gaunt(*ls), C * (C * integral).sum())


def test_gaunt_coefficients_refuse():
    for ls in ((1, 1, 3), (1, 1, 4)):
        with pytest.raises(ValueError, match="no 3j symbol"):
            gaunt(*ls)
