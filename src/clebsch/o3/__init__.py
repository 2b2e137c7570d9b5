"""The rotation and inversion group O(3): irreps, rotations, Wigner D and 3j, harmonics."""

from clebsch.o3 import material_tensors, permutations, rotations, voigt
from clebsch.o3.cartesian import CartesianTensor
from clebsch.o3.elastic_moduli import elastic_averages
from clebsch.o3.gaunt import gaunt
from clebsch.o3.generators import change_basis_real_to_complex, so3_generators, su2_generators
from clebsch.o3.index_formula import IndexFormula
from clebsch.o3.irreps import Irrep, Irreps, MulIr
from clebsch.o3.layout import from_e3nn, to_e3nn
from clebsch.o3.legendre import (
    legendre,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)
from clebsch.o3.linear_algebra import complete_basis, direct_sum, orthonormalize
from clebsch.o3.quantum_chemistry import to_quantum_chemistry
from clebsch.o3.reduced_products import (
    ReducedBasis,
    antisymmetric_power_basis,
    reduced_tensor_product,
    symmetric_power_basis,
)
from clebsch.o3.rotation_grid import RotationGrid
from clebsch.o3.rotations import rand_matrix
from clebsch.o3.sphere_grid import SphereGrid
from clebsch.o3.spherical_harmonics import (
    SphericalHarmonics,
    spherical_harmonics,
    spherical_harmonics_jacobian,
)
from clebsch.o3.symmetric_polynomials import symmetric_polynomials
from clebsch.o3.wigner import wigner_3j, wigner_D

__all__ = [
    "CartesianTensor",
    "IndexFormula",
    "Irrep",
    "Irreps",
    "MulIr",
    "ReducedBasis",
    "RotationGrid",
    "SphereGrid",
    "SphericalHarmonics",
    "antisymmetric_power_basis",
    "change_basis_real_to_complex",
    "complete_basis",
    "direct_sum",
    "elastic_averages",
    "from_e3nn",
    "gaunt",
    "legendre",
    "material_tensors",
    "orthonormalize",
    "permutations",
    "rand_matrix",
    "reduced_tensor_product",
    "rotations",
    "so3_generators",
    "spherical_harmonics",
    "spherical_harmonics_alpha",
    "spherical_harmonics_alpha_beta",
    "spherical_harmonics_jacobian",
    "su2_generators",
    "symmetric_polynomials",
    "symmetric_power_basis",
    "to_e3nn",
    "to_quantum_chemistry",
    "voigt",
    "wigner_3j",
    "wigner_D",
]
