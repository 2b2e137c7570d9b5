"""Spherical harmonics in two factors: Legendre functions of beta, sines and cosines of alpha.

The direction is r = R_y(alpha) R_x(beta) e_y, as in `clebsch.o3.rotations.xyz_to_angles`.
"""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.o3.constants import tensor_constant
from clebsch.o3.irreps import Irreps
from clebsch.o3.spherical_harmonics import check_normalization, degrees_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from clebsch.o3.spherical_harmonics import Normalization


def legendre(l_or_ls: int | Sequence[int], z: Tensor, y: Tensor | None = None) -> Tensor:
    """Associated Legendre functions P_l^|m|(z, y) for m = -l..l, y = sqrt(1 - z^2).

    Normalised so that P_l^|m| times `spherical_harmonics_alpha` has a squared integral of 1 over
    the sphere; without Condon and Shortley's phase. Polynomials of z and y, so that every
    derivative is finite, the poles included. Stable upwards in l.

    Args:
        l_or_ls: one degree or several.
        z: cos(beta), any shape (...).
        y: sin(beta), shape (...); default sqrt(1 - z^2), whose derivative is infinite at the poles.

    Returns:
        Shape (..., sum of 2l+1), in the order asked.

    Raises:
        UserError: when a degree is negative.

    Source: Varshalovich, Moskalev & Khersonskii (1988), 5.2; Holmes & Featherstone, J. Geodesy 76,
    279 (2002), the forward recursion over l.

    >>> legendre(1, torch.tensor(0.6))  # sqrt(3 / 8 pi) y, sqrt(3 / 4 pi) z, sqrt(3 / 8 pi) y
    tensor([0.2764, 0.2932, 0.2764])
    """
    degrees = [l for l, _ in degrees_of(l_or_ls)]
    y = (1 - z * z).clamp(min=0).sqrt() if y is None else y
    z, y = torch.broadcast_tensors(z, y)
    z, y = z.unsqueeze(-1), y.unsqueeze(-1)
    P = [torch.full_like(z, 1 / sqrt(4 * pi))]  # P[l]: m = 0..l
    for l in range(1, max(degrees, default=0) + 1):
        once, twice = _recursion_tensor(l, like=z).unbind()
        lower = once * z * P[l - 1]
        if l > 1:
            below = twice[: l - 1] * P[l - 2]
            lower = torch.cat([lower[..., : l - 1] - below, lower[..., l - 1 :]], -1)
        P.append(torch.cat([lower, sqrt((2 * l + 1) / (2 * l)) * y * P[l - 1][..., -1:]], -1))
    blocks = [torch.cat([P[l][..., 1:].flip(-1), P[l]], -1) for l in degrees]
    return torch.cat(blocks, -1) if blocks else z[..., :0]


def spherical_harmonics_alpha(l: int, alpha: Tensor) -> Tensor:
    """The factor in alpha: sqrt(2) sin(|m| alpha) for m < 0, 1, sqrt(2) cos(m alpha) for m > 0.

    Args:
        l: degree.
        alpha: any shape (...).

    Returns:
        Shape (..., 2l+1).

    Raises:
        UserError: when l is negative.

    >>> spherical_harmonics_alpha(1, torch.tensor(0.0))
    tensor([0.0000, 1.0000, 1.4142])
    """
    degrees_of(l)
    m = torch.arange(1, l + 1, dtype=alpha.dtype, device=alpha.device)
    angle = m * alpha.unsqueeze(-1)
    one = torch.ones_like(alpha).unsqueeze(-1)
    return torch.cat([sqrt(2) * angle.sin().flip(-1), one, sqrt(2) * angle.cos()], -1)


def spherical_harmonics_alpha_beta(
    l_or_irreps: int | Sequence[int] | str | Irreps,
    alpha: Tensor,
    beta: Tensor,
    normalization: Normalization = "component",
) -> Tensor:
    """Real spherical harmonics of the directions with these angles.

    Args:
        l_or_irreps: as in `clebsch.o3.spherical_harmonics`.
        alpha, beta: shapes that broadcast to (...), in radians.
        normalization: as in `clebsch.o3.spherical_harmonics`; e3nn's default is ``"integral"``.

    Returns:
        Shape (..., dim).

    Raises:
        UserError: as `clebsch.o3.spherical_harmonics`.

    >>> pole = torch.tensor(0.0)
    >>> spherical_harmonics_alpha_beta("0e + 1o", pole, pole, "norm").round(decimals=3)
    tensor([1., 0., 1., 0.])
    """
    check_normalization(normalization)
    alpha, beta = torch.broadcast_tensors(alpha, beta)
    degrees = degrees_of(l_or_irreps)
    lmax = max([0, *(l for l, _ in degrees)])
    around = spherical_harmonics_alpha(lmax, alpha)
    blocks = [alpha.new_zeros(*alpha.shape, 0)]
    down = legendre([l for l, _ in degrees], beta.cos(), beta.sin())
    sizes = [2 * l + 1 for l, _ in degrees]
    for (l, mul), P in zip(degrees, down.split(sizes, -1) if sizes else (), strict=True):
        scale = {"integral": 1.0, "component": sqrt(4 * pi), "norm": sqrt(4 * pi / (2 * l + 1))}
        Y = scale[normalization] * P * around[..., lmax - l : lmax + l + 1]
        blocks.append(Y.repeat_interleave(mul, -1))
    return torch.cat(blocks, -1)


@cache
def _recursion(l: int) -> NDArray[np.float64]:
    """Factors of z P_{l-1} and of -P_{l-2} for m = 0..l-1, shape (2, l)."""
    m = np.arange(l, dtype=np.float64)
    once = np.sqrt((4 * l**2 - 1) / (l**2 - m**2))
    return np.stack([once, once * np.sqrt(((l - 1) ** 2 - m**2) / max(4 * (l - 1) ** 2 - 1, 1))])


_recursion_tensor = tensor_constant(_recursion)
