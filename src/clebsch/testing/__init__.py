"""Assertions for modules of your own: do they turn as they claim, is their variance one?

They take any ``nn.Module`` or function, of this library or of another (``layout="mul_ir"`` for
e3nn's), and name the irreps that break, by how much and under which operation.
"""

from clebsch.testing.compilation import assert_compiles
from clebsch.testing.equivariance import (
    TOLERANCE,
    Deviation,
    EquivarianceTable,
    assert_equivariant,
    equivariance_error,
)
from clebsch.testing.gradients import assert_finite_gradients
from clebsch.testing.normalisation import Moments, assert_normalized, output_moments
from clebsch.testing.random_irreps import random_irreps

__all__ = [
    "TOLERANCE",
    "Deviation",
    "EquivarianceTable",
    "Moments",
    "assert_compiles",
    "assert_equivariant",
    "assert_finite_gradients",
    "assert_normalized",
    "equivariance_error",
    "output_moments",
    "random_irreps",
]
