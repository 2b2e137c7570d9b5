"""Generators of SU(2) and SO(3), and the change of basis between their irreps."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def change_basis_real_to_complex(
    l: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The unitary matrix Q with v_complex = Q v_real, for irreps of degree l.

    The complex basis has m = -l..l with Condon and Shortley's phase. The factor (-i)^l, which
    Q shares with e3nn's, makes the 3j symbols of the real basis real.

    Args:
        l: degree.
        dtype: the real type that the parts have, default ``torch.get_default_dtype()``; a
            complex type is taken as it is.

    Returns:
        Shape (2l+1, 2l+1), complex.

    Raises:
        UserError: when l is negative.

    >>> change_basis_real_to_complex(0)
    tensor([[1.+0.j]])
    """
    _check(l)
    dtype = dtype or torch.get_default_dtype()
    Q = torch.from_numpy(real_to_complex(l))
    return Q.to(dtype=_COMPLEX.get(dtype, dtype), device=device)


def su2_generators(
    j: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Anti-Hermitian generators of the complex irrep of degree j, for turns about x, y and z here.

    They obey [X_a, X_b] = epsilon_abc X_c. Order and phases are e3nn's: the polar axis is the
    second, so that X_1 is diagonal.

    Returns:
        Shape (3, 2j+1, 2j+1), complex.

    >>> X = su2_generators(1)
    >>> torch.allclose(X[0] @ X[1] - X[1] @ X[0], X[2])
    True
    """
    _check(j)
    dtype = dtype or torch.get_default_dtype()
    X = torch.from_numpy(_su2(j))
    return X.to(dtype=_COMPLEX.get(dtype, dtype), device=device)


def so3_generators(
    l: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Antisymmetric generators of the real irrep of degree l: dD/dt of turns about x, y and z.

    The turn by the rotation vector v is exp(v_x X_0 + v_y X_1 + v_z X_2).

    Args:
        l: degree.
        dtype: default ``torch.get_default_dtype()``.

    Returns:
        Shape (3, 2l+1, 2l+1).

    Raises:
        UserError: when l is negative.

    >>> so3_generators(1)[1]  # about y: z goes towards x, x towards -z
    tensor([[ 0.,  0.,  1.],
            [ 0.,  0.,  0.],
            [-1.,  0.,  0.]])
    """
    _check(l)
    Q = real_to_complex(l)
    X = (Q.conj().T @ _su2(l) @ Q).real
    X[abs(X) < 1e-12] = 0  # the rest of rounding, where no two states are neighbours
    return torch.from_numpy(X).to(dtype=dtype or torch.get_default_dtype(), device=device)


def _su2(j: int) -> NDArray[np.complex128]:
    m = np.arange(-j, j)
    step = np.sqrt(j * (j + 1) - m * (m + 1))
    raising, lowering = np.diag(-step, -1), np.diag(step, 1)
    diagonal = np.diag(1j * np.arange(-j, j + 1))
    return np.stack([(raising + lowering) / 2, diagonal, (raising - lowering) / 2j])


def real_to_complex(l: int) -> NDArray[np.complex128]:
    """`change_basis_real_to_complex` as an array."""
    Q = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    Q[l, l] = 1
    for m in range(1, l + 1):
        Q[l - m, [l + m, l - m]] = [sqrt(0.5), -1j * sqrt(0.5)]
        Q[l + m, [l + m, l - m]] = [(-1) ** m * sqrt(0.5), 1j * (-1) ** m * sqrt(0.5)]
    return (-1j) ** l * Q


def _check(l: int) -> None:
    if l < 0:
        raise UserError(f"there is no irrep of degree {l}: the degree must not be negative")
