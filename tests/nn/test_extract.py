"""Blocks taken out of features: e3nn's, and the identity's bookkeeping."""

import pytest
import torch

from clebsch.nn import Extract, ExtractIr, Identity
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from turned_features import equivariance_error

IRREPS = Irreps("3x1o + 2x0e + 1x2e + 4x1o + 2x0e")


def test_extract_equals_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.nn")
    outs, blocks = ["2x0e + 3x1o", "4x1o", "", str(IRREPS)], [(4, 0), (3,), (), (0, 1, 2, 3, 4)]
    layer, oracle = Extract(IRREPS, outs, blocks), e3nn.Extract(str(IRREPS), outs, blocks)
    x = IRREPS.randn(2, 5, -1)
    found, expected = layer(x), oracle(to_e3nn(x, IRREPS))
    assert len(found) == len(expected) == 4
    for y, e, irreps in zip(found, expected, layer.irreps_outs, strict=True):
        assert torch.equal(y, from_e3nn(e, irreps))


@pytest.mark.parametrize("ir", ["0e", "1o", "2e", "3o"])
def test_extract_ir_equals_e3nn(ir, float64):
    e3nn = pytest.importorskip("e3nn.nn")
    layer, oracle = ExtractIr(IRREPS, ir), e3nn.ExtractIr(str(IRREPS), ir)
    assert str(layer.irreps_out) == str(oracle.irreps_out)
    x = IRREPS.randn(5, -1)
    assert torch.equal(layer(x), from_e3nn(oracle(to_e3nn(x, IRREPS)), layer.irreps_out))
    x = x.double()
    assert layer.irreps_out.dim == 0 or (
        equivariance_error(layer, IRREPS, layer.irreps_out, x) < 1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_rows_and_gradients(dtype):
    layer = Extract(IRREPS, ["2x0e", "2x0e"], [[1], [4]])
    for rows in (0, 3):
        x = torch.zeros(rows, IRREPS.dim, dtype=dtype, requires_grad=True)
        first, second = layer(x)
        assert first.dtype == dtype
        (gradient,) = torch.autograd.grad(first.sum() + 2 * second.sum(), x)
        assert gradient.sum().item() == 6 * rows


def test_identity_equals_e3nn_where_blocks_are_cut_otherwise(float64):
    e3nn = pytest.importorskip("e3nn.nn")
    irreps_in, irreps_out = Irreps("2x1o + 1x1o + 3x0e + 0x2e"), Irreps("3x1o + 1x0e + 2x0e")
    layer, oracle = Identity(irreps_in, irreps_out), e3nn.Identity(str(irreps_in), str(irreps_out))
    x = irreps_in.randn(4, -1)
    expected = from_e3nn(oracle(to_e3nn(x, irreps_in)), irreps_out)
    assert torch.equal(layer(x), expected)
    assert equivariance_error(layer, irreps_in, irreps_out, x) < 1e-12
    assert not layer.state_dict()


def test_identity_of_equal_irreps_is_the_tensor_itself():
    x = IRREPS.randn(4, -1)
    assert Identity(IRREPS, IRREPS)(x) is x


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Identity("2x0e", "2x0o"), r"2x0e \(dimension 2\) is not 2x0o \(dimension 2\)"),
        (lambda: Extract("1o + 0e", ["0e"], [[0]]), r"blocks \[0\] of 1x1o\+1x0e are not 1x0e"),
        (lambda: Extract("1o + 0e", ["0e"], [[2]]), r"blocks \[2\]"),
        (lambda: Extract("1o + 0e", ["0e"], []), "1 results, but blocks are given for 0"),
    ],
)
def test_what_cannot_be_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    "layer", [Extract("2x1o", ["2x1o"], [[0]]), ExtractIr("2x1o", "1o"), Identity("2x1o", "2x1o")]
)
def test_a_wrong_width_is_named(layer):
    with pytest.raises(ValueError, match=rf"{type(layer).__name__}: x has 4"):
        layer(torch.zeros(2, 4))
