"""Every public layer with irreps of a usual kind, and what goes into it and comes out."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

import clebsch.nn as layers
from clebsch.nn import Activation, SphereActivation
from clebsch.o3 import Irreps, spherical_harmonics
from clebsch.ops import Edges, Specification

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
        others = max(n - 1, 1)
        number = torch.arange(n * (n - 1), device=x.device)
        dst = number // others
        src = (dst + 1 + number % others) % max(n, 1)
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


def public_layers(but: tuple[type, ...] = ()) -> set[str]:
    """Names of the layers that can be built, without subclasses of some."""
    return {
        name
        for name in layers.__all__
        if inspect.isclass(thing := getattr(layers, name))
        and issubclass(thing, nn.Module)
        and not inspect.isabstract(thing)
        and not issubclass(thing, but)
    }


def build(name: str) -> tuple[nn.Module, object, object]:
    torch.manual_seed(3)
    return CASES[name]()


def arguments(irreps: object, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Some rows for each input."""
    each = irreps if isinstance(irreps, list) else [irreps]
    widths = [3 if one == "cartesian_points" else Irreps(one).dim for one in each]
    return [torch.randn(4, width, dtype=dtype) for width in widths]


def joined(result: object) -> Tensor:
    parts = result if isinstance(result, (tuple, list)) else [result]
    return torch.cat([part.flatten(1) for part in parts], dim=1)
