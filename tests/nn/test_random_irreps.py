"""Every public layer with irreps that nobody would choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

import pytest
import torch
from torch import Tensor

import clebsch.nn as layers
from clebsch.nn import MLP, ScaledActivation
from clebsch.nn.cutoffs import Cutoff
from clebsch.nn.radial import RadialBasis
from clebsch.o3 import Irreps
from clebsch.ops import Specification, backend
from clebsch.ops.nodewise import gating, mixing, perceptron, polynomials
from clebsch.testing import assert_equivariant
from nn.every_layer import public_layers
from nn.random_layers import RANDOM, Case, Draw, draw_case

FEW, MANY = range(20), range(20, 120)
ROWS = 7


@contextmanager
def plain() -> Iterator[None]:
    """Plain PyTorch alone: no kernel for products along edges, nor for node-wise layers."""
    with pytest.MonkeyPatch.context() as patch, backend("reference"):
        for module in (gating, mixing, perceptron, polynomials):
            patch.setattr(module, "usable", lambda: False)
        yield


def inputs(case: Case, rows: int) -> list[Tensor]:
    return [torch.randn(rows, irreps.dim, dtype=torch.float64) for irreps in case.irreps_in]


def joined(case: Case, x: list[Tensor]) -> Tensor:
    result = case.layer(*x)
    return torch.cat(list(result), dim=-1) if isinstance(result, tuple) else result


def value_and_gradients(case: Case, x: list[Tensor]) -> list[Tensor]:
    """The results, and the derivatives of a sum of them by inputs and parameters."""
    torch.manual_seed(1)  # of dropout
    leaves = [one.detach().requires_grad_() for one in x]
    value = joined(case, leaves)
    leaves += case.layer.parameters()
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).view_as(value)
    if not value.requires_grad:  # nothing of the input reaches the result
        assert not value.any()
        return [value, *map(torch.zeros_like, leaves)]
    slopes = torch.autograd.grad((value * weights).sum(), leaves, allow_unused=True)
    zeros = [torch.zeros_like(leaf) for leaf in leaves]
    return [value.detach(), *(z if s is None else s for s, z in zip(slopes, zeros, strict=True))]


def assert_alike(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * max(1.0, _size(b)))


def _size(x: Tensor) -> float:
    return float(x.detach().abs().max()) if x.numel() else 0.0


def checked(name: str, seed: int) -> bool:
    """Whether the layer of this seed was built; it is then put to all tests."""
    try:
        case = draw_case(name, seed)
    except ValueError as error:
        message = str(error)
        assert message
        assert "\n" not in message
        return False
    turns(case)
    x = inputs(case, ROWS)
    results = value_and_gradients(case, x)
    assert results[0].shape == (ROWS, sum(irreps.dim for irreps in case.irreps_out))
    special = [[0.0 * one for one in x], [one[:1] for one in x], [one[:0] for one in x]]
    for some in special:
        found = value_and_gradients(case, some)
        assert found[0].shape == (some[0].shape[0], results[0].shape[1])
        assert all(one.isfinite().all() for one in found)
    assert all(one.isfinite().all() for one in results)
    if case.by_rows:
        rows_are_alone(case, x, results[0])
    assert_alike(value_and_gradients(case, [one.T.contiguous().T for one in x]), results)
    with plain():
        assert_alike(results, value_and_gradients(case, x))
        assert_alike(value_and_gradients(case, special[2]), found)
    return True


def enough(name: str, seeds: range, wanted: int) -> bool:
    """Whether so many layers of these seeds can be built; they are then put to all tests."""
    return any(built == wanted for built in accumulate(checked(name, seed) for seed in seeds))


def turns(case: Case) -> None:
    declared = case.irreps_out if len(case.irreps_out) > 1 else case.irreps_out[0]
    assert_equivariant(
        case.layer, case.irreps_in, declared, inputs=inputs(case, ROWS), trials=1,
        tolerance=1e-10, operations=["rotation", "inversion"],
    )  # fmt: skip


def rows_are_alone(case: Case, x: list[Tensor], result: Tensor) -> None:
    """A row alone, one without a leading dimension, and rows in two dimensions."""
    assert_alike([joined(case, [one[:1] for one in x])], [result[:1]])
    assert_alike([joined(case, [one[0] for one in x])], [result[0]])
    six = joined(case, [one[:6].reshape(2, 3, one.shape[1]) for one in x])
    assert_alike([six], [result[:6].reshape(2, 3, -1)])
    none = joined(case, [one[:0].reshape(2, 0, one.shape[1]) for one in x])
    assert none.shape == (2, 0, result.shape[1])


def test_no_layer_is_forgotten() -> None:
    scalars = (Cutoff, RadialBasis, MLP, ScaledActivation, layers.LowPass)  # without irreps
    named = {part.strip() for name in RANDOM for part in name.split(",")}
    assert public_layers(scalars) - named == {"VoxelConvolution"}  # below, for it is of no rows


@pytest.mark.parametrize("name", RANDOM)
def test_a_few_irreps(name: str) -> None:
    """Products along edges by the reference: a kernel for each would take a compiler's time."""
    with backend("reference"):
        assert enough(name, FEW, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_many_irreps(name: str) -> None:
    with backend("reference"):
        assert enough(name, MANY, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_kernels(name: str) -> None:
    """Products along edges by kernels, each built by the compiler first."""
    assert enough(name, FEW, 2)


def voxel_convolution(seed: int) -> layers.VoxelConvolution:
    torch.manual_seed(seed)
    draw = Draw(seed)
    x, z = (draw.irreps(2, 3, 3) + Irreps("1x1o") for _ in range(2))  # they always meet
    return layers.VoxelConvolution(
        x, Irreps.spherical_harmonics(2), z, diameter=draw.one(2.5, 3.5), n_basis=2,
        trilinear=draw.flag(), periodic=draw.flag(),
    ).double()  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_fields_on_voxels(seed: int) -> None:
    """A quarter turn about z and the inversion, which map the grid to itself."""
    layer = voxel_convolution(seed)
    x = torch.randn(2, layer.irreps_in.dim, 5, 5, 5, dtype=torch.float64)
    y = layer(x)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    for matrix, moved in (
        (quarter, lambda f: f.rot90(1, (2, 3))),
        (-torch.eye(3, dtype=torch.float64), lambda f: f.flip(2, 3, 4)),
    ):
        by, to = (irreps.D_from_matrix(matrix) for irreps in (layer.irreps_in, layer.irreps_out))
        found = layer(moved(torch.einsum("ij,bjxyz->bixyz", by, x)))
        assert_alike([found], [moved(torch.einsum("ij,bjxyz->bixyz", to, y))])
    none = layer(x[:0].requires_grad_())
    assert none.shape == (0, *y.shape[1:])
    none.sum().backward()
    slopes = torch.autograd.grad(layer(0 * x).sum(), list(layer.parameters()))
    assert all(slope.isfinite().all() for slope in slopes)


def test_harmonics_without_channels() -> None:
    """They couple to nothing, as if they were not there."""
    spec = Specification.convolution("2x0e + 3x1o", "0x1o + 0e + 0x2e", "0e + 1o")
    assert spec.z == Specification.convolution("2x0e + 3x1o", "0e", "0e + 1o").z


def test_weights_by_species_without_rows() -> None:
    layer = layers.Linear("2x0e + 3x1o", "4x0e + 5x1o", n_species=2)
    x, species = torch.zeros(0, 11, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    with plain():
        y = layer(x, species)
    assert y.shape == (0, 19)
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape
