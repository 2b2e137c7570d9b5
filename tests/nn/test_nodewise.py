"""Node-wise kernels: equal to plain PyTorch in every derivative, traceable, and never waste."""

import copy
import pickle
from functools import partial

import pytest
import torch

from clebsch.nn import MLP, Gate, Linear
from clebsch.o3 import Irreps
from clebsch.ops import Specification, nodewise, tensor_product
from clebsch.ops.nodewise import gating, mixing, perceptron
from clebsch.ops.nodewise.gating import Gating, gate
from clebsch.ops.nodewise.mixing import Mixing, compose, mix

pytestmark = pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")

MIXINGS = {
    "one kind": ("5x0e", "7x0e", 1),
    "several blocks": ("6x0e + 5x1o + 2x0e + 3x1o", "4x0e + 2x0e + 3x1o", 1),
    "missing and unused": ("2x1o + 3x2e", "3x0e + 4x1o + 1x3o", 1),
    "wide": ("33x0e + 20x1o", "40x1o + 17x0e + 1x1o", 1),
    "species": ("4x0e + 3x1o", "2x0e + 3x1o + 2x0e", 3),
}
GATES = ["6x0e", "3x0e + 4x0o + 2x1o + 70x1e + 2x2e", "66x0o + 2x1o"]


def example(name, rows=9, scale=0.7):
    x, z, n_species = MIXINGS[name]
    plan = Mixing(Irreps(x), Irreps(z), scale, n_species)
    inputs = torch.randn(rows, plan.x.dim, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(plan.weight_numel, dtype=torch.float64, requires_grad=True)
    species = torch.randint(n_species, (rows,)) if n_species > 1 else None
    return plan, inputs, weights, species


def derivatives(function, *inputs):
    """Value, gradients, second and third derivatives along random directions."""
    torch.manual_seed(1)
    value = function(*inputs)
    found = [value]
    for _ in range(3):
        direction = [torch.randn_like(v).requires_grad_() for v in found[-1:]]
        total = sum((v * d).sum() for v, d in zip(found[-1:], direction, strict=True))
        if not total.requires_grad:
            break
        grads = torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
        grads = [g for g in grads if g is not None and g.requires_grad]
        if not grads:
            break
        found.append(torch.cat([g.flatten() for g in grads]))
    return found


@pytest.mark.parametrize("name", MIXINGS)
def test_mixing_equals_the_composition_in_every_derivative(name):
    plan, x, w, species = example(name)
    assert nodewise.fast(x, w)
    got = derivatives(lambda x, w: mix(plan, x.tanh(), w.tanh(), species), x, w)
    expected = derivatives(lambda x, w: compose(plan, x.tanh(), w.tanh(), species), x, w)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_irreps_that_do_not_meet_give_zero():
    plan, x = Mixing(Irreps("3x0e"), Irreps("2x1o")), torch.ones(2, 3, requires_grad=True)
    z = mix(plan, x, torch.zeros(0))
    assert torch.equal(z, torch.zeros(2, 6))
    (gradient,) = torch.autograd.grad(z.sum(), x)
    assert torch.equal(gradient, torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["several blocks", "species"])
def test_mixing_is_its_own_derivative(name):
    plan, x, w, species = example(name, rows=3)
    assert torch.autograd.gradcheck(lambda x, w: mix(plan, x, w, species), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: mix(plan, x, w, species), (x, w))


@pytest.mark.parametrize("name", ["wide", "species"])
def test_float32(name):
    plan, x, w, species = example(name)
    expected = compose(plan, x, w, species)
    single = mix(plan, x.float(), w.float(), species)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=3e-6, rtol=3e-6)


def test_mixing_takes_any_layout_of_rows():
    plan, x, w, _ = example("several blocks")
    expected = compose(plan, x, w)
    wide = torch.randn(9, 2 * plan.x.dim, dtype=torch.float64)
    wide[:, ::2] = x.detach()
    torch.testing.assert_close(mix(plan, wide[:, ::2], w), expected)
    torch.testing.assert_close(
        mix(plan, x.view(3, 1, 3, -1), w), expected.view(3, 1, 3, plan.z.dim)
    )
    torch.testing.assert_close(mix(plan, x[0], w), expected[0])
    torch.testing.assert_close(mix(plan, x[:1].expand(4, -1), w), expected[:1].expand(4, -1))
    empty = mix(plan, x[:0], w)
    assert empty.shape == (0, plan.z.dim)
    (nothing,) = torch.autograd.grad(empty.sum(), w)
    assert torch.equal(nothing, torch.zeros_like(w))


