"""Equivariant layers; features are flat in layout ``ir_mul``."""

from clebsch.nn.activations import (
    Activation,
    ScaledActivation,
    function_parity,
    moment,
    second_moment_scale,
)
from clebsch.nn.attention import Attention
from clebsch.nn.batch_norm import BatchNorm
from clebsch.nn.convolution import Convolution
from clebsch.nn.cutoffs import CosineCutoff, Cutoff, PolynomialCutoff, XPLORCutoff
from clebsch.nn.dropout import Dropout
from clebsch.nn.e3nn_constants import use_e3nn_constants
from clebsch.nn.e3nn_weights import from_e3nn_state_dict, load_e3nn, to_e3nn_state_dict
from clebsch.nn.extract import Extract, ExtractIr, Identity
from clebsch.nn.factor_linear import FactorLinear
from clebsch.nn.gate import Gate, GeneralGate
from clebsch.nn.gaunt import GauntTensorProduct, gaunt_specification
from clebsch.nn.layer_norm import LayerNorm, RMSNorm
from clebsch.nn.linear import Linear
from clebsch.nn.mlp import MLP
from clebsch.nn.norm import Norm
from clebsch.nn.norm_activation import NormActivation
from clebsch.nn.point_convolution import PointConvolution
from clebsch.nn.radial import (
    BesselBasis,
    ChebyshevBasis,
    CosineBasis,
    FourierBasis,
    GaussianBasis,
    RadialBasis,
    SmoothFiniteBasis,
)
from clebsch.nn.reduced_product import AntisymmetricPower, ReducedTensorProduct, SymmetricPower
from clebsch.nn.rotation_activation import RotationActivation
from clebsch.nn.soft_one_hot import bessel, soft_one_hot_linspace, soft_unit_step
from clebsch.nn.sphere_activation import SphereActivation
from clebsch.nn.sphere_grid import FromSphereGrid, ToSphereGrid
from clebsch.nn.symmetric_contraction import SymmetricContraction
from clebsch.nn.tensor_product import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorProduct,
)
from clebsch.nn.tensor_square import TensorSquare
from clebsch.nn.voxel_convolution import LowPass, VoxelConvolution

__all__ = [
    "MLP",
    "Activation",
    "AntisymmetricPower",
    "Attention",
    "BatchNorm",
    "BesselBasis",
    "ChebyshevBasis",
    "Convolution",
    "CosineBasis",
    "CosineCutoff",
    "Cutoff",
    "Dropout",
    "ElementwiseTensorProduct",
    "Extract",
    "ExtractIr",
    "FactorLinear",
    "FourierBasis",
    "FromSphereGrid",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Gate",
    "GauntTensorProduct",
    "GaussianBasis",
    "GeneralGate",
    "Identity",
    "LayerNorm",
    "Linear",
    "LowPass",
    "Norm",
    "NormActivation",
    "PointConvolution",
    "PolynomialCutoff",
    "RMSNorm",
    "RadialBasis",
    "ReducedTensorProduct",
    "RotationActivation",
    "ScaledActivation",
    "SmoothFiniteBasis",
    "SphereActivation",
    "SymmetricContraction",
    "SymmetricPower",
    "TensorProduct",
    "TensorSquare",
    "ToSphereGrid",
    "VoxelConvolution",
    "XPLORCutoff",
    "bessel",
    "from_e3nn_state_dict",
    "function_parity",
    "gaunt_specification",
    "load_e3nn",
    "moment",
    "second_moment_scale",
    "soft_one_hot_linspace",
    "soft_unit_step",
    "to_e3nn_state_dict",
    "use_e3nn_constants",
]
