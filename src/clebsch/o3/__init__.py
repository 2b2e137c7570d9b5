"""The rotation and inversion group O(3): irreps, rotations, Wigner D and 3j, harmonics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clebsch.o3.irreps import Irrep, Irreps, MulIr
from clebsch.o3.layout import from_e3nn, to_e3nn
from clebsch.o3.quantum_chemistry import to_quantum_chemistry
from clebsch.o3.spherical_harmonics import spherical_harmonics, spherical_harmonics_jacobian
from clebsch.o3.wigner import wigner_3j, wigner_D

if TYPE_CHECKING:
    from clebsch.o3 import rotations
    from clebsch.o3.rotations import rand_matrix

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


def __getattr__(name: str) -> Any:
    # Late: roma, behind the rotations, imports torch's compiler, which takes a second.
    if name in ("rotations", "rand_matrix"):
        module = importlib.import_module(f"{__name__}.rotations")
        return module if name == "rotations" else module.rand_matrix
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
