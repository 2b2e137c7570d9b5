"""Gaunt coefficients: integrals of three real spherical harmonics."""

from __future__ import annotations

from math import pi, sqrt
from typing import TYPE_CHECKING

import torch

from clebsch.o3.wigner import real_3j, wigner_3j

if TYPE_CHECKING:
    from torch import Tensor


def gaunt_factor(l1: int, l2: int, l3: int) -> float:
    """The number that times `wigner_3j` gives `gaunt`; 0 where l1 + l2 + l3 is odd.

    sqrt((2 l1+1) (2 l2+1) (2 l3+1) / 4 pi) times the 3j symbol of m = 0.

    Raises:
        UserError: when a degree is negative or the triangle rule is broken.
    """
    if (l1 + l2 + l3) % 2:
        wigner_3j(l1, l2, l3)  # refuses degrees that do not couple
        return 0.0
    size = (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1)
    return sqrt(size / (4 * pi)) * float(real_3j(l1, l2, l3)[l1, l2, l3])


def gaunt(
    l1: int,
    l2: int,
    l3: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Integrals of Y^l1_i Y^l2_j Y^l3_k over the sphere, each Y with a squared integral of 1.

    Args:
        l1, l2, l3: degrees with |l1 - l2| <= l3 <= l1 + l2.
        dtype: default ``torch.get_default_dtype()``.

    Returns:
        Shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1); zero where l1 + l2 + l3 is odd.

    Raises:
        UserError: when a degree is negative or the triangle rule is broken.

    Source: Gaunt (1929); Varshalovich, Moskalev & Khersonskii (1988), 5.9.1.

    >>> gaunt(1, 1, 0, dtype=torch.float64)[..., 0].diagonal() * (4 * torch.pi) ** 0.5
    tensor([1.0000, 1.0000, 1.0000], dtype=torch.float64)
    """
    C = wigner_3j(l1, l2, l3, dtype=torch.float64, device=device)
    return (gaunt_factor(l1, l2, l3) * C).to(dtype or torch.get_default_dtype())
