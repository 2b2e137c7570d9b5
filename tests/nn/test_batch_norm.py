"""Batch normalisation: e3nn's in training and evaluation with running statistics; padding."""

import itertools

import pytest
import torch

from clebsch.nn import BatchNorm
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from turned_features import equivariance_error

IRREPS = Irreps("4x0e + 3x1o + 2x0o + 2x2e + 1x0e")
OPTIONS = [
    {"reduce": reduce, "instance": instance, "normalization": normalization}
    for reduce, instance, normalization in itertools.product(
        ("mean", "max"), (False, True), ("component", "norm")
    )
] + [{"affine": False}, {"include_bias": False}, {"momentum": 0.3, "eps": 1e-2}]


def pair(options):
    e3nn = pytest.importorskip("e3nn.nn")
    layer, oracle = BatchNorm(IRREPS, **options), e3nn.BatchNorm(str(IRREPS), **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    oracle.load_state_dict(layer.state_dict())  # strict: the same names and sizes
    return layer, oracle


def both(layer, oracle, x):
    return layer(x), from_e3nn(oracle(to_e3nn(x, IRREPS)), IRREPS)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("points", [(), (5,), (2, 3)], ids=str)
def test_batch_norm_equals_e3nn(options, points, float64):
    layer, oracle = pair(options)
    for _ in range(3):
        y, expected = both(layer, oracle, 2 + 3 * IRREPS.randn(7, *points, -1))
        torch.testing.assert_close(y, expected, atol=1e-10, rtol=1e-10)
    state = layer.state_dict()
    for name, value in oracle.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-10, rtol=1e-10)
    y, expected = both(layer.eval(), oracle.eval(), IRREPS.randn(7, *points, -1))
    torch.testing.assert_close(y, expected, atol=1e-10, rtol=1e-10)


def test_gradients_equal_e3nns(float64):
    layer, oracle = pair({})
    x = IRREPS.randn(6, 2, -1).requires_grad_()
    found = [
        torch.autograd.grad(f.square().sum() + f.sin().sum(), x, retain_graph=True)[0]
        for f in both(layer, oracle, x)
    ]
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("normalization", ["component", "norm"])
def test_results_have_unit_variance(normalization):
    layer = BatchNorm(IRREPS, normalization=normalization)
    y = layer(2 + 3 * IRREPS.randn(500, -1))
    for (_, ir), part in zip(IRREPS, IRREPS.slices(), strict=True):
        expected = 1.0 if normalization == "component" else 1.0 / ir.dim
        assert y[:, part].square().mean().item() == pytest.approx(expected, rel=1e-3)
        if ir.is_scalar():
            assert y[:, part].mean(0).abs().max() < 1e-5


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("mode", [True, False])
def test_batch_norm_is_equivariant_after_double(options, mode):
    layer = BatchNorm(IRREPS, **options)
    layer(1 + IRREPS.randn(9, 3, -1))
    layer = layer.double().train(mode)
    x = IRREPS.randn(9, 3, -1, dtype=torch.float64)
    # Statistics are of the whole batch, which turns as one; evaluation must not change them.
    assert equivariance_error(layer, IRREPS, IRREPS, x) < 1e-12


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_padding_counts_for_nothing(options, float64):
    layer, other = BatchNorm(IRREPS, **options), BatchNorm(IRREPS, **options)
    x = IRREPS.randn(6, 4, -1)
    padded = torch.full((8, 5, IRREPS.dim), torch.nan)
    padded[:6, :4] = x
    padded.requires_grad_()
    mask = torch.zeros(8, 5, dtype=torch.bool)
    mask[:6, :4] = True
    y = layer(padded, mask)
    torch.testing.assert_close(y[:6, :4], other(x), atol=1e-12, rtol=1e-12)
    assert torch.equal(y[~mask], torch.zeros_like(y[~mask]))
    for a, b in zip(layer.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
    (gradient,) = torch.autograd.grad(y.square().sum(), padded)
    assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_batches(options, dtype):
    layer = BatchNorm(IRREPS, **options).to(dtype)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    for x, mask in ((torch.zeros(0, 4, IRREPS.dim), None), (torch.ones(3, 4, IRREPS.dim), nothing)):
        y = layer(x.to(dtype), mask)
        assert torch.equal(y, torch.zeros_like(y))
        assert y.shape == x.shape
    assert all(torch.equal(before[name], v) for name, v in layer.state_dict().items())
    for x in (torch.zeros(1, IRREPS.dim), torch.ones(1, IRREPS.dim), torch.zeros(4, IRREPS.dim)):
        x = x.to(dtype).requires_grad_()
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert y.dtype == dtype
        for tensor in (y, gradient, *layer.state_dict().values()):
            assert torch.isfinite(tensor).all()


def test_batch_norm_compiles():
    layer, other = BatchNorm(IRREPS), BatchNorm(IRREPS)
    x, mask = IRREPS.randn(6, -1), torch.tensor([True] * 5 + [False])
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), other(x))
    torch.testing.assert_close(compiled(x, mask), other(x, mask))
    torch.testing.assert_close(layer.running_var, other.running_var)


def test_batch_norm_refuses():
    with pytest.raises(ValueError, match='reduce must be "mean" or "max", not \'sum\''):
        BatchNorm(IRREPS, reduce="sum")
    with pytest.raises(ValueError, match="normalization must be"):
        BatchNorm(IRREPS, normalization="l2")
    with pytest.raises(ValueError, match="BatchNorm: x has 3"):
        BatchNorm("2x1o")(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="not one row"):
        BatchNorm("1x1o")(torch.zeros(3))
    with pytest.raises(ValueError, match=r"mask is \(3,\), but x has rows \(2,\)"):
        BatchNorm("1x1o")(torch.zeros(2, 3), torch.ones(3, dtype=torch.bool))
