"""The rotation and inversion group O(3): irreps, rotations, Wigner D and 3j, harmonics."""

from clebsch.o3 import rotations
from clebsch.o3.irreps import Irrep, Irreps, MulIr
from clebsch.o3.layout import from_e3nn, to_e3nn
from clebsch.o3.quantum_chemistry import to_quantum_chemistry
from clebsch.o3.rotations import rand_matrix
from clebsch.o3.spherical_harmonics import spherical_harmonics, spherical_harmonics_jacobian
from clebsch.o3.wigner import wigner_3j, wigner_D

__all__ = [
    "Irrep",
    "Irreps",
    "MulIr",
    "from_e3nn",
    "rand_matrix",
    "rotations",
    "spherical_harmonics",
    "spherical_harmonics_jacobian",
    "to_e3nn",
    "to_quantum_chemistry",
    "wigner_3j",
    "wigner_D",
]
