"""The rotation and inversion group O(3): irreps, rotations, Wigner D and 3j, harmonics."""

from clebsch.o3.irreps import Irrep, Irreps, MulIr
from clebsch.o3.spherical_harmonics import spherical_harmonics
from clebsch.o3.wigner import wigner_3j, wigner_D

__all__ = [
    "Irrep",
    "Irreps",
    "MulIr",
    "spherical_harmonics",
    "wigner_3j",
    "wigner_D",
]
