"""Frames whose polar axis is a given direction, differentiable at every direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def direction_frames(vectors: Tensor) -> Tensor:
    """Rotations R with R v/|v| = (0, 1, 0), the polar axis.

    No frame is smooth over the whole sphere. Two charts share it: where v_y >= 0 the shortest
    rotation to +y, elsewhere the shortest rotation to -y and half a turn about z. Each is smooth
    well beyond its half, so every derivative on either side is exact; what does not depend on
    the rotation about the polar axis, such as a convolution with spherical harmonics, does not
    see the seam.

    Args:
        vectors: shape (..., 3). At 0 the frame is the identity and its derivatives are 0.

    Returns:
        Shape (..., 3, 3), determinant 1.

    >>> (direction_frames(torch.tensor([0.0, 0.0, -2.0])) @ torch.tensor([0.0, 0.0, -1.0])).tolist()
    [0.0, 1.0, 0.0]
    """
    r2 = (vectors * vectors).sum(-1, keepdim=True)
    at_origin = r2 == 0
    inverse = torch.where(at_origin, 0.0, torch.where(at_origin, 1.0, r2).rsqrt())
    x, y, z = (vectors * inverse).unbind(-1)
    y = torch.where(at_origin[..., 0], 1.0, y)
    sign = torch.where(y >= 0, 1.0, -1.0).to(y.dtype)
    scale = 1 / (1 + sign * y)  # at least 1/2: each chart is far from its own singularity
    # Shortest rotation from n to sign * e_y, then diag(sign, sign, 1).
    rows = (
        torch.stack([sign * (1 - x * x * scale), -x, -sign * x * z * scale], -1),
        torch.stack([x, y, z], -1),
        torch.stack([-x * z * scale, -sign * z, 1 - z * z * scale], -1),
    )
    return torch.stack(rows, -2)
