"""Legendre and angular forms of the spherical harmonics, against e3nn and the Cartesian form."""

import math
import warnings

import pytest
import torch

from clebsch.errors import UserError
from clebsch.o3 import (
    legendre,
    rotations,
    spherical_harmonics,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)


@pytest.fixture
def angles(generator, float64):
    """Random ones, both poles and the equator."""
    alpha, beta, _ = rotations.rand_angles(20, generator=generator)
    special = torch.tensor([0, math.pi, math.pi / 2])
    return torch.cat([alpha, torch.tensor([0.0, 1, 2])]), torch.cat([beta, special])


@pytest.mark.parametrize("l", range(7))
def test_agree_with_e3nn(l, angles, e3nn_o3):
    alpha, beta = angles
    close = {"atol": 1e-10, "rtol": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the oracle's own
        theirs = e3nn_o3.Legendre([l, 0, 2])(beta.cos(), beta.sin())
        torch.testing.assert_close(legendre([l, 0, 2], beta.cos(), beta.sin()), theirs, **close)
        theirs = e3nn_o3.spherical_harmonics_alpha(l, alpha)
        torch.testing.assert_close(spherical_harmonics_alpha(l, alpha), theirs, **close)
        for normalization in ("integral", "component", "norm"):
            theirs = e3nn_o3.SphericalHarmonicsAlphaBeta([l, 1], normalization)(alpha, beta)
            ours = spherical_harmonics_alpha_beta([l, 1], alpha, beta, normalization)
            torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize("l", [0, 1, 5, 12, 32])
@pytest.mark.parametrize("normalization", ["integral", "component", "norm"])
def test_agree_with_the_cartesian_form(l, normalization, angles):
    xyz = rotations.angles_to_xyz(*angles)
    ours = spherical_harmonics_alpha_beta(l, *angles, normalization)
    expected = spherical_harmonics(l, xyz, False, normalization)
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)
    single = spherical_harmonics_alpha_beta(l, *(a.float() for a in angles), normalization)
    assert single.dtype == torch.float32
    assert (single - expected).norm(dim=-1).max() < 5e-7 * (l + 1) * expected.norm(dim=-1).max()


def test_orthonormal_by_quadrature(float64):
    """Gauss's rule in z is exact for the product of two polynomials of degree 32."""
    polynomial = pytest.importorskip("numpy").polynomial.legendre
    z, w = (torch.from_numpy(a) for a in polynomial.leggauss(40))
    P = legendre([32, 31, 7], z)
    # around the axis the sines and cosines have the mean square 1
    integrals = 2 * math.pi * (w[:, None] * P**2).sum(0)
    torch.testing.assert_close(integrals, torch.ones_like(integrals), atol=1e-12, rtol=0)
    m0 = legendre([32, 30], z)[:, [32, 65 + 30]]
    assert (w * m0[:, 0] * m0[:, 1]).sum().abs() < 1e-13


def test_derivatives_at_the_poles(float64):
    beta = torch.tensor([0.0, math.pi, 0.7], requires_grad=True)
    alpha = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)

    def f(alpha, beta):
        return spherical_harmonics_alpha_beta("0e + 1o + 3o", alpha, beta)

    assert torch.autograd.gradcheck(f, (alpha, beta))
    assert torch.autograd.gradgradcheck(f, (alpha, beta))


def test_shapes_and_bad_input():
    angle = torch.zeros(2, 0)
    assert spherical_harmonics_alpha_beta("0e + 2x1o", angle, angle).shape == (2, 0, 7)
    assert spherical_harmonics_alpha_beta([], torch.zeros(3), torch.zeros(3)).shape == (3, 0)
    assert legendre([1, 2], torch.zeros(2, 3)).shape == (2, 3, 8)
    with pytest.raises(UserError, match="negative"):
        legendre(-1, angle)
    with pytest.raises(UserError, match="negative"):
        spherical_harmonics_alpha(-1, angle)
    with pytest.raises(UserError, match="normalisation"):
        spherical_harmonics_alpha_beta(1, angle, angle, "4pi")