def test_threads_change_no_bit():
    plan = Mixing(Irreps("64x0e + 48x1o"), Irreps("50x0e + 64x1o"))
    x, w = torch.randn(2000, plan.x.dim, requires_grad=True), torch.randn(plan.weight_numel)
    w.requires_grad_()
    g = torch.randn(2000, plan.z.dim)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            z = mix(plan, x, w)
            results.append([z, *torch.autograd.grad(z, (x, w), g)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        (lambda x, w, s: (x[:, :-1], w, s), "rows must have", ValueError),
        (lambda x, w, s: (x, w[1:], s), "weights", ValueError),
        (lambda x, w, s: (x, w, None), "species", ValueError),
        (lambda x, w, s: (x, w, s[1:]), "species", ValueError),
        (lambda x, w, s: (x, w, s + 2), "outside of 0 to 2", IndexError),
        (lambda x, w, s: (x, w, s - 1 - s.max()), "outside of 0 to 2", IndexError),
    ],
)
def test_mixing_refuses(change, words, error):
    plan, x, w, species = example("species")
    with pytest.raises(error, match=words):
        mix(plan, *change(x, w, species))


def test_only_wanted_gradients_are_computed(monkeypatch):
    """Forces ask for no gradients of weights, a training step for none of the geometry."""
    plan, x, w, _ = example("several blocks")
    asked = []
    real = mixing.compute
    monkeypatch.setattr(
        mixing, "compute", lambda plan, target, *a: asked.append(target) or real(plan, target, *a)
    )
    z = mix(plan, x, w * 1.0)
    torch.autograd.grad(z.sum(), x, retain_graph=True)
    assert asked == [mixing.Z, mixing.X]
    (gradient,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    asked.clear()
    gradient.square().sum().backward(inputs=[w])
    assert asked == [mixing.W]
    assert x.grad is None


@pytest.mark.parametrize("irreps", GATES)
def test_gate_equals_the_composition_in_every_derivative(irreps):
    plan = Gate(irreps).gating
    x = (3 * torch.randn(5, plan.irreps_in.dim, dtype=torch.float64)).requires_grad_()
    assert plan.known
    got, expected = derivatives(lambda x: gate(plan, x), x), derivatives(plan.compose, x)
    assert len(got) == len(expected) == 4
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_third_derivatives_of_a_nonlinear_function_of_a_gate():
    plan = Gate("2x0e + 3x0o + 2x1o").gating
    x = torch.randn(2, plan.irreps_in.dim, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (lambda x: gate(plan, x), plan.compose):
        value = function(x).square().sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = gradient.pow(3).sum()
        results.append(gradient)
    torch.testing.assert_close(results[0], results[1], atol=0, rtol=1e-10)


def test_gate_kernels_are_each_others_derivatives():
    plan = Gate("2x0e + 3x0o + 2x1o").gating
    x = torch.randn(2, plan.irreps_in.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gate(plan, x), (x,))
    assert torch.autograd.gradgradcheck(lambda x: gate(plan, x), (x,))
    u = torch.randn_like(x).requires_grad_()
    g = torch.randn(2, plan.irreps_out.dim, dtype=torch.float64, requires_grad=True)
    along = lambda x, u: gating._Along.apply(plan, x, u)  # noqa: E731
    second = lambda x, g, u: gating._Second.apply(plan, x, g, u)  # noqa: E731
    assert torch.autograd.gradcheck(along, (x, u))
    assert torch.autograd.gradgradcheck(along, (x, u))
    assert torch.autograd.gradcheck(second, (x, g, u))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parity", ["e", "o"])
def test_activations_of_any_number(parity, dtype):
    """Huge, tiny, zero and NaN as torch's own; an odd function keeps the digits near zero."""
    layer = Gate(f"12x0{parity}")
    x = torch.tensor([-1e4, -90, -20, -1, -1e-3, -1e-6, 0, 1e-6, 1e-3, 20, 1e4, torch.nan])
    x = x.to(dtype)
    got, expected = layer(x), layer.gating.compose(x)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(got, expected, atol=1e-30, rtol=tolerance, equal_nan=True)


def test_unknown_activations_are_composed():
    layer = Gate("3x0e + 2x1o", even=torch.sigmoid)
    x = layer.irreps_in.randn(4, -1)
    assert not layer.gating.known
    torch.testing.assert_close(layer(x), layer.gating.compose(x))
    mlp = MLP([3, 4, 2], activation=torch.tanh)
    h = torch.tanh(x[:, :3] @ mlp.weights[0] / 3**0.5) * mlp.activation.scale
    torch.testing.assert_close(mlp(x[:, :3]), h @ mlp.weights[1] / 4**0.5)


@pytest.mark.parametrize("widths", [(3, 4), (2, 4, 3), (2, 4, 5, 3), (2, 3, 4, 3, 2)])
def test_perceptron_equals_the_composition_in_every_derivative(widths):
    mlp = MLP(widths).double()
    net, weights = mlp.perceptron, list(mlp.weights)
    x = torch.randn(5, widths[0], dtype=torch.float64, requires_grad=True)
    got = derivatives(lambda x, *w: perceptron.perceive(net, x, *w), x, *weights)
    expected = derivatives(net.compose, x, *weights)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda x, *w: perceptron.perceive(net, x, *w), (x, *weights))
    assert torch.autograd.gradgradcheck(
        lambda x, *w: perceptron.perceive(net, x, *w), (x, *weights)
    )


@pytest.mark.parametrize("widths", [(3, 4), (2, 4, 3), (2, 4, 5, 3), (2, 3, 4, 3, 2)])
@pytest.mark.parametrize("inputs", [True, False])
def test_training_by_slopes_equals_the_composition(widths, inputs):
    """A loss of values and slopes: the passes that are written out."""
    mlp = MLP(widths).double()
    weights = list(mlp.weights)
    x = torch.randn(5, widths[0], dtype=torch.float64, requires_grad=True)
    results = []
    for function in (mlp, lambda x: mlp.perceptron.compose(x, *mlp.weights)):
        for tensor in (x, *weights):
            tensor.grad = None
        y = function(x)
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        loss = slope.pow(3).sum() + y.sin().sum()
        loss.backward(inputs=weights if inputs else None)
        assert inputs == (x.grad is None)
        results.append([slope, *(w.grad for w in weights), *([] if inputs else [x.grad])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_perceptron_refuses():
    mlp = MLP([3, 4, 2])
    with pytest.raises(ValueError, match="MLP: x has 4"):
        mlp(torch.randn(5, 4))
    with pytest.raises(ValueError, match="weights are"):
        perceptron.perceive(mlp.perceptron, torch.randn(5, 3), *mlp.weights[::-1])


LAYERS = {
    "linear": lambda: Linear("4x0e + 3x1o + 2x0e", "5x0e + 2x1o"),
    "gate": lambda: Gate("4x0e + 3x0o + 2x1o"),
    "mlp": lambda: MLP([4, 8, 5]),
}


def layer_and_input(name, rows=6):
    layer = LAYERS[name]()
    width = layer.widths[0] if name == "mlp" else layer.irreps_in.dim
    return layer, torch.randn(rows, width)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compile_export_and_map(name):
    layer, x = layer_and_input(name)
    expected = layer(x)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), expected)
    rows = torch.export.Dim("rows")
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: rows},))
    torch.testing.assert_close(program.module()(x[:3]), expected[:3])
    torch.testing.assert_close(torch.func.vmap(layer)(x), expected)
    jacobian = torch.func.jacrev(lambda row: layer(row).sum())(x[0])
    assert jacobian.shape == x[0].shape


