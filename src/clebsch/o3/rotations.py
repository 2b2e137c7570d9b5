"""Rotations and the conversions between their descriptions, all batched and differentiable.

- matrix: shape (..., 3, 3), acts on column vectors.
- quaternion: shape (..., 4), order (w, x, y, z); any length is accepted, results have length 1
  and w >= 0.
- rotation vector: shape (..., 3), axis times angle.
- axis and angle: shapes (..., 3) and (...); the axis need not have length 1. Results have an
  angle in [0, pi]; the identity gets the axis y.
- angles: e3nn's Euler angles (alpha, beta, gamma), each (...), with
  R = R_y(alpha) R_x(beta) R_y(gamma) and beta in [0, pi]; where beta is 0 alpha is 0.

Angles are in radians. Gradients are finite everywhere; where a description is singular (the axis
at the identity, alpha on the polar axis) the undefined derivative is 0.

roma is imported where it is used: it imports torch's compiler, a second that a model need not wait
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def rand_matrix(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rotation matrices uniform over SO(3), shape (*shape, 3, 3)."""
    import roma

    dtype = dtype or torch.get_default_dtype()
    return roma.random_rotmat(shape, dtype=dtype, device=device, generator=generator)


# ---- matrix <-> the others


def matrix_to_quaternion(R: Tensor) -> Tensor:
    import roma

    return _canonical(roma.quat_xyzw_to_wxyz(roma.rotmat_to_unitquat(R)))


def quaternion_to_matrix(q: Tensor) -> Tensor:
    import roma

    unit = torch.nn.functional.normalize(q, dim=-1)
    return roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(unit))


def matrix_to_rotation_vector(R: Tensor) -> Tensor:
    return quaternion_to_rotation_vector(matrix_to_quaternion(R))


def rotation_vector_to_matrix(vector: Tensor) -> Tensor:
    return quaternion_to_matrix(rotation_vector_to_quaternion(vector))


def matrix_to_axis_angle(R: Tensor) -> tuple[Tensor, Tensor]:
    return rotation_vector_to_axis_angle(matrix_to_rotation_vector(R))


def axis_angle_to_matrix(axis: Tensor, angle: Tensor) -> Tensor:
    return quaternion_to_matrix(axis_angle_to_quaternion(axis, angle))


def matrix_to_angles(R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    alpha, beta = xyz_to_angles(R[..., :, 1])
    rest = angles_to_matrix(alpha, beta, torch.zeros_like(alpha)).mT @ R
    return alpha, beta, torch.atan2(rest[..., 0, 2], rest[..., 0, 0])


def angles_to_matrix(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    import roma

    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    return roma.euler_to_rotmat("YXY", torch.stack([alpha, beta, gamma], dim=-1))


# ---- quaternion <-> rotation vector, axis and angle, angles


def quaternion_to_rotation_vector(q: Tensor) -> Tensor:
    import roma

    unit = torch.nn.functional.normalize(q, dim=-1)
    return roma.unitquat_to_rotvec(roma.quat_wxyz_to_xyzw(_canonical(unit)))


def rotation_vector_to_quaternion(vector: Tensor) -> Tensor:
    import roma

    return _canonical(roma.quat_xyzw_to_wxyz(roma.rotvec_to_unitquat(vector)))


def quaternion_to_axis_angle(q: Tensor) -> tuple[Tensor, Tensor]:
    return rotation_vector_to_axis_angle(quaternion_to_rotation_vector(q))


def axis_angle_to_quaternion(axis: Tensor, angle: Tensor) -> Tensor:
    axis = torch.nn.functional.normalize(axis, dim=-1)
    half = angle[..., None] / 2
    axis, _ = torch.broadcast_tensors(axis, half)
    half = half.expand(*axis.shape[:-1], 1)
    return _canonical(torch.cat([half.cos(), half.sin() * axis], dim=-1))


def quaternion_to_angles(q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return matrix_to_angles(quaternion_to_matrix(q))


def angles_to_quaternion(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    import roma

    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    q = roma.euler_to_unitquat("YXY", torch.stack([alpha, beta, gamma], dim=-1))
    return _canonical(roma.quat_xyzw_to_wxyz(q))


# ---- rotation vector <-> axis and angle, angles


def rotation_vector_to_axis_angle(vector: Tensor) -> tuple[Tensor, Tensor]:
    none = (vector == 0).all(-1)
    pole = vector.new_zeros(3)
    pole[1] = 1
    # the vector with a harmless stand-in at the identity, so that no infinity enters the gradient
    safe = torch.where(none[..., None], pole, vector)
    length = safe.norm(dim=-1)
    return safe / length[..., None], torch.where(none, torch.zeros_like(length), length)


def axis_angle_to_rotation_vector(axis: Tensor, angle: Tensor) -> Tensor:
    return torch.nn.functional.normalize(axis, dim=-1) * angle[..., None]


def rotation_vector_to_angles(vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return matrix_to_angles(rotation_vector_to_matrix(vector))


def angles_to_rotation_vector(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    return quaternion_to_rotation_vector(angles_to_quaternion(alpha, beta, gamma))


# ---- axis and angle <-> angles


def axis_angle_to_angles(axis: Tensor, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return matrix_to_angles(axis_angle_to_matrix(axis, angle))


def angles_to_axis_angle(alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    return quaternion_to_axis_angle(angles_to_quaternion(alpha, beta, gamma))


# ---- points of the sphere


def xyz_to_angles(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, beta) of the direction: xyz/|xyz| = R_y(alpha) R_x(beta) e_y."""
    x, y, z = xyz.unbind(-1)
    on_axis = (x == 0) & (z == 0)
    one = torch.ones_like(z)
    safe_z = torch.where(on_axis, one, z)
    alpha = torch.atan2(x, safe_z)
    radius = torch.where(on_axis, torch.zeros_like(z), torch.hypot(x, safe_z))
    # at the origin the direction is taken as +y
    return alpha, torch.atan2(radius, torch.where(on_axis & (y == 0), one, y))


def angles_to_xyz(alpha: Tensor, beta: Tensor) -> Tensor:
    """The point R_y(alpha) R_x(beta) e_y of the unit sphere, shape (..., 3)."""
    alpha, beta = torch.broadcast_tensors(alpha, beta)
    return torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], dim=-1)


def _canonical(q: Tensor) -> Tensor:
    """Of q and -q, the same rotation, the one with w >= 0."""
    return torch.where(q[..., :1] < 0, -q, q)
