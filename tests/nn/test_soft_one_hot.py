"""e3nn's functions of a number, and their limits where e3nn's are not finite."""

import pytest
import torch
from scipy import integrate

from clebsch.nn import bessel, soft_one_hot_linspace, soft_unit_step

BASES = ["gaussian", "cosine", "smooth_finite", "fourier", "bessel"]


@pytest.mark.parametrize("cutoff", [True, False])
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize(("start", "end", "number"), [(-0.5, 1.5, 4), (0.0, 3.7, 10), (1, 2, 2)])
def test_soft_one_hot_equals_e3nn(basis, cutoff, start, end, number, float64):
    e3nn = pytest.importorskip("e3nn.math")
    x = torch.linspace(start - 1, end + 1, 211).reshape(211, 1) + 1e-3
    x.requires_grad_()
    found = soft_one_hot_linspace(x, start, end, number, basis, cutoff)
    expected = e3nn.soft_one_hot_linspace(x, start, end, number, basis, cutoff)
    assert found.shape == (211, 1, number)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    slopes = [torch.autograd.grad(f.square().sum() + f.sum(), x)[0] for f in (found, expected)]
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cutoff", [True, False])
@pytest.mark.parametrize("basis", BASES)
def test_derivatives_are_finite_everywhere(basis, cutoff, dtype):
    for points in ([0.0, 0.5, 1.0, 1e-12, 1e-4, 0.25, -0.25, 3.0], []):
        x = torch.tensor(points, dtype=dtype, requires_grad=True)
        y = soft_one_hot_linspace(x, 0.0, 1.0, 3, basis, cutoff)
        assert y.dtype == dtype
        derivatives = [y]
        for _ in range(2):
            derivatives += torch.autograd.grad(derivatives[-1].sum(), x, create_graph=True)
        assert all(torch.isfinite(d).all() for d in derivatives)


@pytest.mark.parametrize("basis", BASES[:4])
@pytest.mark.parametrize("cutoff", [True, False])
def test_squares_sum_to_about_one_in_the_middle(basis, cutoff):
    x = torch.linspace(0.3, 0.7, 101)
    total = soft_one_hot_linspace(x, 0.0, 1.0, 12, basis, cutoff).square().sum(-1).mean()
    assert total.item() == pytest.approx(1, abs=0.05)


def test_soft_unit_step_equals_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.math")
    x = torch.linspace(-1, 10, 501, requires_grad=True)
    found, expected = soft_unit_step(x), e3nn.soft_unit_step(x)
    assert torch.equal(found, expected)
    slopes = [torch.autograd.grad(f.sum(), x)[0] for f in (found, expected)]
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_unit_step_has_every_derivative_at_zero(dtype):
    x = torch.tensor([-1.0, 0.0, 1e-30, 1e-4, 9.99e-4], dtype=dtype, requires_grad=True)
    derivatives = [soft_unit_step(x)]
    for _ in range(4):
        derivatives += torch.autograd.grad(derivatives[-1].sum(), x, create_graph=True)
    for derivative in derivatives:
        assert torch.equal(derivative, torch.zeros_like(x))


@pytest.mark.parametrize("x_max", [1.0, 4.5])
def test_bessel_equals_e3nn_and_is_orthonormal(x_max, float64):
    e3nn = pytest.importorskip("e3nn.math")
    x = torch.linspace(0, x_max, 101).view(101, 1)
    expected = e3nn.bessel(x, 6, x_max)
    torch.testing.assert_close(bessel(x, 6, x_max), expected, atol=1e-10, rtol=1e-10)

    def product(r):
        value = bessel(torch.tensor(r), 3, x_max)
        return (r * r * value[:, None] * value[None]).numpy()

    overlap, _ = integrate.quad_vec(product, 0, x_max)
    torch.testing.assert_close(torch.from_numpy(overlap), torch.eye(3), atol=1e-9, rtol=0)


def test_what_cannot_be_is_refused():
    x = torch.zeros(2)
    with pytest.raises(ValueError, match="basis must be"):
        soft_one_hot_linspace(x, 0, 1, 3, "square", cutoff=True)
    with pytest.raises(ValueError, match="interval from 1 to 1 is empty"):
        soft_one_hot_linspace(x, 1, 1, 3, "cosine", cutoff=True)
    with pytest.raises(ValueError, match="1 functions are too few"):
        soft_one_hot_linspace(x, 0, 1, 1, "cosine", cutoff=False)
