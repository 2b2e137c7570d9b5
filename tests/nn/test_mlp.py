"""Fully connected networks: e3nn's with equal weights and every option, unit variance."""

import pytest
import torch
from torch import nn

from clebsch.nn import MLP

F = nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")
OPTIONS = [
    {},
    {"variance_in": 3.0},
    {"variance_out": 0.25},
    {"variance_in": 0.5, "variance_out": 4.0, "out_act": True},
    {"out_act": True},
]


@pytest.mark.parametrize("widths", [(8, 5), (8, 16, 16, 5)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("activation", [F.silu, torch.sigmoid, None])
def test_mlp_equals_e3nn(widths, options, activation, float64):
    e3nn = pytest.importorskip("e3nn.nn")
    mlp = MLP(widths, activation, **options)
    oracle = e3nn.FullyConnectedNet(list(widths), activation, **options)
    with torch.no_grad():
        for weight, layer in zip(mlp.weights, oracle, strict=True):
            layer.weight.copy_(weight)
            if layer.act is not None:
                layer.act.cst = mlp.activation.scale
    x = torch.randn(11, 8)
    torch.testing.assert_close(mlp(x), oracle(x), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(mlp(x.view(1, 11, 8))[0], mlp(x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variance_is_as_asked(options, dtype):
    scale = options.get("variance_in", 1.0) ** 0.5
    x = scale * torch.randn(500, 64, dtype=dtype)
    with torch.no_grad():
        found = torch.stack(
            [MLP([64, 256, 256, 16], **options).to(dtype)(x).square().mean() for _ in range(20)]
        ).mean()
    # Wide layers are close to Gaussian; 8 % is several standard errors over 320 results.
    assert found.item() == pytest.approx(options.get("variance_out", 1.0), rel=0.08)
    assert found.dtype == dtype


def test_a_last_activation_changes_no_parameter_name():
    names = [name for name, _ in MLP([3, 4, 2]).named_parameters()]
    assert [name for name, _ in MLP([3, 4, 2], out_act=True).named_parameters()] == names


def test_gradients_at_zero_and_of_no_rows():
    mlp = MLP([3, 4, 2], out_act=True)
    for rows in (0, 2):
        x = torch.zeros(rows, 3, requires_grad=True)
        gradients = torch.autograd.grad(mlp(x).sum(), [x, *mlp.parameters()])
        assert all(torch.isfinite(g).all() for g in gradients)


def test_mlp_with_a_last_activation_compiles():
    mlp, x = MLP([3, 8, 2], out_act=True), torch.randn(5, 3)
    torch._dynamo.reset()
    compiled = torch.compile(mlp, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), mlp(x))


@pytest.mark.parametrize(
    ("widths", "options", "words"),
    [
        ([3], {}, "widths are input, hidden and output"),
        ([3, 0, 2], {}, "widths are input, hidden and output"),
        ([3, 2], {"variance_in": 0.0}, "variances must be positive"),
        ([3, 2], {"variance_out": -1.0}, "variances must be positive"),
    ],
)
def test_mlp_refuses(widths, options, words):
    with pytest.raises(ValueError, match=words):
        MLP(widths, **options)
