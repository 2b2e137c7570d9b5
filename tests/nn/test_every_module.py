"""Every public layer: exact symmetry after a cast to float64, finite gradients, PyTorch's tools."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import clebsch.nn as layers
from clebsch.nn import MLP, Activation, RadialBasis, ScaledActivation, SphereActivation
from clebsch.nn.cutoffs import Cutoff
from clebsch.o3 import Irreps, SphereGrid, spherical_harmonics
from clebsch.ops import Edges, Specification
from clebsch.testing import assert_equivariant, assert_finite_gradients

X = "4x0e + 2x0o + 3x1o + 2x1e + 2x2e"
Y = "0e + 1o + 2e"
SILU, TANH = nn.functional.silu, torch.tanh


def cube(x: Tensor) -> Tensor:
    return x * x * x


class OnEdges(nn.Module):
    """A layer of points as a function of features and positions."""

    def __init__(self, layer: nn.Module, attributes: bool = False, cutoff: bool = False) -> None:
        super().__init__()
        self.layer, self.attributes, self.with_cutoff = layer, attributes, cutoff
        self.basis = layers.BesselBasis(4)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        n = x.shape[0]
        src = torch.arange(n).repeat(n)
        dst = torch.arange(n).repeat_interleave(n)
        src, dst = src[src != dst], dst[src != dst]
        vectors = positions[src] - positions[dst]
        r = (vectors.square().sum(-1) + 1e-3).sqrt() / 12
        extra = [x[:, :1].square()] if self.attributes else []
        also = [self.basis.cutoff(r)] if self.with_cutoff else []
        y = spherical_harmonics(Y, vectors)
        return self.layer(x, *extra, y, self.basis(r), *also, Edges(src, dst, n))


class Species(nn.Module):
    """A layer whose weights depend on the species of a row, all rows being of one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, torch.ones(x.shape[0], dtype=torch.int64, device=x.device))


