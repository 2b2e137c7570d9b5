"""Layers: against e3nn with equal weights, unit variance, equivariance."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import clebsch.nn
from clebsch.nn import (
    MLP,
    BesselBasis,
    Convolution,
    CosineCutoff,
    ElementwiseTensorProduct,
    FullyConnectedTensorProduct,
    Gate,
    GaussianBasis,
    Linear,
    Norm,
    PolynomialCutoff,
    ScaledActivation,
    second_moment_scale,
)
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import Irreps, from_e3nn, rand_matrix, spherical_harmonics, to_e3nn
from clebsch.ops import Edges
from e3nn_weights import e3nn_linear

FEATURES = Irreps("6x0e + 4x0o + 5x1o + 3x1e + 2x2e")


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(clebsch.nn.__path__)])
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(f"clebsch.nn.{name}")).failed == 0


@pytest.mark.parametrize(
    ("irreps_in", "irreps_out"),
    [
        ("6x0e + 5x1o", "4x0e + 3x1o"),
        ("6x0e + 5x1o + 2x0e + 3x1o", "4x0e + 2x0e + 3x1o"),
        ("2x1o + 3x2e", "3x0e + 4x1o + 1x3o"),
    ],
)
def test_linear_equals_e3nn(irreps_in, irreps_out, float64):
    e3nn = pytest.importorskip("e3nn.o3")
    layer = Linear(irreps_in, irreps_out)
    x = layer.irreps_in.randn(7, -1)
    expected = e3nn_linear(e3nn, layer)(to_e3nn(x, layer.irreps_in))
    torch.testing.assert_close(layer(x), from_e3nn(expected, layer.irreps_out))


def test_linear_of_species_is_a_linear_for_each(float64):
    layer = Linear("4x0e + 3x1o", "2x0e + 3x1o", n_species=3)
    x, species = layer.irreps_in.randn(8, -1), torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])
    y = layer(x, species)
    sizes = [fan_in * out for fan_in, out in layer.shapes]
    for s in range(3):
        single = Linear(layer.irreps_in, layer.irreps_out)
        with torch.no_grad():
            parts = layer.weight.split([3 * n for n in sizes])
            single.weight.copy_(torch.cat([p.view(3, -1)[s] for p in parts]))
        torch.testing.assert_close(y[species == s], single(x[species == s]))
    with pytest.raises(ValueError, match="species"):
        layer(x)


def test_gate_equals_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.nn")
    gate = Gate("6x0e + 4x0o + 3x1o + 2x2e")
    oracle = e3nn.Gate(
        "6x0e + 4x0o",
        [torch.nn.functional.silu, torch.tanh],
        "5x0e",
        [torch.nn.functional.silu],
        "3x1o + 2x2e",
    )
    exact = {"silu": gate.even.scale, "tanh": gate.odd.scale}
    scaled = [m for m in oracle.modules() if hasattr(m, "cst")]
    assert scaled
    for module in scaled:
        # e3nn draws its constants by Monte Carlo: they agree to 1e-2, then ours are put in.
        value = exact[module.f.__name__]
        assert module.cst == pytest.approx(value, abs=1e-2)
        module.cst = value
    x = gate.irreps_in.randn(9, -1)
    even, odd, gates, gated = x.split([6, 4, 5, 19], dim=1)
    assert str(oracle.irreps_in) == "4x0o+11x0e+3x1o+2x2e"  # e3nn sorts
    y = oracle(torch.cat([odd, even, gates, to_e3nn(gated, "3x1o + 2x2e")], dim=1))
    torch.testing.assert_close(gate(x), from_e3nn(y, gate.irreps_out))


def test_gate_wants_scalars_first():
    with pytest.raises(ValueError, match="scalars first"):
        Gate("2x1o + 3x0e")


def test_mlp_equals_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.nn")
    mlp = MLP([8, 16, 16, 5])
    oracle = e3nn.FullyConnectedNet([8, 16, 16, 5], torch.nn.functional.silu)
    with torch.no_grad():
        for weight, layer in zip(mlp.weights, oracle, strict=True):
            layer.weight.copy_(weight)
            if layer.act is not None:
                layer.act.cst = mlp.activation.scale
    x = torch.randn(11, 8)
    torch.testing.assert_close(mlp(x), oracle(x))
    assert torch.equal(mlp(torch.zeros(2, 8)), torch.zeros(2, 5))


@pytest.mark.parametrize("activation", [torch.nn.functional.silu, torch.tanh, torch.sigmoid])
def test_scaled_activation_has_unit_second_moment(activation):
    x = torch.randn(1_000_000, dtype=torch.float64)
    # The standard error of the mean of f^2 over 1e6 samples is below 3e-3 for these.
    assert ScaledActivation(activation)(x).square().mean().item() == pytest.approx(1, abs=1e-2)
    assert second_moment_scale(activation) == second_moment_scale(activation)


def modules():
    harmonics = Irreps.spherical_harmonics(2)
    n, e = 300, 3000
    edges = Edges(torch.randint(n, (e,)), torch.randint(n, (e,)).sort().values, n)

    def vectors():
        return torch.randn(e, 3, dtype=torch.get_default_dtype())

    convolution = Convolution(FEATURES, harmonics, FEATURES, radial=[8, 32, 32], mean_neighbours=10)
    gate = Gate("16x0e + 8x0o + 8x1o + 8x2e")
    product = FullyConnectedTensorProduct(FEATURES, "4x0e + 4x1o", "8x0e + 8x1o + 8x1e")
    elementwise = ElementwiseTensorProduct("8x0e + 8x1o", "8x1o + 8x1o")
    features = FEATURES.randn(n, -1)
    factor = Irreps("4x0e + 4x1o").randn(n, -1)
    basis = torch.randn(e, 8)
    return {
        "linear": (Linear(FEATURES, "8x0e + 8x1o + 8x2e"), (features,), (FEATURES,), ()),
        "gate": (gate, (gate.irreps_in.randn(n, -1),), (gate.irreps_in,), ()),
        "norm": (Norm(FEATURES), (features,), (FEATURES,), ()),
        "fully connected": (
            product,
            (features, factor),
            (FEATURES, Irreps("4x0e + 4x1o")),
            (),
        ),
        "elementwise": (
            elementwise,
            (elementwise.specification.x.randn(n, -1), elementwise.specification.y.randn(n, -1)),
            (elementwise.specification.x, elementwise.specification.y),
            (),
        ),
        "convolution": (
            convolution,
            (features, spherical_harmonics(harmonics, vectors())),
            (FEATURES, harmonics),
            (basis, edges),
        ),
    }


MODULES = ["linear", "gate", "norm", "fully connected", "elementwise", "convolution"]


def irreps_of(module):
    if hasattr(module, "irreps_out"):
        return module.irreps_out
    return module.specification.z


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_equivariance(name, improper, dtype):
    module, inputs, irreps, rest = modules()[name]
    module = module.to(dtype)
    rest = [r.to(dtype) if isinstance(r, torch.Tensor) else r for r in rest]
    inputs = [x.to(dtype) for x in inputs]
    rotation = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    turned = [
        x @ ir.D_from_matrix(rotation).to(dtype).T for x, ir in zip(inputs, irreps, strict=True)
    ]
    expected = module(*inputs, *rest) @ irreps_of(module).D_from_matrix(rotation).to(dtype).T
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(module(*turned, *rest), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "name", ["linear", "gate", "fully connected", "elementwise", "convolution"]
)
def test_unit_variance_at_initialisation(name):
    """Mean square of every result block over 40 initialisations, inputs of unit variance.

    Gates of l > 0 multiply independent factors of unit second moment. 10 % is several
    standard errors of these averages; the convolution's radial network sees inputs of varying
    length, for which the activations' constants are not exact.
    """
    tolerance = 0.25 if name == "convolution" else 0.1
    blocks: list[torch.Tensor] = []
    for _ in range(40):
        module, inputs, _, rest = modules()[name]
        with torch.no_grad():
            y = module(*inputs, *rest)
        out = irreps_of(module)
        blocks.append(torch.stack([y[:, s].square().mean() for s in out.slices()]))
    mean = torch.stack(blocks).mean(0)
    torch.testing.assert_close(mean, torch.ones_like(mean), atol=tolerance, rtol=0)


def test_norm_has_finite_gradients_at_zero():
    x = torch.zeros(8, requires_grad=True)
    (gradient,) = torch.autograd.grad(Norm("2x0e + 2x1o")(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x, allow_unused=True)
    assert torch.equal(gradient, torch.zeros(8))
    assert second is None or torch.isfinite(second).all()


@pytest.mark.parametrize("cutoff", [PolynomialCutoff(6), PolynomialCutoff(3), CosineCutoff()])
def test_cutoffs_end_smoothly(cutoff):
    u = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    value = cutoff(u)
    assert value.tolist() == [1.0, 0.0, 0.0]
    (slope,) = torch.autograd.grad(value.sum(), u)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)
    below = cutoff(torch.tensor([1 - 1e-6], dtype=torch.float64))
    assert abs(below.item()) < 1e-11


@pytest.mark.parametrize("kind", [BesselBasis, GaussianBasis])
def test_radial_bases(kind):
    basis = kind(8).double()
    u = torch.linspace(0, 1.2, 200, dtype=torch.float64, requires_grad=True)
    value = basis(u)
    assert value.shape == (200, 8)
    assert torch.equal(value[u >= 1], torch.zeros_like(value[u >= 1]))
    (slope,) = torch.autograd.grad(value.sum(), u, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), u)
    assert torch.isfinite(value).all()
    assert torch.isfinite(slope).all()
    assert torch.isfinite(curvature).all()
    x = u.detach()[1:-1].clamp(0.01, 0.99).requires_grad_()
    assert torch.autograd.gradcheck(basis, (x[::20],))


def test_bessel_basis_is_the_published_one():
    basis = BesselBasis(4)
    u = torch.tensor([0.3], dtype=torch.float64)
    n = torch.arange(1, 5)
    expected = torch.sin(n * torch.pi * u) / u * PolynomialCutoff(6)(u) * basis.scale
    torch.testing.assert_close(basis(u)[0], expected)


def test_constants_survive_a_cast():
    class Third(ExactConstants):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.register_constant("third", torch.tensor(1 / 3, dtype=torch.float64))

    module = torch.nn.Sequential(Third()).float().double()
    assert module[0].third.item() == 1 / 3
    assert module[0].weight.dtype == torch.float64
    assert "third" not in module[0].state_dict()


@pytest.mark.parametrize("cutoff", [PolynomialCutoff(6), PolynomialCutoff(2), CosineCutoff()])
@pytest.mark.parametrize("kind", [BesselBasis, GaussianBasis])
def test_slopes_are_the_derivatives(kind, cutoff):
    basis = kind(5, cutoff).double()
    u = torch.linspace(0, 1.1, 12, dtype=torch.float64)
    u = torch.cat([u, torch.tensor([1e-9, 1e-3, 0.0159, 0.016], dtype=u.dtype)]).requires_grad_()
    value, slope = basis.value_and_slope(u)
    torch.testing.assert_close(value, basis(u))
    for n in range(5):
        (expected,) = torch.autograd.grad(basis(u)[:, n].sum(), u)
        torch.testing.assert_close(slope[:, n], expected)
