"""Bulk and shear moduli of a polycrystal from the elastic stiffness of its crystals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from clebsch.o3.voigt import STIFFNESS

if TYPE_CHECKING:
    from torch import Tensor


class IsotropicModuli(NamedTuple):
    """Moduli of an isotropic solid, each of shape (...), in the units of the stiffness."""

    bulk: Tensor
    shear: Tensor

    @property
    def young(self) -> Tensor:
        """Young's modulus."""
        return 9 * self.bulk * self.shear / (3 * self.bulk + self.shear)

    @property
    def poisson(self) -> Tensor:
        """Poisson's ratio."""
        return (3 * self.bulk - 2 * self.shear) / (6 * self.bulk + 2 * self.shear)


class ElasticAverages(NamedTuple):
    """Bounds on a polycrystal's moduli and their mean.

    Attributes:
        voigt: equal strain in all grains, the upper bound.
        reuss: equal stress, the lower bound.
        hill: their mean.
    """

    voigt: IsotropicModuli
    reuss: IsotropicModuli
    hill: IsotropicModuli

    @property
    def anisotropy(self) -> Tensor:
        """Universal anisotropy index, 0 for isotropic crystals.

        Ranganathan & Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008), eq. 9.
        """
        return 5 * self.voigt.shear / self.reuss.shear + self.voigt.bulk / self.reuss.bulk - 6


def elastic_averages(stiffness: Tensor) -> ElasticAverages:
    """Voigt's, Reuss's and Hill's averages, from the two linear invariants of C and of C^-1.

    Hill, Proc. Phys. Soc. A 65, 349 (1952).

    Args:
        stiffness: Voigt matrices, order xx yy zz yz xz xy, shape (..., 6, 6); in any unit.

    Raises:
        ValueError: for another shape, integers, or a stiffness that is singular or not finite.

    >>> silicon = torch.zeros(6, 6)  # GPa
    >>> silicon[:3, :3] = 63.9
    >>> silicon.diagonal()[:] = torch.tensor([165.7, 165.7, 165.7, 79.6, 79.6, 79.6])
    >>> averages = elastic_averages(silicon)
    >>> [round(float(x), 1) for x in (*averages.hill, averages.voigt.shear, averages.reuss.shear)]
    [97.8, 66.5, 68.1, 65.0]
    """
    STIFFNESS.to_tensor(stiffness)  # refuses what is no stiffness
    compliance, singular = torch.linalg.inv_ex(stiffness)
    if bool(singular.any()) or not bool(compliance.isfinite().all()):
        raise ValueError("a stiffness matrix is singular or not finite: averages need its inverse")
    trace, normal, shear = _invariants(stiffness)
    voigt = IsotropicModuli((trace + 2 * normal) / 9, (trace - normal + 3 * shear) / 15)
    trace, normal, shear = _invariants(compliance)
    reuss = IsotropicModuli(1 / (trace + 2 * normal), 15 / (4 * (trace - normal) + 3 * shear))
    hill = IsotropicModuli((voigt.bulk + reuss.bulk) / 2, (voigt.shear + reuss.shear) / 2)
    return ElasticAverages(voigt, reuss, hill)


def _invariants(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """11 + 22 + 33, the mean of 12 + 13 + 23 and its transpose, 44 + 55 + 66."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    trace = diagonal[..., :3].sum(-1)
    normal = (matrix[..., :3, :3].sum((-2, -1)) - trace) / 2
    return trace, normal, diagonal[..., 3:].sum(-1)
