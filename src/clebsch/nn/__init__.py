"""Equivariant layers; features are flat in layout ``ir_mul``."""

from clebsch.nn.activations import (
    Activation,
    ScaledActivation,
    function_parity,
    moment,
    second_moment_scale,
)
from clebsch.nn.attention import Attention
from clebsch.nn.convolution import Convolution
from clebsch.nn.gate import Gate, GeneralGate
from clebsch.nn.linear import Linear
from clebsch.nn.mlp import MLP
from clebsch.nn.norm import Norm
from clebsch.nn.point_convolution import PointConvolution
from clebsch.nn.radial import (
    BesselBasis,
    CosineCutoff,
    Cutoff,
    GaussianBasis,
    PolynomialCutoff,
    RadialBasis,
)
from clebsch.nn.reduced_product import AntisymmetricPower, ReducedTensorProduct, SymmetricPower
from clebsch.nn.tensor_product import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorProduct,
)
from clebsch.nn.tensor_square import TensorSquare

__all__ = [
    "MLP",
    "Activation",
    "AntisymmetricPower",
    "Attention",
    "BesselBasis",
    "Convolution",
    "CosineCutoff",
    "Cutoff",
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Gate",
    "GaussianBasis",
    "GeneralGate",
    "Linear",
    "Norm",
    "PointConvolution",
    "PolynomialCutoff",
    "RadialBasis",
    "ReducedTensorProduct",
    "ScaledActivation",
    "SymmetricPower",
    "TensorProduct",
    "TensorSquare",
    "function_parity",
    "moment",
    "second_moment_scale",
]
