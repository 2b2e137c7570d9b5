"""Maxima on the sphere: exact ones, at the poles and the seam, and e3nn's."""

import pytest
import torch

from clebsch.fields import SphericalSignal, find_peaks
from clebsch.o3 import rand_matrix


def test_peaks_are_those_of_e3nn(float64):
    io = pytest.importorskip("e3nn.io")
    for seed in range(4):
        torch.manual_seed(seed)
        signal = SphericalSignal(torch.randn(25))
        directions, values = find_peaks(signal)
        theirs, heights = io.SphericalTensor(4, 1, -1).find_peaks(signal.coefficients)
        distance = torch.cdist(theirs, directions)
        # theirs lie on a grid, and of a ridge that runs across it several points are there
        assert distance.amin(0).max() < 0.06
        assert distance.amin(1).max() < 0.3
        near = heights[distance.argmin(0)]
        torch.testing.assert_close(near, values, rtol=0, atol=1e-2)
        assert (values >= near - 1e-12).all()


def test_peaks_are_exact_wherever_they_lie(float64):
    """One harmonic along n: maxima at n and, of even degree, at -n."""
    axes = torch.cat([torch.eye(3), -torch.eye(3), torch.randn(3, 3)])
    axes = torch.nn.functional.normalize(axes, dim=-1)
    for n in axes:
        dirac = SphericalSignal.sum_of_diracs(n[None], torch.ones(1), 6)
        directions, values = find_peaks(dirac)
        torch.testing.assert_close(directions[0], n, rtol=0, atol=1e-8)
        torch.testing.assert_close(values[0], dirac.signal_xyz(n))
        assert values[0] > values[1:].amax() + 0.1  # the side lobes are lower


def test_peaks_turn_with_the_signal(float64):
    signal, R = SphericalSignal(torch.randn(36)), rand_matrix()
    directions, values = find_peaks(signal)
    turned, heights = find_peaks(signal.rotated(R))
    torch.testing.assert_close(heights, values, rtol=0, atol=1e-12)
    torch.testing.assert_close(turned, directions @ R.T, rtol=0, atol=1e-6)
    r = torch.nn.functional.normalize(directions, dim=-1).requires_grad_()
    (slope,) = torch.autograd.grad(signal.signal_xyz(r).sum(), r)
    assert slope.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cubic_peaks_and_none(dtype):
    six = torch.cat([torch.eye(3), -torch.eye(3)]).to(dtype)
    directions, values = find_peaks(SphericalSignal.with_peaks_at(six, 4))
    assert directions.dtype == values.dtype == dtype
    distance = torch.cdist(six, directions)
    assert distance.amin(1).max() < 1e-5
    assert len(directions) == 6
    constant = SphericalSignal(torch.tensor([2.0, 0, 0, 0], dtype=dtype))
    for none in (constant, SphericalSignal(torch.zeros(9, dtype=dtype))):
        directions, values = find_peaks(none)
        assert (directions.shape, values.shape) == ((0, 3), (0,))
    with pytest.raises(ValueError, match="one signal"):
        find_peaks(SphericalSignal(torch.zeros(2, 9)))
