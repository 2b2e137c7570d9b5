"""Cutoffs end as smoothly as they say; every basis has unit variance and finite derivatives."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

from clebsch.nn import (
    BesselBasis,
    ChebyshevBasis,
    CosineBasis,
    CosineCutoff,
    FourierBasis,
    GaussianBasis,
    PolynomialCutoff,
    SmoothFiniteBasis,
    XPLORCutoff,
)

CUTOFFS = [
    PolynomialCutoff(2),
    PolynomialCutoff(3),
    PolynomialCutoff(6),
    CosineCutoff(),
    XPLORCutoff(0.0),
    XPLORCutoff(0.8),
]
BASES = [
    BesselBasis,
    GaussianBasis,
    CosineBasis,
    FourierBasis,
    SmoothFiniteBasis,
    ChebyshevBasis,
]
cutoffs = pytest.mark.parametrize("cutoff", CUTOFFS, ids=str)
bases = pytest.mark.parametrize("kind", BASES)


def tower(function, u, order):
    """Value and derivatives up to ``order`` at the points u, for a function of each point."""
    u = u.clone().requires_grad_()
    found = [function(u)]
    for _ in range(order):
        if not found[-1].requires_grad:
            found.append(torch.zeros_like(u))
            continue
        (slope,) = torch.autograd.grad(found[-1].sum(), u, create_graph=True, allow_unused=True)
        found.append(torch.zeros_like(u) if slope is None else slope)
    return [f.detach() for f in found]


@cutoffs
def test_derivatives_at_the_cutoff_are_zero_to_the_stated_order_and_no_further(cutoff):
    end = torch.tensor([1.0], dtype=torch.float64)
    inside = tower(cutoff.inside, end, cutoff.order + 1)
    for derivative in inside[:-1]:
        assert derivative.abs().item() < 1e-12 * inside[-1].abs().item()
    assert inside[-1].abs().item() > 1
    beyond = torch.tensor([1.0, 1.2, 5.0], dtype=torch.float64)
    for derivative in tower(cutoff, beyond, cutoff.order):
        assert torch.equal(derivative, torch.zeros_like(beyond))


@cutoffs
def test_cutoffs_fall_from_one_without_turning_back(cutoff):
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    value = cutoff(u)
    assert value[0] == 1
    assert (value.diff() <= 1e-15).all()
    assert (cutoff(u.float()) - value).abs().max() < 3e-6
    assert cutoff(u[:0]).shape == (0,)
    derivatives = tower(cutoff, u, cutoff.order + 1)
    assert all(torch.isfinite(d).all() for d in derivatives)
    assert derivatives[1][0] == 0
    assert torch.autograd.gradcheck(cutoff, (u[5:-5:90].clone().requires_grad_(),))


@pytest.mark.parametrize("on", [0.0, 0.5, 0.8])
def test_xplor_is_the_published_function_and_smooth_where_it_starts(on):
    cutoff = XPLORCutoff(on)
    u = torch.linspace(on, 1, 50, dtype=torch.float64)[:-1]
    published = (1 - u**2) ** 2 * (1 + 2 * u**2 - 3 * on**2) / (1 - on**2) ** 3
    torch.testing.assert_close(cutoff(u), published, atol=1e-13, rtol=1e-12)
    below = torch.linspace(0, on, 20, dtype=torch.float64)[:-1]
    assert torch.equal(cutoff(below), torch.ones_like(below))
    start = torch.tensor([on - 1e-9, on, on + 1e-9], dtype=torch.float64).clamp(min=0.0)
    value, slope = tower(cutoff, start, 1)
    assert (value - 1).abs().max() < 1e-15
    assert slope.abs().max() < 1e-6


def test_cutoffs_that_cannot_be():
    with pytest.raises(ValueError, match="p must be at least 2, not 1"):
        PolynomialCutoff(1)
    for on in (-0.1, 1.0):
        with pytest.raises(ValueError, match="u_on in"):
            XPLORCutoff(on)
    with pytest.raises(ValueError, match="FourierBasis: one function or more, not 0"):
        FourierBasis(0)


@bases
@cutoffs
@pytest.mark.parametrize("n_basis", [1, 5, 12])
def test_unit_variance_over_typical_neighbours(kind, cutoff, n_basis):
    """By another quadrature: mean square over functions and over p(u) ~ u on [0.1, 1]."""
    basis = kind(n_basis, cutoff)

    def integrand(u):
        return u * basis(torch.tensor([u], dtype=torch.float64)).square().mean().item()

    pieces = np.unique([0.1, *np.linspace(0, 1, max(n_basis, 2)).clip(0.1), 0.8, 1.0])
    total = sum(
        integrate.quad(integrand, a, b, epsrel=1e-7)[0] for a, b in itertools.pairwise(pieces)
    )
    assert total / ((1 - 0.1**2) / 2) == pytest.approx(1, rel=1e-5)


@bases
@pytest.mark.parametrize("cutoff", [PolynomialCutoff(6), CosineCutoff(), XPLORCutoff(0.5)], ids=str)
def test_bases_are_smooth_functions(kind, cutoff):
    basis = kind(6, cutoff)
    u = torch.tensor([0, 1e-9, 1e-3, 0.0159, 0.23, 0.31, 0.777, 0.999, 1.0, 1.1, 40.0])
    u = u.double().requires_grad_()
    value, slope = basis.value_and_slope(u)
    assert value.shape == slope.shape == (11, 6)
    torch.testing.assert_close(value, basis(u))
    assert torch.equal(value[-3:], torch.zeros_like(value[-3:]))
    assert torch.equal(slope[-3:], torch.zeros_like(slope[-3:]))
    for n in range(6):
        (expected,) = torch.autograd.grad(basis(u)[:, n].sum(), u, create_graph=True)
        torch.testing.assert_close(slope[:, n], expected)
        (curvature,) = torch.autograd.grad(expected.sum(), u, create_graph=True)
        assert torch.isfinite(curvature).all()
    points = u.detach()[3:8].requires_grad_()
    assert torch.autograd.gradcheck(basis, (points,))


@bases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bases_keep_the_dtype_and_take_no_edges(kind, dtype):
    basis = kind(6)
    u = torch.linspace(0, 1.1, 50)
    value = basis(u.to(dtype))
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), basis(u.double()), atol=3e-5, rtol=1e-5)
    none = torch.zeros(0, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(basis(none).sum(), none)
    assert gradient.shape == (0,)
    assert not basis.state_dict()


@bases
def test_bases_compile_and_have_finite_gradients_from_vectors_of_length_zero(kind):
    basis = kind(5)
    vectors = torch.tensor([[0.0, 0, 0], [0.2, 0.1, 0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(basis(vectors.norm(dim=-1)).sum(), vectors)
    assert torch.isfinite(gradient).all()
    u = torch.rand(7)
    torch._dynamo.reset()
    compiled = torch.compile(basis, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(u), basis(u))


def test_bases_are_the_functions_of_their_definitions():
    u = torch.linspace(0.05, 0.95, 13, dtype=torch.float64)[:, None]
    n = torch.arange(6, dtype=torch.float64)
    expected = {
        FourierBasis: torch.cos(math.pi * n * u),
        ChebyshevBasis: torch.from_numpy(special.eval_chebyt(n.numpy(), 2 * u.numpy() - 1)),
        GaussianBasis: torch.exp(-0.5 * (5 * u - n) ** 2),
        CosineBasis: torch.cos(math.pi / 2 * (5 * u - n)).square() * ((5 * u - n).abs() < 1),
    }
    for kind, value in expected.items():
        torch.testing.assert_close(kind(6).functions(u), value, atol=1e-13, rtol=1e-12)
    torch.testing.assert_close(CosineBasis(6).functions(u).sum(-1), torch.ones(13).double())


def test_a_smooth_bump_has_every_derivative_at_its_ends():
    basis = SmoothFiniteBasis(4)
    ends = torch.tensor([1 / 3], dtype=torch.float64)
    for n in (0, 2):
        for derivative in tower(lambda u, n=n: basis.functions(u[:, None])[:, n], ends, 4):
            assert derivative.item() == 0


def test_many_chebyshev_polynomials_far_outside_stay_finite():
    assert torch.equal(ChebyshevBasis(64)(torch.tensor([300.0])), torch.zeros(1, 64))