def back(y, x, g):
    return torch.autograd.grad(y, x, g, retain_graph=True)[0]


@pytest.mark.parametrize("name", LAYERS)
def test_batches_of_cotangents(name):
    """A plain forward pass, then backward passes over a batch: first and second derivatives."""
    layer, x = layer_and_input(name, rows=2)
    layer, x = layer.double(), x.double().requires_grad_()
    functions = [
        layer,
        lambda x: torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0],
    ]
    for function in functions:
        y = function(x)
        each = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape)
        expected = torch.stack([back(y, x, g) for g in each])
        (got,) = torch.autograd.grad(y, x, each, is_grads_batched=True, retain_graph=True)
        torch.testing.assert_close(got, expected)
        got = torch.func.vmap(partial(back, y, x))(each)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_copies_hold_their_own_plan(name):
    layer, x = layer_and_input(name)
    expected = layer(x)
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    del layer
    for other in copies:
        assert torch.equal(other(x), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_without_a_compiler_the_same(name, monkeypatch):
    layer, x = layer_and_input(name)
    expected = layer(x)
    for module in (mixing, gating, perceptron):
        monkeypatch.setattr(module, "usable", lambda: False)
    torch.testing.assert_close(layer(x), expected)


def test_autocast_falls_to_the_composition():
    layer, x = layer_and_input("linear")
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    torch.testing.assert_close(low.float(), layer(x), atol=0.1, rtol=0.1)


def test_plans_say_what_they_compute():
    plan = Mixing(Irreps("2x1o + 3x2e"), Irreps("3x0e + 4x1o"))
    assert plan.shapes == [(0, 3), (2, 4)]
    assert plan.weight_numel == 8
    acts = {1: (torch.tanh, 1.0)}
    gating = Gating.by_parity(Irreps("2x0e"), Irreps("3x1o"), acts)
    assert gating.irreps_in == Irreps("2x0e + 3x0e + 3x1o")


def test_leaves_of_first_order_get_no_second_derivative(float64):
    spec = Specification.convolution("4x0e + 4x1o", "1o", "0e + 1o")
    features, directions = torch.randn(4, spec.x.dim), torch.randn(4, 3)
    start, found = torch.randn(4, spec.weight_numel), []
    for marked in (False, True):
        y, weights = directions.clone().requires_grad_(), start.clone().requires_grad_()
        if marked:
            nodewise.first_order_only(y)
        value = tensor_product(spec, features, y, weights)
        (slope,) = torch.autograd.grad(value.square().sum(), y, create_graph=True)
        slope.square().sum().backward()
        assert (y.grad is None) == marked
        found.append((slope, weights.grad))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
