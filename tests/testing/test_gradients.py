"""Singular formulas are found, and the special point is named."""

import pytest
import torch

from clebsch.nn import Gate, Linear, Norm
from clebsch.o3 import spherical_harmonics
from clebsch.testing import assert_compiles, assert_finite_gradients


def test_right_functions_pass():
    assert_finite_gradients(Norm("3x0e + 2x1o"))
    assert_finite_gradients(Gate("3x0e + 2x1o"))
    assert_finite_gradients(Linear("3x0e + 2x1o", "2x1o"))
    assert_finite_gradients(lambda r: spherical_harmonics(3, r), "cartesian_points", "3o")


def test_distance_between_equal_positions():
    def distances(positions):
        return (positions - positions.roll(1, 0)).norm(dim=-1, keepdim=True).sqrt()

    with pytest.raises(AssertionError, match="first derivative by input 0 is not finite with"):
        assert_finite_gradients(distances, "cartesian_points", "0e")


def test_an_angle_on_the_polar_axis():
    def tilt(x):
        return torch.acos(torch.nn.functional.normalize(x, dim=-1)[..., 1:2])

    with pytest.raises(AssertionError, match=r"input 0 is not finite with input 0 along \+y"):
        assert_finite_gradients(tilt, "1o", "0e", second=False)

    def logarithm_of_the_angle_to_y(x):
        return torch.log(x[..., 0:1].square() + x[..., 2:3].square())

    with pytest.raises(AssertionError, match="the output is not finite with input 0"):
        assert_finite_gradients(logarithm_of_the_angle_to_y, "1o", "0e")


def test_the_second_derivative_is_tried():
    def rough(x):
        return x.abs().pow(1.5)

    assert_finite_gradients(rough, "2x0e", "2x0e", second=False)
    with pytest.raises(AssertionError, match="second derivative by input 0"):
        assert_finite_gradients(rough, "2x0e", "2x0e")


def test_no_rows():
    with pytest.raises(AssertionError, match="no rows"):
        assert_finite_gradients(lambda x: x.mean(0), "1o", "1o")


def test_compiles():
    assert_compiles(Linear("3x0e + 2x1o", "2x1o"), torch.randn(5, 9))

    class Breaks(torch.nn.Module):
        def forward(self, x):
            torch._dynamo.graph_break()
            return x

    with pytest.raises(AssertionError, match="Breaks is not one graph"):
        assert_compiles(Breaks(), torch.randn(3))
