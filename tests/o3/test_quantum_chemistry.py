import numpy as np
import pytest
import torch
from scipy.special import gammaln, lpmv

from clebsch.errors import UserError
from clebsch.o3 import spherical_harmonics, to_quantum_chemistry


def textbook(l, m, xyz):
    """Real spherical harmonic with polar axis z, without the Condon-Shortley phase."""
    x, y, z = (xyz / np.linalg.norm(xyz, axis=1, keepdims=True)).T
    k = abs(m)
    # scipy's associated Legendre functions carry the phase (-1)^k
    legendre = (-1) ** k * lpmv(k, l, z)
    norm = np.sqrt((2 * l + 1) / (4 * np.pi) * np.exp(gammaln(l - k + 1) - gammaln(l + k + 1)))
    phi = np.arctan2(y, x)
    azimuth = {-1: np.sqrt(2) * np.sin(k * phi), 0: 1.0, 1: np.sqrt(2) * np.cos(k * phi)}
    return norm * legendre * azimuth[int(np.sign(m))]


@pytest.mark.parametrize("l", range(9))
def test_agrees_with_the_textbook(l, rng):
    xyz = rng.normal(size=(20, 3))
    expected = np.stack([textbook(l, m, xyz) for m in range(-l, l + 1)], axis=1)
    Y = spherical_harmonics(l, torch.from_numpy(xyz), normalization="integral")
    ours = Y @ to_quantum_chemistry(l, dtype=torch.float64).mT
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12, rtol=0)


def test_d_functions_by_name():
    """dxy, dyz, dz2, dxz, dx2-y2: the order of every Gaussian-basis program."""
    x, y, z = 0.3, -0.5, 0.7
    r2 = x * x + y * y + z * z
    s3 = 3**0.5
    expected = [s3 * x * y, s3 * y * z, (3 * z * z - r2) / 2, s3 * x * z, s3 / 2 * (x * x - y * y)]
    xyz = torch.tensor([x, y, z], dtype=torch.float64)
    ours = to_quantum_chemistry(2, dtype=torch.float64) @ spherical_harmonics(2, xyz, False, "norm")
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))


def test_pyscf_order():
    assert torch.equal(to_quantum_chemistry(1, "pyscf"), torch.eye(3))
    assert torch.equal(to_quantum_chemistry(3, "pyscf"), to_quantum_chemistry(3, "m"))
    with pytest.raises(UserError, match="order"):
        to_quantum_chemistry(1, "zyx")
