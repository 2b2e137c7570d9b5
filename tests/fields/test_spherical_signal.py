"""Signals on the sphere: against e3nn's SphericalTensor, and what they must obey."""

import pytest
import torch

from clebsch.fields import SphericalSignal
from clebsch.o3 import RotationGrid, SphereGrid, rand_matrix

io = pytest.importorskip("e3nn.io")
PARITIES = [(1, -1), (1, 1), (-1, -1), (-1, 1)]


def random_signal(lmax, *batch, p_val=1, p_arg=-1):
    return SphericalSignal(torch.randn(*batch, (lmax + 1) ** 2), p_val, p_arg)


@pytest.mark.parametrize(("p_val", "p_arg"), PARITIES)
def test_irreps_and_values_equal_e3nn(p_val, p_arg, float64):
    theirs = io.SphericalTensor(4, p_val, p_arg)
    signal, r = random_signal(4, 2, 3, p_val=p_val, p_arg=p_arg), torch.randn(5, 1, 3)
    assert str(signal.irreps) == str(theirs)
    theirs = io.SphericalTensor(4, 1, p_arg)  # theirs evaluates no other; the values are the same
    x = signal.coefficients
    torch.testing.assert_close(signal.signal_xyz(r), theirs.signal_xyz(x, r), rtol=0, atol=1e-12)
    torch.testing.assert_close(signal.norms(), theirs.norms(x), rtol=0, atol=1e-12)
    points, values = signal.signal_on_grid(20)
    expected = theirs.signal_on_grid(x, 20)
    torch.testing.assert_close(points, expected.grid, rtol=0, atol=1e-12)
    torch.testing.assert_close(values, expected.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(values, signal.signal_xyz(points), rtol=0, atol=1e-12)


@pytest.mark.parametrize("given", [False, True])
def test_peaks_equal_e3nn(given, float64):
    vectors = torch.randn(6, 3)
    values = torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5, -0.1]) if given else None
    ours = SphericalSignal.with_peaks_at(vectors, 5, values)
    expected = io.SphericalTensor(5, 1, -1).with_peaks_at(vectors, values)
    torch.testing.assert_close(ours.coefficients, expected, rtol=0, atol=1e-10)
    reached = ours.signal_xyz(vectors)
    wanted = vectors.norm(dim=1) if values is None else values
    at = wanted != 0
    torch.testing.assert_close(reached[at], wanted[at])


def test_peaks_that_can_not_be_are_refused():
    eye = torch.eye(3)
    with pytest.raises(ValueError, match="lmax=0 has these 3 values"):
        SphericalSignal.with_peaks_at(eye, 0, torch.arange(1.0, 4.0))
    with pytest.raises(ValueError, match="no direction"):
        SphericalSignal.with_peaks_at(0 * eye, 2, torch.ones(3))
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        SphericalSignal.with_peaks_at(eye[0], 2)
    twice = SphericalSignal.with_peaks_at(torch.cat([eye, eye]), 3)  # the same twice agrees
    torch.testing.assert_close(twice.signal_xyz(eye), torch.ones(3))
    nothing = SphericalSignal.with_peaks_at(torch.zeros(0, 3), 3)
    torch.testing.assert_close(nothing.coefficients, torch.zeros(16))


def test_diracs_and_samples_equal_e3nn(float64):
    positions, values = torch.randn(2, 1, 7, 3), torch.randn(3, 7)
    theirs = io.SphericalTensor(4, 1, -1)
    ours = SphericalSignal.sum_of_diracs(positions, values, 4)
    expected = theirs.sum_of_diracs(positions, values)
    torch.testing.assert_close(ours.coefficients, expected, rtol=0, atol=1e-12)
    ours = SphericalSignal.from_samples_on_s2(positions, values, 4, res=40)
    expected = theirs.from_samples_on_s2(positions, values, res=40)
    torch.testing.assert_close(ours.coefficients, expected, rtol=0, atol=1e-12)


def test_samples_that_are_none():
    none, no_values = torch.zeros(2, 0, 3), torch.zeros(2, 0)
    assert not SphericalSignal.sum_of_diracs(none, no_values, 2).coefficients.any()
    assert not SphericalSignal.from_least_squares(none, no_values, 2).coefficients.any()
    with pytest.raises(ValueError, match="no samples"):
        SphericalSignal.from_samples_on_s2(none, no_values, 2)
    with pytest.raises(ValueError, match="too few"):
        SphericalSignal.from_samples_on_s2(torch.randn(4, 3), torch.randn(4), 9, res=10)
    for make in (SphericalSignal.sum_of_diracs, SphericalSignal.from_least_squares):
        with pytest.raises(ValueError, match="positions"):
            make(torch.randn(4, 2), torch.randn(4), 2)
        assert make(torch.randn(0, 4, 3), torch.randn(0, 4), 2).coefficients.shape == (0, 9)


