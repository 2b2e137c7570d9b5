"""Gates of either parity with activations of their own: e3nn's layer, and the kernels' path."""

import copy

import pytest
import torch
from torch import nn

from clebsch.nn import Gate, GeneralGate, second_moment_scale
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from clebsch.ops.nodewise.gating import gate
from turned_features import equivariance_error

F = nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")

CASES = {
    "even gates": ("6x0e", [F.silu], "5x0e", [F.silu], "3x1o + 2x2e"),
    "odd gates": ("16x0o", [torch.tanh], "8x0o", [torch.tanh], "4x1e + 4x1o"),
    "several": ("2x0e + 3x0o", [F.silu, torch.tanh], "2x0e + 3x0e", [F.silu] * 2, "5x1o"),
    "both parities": ("2x0e", [None], "2x0e + 4x0o", [F.silu, torch.tanh], "3x1o + 3x2e"),
    "even of odd": ("2x0o", [torch.abs], "2x0o + 1x0e", [torch.cos, None], "3x1o"),
    "no scalars": ("", [], "2x0o", [torch.tanh], "2x1o"),
    "no gated": ("3x0e", [F.silu], "", [], ""),
}
FAST = {"even gates", "odd gates", "several", "no scalars", "no gated"}


def e3nn_gate(case):
    e3nn = pytest.importorskip("e3nn.nn")
    oracle = e3nn.Gate(*case)
    for module in oracle.modules():
        if hasattr(module, "cst"):
            assert module.cst == pytest.approx(second_moment_scale(module.f), rel=1e-2)
            module.cst, module._is_id = second_moment_scale(module.f), False
    return oracle


@pytest.mark.parametrize("name", CASES)
def test_general_gate_equals_e3nn(name, float64):
    layer, oracle = GeneralGate(*CASES[name]), e3nn_gate(CASES[name])
    assert str(oracle.irreps_out.simplify()) == str(layer.irreps_out.simplify())
    x = layer.irreps_in.randn(9, -1)

    # e3nn sorts its input: every entry of ours goes to where e3nn's own sort puts it.
    blocks = to_e3nn(x, layer.irreps_in).split([mul.dim for mul in layer.irreps_in], dim=-1)
    order = layer.irreps_in.sort().inv
    assert str(oracle.irreps_in) == str(layer.irreps_in.regroup())
    y = oracle(torch.cat([blocks[i] for i in order], dim=-1))
    torch.testing.assert_close(layer(x), from_e3nn(y, layer.irreps_out), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_general_gate_uses_the_kernels_where_it_can(name):
    layer = GeneralGate(*CASES[name]).double()
    assert layer.gating.known == (name in FAST)
    x = layer.irreps_in.randn(5, -1, dtype=torch.float64).requires_grad_()
    results = []
    for function in (lambda x: gate(layer.gating, x), layer.gating.compose):
        y = function(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), x)
        results.append((y, gradient, second))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_general_gate_is_equivariant_after_double(name, improper):
    layer = GeneralGate(*CASES[name]).double()
    x = layer.irreps_in.randn(10, -1, dtype=torch.float64)
    assert equivariance_error(layer, layer.irreps_in, layer.irreps_out, x, improper) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_general_gate_in_float32_at_zero_and_of_no_rows(name):
    layer = GeneralGate(*CASES[name])
    x = layer.irreps_in.randn(6, -1)
    expected = copy.deepcopy(layer).double()(x.double())
    assert layer(x).dtype == torch.float32
    torch.testing.assert_close(layer(x).double(), expected, atol=2e-6, rtol=2e-6)
    for rows in (0, 2):
        zero = torch.zeros(rows, layer.irreps_in.dim, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(zero).sum(), zero)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["several", "both parities"])
def test_general_gate_compiles_and_exports(name):
    layer = GeneralGate(*CASES[name])
    x = layer.irreps_in.randn(6, -1)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), layer(x))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.testing.assert_close(program.module()(x[:3]), layer(x[:3]))


def test_gate_is_the_general_gate_of_even_gates():
    layer = Gate("6x0e + 4x0o + 3x1o + 2x2e")
    other = GeneralGate("6x0e + 4x0o", [F.silu, torch.tanh], "5x0e", [F.silu], "3x1o + 2x2e")
    x = layer.irreps_in.randn(4, -1)
    assert torch.equal(layer(x), other(x))
    assert layer.irreps_in == other.irreps_in
    assert not layer.state_dict()


def test_gate_refuses():
    with pytest.raises(ValueError, match="no odd function"):
        Gate("2x0o + 1x1o", odd=torch.abs)
    Gate("2x0e + 1x1o", odd=torch.abs)  # there is no odd scalar
    with pytest.raises(ValueError, match=r"Gate: x has 3 .* 2x0e\+1x0e\+1x1o needs 6"):
        Gate("2x0e + 1x1o")(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"irreps_gates must be scalars, not 2x1o"):
        GeneralGate("", [], "2x1o", [None], "2x1o")
    with pytest.raises(ValueError, match=r"irreps_scalars must be scalars"):
        GeneralGate("1x1e", [None], "", [], "")
    with pytest.raises(ValueError, match=r"2x1o has 2 channels, but irreps_gates 3x0e has 3"):
        GeneralGate("", [], "3x0e", [torch.tanh], "2x1o")
    with pytest.raises(ValueError, match="neither even nor odd"):
        GeneralGate("", [], "2x0o", [F.silu], Irreps("2x1o"))
