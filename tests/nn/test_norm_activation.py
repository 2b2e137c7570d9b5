"""Nonlinearity of norms: e3nn's in every option, finite gradients at zero."""

import pytest
import torch

from clebsch.nn import NormActivation
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from turned_features import equivariance_error

IRREPS = Irreps("4x0e + 3x1o + 2x0o + 2x2e + 1x1o")
OPTIONS = [
    {},
    {"normalize": False},
    {"epsilon": 1e-3},
    {"epsilon": 2.0},
    {"bias": True},
    {"bias": True, "normalize": False},
]


@pytest.mark.parametrize("function", [torch.sigmoid, torch.nn.functional.softplus])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_norm_activation_equals_e3nn(function, options, float64):
    o3, e3nn = pytest.importorskip("e3nn.o3"), pytest.importorskip("e3nn.nn")
    layer = NormActivation(IRREPS, function, **options)
    oracle_irreps = o3.Irreps(str(IRREPS))
    if not options.get("normalize", True):
        # e3nn refuses epsilon=None with normalize=False: its own comparison of None with 0.
        with pytest.raises(TypeError):
            e3nn.NormActivation(oracle_irreps, function, **options)
        options = {**options, "normalize": True}
        oracle = e3nn.NormActivation(oracle_irreps, function, **options)
        oracle.normalize = False
    else:
        oracle = e3nn.NormActivation(oracle_irreps, function, **options)
    if layer.biases is not None:
        with torch.no_grad():
            layer.biases.normal_()
            oracle.biases.copy_(layer.biases)
    x = IRREPS.randn(6, -1)
    expected = from_e3nn(oracle(to_e3nn(x, IRREPS)), IRREPS)
    torch.testing.assert_close(layer(x), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("improper", [False, True])
def test_norm_activation_is_equivariant_after_double(options, improper):
    layer = NormActivation(IRREPS, torch.tanh, **options).double()
    x = IRREPS.randn(20, -1, dtype=torch.float64)
    assert equivariance_error(layer, IRREPS, IRREPS, x, improper) < 1e-12


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_zero_and_of_no_rows(options, dtype):
    layer = NormActivation(IRREPS, torch.sigmoid, **options).to(dtype)
    for rows in (0, 1, 3):
        x = torch.zeros(rows, IRREPS.dim, dtype=dtype, requires_grad=True)
        y = layer(x)
        assert y.dtype == dtype
        assert torch.equal(y, x)
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert torch.isfinite(gradient).all()
        (second,) = torch.autograd.grad(gradient.sum(), x)
        assert torch.isfinite(second).all()


def test_single_precision():
    layer = NormActivation(IRREPS, torch.sigmoid)
    x = IRREPS.randn(6, -1)
    torch.testing.assert_close(layer(x).double(), layer(x.double()), atol=1e-6, rtol=1e-6)


def test_compiles():
    layer, x = NormActivation(IRREPS, torch.sigmoid, bias=True), IRREPS.randn(5, -1)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), layer(x))


def test_norm_activation_refuses():
    with pytest.raises(ValueError, match="needs normalize=True"):
        NormActivation(IRREPS, torch.tanh, normalize=False, epsilon=1e-3)
    with pytest.raises(ValueError, match="must be positive, not 0"):
        NormActivation(IRREPS, torch.tanh, epsilon=0)
    with pytest.raises(ValueError, match="NormActivation: x has 3"):
        NormActivation("2x1o", torch.tanh)(torch.zeros(2, 3))
    assert NormActivation("", torch.tanh)(torch.zeros(2, 0)).shape == (2, 0)
