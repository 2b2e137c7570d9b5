"""Voigt's and Mandel's matrices of tensors whose indices come in symmetric pairs.

The order of pairs is xx, yy, zz, yz, xz, xy (Voigt's; ASE's too). They differ by the factor of the
shear components yz, xz, xy:

- 1 where the pair is stress-like: ``sigma_4 = sigma_yz``;
- 2 where it is strain-like (engineering strain): ``eps_4 = 2 eps_yz``;
- sqrt(2) in Mandel's form, where matrices are orthogonal changes of basis of the tensors: norms,
  eigenvalues and inverses are the tensor's.

An index that is contracted with a strain-like one is stress-like and the reverse. So the stiffness
of ``sigma = C eps`` has factor 1 throughout, and the compliance of ``eps = S sigma`` has 2 for each
shear index: ``S_44 = 4 S_yzyz``, ``S_14 = 2 S_xxyz``. Then ``S = C^-1`` also for matrices.

Source: Nye, Physical properties of crystals (1957), chapters 7 and 8; Mandel (1962).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from clebsch.o3.constants import tensor_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# xx yy zz yz xz xy in a flat 3 x 3, the same transposed, and where each of the nine is in the six
_PAIRS = [0, 4, 8, 5, 2, 1]
_TRANSPOSED = [0, 4, 8, 7, 6, 3]
_PLACES = [0, 5, 4, 5, 1, 3, 4, 3, 2]


@dataclass(frozen=True)
class VoigtForm:
    """How a tensor is written as a vector or matrix.

    Attributes:
        name: what is written so.
        shear: one entry for each index of the matrix: the factor of shear components where it
            stands for a pair, None where it is a vector's index.

    >>> import torch
    >>> stress = torch.tensor([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    >>> STRESS.from_tensor(stress), STRAIN.from_tensor(stress)
    (tensor([1., 2., 3., 4., 5., 6.]), tensor([ 1.,  2.,  3.,  8., 10., 12.]))
    >>> torch.equal(STRAIN.to_tensor(STRAIN.from_tensor(stress)), stress)
    True
    """

    name: str
    shear: tuple[float | None, ...]

    @property
    def rank(self) -> int:
        """Number of the tensor's indices."""
        return sum(1 if factor is None else 2 for factor in self.shear)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix."""
        return tuple(3 if factor is None else 6 for factor in self.shear)

    def from_tensor(self, tensor: Tensor) -> Tensor:
        """The matrix of a tensor; of unequal components of a pair the mean is taken.

        Args:
            tensor: shape (..., 3, 3, ...), ``rank`` indices; floating point.

        Returns:
            Shape (..., *shape).

        Raises:
            ValueError: for another shape, or integers.
        """
        self._check(tensor, (3,) * self.rank)
        lead = tensor.shape[: tensor.dim() - self.rank]
        flat = tensor.reshape(*lead, *(3 if factor is None else 9 for factor in self.shear))
        for axis, factor in enumerate(self.shear, start=-len(self.shear)):
            if factor is not None:
                pairs = flat.movedim(axis, -1)
                mean = (pairs[..., _PAIRS] + pairs[..., _TRANSPOSED]) / 2
                flat = (mean * _factors(factor, like=tensor)).movedim(-1, axis)
        return flat

    def to_tensor(self, matrix: Tensor) -> Tensor:
        """The tensor of a matrix, the inverse of `from_tensor`.

        Args:
            matrix: shape (..., *shape), floating point.

        Returns:
            Shape (..., 3, 3, ...), ``rank`` indices.

        Raises:
            ValueError: for another shape, or integers.
        """
        self._check(matrix, self.shape)
        lead = matrix.shape[: matrix.dim() - len(self.shape)]
        for axis, factor in enumerate(self.shear, start=-len(self.shear)):
            if factor is not None:
                six = matrix.movedim(axis, -1) / _factors(factor, like=matrix)
                matrix = six[..., _PLACES].movedim(-1, axis)
        return matrix.reshape(*lead, *(3,) * self.rank)

    def rotate(self, matrix: Tensor, R: Tensor) -> Tensor:
        """The matrix after a rotation of the matter, by one bond matrix for each index.

        Args:
            matrix: shape (..., *shape).
            R: orthogonal matrices, shape (..., 3, 3). For a pseudotensor multiply by det R.

        Returns:
            Shape (..., *shape); leading dimensions broadcast.

        >>> import torch
        >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x to y, about z
        >>> STRESS.rotate(torch.tensor([1.0, 0, 0, 0, 2, 0]), quarter)
        tensor([0., 1., 0., 2., 0., 0.])
        """
        self._check(matrix, self.shape)
        turns = [R if factor is None else bond_matrix(R, factor) for factor in self.shear]
        if len(turns) == 1:
            return (turns[0] @ matrix[..., None])[..., 0]
        return turns[0] @ matrix @ turns[1].mT

    def _check(self, x: Tensor, shape: tuple[int, ...]) -> None:
        if x.shape[x.dim() - min(len(shape), x.dim()) :] != shape:
            wanted = ", ".join(map(str, shape))
            raise ValueError(
                f"{self.name}: the shape must be (..., {wanted}), not {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"{self.name}: floating point numbers are needed, not {x.dtype}")


# sigma_ij and all that is conjugate to a strain
STRESS = VoigtForm("stress", (1.0,))
STRAIN = VoigtForm("strain", (2.0,))
MANDEL = VoigtForm("Mandel vector", (sqrt(2),))
# sigma = C eps, eps = S sigma
STIFFNESS = VoigtForm("stiffness", (1.0, 1.0))
COMPLIANCE = VoigtForm("compliance", (2.0, 2.0))
MANDEL_MATRIX = VoigtForm("Mandel matrix", (sqrt(2), sqrt(2)))
# P = e eps (C/m^2); P = d sigma, eps = E d (C/N)
PIEZOELECTRIC_STRESS = VoigtForm("piezoelectric stress tensor e", (None, 1.0))
PIEZOELECTRIC_STRAIN = VoigtForm("piezoelectric strain tensor d", (None, 2.0))
MANDEL_RANK_3 = VoigtForm("Mandel matrix of rank 3", (None, sqrt(2)))
# P = chi (ExEx, EyEy, EzEz, 2EyEz, 2ExEz, 2ExEy); optics' d is half of it
SECOND_HARMONIC = VoigtForm("second-harmonic susceptibility", (None, 1.0))
# change of the impermeability: p eps, and pi sigma
PHOTOELASTIC = VoigtForm("photoelastic tensor p", (1.0, 1.0))
PIEZO_OPTIC = VoigtForm("piezo-optic tensor pi", (1.0, 2.0))


def bond_matrix(R: Tensor, shear: float = 1.0) -> Tensor:
    """What turns a vector of six when the matter is turned by R.

    Bond's M for stress (factor 1), his N = M^-T for strain (factor 2), and an orthogonal matrix
    for Mandel's form (factor sqrt(2)). Auld, Acoustic fields and waves in solids (1973), 3D.

    Args:
        R: orthogonal matrices, shape (..., 3, 3).
        shear: factor of shear components.

    Returns:
        Shape (..., 6, 6).

    >>> import math, torch
    >>> M = bond_matrix(torch.eye(3).roll(1, 0), math.sqrt(2))
    >>> torch.allclose(M @ M.T, torch.eye(6))
    True
    """
    products = R[..., :, None, :, None] * R[..., None, :, None, :]
    return VoigtForm("rotation", (shear, 2 / shear)).from_tensor(products)


def _shear_factors(shear: float) -> NDArray[np.float64]:
    return np.array([1.0, 1.0, 1.0, shear, shear, shear])


_factors = tensor_constant(_shear_factors)
