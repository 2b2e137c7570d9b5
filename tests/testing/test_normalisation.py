"""Forgotten factors are caught by the irreps they belong to."""

import pytest
import torch
from torch import nn

from clebsch.nn import MLP, FullyConnectedTensorProduct, Gate, Linear
from clebsch.o3 import Irreps
from clebsch.testing import assert_normalized, output_moments

IRREPS = Irreps("6x0e + 5x1o + 2x2e")


class Off(nn.Module):
    """A linear map with a factor on the vectors."""

    irreps_in = irreps_out = IRREPS

    def __init__(self, factor=1.0, shift=0.0):
        super().__init__()
        self.linear = Linear(IRREPS, IRREPS)
        self.factor, self.shift = factor, shift

    def forward(self, x):
        y = self.linear(x)
        vectors = self.factor * y[..., 6:21] + self.shift
        return torch.cat([y[..., :6], vectors, y[..., 21:]], dim=-1)


def test_right_modules_pass():
    assert_normalized(Linear("8x0e + 4x1o", "4x0e + 8x1o"))
    assert_normalized(Gate("8x0e + 8x0o + 8x1o"))
    assert_normalized(FullyConnectedTensorProduct("4x0e + 4x1o", "0e + 1o", "4x0e + 4x1o + 4x1e"))
    assert_normalized(MLP([16, 32, 8]), "16x0e", "8x0e")


def test_a_forgotten_factor_names_its_irreps():
    with pytest.raises(AssertionError) as caught:
        assert_normalized(Off(factor=1.5))
    first, *rest = str(caught.value).splitlines()
    assert first == "Off is not normalized (component, tolerance 0.1):"
    assert len(rest) == 1
    assert "5x1o (output, 6:21): mean square 2." in rest[0]


def test_a_vector_with_a_mean():
    with pytest.raises(AssertionError, match=r"5x1o \(output, 6:21\): mean 0\.[56].*expected 0"):
        assert_normalized(Off(factor=0.8, shift=0.6))


def test_one_component_too_large():
    class Stretched(Off):
        def forward(self, x):
            y = super().forward(x).clone()
            y[..., 6:11] *= 1.6  # x components in ir_mul
            return y

    with pytest.raises(AssertionError, match=r"5x1o .*mean square 2\.[3-7]"):
        assert_normalized(Stretched())


def test_weights_are_drawn_anew_and_the_module_keeps_its_own():
    module = Off()
    with torch.no_grad():
        module.linear.weight.zero_()
        module.linear.weight[0] = 30.0
    before = module.linear.weight.clone()
    assert_normalized(module)
    assert torch.equal(module.linear.weight, before)
    with pytest.raises(AssertionError, match="6x0e"):
        assert_normalized(module, redraw=lambda m: None)


def test_scales_and_biases_of_a_new_module_stay():
    norm = nn.BatchNorm1d(4)
    assert_normalized(norm, "4x0e", "4x0e")


def test_too_few_draws_are_said():
    with pytest.raises(AssertionError, match="says nothing: raise n_weights"):
        assert_normalized(Linear("2x0e", "2x0e"), n_weights=4, n_inputs=4)


def test_norm_normalization(float64):
    def halves(x):
        return x

    assert_normalized(halves, "2x0e + 3x2e", "2x0e + 3x2e", normalization="norm")
    moments = output_moments(halves, "3x2e", "3x2e", normalization="norm")
    assert moments[0].square == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="component"):
        output_moments(halves, "1o", "1o", normalization="integral")


def test_modules_of_e3nn_and_their_own_assertion():
    o3 = pytest.importorskip("e3nn.o3")
    theirs = pytest.importorskip("e3nn.util.test")
    good = o3.FullyConnectedTensorProduct("4x0e + 4x1o", "0e + 1o", "4x0e + 4x1o")
    bad = o3.FullyConnectedTensorProduct(
        "4x0e + 4x1o", "0e + 1o", "4x0e + 4x1o", path_normalization="none"
    )
    theirs.assert_normalized(good, n_weight=100, n_input=1000, atol=0.3)
    assert_normalized(good, layout="mul_ir")
    with pytest.raises(AssertionError):
        theirs.assert_normalized(bad, n_weight=100, n_input=1000, atol=0.3)
    with pytest.raises(AssertionError, match="4x0e"):
        assert_normalized(bad, layout="mul_ir")


def test_inputs_of_ones_own():
    def draw(rows, generator):
        return [torch.randn(rows, 2, generator=generator), torch.arange(rows) % 2]

    def picked(x, which):
        return x.gather(1, which[:, None])

    assert_normalized(picked, ["2x0e", None], "0e", inputs=draw)
