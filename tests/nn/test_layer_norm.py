"""LayerNorm and RMSNorm: torch's for scalars, the definition for the rest, zero rows."""

import pytest
import torch

from clebsch.nn import LayerNorm, RMSNorm
from clebsch.o3 import Irreps
from turned_features import equivariance_error

IRREPS = Irreps("4x0e + 3x1o + 2x0o + 2x2e + 5x1o")
LAYERS = {
    "layer": lambda irreps: LayerNorm(irreps),
    "layer, plain": lambda irreps: LayerNorm(irreps, affine=False),
    "rms": lambda irreps: RMSNorm(irreps),
    "rms, components": lambda irreps: RMSNorm(irreps, balanced=False),
    "rms, each degree": lambda irreps: RMSNorm(irreps, joint=False),
    "rms, plain": lambda irreps: RMSNorm(irreps, affine=False),
}


def randomised(name, irreps=IRREPS):
    layer = LAYERS[name](irreps)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def test_layer_norm_of_scalars_is_torchs(float64):
    layer, oracle = randomised("layer", Irreps("7x0e")), torch.nn.LayerNorm(7)
    oracle.load_state_dict(layer.state_dict())
    x = 2 + 3 * torch.randn(5, 7)
    torch.testing.assert_close(layer(x), oracle(x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ["rms", "rms, components", "rms, each degree"])
def test_rms_norm_of_scalars_is_torchs(name, float64):
    layer, oracle = randomised(name, Irreps("4x0e + 3x0o")), torch.nn.RMSNorm(7, eps=1e-5)
    oracle.load_state_dict(layer.state_dict())
    x = 2 + 3 * torch.randn(5, 7)
    torch.testing.assert_close(layer(x), oracle(x), atol=1e-12, rtol=1e-12)


def test_layer_norm_normalises_every_block(float64):
    y = LayerNorm(IRREPS, eps=0.0)(2 + 3 * IRREPS.randn(5, -1))
    for (_, ir), part in zip(IRREPS, IRREPS.slices(), strict=True):
        torch.testing.assert_close(y[:, part].square().mean(-1), torch.ones(5))
        assert (y[:, part].mean(-1).abs().max() < 1e-12) == ir.is_scalar()


def test_rms_norm_normalises_what_it_says(float64):
    x = IRREPS.randn(5, -1) * torch.linspace(0.5, 3, IRREPS.dim)

    def squares(y):
        """Mean square of every degree, (3, rows); equal irreps of several blocks go together."""
        of_degree = [
            torch.cat(
                [y[:, s] for (_, ir), s in zip(IRREPS, IRREPS.slices(), strict=True) if ir.l == l],
                dim=-1,
            )
            for l in range(3)
        ]
        return torch.stack([part.square().mean(-1) for part in of_degree])

    each = squares(RMSNorm(IRREPS, eps=0.0, joint=False)(x))
    torch.testing.assert_close(each, torch.ones(3, 5))
    joint = RMSNorm(IRREPS, eps=0.0)(x)
    torch.testing.assert_close(squares(joint).mean(0), torch.ones(5))
    ratio = joint / x
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))  # one factor for all
    components = RMSNorm(IRREPS, eps=0.0, balanced=False)(x)
    torch.testing.assert_close(components.square().mean(-1), torch.ones(5))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("improper", [False, True])
def test_equivariant_after_double(name, improper):
    layer = randomised(name).double()
    x = IRREPS.randn(20, 3, -1, dtype=torch.float64)
    assert equivariance_error(layer, IRREPS, IRREPS, x, improper) < 1e-12


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_rows_and_no_rows(name, dtype):
    layer = LAYERS[name](IRREPS).to(dtype)
    for rows in (0, 1, 3):
        x = torch.zeros(rows, IRREPS.dim, dtype=dtype, requires_grad=True)
        y = layer(x)
        assert y.dtype == dtype
        assert torch.equal(y, x)
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), x)
        assert torch.isfinite(gradient).all()
        assert torch.isfinite(second).all()
    assert LAYERS[name](Irreps(""))(torch.zeros(2, 0)).shape == (2, 0)


@pytest.mark.parametrize("name", LAYERS)
def test_single_precision_and_compile(name):
    layer = randomised(name)
    x = IRREPS.randn(5, -1)
    torch.testing.assert_close(layer(x).double(), layer.double()(x.double()), atol=5e-6, rtol=5e-6)
    layer = layer.float()
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_a_wrong_width_is_named(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: x has 4 .* 2x1o needs 6"):
        kind("2x1o")(torch.zeros(2, 4))