def channels(mul: int, lmax: int = 2) -> str:
    return " + ".join(f"{mul}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


RADIAL = {"radial": [4, 8], "mean_neighbours": 3.0}
# name -> (layer, irreps of the inputs, irreps of the results)
CASES: dict[str, Callable[[], tuple[nn.Module, object, object]]] = {
    "Activation": lambda: (Activation("4x0e + 2x0o + 3x1o", [SILU, TANH, None]),
                           "4x0e + 2x0o + 3x1o", "4x0e + 2x0o + 3x1o"),
    "AntisymmetricPower": lambda: power(layers.AntisymmetricPower("0e + 1o + 1e", 2), 2),
    "Attention": lambda: (
        OnEdges(layers.Attention(X, Y, "2x0e + 2x1o", heads=1, **RADIAL), cutoff=True),
        [X, "cartesian_points"], "2x0e + 2x1o"),
    "BatchNorm": lambda: (layers.BatchNorm(X).eval(), X, X),
    "Convolution": lambda: (OnEdges(layers.Convolution(X, Y, "2x0e + 2x1o + 2x2e", **RADIAL)),
                            [X, "cartesian_points"], "2x0e + 2x1o + 2x2e"),
    "Dropout": lambda: (layers.Dropout(X).eval(), X, X),
    "ElementwiseTensorProduct": lambda: product(
        layers.ElementwiseTensorProduct("3x0e + 3x1o", "3x1o + 3x2e")),
    "Extract": lambda: (layers.Extract("2x0e + 3x1o", ["3x1o", "2x0e"], [[1], [0]]),
                        "2x0e + 3x1o", ["3x1o", "2x0e"]),
    "ExtractIr": lambda: (layers.ExtractIr("2x0e + 3x1o + 1x1o", "1o"), "2x0e + 3x1o + 1x1o",
                          "3x1o + 1x1o"),
    "FactorLinear": lambda: (
        nn.Sequential(nn.Unflatten(-1, (2, Irreps(X).dim)),
                      layers.FactorLinear(X, "2x0e + 2x1o", 2, 3, biases=True), nn.Flatten(-2)),
        f"{X} + {X}", "2x0e + 2x1o + 2x0e + 2x1o + 2x0e + 2x1o"),
    "FullTensorProduct": lambda: product(layers.FullTensorProduct("2x0e + 2x1o", Y)),
    "FullyConnectedTensorProduct": lambda: product(
        layers.FullyConnectedTensorProduct(X, Y, "2x0o + 2x1o + 2x2e")),
    "Gate": lambda: gate(layers.Gate("4x0e + 2x0o + 3x1o + 2x2e")),
    "GauntTensorProduct": lambda: (
        layers.GauntTensorProduct(channels(2), channels(2)), [channels(2)] * 2,
        layers.GauntTensorProduct(channels(2), channels(2)).irreps_z),
    "GeneralGate": lambda: gate(layers.GeneralGate(
        "3x0e + 2x0o", [SILU, TANH], "2x0e + 3x0o", [SILU, TANH], "2x1o + 3x2e")),
    "Identity": lambda: (layers.Identity("1x1o + 2x1o", "3x1o"), "1x1o + 2x1o", "3x1o"),
    "LayerNorm": lambda: (layers.LayerNorm(X), X, X),
    "Linear": lambda: (layers.Linear(X, X, biases=True), X, X),
    "Norm": lambda: (layers.Norm(X), X, layers.Norm(X).irreps_out),
    "NormActivation": lambda: (layers.NormActivation(X, SILU, bias=True), X, X),
    "PointConvolution": lambda: (
        OnEdges(layers.PointConvolution(X, "0e", Y, "2x0e + 2x1o", **RADIAL), attributes=True),
        [X, "cartesian_points"], "2x0e + 2x1o"),
    "RMSNorm": lambda: (layers.RMSNorm(X), X, X),
    "ReducedTensorProduct": lambda: (
        layers.ReducedTensorProduct("ij=-ji", i="0e + 1o"), ["0e + 1o"] * 2,
        layers.ReducedTensorProduct("ij=-ji", i="0e + 1o").irreps_out),
    "RotationActivation": lambda: rotation_activation(),
    "SphereActivation": lambda: sphere_activation(),
    "SymmetricContraction": lambda: (
        Species(layers.SymmetricContraction(
            channels(3), "3x0e + 3x1o", correlation=3, n_species=2)),
        channels(3), "3x0e + 3x1o"),
    "SymmetricPower": lambda: power(layers.SymmetricPower("0e + 1o + 2e", 3), 1),
    "TensorProduct": lambda: product(
        layers.TensorProduct(Specification.fully_connected(X, Y, "2x1e + 2x2o"))),
    "TensorSquare": lambda: (layers.TensorSquare("3x0e + 3x1o", "2x0e + 2x2e"), "3x0e + 3x1o",
                             "2x0e + 2x2e"),
}  # fmt: skip

# Layers that no rotation of one row can test, and where they are tested.
ELSEWHERE = {
    "VoxelConvolution": "tests/nn/test_voxel_convolution.py",
    "LowPass": "tests/nn/test_voxel_convolution.py",
    "ToSphereGrid": "tests/nn/test_sphere_grid_layers.py",
    "FromSphereGrid": "tests/nn/test_sphere_grid_layers.py",
}
SCALARS = (Cutoff, RadialBasis, MLP, ScaledActivation)  # functions of numbers that do not turn


def power(layer: nn.Module, factors: int) -> tuple[nn.Module, object, object]:
    irreps = layer.irreps_in
    one = irreps if isinstance(irreps, Irreps) else irreps[0]
    return layer, one if factors == 1 else [one] * factors, layer.irreps_out


def product(layer: nn.Module) -> tuple[nn.Module, object, object]:
    spec = layer.specification
    return layer, [spec.x, spec.y], spec.z


def gate(layer: nn.Module) -> tuple[nn.Module, object, object]:
    return layer, layer.irreps_in, layer.irreps_out


def sphere_activation() -> tuple[nn.Module, object, object]:
    layer = SphereActivation(Irreps.spherical_harmonics(2), cube, polynomial=3)
    return layer, layer.irreps_in, layer.irreps_out


def rotation_activation() -> tuple[nn.Module, object, object]:
    layer = layers.RotationActivation(1, 2, cube, polynomial=3)
    return layer, layer.irreps_in, layer.irreps_out


def build(name: str) -> tuple[nn.Module, object, object]:
    torch.manual_seed(3)
    return CASES[name]()


def test_no_layer_is_forgotten() -> None:
    public = {
        name
        for name in layers.__all__
        if inspect.isclass(thing := getattr(layers, name))
        and issubclass(thing, nn.Module)
        and not issubclass(thing, SCALARS)
    }
    assert public == set(CASES) | set(ELSEWHERE)
    assert not set(CASES) & set(ELSEWHERE)


@pytest.mark.parametrize("name", CASES)
def test_exact_after_double(name: str) -> None:
    layer, irreps_in, irreps_out = build(name)
    assert all(p.dtype == torch.float32 for p in layer.parameters())
    assert_equivariant(layer.double(), irreps_in, irreps_out, tolerance=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_single_precision(name: str) -> None:
    layer, irreps_in, irreps_out = build(name)
    assert_equivariant(layer, irreps_in, irreps_out, dtype=torch.float32, tolerance=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_finite_gradients(name: str) -> None:
    layer, irreps_in, irreps_out = build(name)
    assert_finite_gradients(layer, irreps_in, irreps_out)


@pytest.mark.parametrize("l", range(1, 4))
def test_grid_is_what_a_polynomial_needs(l: int) -> None:
    layer = SphereActivation(Irreps.spherical_harmonics(l), cube, polynomial=3)
    assert isinstance(layer.grid, SphereGrid)
    assert layer.grid.degree >= 4 * l


def arguments(irreps: object, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Some rows for each input."""
    each = irreps if isinstance(irreps, list) else [irreps]
    widths = [3 if one == "cartesian_points" else Irreps(one).dim for one in each]
    return [torch.randn(4, width, dtype=dtype) for width in widths]


def joined(result: object) -> Tensor:
    parts = result if isinstance(result, (tuple, list)) else [result]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_in_use_is_pickled(name: str) -> None:
    """As by worker processes; what kernels keep on a layer is no part of it."""
    layer, irreps_in, _ = build(name)
    x = arguments(irreps_in)
    expected = joined(layer(*x))
    again = pickle.loads(pickle.dumps(layer))
    torch.testing.assert_close(joined(again(*x)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_activation_checkpointing(name: str) -> None:
    layer, irreps_in, _ = build(name)
    x = [one.requires_grad_() for one in arguments(irreps_in)]
    leaves = [*x, *layer.parameters()]

    def value(*x: Tensor) -> Tensor:
        return joined(layer(*x)).square().sum()

    expected = torch.autograd.grad(value(*x), leaves)
    found = torch.autograd.grad(checkpoint(value, *x, use_reentrant=False), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("inputs", [torch.float32, torch.bfloat16])
def test_mixed_precision(name: str, inputs: torch.dtype) -> None:
    layer, irreps_in, _ = build(name)
    x = arguments(irreps_in)
    expected = joined(layer(*x))
    x = [one.to(inputs).requires_grad_() for one in x]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = joined(layer(*x))
    assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()
    found.float().square().sum().backward()
    for leaf in [*x, *layer.parameters()]:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own rules
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", ["func", "dual"])
def test_forward_mode(name: str, way: str) -> None:
    """Derivatives along a direction, as ``torch.func.hessian`` asks for them."""
    layer, irreps_in, _ = build(name)
    layer.double()
    x, along = arguments(irreps_in, torch.float64), arguments(irreps_in, torch.float64)

    def value(*x: Tensor) -> Tensor:
        return joined(layer(*x))

    if way == "func":
        found = torch.func.jvp(value, tuple(x), tuple(along))[1]
    else:
        with forward_ad.dual_level():
            result = value(*map(forward_ad.make_dual, x, along))
            found = forward_ad.unpack_dual(result).tangent
    h = 1e-5
    there, back = ([a + sign * h * b for a, b in zip(x, along, strict=True)] for sign in (1, -1))
    torch.testing.assert_close(
        found, (value(*there) - value(*back)) / (2 * h), atol=1e-6, rtol=1e-6
    )


class Gathered(nn.Module):
    """A layer of one list of inputs, as ``torch.export`` likes them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: list[Tensor]) -> Tensor:
        return joined(self.layer(*x))


@pytest.mark.parametrize(
    "name",
    [
        "Attention",
        "FullyConnectedTensorProduct",
        "GauntTensorProduct",
        "Gate",
        "RotationActivation",
        "SphereActivation",
        "SymmetricContraction",
    ],
)
def test_exported_for_any_number_of_rows(name: str) -> None:
    layer, irreps_in, _ = build(name)
    rows = {0: torch.export.Dim("rows", min=2)}
    x = arguments(irreps_in)
    program = torch.export.export(Gathered(layer), (x,), dynamic_shapes=([rows] * len(x),))
    more = [torch.cat([one, one.flip(0)]) for one in x]
    more = [one + 0.1 * torch.randn_like(one) for one in more]
    torch.testing.assert_close(program.module()(more), joined(layer(*more)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_built_without_memory(name: str) -> None:
    """On the meta device, then ``to_empty`` and a state dict: constants are there, and exact."""
    layer, irreps_in, _ = build(name)
    x = arguments(irreps_in)
    expected = joined(layer(*x))
    with torch.device("meta"):
        empty = build(name)[0]
    assert all(p.is_meta for p in empty.parameters())
    there_and_back = build(name)[0].to("meta")
    for other in (empty, there_and_back):
        filled = other.to_empty(device="cpu")
        filled.load_state_dict(layer.state_dict())
        torch.testing.assert_close(joined(filled(*x)), expected, rtol=0, atol=0)
