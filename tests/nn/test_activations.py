"""Functions of scalars: exact constants, parity, and e3nn's layer without its constants."""

import itertools
import math

import pytest
import torch
from scipy import integrate
from torch import nn

from clebsch.nn import Activation, ScaledActivation, function_parity, moment, second_moment_scale
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from turned_features import equivariance_error

F = nn.functional
FUNCTIONS = [F.silu, torch.tanh, torch.sigmoid, F.relu6, F.hardtanh, F.elu, torch.abs, torch.exp]
IRREPS = Irreps("4x0e + 3x1o + 5x0o + 2x0o + 2x0e")
ACTS = [F.silu, None, torch.tanh, torch.abs, None]


def with_exact_constants(oracle):
    """e3nn draws its constants by Monte Carlo: they agree to 1e-2, then ours are put in."""
    for module in oracle.modules():
        if hasattr(module, "cst"):
            exact = second_moment_scale(module.f)
            assert module.cst == pytest.approx(exact, rel=1e-2)
            module.cst = exact
            module._is_id = False
    return oracle


@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_moments_are_exact(f, n):
    def integrand(z):
        value = f(torch.tensor(z, dtype=torch.float64)).item()
        return value**n * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    kinks = [-14, -1, 0, 1, 6, 14]
    parts = [
        integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        for a, b in itertools.pairwise(kinks)
    ]
    assert moment(f, n) == pytest.approx(math.fsum(parts), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("f", FUNCTIONS[:5])
def test_moments_equal_e3nns_up_to_its_sampling(f):
    e3nn = pytest.importorskip("e3nn.math")
    sampled = e3nn.moment(f, 2, dtype=torch.float64, device="cpu").item()
    assert moment(f, 2) == pytest.approx(sampled, rel=1e-2)
    assert e3nn.normalize2mom(f).cst == pytest.approx(ScaledActivation(f).scale, rel=1e-2)


def test_parity_of_functions():
    assert [function_parity(f) for f in (torch.cos, torch.square, torch.sin, F.silu, F.relu)] == [
        1,
        1,
        -1,
        0,
        0,
    ]


def test_activation_equals_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.nn")
    layer = Activation(IRREPS, ACTS)
    oracle = with_exact_constants(e3nn.Activation(str(IRREPS), ACTS))
    assert str(oracle.irreps_out) == str(layer.irreps_out) == "4x0e+3x1o+5x0o+2x0e+2x0e"
    x = IRREPS.randn(6, 7, -1)
    expected = from_e3nn(oracle(to_e3nn(x, IRREPS)), layer.irreps_out)
    torch.testing.assert_close(layer(x), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("improper", [False, True])
def test_activation_is_equivariant_after_double(improper):
    layer = Activation(IRREPS, ACTS).double()
    x = IRREPS.randn(20, -1, dtype=torch.float64)
    assert equivariance_error(layer, IRREPS, layer.irreps_out, x, improper) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activation_has_unit_second_moment_and_finite_gradients(dtype):
    layer = Activation("8x0e + 8x0o", [F.silu, torch.tanh])
    x = layer.irreps_in.randn(40_000, -1, dtype=dtype)
    assert layer(x).dtype == dtype
    second = layer(x).square().mean(0)
    torch.testing.assert_close(second, torch.ones_like(second), atol=0.08, rtol=0)
    for rows in (torch.zeros(3, 16, dtype=dtype), torch.zeros(0, 16, dtype=dtype)):
        rows.requires_grad_()
        (gradient,) = torch.autograd.grad(layer(rows).sum(), rows)
        assert gradient.shape == rows.shape
        assert torch.isfinite(gradient).all()


def test_activations_with_parameters_follow_their_module():
    prelu = nn.PReLU()
    layer = Activation("3x0e + 2x1o", [prelu, None]).double()
    assert [name for name, _ in layer.named_parameters()] == ["acts.0.activation.weight"]
    x = layer.irreps_in.randn(4, -1, dtype=torch.float64)
    expected = prelu(x[:, :3]) * layer.acts[0].scale
    torch.testing.assert_close(layer(x)[:, :3], expected)
    assert layer.acts[0].scale == pytest.approx((2 / (1 + 0.25**2)) ** 0.5, rel=1e-12)


def test_activation_of_no_irreps():
    layer = Activation("", [])
    assert layer(torch.zeros(3, 0)).shape == (3, 0)


@pytest.mark.parametrize(
    ("irreps", "acts", "words"),
    [
        ("2x0e + 1x1o", [torch.tanh], "2 blocks, but there are 1"),
        ("2x0e + 1x1o", [None, torch.tanh], r"tanh acts on 1x1o"),
        ("2x0o", [F.silu], "silu of 2x0o is neither even nor odd"),
        ("2x0e", [torch.zeros_like], "second moment"),
    ],
)
def test_activation_refuses(irreps, acts, words):
    with pytest.raises(ValueError, match=words):
        Activation(irreps, acts)


def test_activation_names_the_width():
    with pytest.raises(ValueError, match=r"Activation: x has 4 .* 2x0e\+1x1o needs 5"):
        Activation("2x0e + 1x1o", [F.silu, None])(torch.zeros(3, 4))
