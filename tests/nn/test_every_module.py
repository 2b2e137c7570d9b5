"""Every public layer: exact symmetry after a cast to float64, finite gradients, PyTorch's tools."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from clebsch.nn import MLP, RadialBasis, ScaledActivation, SphereActivation
from clebsch.nn.cutoffs import Cutoff
from clebsch.o3 import Irreps, SphereGrid
from clebsch.testing import assert_equivariant, assert_finite_gradients
from nn.every_layer import CASES, arguments, build, cube, joined, public_layers

# Layers that no rotation of one row can test, and where they are tested.
ELSEWHERE = {
    "VoxelConvolution": "tests/nn/test_voxel_convolution.py",
    "LowPass": "tests/nn/test_voxel_convolution.py",
    "ToSphereGrid": "tests/nn/test_sphere_grid_layers.py",
    "FromSphereGrid": "tests/nn/test_sphere_grid_layers.py",
}
SCALARS = (Cutoff, RadialBasis, MLP, ScaledActivation)  # functions of numbers that do not turn


def test_no_layer_is_forgotten() -> None:
    assert public_layers(SCALARS) == set(CASES) | set(ELSEWHERE)
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
