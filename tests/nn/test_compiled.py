"""Every public layer under ``torch.compile``: one graph for any number of rows, and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import clebsch.nn as layers
from clebsch.o3 import Irreps, SphereGrid
from nn.every_layer import CASES, X, build, joined, public_layers

BACKEND = "aot_eager"
GRID = SphereGrid.gauss_legendre(6)
SIGNAL = "2x0e + 2x1o + 2x2e"
FIRST, THEN = 17, 19  # rows; no other size is 17, which the compiler would take for the same

# Layers of other things than rows of irreps: the layer, and the shape of a row of its input.
OTHERS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "BatchNorm, training": lambda: (layers.BatchNorm(X), (Irreps(X).dim,)),
    "BesselBasis": lambda: (layers.BesselBasis(4), ()),
    "ChebyshevBasis": lambda: (layers.ChebyshevBasis(4), ()),
    "CosineBasis": lambda: (layers.CosineBasis(4), ()),
    "CosineCutoff": lambda: (layers.CosineCutoff(), ()),
    "FourierBasis": lambda: (layers.FourierBasis(4), ()),
    "FromSphereGrid": lambda: (
        layers.FromSphereGrid(GRID, SIGNAL),
        (GRID.n_beta, GRID.n_alpha, 2),
    ),
    "GaussianBasis": lambda: (layers.GaussianBasis(4), ()),
    "LowPass": lambda: (layers.LowPass(2.0), (5, 5, 5)),
    "MLP": lambda: (layers.MLP([4, 8, 3]), (4,)),
    "PolynomialCutoff": lambda: (layers.PolynomialCutoff(), ()),
    "ScaledActivation": lambda: (layers.ScaledActivation(torch.tanh), (4,)),
    "SmoothFiniteBasis": lambda: (layers.SmoothFiniteBasis(4), ()),
    "ToSphereGrid": lambda: (layers.ToSphereGrid(SIGNAL, GRID), (Irreps(SIGNAL).dim,)),
    "VoxelConvolution": lambda: (
        layers.VoxelConvolution("2x0e + 1o", "0e + 1o", "0e + 2x1o", diameter=3.0, n_basis=2),
        (5, 4, 4, 4),
    ),
    "XPLORCutoff": lambda: (layers.XPLORCutoff(), ()),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the compiler's own
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def made(name: str) -> tuple[nn.Module, Callable[[int], list[Tensor]]]:
    """The layer in float64, and arguments of so many rows."""
    torch.manual_seed(3)
    if name in CASES:
        layer, irreps_in, _ = build(name)
        each = irreps_in if isinstance(irreps_in, list) else [irreps_in]
        shapes = [(3 if one == "cartesian_points" else Irreps(one).dim,) for one in each]
    else:
        layer, shape = OTHERS[name]()
        shapes = [shape]

    def arguments(rows: int) -> list[Tensor]:
        # between 0 and 1, where radial functions live
        return [torch.rand(rows, *shape, dtype=torch.float64) for shape in shapes]

    return layer.double(), arguments


def value_and_gradients(layer: nn.Module, function: nn.Module, x: list[Tensor]) -> list[Tensor]:
    """The result, the derivatives of a function of it by arguments and parameters, the buffers."""
    leaves = [one.clone().requires_grad_() for one in x]
    found = function(*leaves)
    value = joined(found if isinstance(found, tuple) else found.reshape(len(x[0]), -1))
    slopes = torch.autograd.grad(value.square().sum(), [*leaves, *layer.parameters()])
    return [value.detach(), *slopes, *(b.clone() for b in layer.buffers())]


def test_no_layer_is_forgotten() -> None:
    assert public_layers() == set(CASES) | {name.split(",")[0] for name in OTHERS}


@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_one_graph_for_any_number_of_rows(name: str) -> None:
    layer, arguments = made(name)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=BACKEND)
    for rows in FIRST, THEN:
        x = arguments(rows)
        with torch.compiler.set_stance("default" if rows == FIRST else "fail_on_recompile"):
            found = value_and_gradients(layer, compiled, x)
        expected = value_and_gradients(twin, twin, x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