def test_least_squares(float64):
    signal, r = random_signal(3, 2), torch.randn(60, 3)
    fit = SphericalSignal.from_least_squares(r, signal.signal_xyz(r), 3)
    torch.testing.assert_close(fit.coefficients, signal.coefficients, rtol=0, atol=1e-12)
    noisy = signal.signal_xyz(r) + torch.randn(2, 60)
    fit = SphericalSignal.from_least_squares(r, noisy, 3)
    least = (fit.signal_xyz(r) - noisy).square().sum()
    for _ in range(20):
        other = SphericalSignal(fit.coefficients + 1e-2 * torch.randn(2, 16))
        assert (other.signal_xyz(r) - noisy).square().sum() > least


@pytest.mark.parametrize(("p_val", "p_arg"), PARITIES)
def test_rotation_and_inversion(p_val, p_arg, float64):
    signal, R, r = random_signal(3, 2, p_val=p_val, p_arg=p_arg), rand_matrix(), torch.randn(9, 3)
    torch.testing.assert_close(signal.rotated(R).signal_xyz(r @ R.T), signal.signal_xyz(r))
    inverted = signal.rotated(-torch.eye(3))
    torch.testing.assert_close(inverted.signal_xyz(r), p_val * signal.signal_xyz(p_arg * r))
    torch.testing.assert_close(signal.rotated(-R).norms(), signal.norms())


def test_products(float64):
    f, g, r = random_signal(3, 2, p_val=-1), random_signal(2), torch.randn(9, 3)
    both = f.product(g)
    assert (both.lmax, both.p_val, both.p_arg) == (5, -1, -1)
    torch.testing.assert_close(both.signal_xyz(r), f.signal_xyz(r) * g.signal_xyz(r))
    torch.testing.assert_close(f.product(g, 2).coefficients, both.coefficients[..., :9])
    assert not f.product(g, 6).coefficients[..., 36:].abs().max() > 1e-13
    R = -rand_matrix()
    torch.testing.assert_close(
        f.rotated(R).product(g.rotated(R)).coefficients, both.rotated(R).coefficients
    )
    grid = SphereGrid.gauss_legendre(5)
    values = f.signal_on_grid(grid)[1] * g.signal_on_grid(grid)[1]
    torch.testing.assert_close(f.inner(g), 4 * torch.pi * grid.mean(values))
    with pytest.raises(ValueError, match="p_arg"):
        f.product(random_signal(2, p_arg=1))


def test_cross_correlation_finds_the_rotation(float64):
    f, grid = random_signal(4), RotationGrid.gauss_legendre(12)
    R = grid.matrices[3, 4, 5]
    correlation = f.rotated(R).cross_correlation(f, grid)
    assert correlation.argmax() == (3 * grid.n_beta + 4) * grid.n_gamma + 5
    torch.testing.assert_close(correlation[3, 4, 5], f.inner(f))
    g = random_signal(2, 2)
    batch = f.cross_correlation(g, grid)
    torch.testing.assert_close(batch[1, 2, 3, 4], f.inner(g.rotated(grid.matrices[2, 3, 4]))[1])


def test_coefficients_of_a_wrong_size_are_refused():
    for shape in ((), (0,), (5,), (4, 8)):
        with pytest.raises(ValueError, match="coefficients"):
            SphericalSignal(torch.zeros(shape))
    with pytest.raises(ValueError, match="p_val"):
        SphericalSignal(torch.zeros(4), 0)
    with pytest.raises(ValueError, match="negative"):
        SphericalSignal.sum_of_diracs(torch.randn(2, 3), torch.randn(2), -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_and_dtypes(dtype):
    # on the axes, at the origin, and one direction twice
    points = torch.tensor(
        [[1.0, 0, 0], [0, 1, 0], [0, -1, 0], [0, 2, 0], [0, 0, 0], [1, 2, 3]], dtype=dtype
    )
    values = torch.ones(6, dtype=dtype)
    for make in (
        lambda r: SphericalSignal.sum_of_diracs(r, values, 3),
        lambda r: SphericalSignal.from_least_squares(r, values, 1),
        lambda r: SphericalSignal.with_peaks_at(r[[0, 1, 2, 4, 5]], 3),
    ):
        r = points.clone().requires_grad_()
        signal = make(r)
        assert signal.coefficients.dtype == dtype
        total = signal.signal_xyz(r).square().sum() + signal.norms().sum()
        (slope,) = torch.autograd.grad(total, r)
        assert slope.isfinite().all()
