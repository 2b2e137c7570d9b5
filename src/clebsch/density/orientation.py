"""One orientation for a molecule however it is turned, and coefficients turned with it.

The numerical grid of a functional does not turn with the molecule (P. M. W. Gill, B. G. Johnson,
J. A. Pople, Chem. Phys. Lett. 209, 506 (1993)), so a calculation that is done along the axes of the
file depends on them; done along the molecule's own axes, it does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis


def principal_axes(
    numbers: npt.NDArray[np.int64], positions: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Principal axes of the nuclear charges.

    A molecule that is turned about its centre gets axes that are turned as well, up to their signs:
    atomic grids have the symmetry of the octahedron. Axes of equal moments (linear molecules,
    symmetric tops) are any that span the same space.

    Args:
        numbers, positions: (N,) and (N, 3).

    Returns:
        The axes as the rows of a rotation, (3, 3), and the centre of charge, (3,): atoms lie at
        ``(positions - centre) @ axes.T``.
    """
    centre = numbers @ positions / numbers.sum()
    apart = positions - centre
    axes = np.linalg.eigh((apart.T * numbers) @ apart)[1].T
    axes[2] *= np.sign(np.linalg.det(axes))
    return axes, centre


def turn_coefficients(
    x: Tensor, basis: AuxiliaryBasis, numbers: npt.ArrayLike | Tensor, R: Tensor
) -> Tensor:
    """Coefficients of a density after it has been turned by R, Wigner D atom by atom.

    Args:
        x: (..., K).
        R: orthogonal matrix, (3, 3).

    Returns:
        The same shape.
    """
    out = torch.empty_like(x)
    for z, (_, places) in basis.index(numbers).items():
        out[..., places] = basis.irreps(z).rotate(x[..., places], R)
    return out
