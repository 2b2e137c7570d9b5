"""Dropout of whole irreps: e3nn's draws with the same seed, scaling, evaluation."""

import pytest
import torch

from clebsch.nn import Dropout
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from turned_features import equivariance_error

IRREPS = Irreps("4x0e + 3x1o + 2x2e")


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("points", [(), (4,), (2, 3)], ids=str)
def test_the_same_draws_as_e3nn(p, points, float64):
    e3nn = pytest.importorskip("e3nn.nn")
    layer, oracle = Dropout(IRREPS, p), e3nn.Dropout(str(IRREPS), p)
    x = IRREPS.randn(50, *points, -1)
    torch.manual_seed(3)
    y = layer(x)
    torch.manual_seed(3)
    expected = from_e3nn(oracle(to_e3nn(x, IRREPS)), IRREPS)
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=1e-12)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_irreps_fall_at_the_rate_asked_and_the_mean_stays(dtype):
    layer = Dropout(IRREPS, 0.3)
    y = layer(torch.ones(20_000, IRREPS.dim, dtype=dtype))
    assert y.dtype == dtype
    for (mul, ir), part in zip(IRREPS, IRREPS.slices(), strict=True):
        block = y[:, part].unflatten(-1, (ir.dim, mul))
        assert torch.equal(block, block[:, :1].expand_as(block))
    # 180,000 draws: the standard error of the rate is 1.1e-3, that of the mean 1.5e-3.
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.mean().item() == pytest.approx(1.0, abs=0.015)


@pytest.mark.parametrize("improper", [False, True])
def test_one_draw_is_equivariant(improper):
    layer = Dropout(IRREPS, 0.4).double()

    def same_draw(x):
        torch.manual_seed(1)
        return layer(x)

    x = IRREPS.randn(20, 3, -1, dtype=torch.float64)
    assert equivariance_error(same_draw, IRREPS, IRREPS, x, improper) < 1e-12


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_one_row_and_no_rows(p):
    layer = Dropout(IRREPS, p)
    for shape in ((IRREPS.dim,), (1, IRREPS.dim), (0, IRREPS.dim), (0, 3, IRREPS.dim)):
        x = torch.zeros(shape, requires_grad=True)
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert y.shape == x.shape
        assert torch.isfinite(gradient).all()
    assert Dropout("", p)(torch.zeros(2, 0)).shape == (2, 0)


def test_compiles():
    layer, x = Dropout(IRREPS, 0.5), torch.ones(200, IRREPS.dim)
    torch._dynamo.reset()
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    assert set(y.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_dropout_refuses(p):
    with pytest.raises(ValueError, match="Dropout: p is a probability"):
        Dropout(IRREPS, p)


def test_a_wrong_width_is_named():
    with pytest.raises(ValueError, match="Dropout: x has 3"):
        Dropout("2x1o")(torch.zeros(2, 3))
