"""Rotations: five descriptions, each to each, all batched and differentiable.

- matrix: shape (..., 3, 3), acts on column vectors; determinant 1.
- quaternion: shape (..., 4), order (w, x, y, z); any length is accepted, results have length 1
  and, apart from `compose_quaternion` and `inverse_quaternion`, w >= 0.
- rotation vector: shape (..., 3), axis times angle.
- axis and angle: shapes (..., 3) and (...); the axis need not have length 1. Results have an
  angle in [0, pi]; the identity gets the axis y.
- angles: e3nn's Euler angles (alpha, beta, gamma), each (...), with
  R = R_y(alpha) R_x(beta) R_y(gamma) and beta in [0, pi]; where beta is 0 alpha is 0.

Of each there are ``rand_*``, ``identity_*``, ``inverse_*`` and ``compose_*`` (the first factor is
applied last, as in R1 @ R2). Angles are in radians.

Every conversion takes the identity to the identity to the last bit. Gradients are finite
everywhere; where a description is singular (the axis at the identity, alpha on the polar axis)
the undefined derivative is 0.

>>> R = axis_angle_to_matrix(torch.tensor([0.0, 1.0, 0.0]), torch.tensor(pi / 2))
>>> (R @ torch.tensor([0.0, 0.0, 1.0])).round(decimals=3)  # a quarter turn about y: z becomes x
tensor([1., 0., 0.])
>>> matrix_to_quaternion(R)
tensor([0.7071, 0.0000, 0.7071, 0.0000])
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


# ---- random


def rand_quaternion(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Quaternions of rotations uniform over SO(3), shape (*shape, 4), w >= 0.

    Source: Shoemake, Uniform random rotations, Graphics Gems III (1992).

    >>> rand_quaternion(2, 5).shape
    torch.Size([2, 5, 4])
    """
    return _canonical(_shoemake(*shape, generator=generator, dtype=dtype, device=device))


def rand_matrix(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rotation matrices uniform over SO(3), shape (*shape, 3, 3).

    >>> rand_matrix(2, 5).shape
    torch.Size([2, 5, 3, 3])
    """
    return _to_matrix(_shoemake(*shape, generator=generator, dtype=dtype, device=device))


def rand_rotation_vector(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rotation vectors of rotations uniform over SO(3), shape (*shape, 3).

    >>> bool((rand_rotation_vector(100).norm(dim=-1) < pi).all())
    True
    """
    return quaternion_to_rotation_vector(
        rand_quaternion(*shape, generator=generator, dtype=dtype, device=device)
    )


def rand_axis_angle(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Axes and angles of rotations uniform over SO(3), shapes (*shape, 3) and (*shape).

    >>> axis, angle = rand_axis_angle(4)
    >>> axis.shape, angle.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """
    return quaternion_to_axis_angle(
        rand_quaternion(*shape, generator=generator, dtype=dtype, device=device)
    )


def rand_angles(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Euler angles of rotations uniform over SO(3), each (*shape).

    >>> alpha, beta, gamma = rand_angles(4)
    >>> beta.shape
    torch.Size([4])
    """
    u = torch.rand(3, *shape, generator=generator, dtype=dtype, device=device)
    alpha, beta, gamma = u.unbind()
    return 2 * pi * alpha, torch.acos(2 * beta - 1), 2 * pi * gamma


# ---- identity


def identity_matrix(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The identity as matrices, shape (*shape, 3, 3).

    >>> identity_matrix(2).shape
    torch.Size([2, 3, 3])
    """
    return torch.eye(3, dtype=dtype, device=device).repeat(*shape, 1, 1)


def identity_quaternion(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The identity as quaternions, shape (*shape, 4).

    >>> identity_quaternion()
    tensor([1., 0., 0., 0.])
    """
    return torch.eye(1, 4, dtype=dtype, device=device)[0].repeat(*shape, 1)


def identity_rotation_vector(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The identity as rotation vectors, shape (*shape, 3).

    >>> identity_rotation_vector()
    tensor([0., 0., 0.])
    """
    return torch.zeros(*shape, 3, dtype=dtype, device=device)


def identity_axis_angle(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """The identity as axis (that of y) and angle, shapes (*shape, 3) and (*shape).

    >>> identity_axis_angle()
    (tensor([0., 1., 0.]), tensor(0.))
    """
    pole = torch.eye(3, dtype=dtype, device=device)[1]
    return pole.repeat(*shape, 1), torch.zeros(shape, dtype=dtype, device=device)


def identity_angles(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The identity as Euler angles, each (*shape).

    >>> identity_angles()
    (tensor(0.), tensor(0.), tensor(0.))
    """
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return zero, zero.clone(), zero.clone()


# ---- inverse


def inverse_matrix(R: Tensor) -> Tensor:
    """The transpose.

    >>> R = rand_matrix()
    >>> torch.allclose(inverse_matrix(R) @ R, torch.eye(3), atol=1e-6)
    True
    """
    return R.mT


def inverse_quaternion(q: Tensor) -> Tensor:
    """The conjugate (w, -x, -y, -z), which is the inverse of a unit quaternion.

    >>> inverse_quaternion(torch.tensor([0.6, 0.8, 0.0, 0.0]))
    tensor([ 0.6000, -0.8000,  0.0000,  0.0000])
    """
    return torch.cat([q[..., :1], 0 - q[..., 1:]], dim=-1)


def inverse_rotation_vector(vector: Tensor) -> Tensor:
    """The opposite vector.

    >>> inverse_rotation_vector(torch.tensor([0.0, 1.0, 2.0]))
    tensor([ 0., -1., -2.])
    """
    return 0 - vector


def inverse_axis_angle(axis: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """The opposite axis, so that the angle stays in [0, pi].

    >>> inverse_axis_angle(torch.tensor([0.0, 1.0, 0.0]), torch.tensor(0.5))
    (tensor([ 0., -1.,  0.]), tensor(0.5000))
    """
    return 0 - axis, angle


def inverse_angles(alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(-gamma, -beta, -alpha), as in e3nn; beta is then not positive.

    >>> inverse_angles(*torch.tensor([0.1, 0.2, 0.3]))
    (tensor(-0.3000), tensor(-0.2000), tensor(-0.1000))
    """
    return 0 - gamma, 0 - beta, 0 - alpha


# ---- compose


def compose_matrix(first: Tensor, second: Tensor) -> Tensor:
    """The matrix product: ``second`` is applied before ``first``.

    >>> quarter = torch.tensor(pi / 2)
    >>> R = compose_matrix(matrix_y(quarter), matrix_x(quarter))
    >>> (R @ torch.tensor([0.0, 1.0, 0.0])).round() + 0.0  # y to z, then z to x
    tensor([1., 0., 0.])
    """
    return first @ second


def compose_quaternion(first: Tensor, second: Tensor) -> Tensor:
    """Hamilton's product, neither normalised nor made w >= 0: a polynomial of its factors.

    >>> compose_quaternion(torch.tensor([0.0, 1, 0, 0]), torch.tensor([0.0, 0, 1, 0]))  # i j = k
    tensor([0., 0., 0., 1.])
    """
    w, x, y, z = first.unbind(-1)
    W, X, Y, Z = second.unbind(-1)
    return torch.stack(
        [
            w * W - x * X - y * Y - z * Z,
            w * X + x * W + y * Z - z * Y,
            w * Y - x * Z + y * W + z * X,
            w * Z + x * Y - y * X + z * W,
        ],
        dim=-1,
    )


def compose_rotation_vector(first: Tensor, second: Tensor) -> Tensor:
    """The vector of the rotation that does ``second`` and then ``first``.

    >>> compose_rotation_vector(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.5, 0.0]))
    tensor([0.0000, 1.5000, 0.0000])
    """
    return quaternion_to_rotation_vector(
        compose_quaternion(
            rotation_vector_to_quaternion(first), rotation_vector_to_quaternion(second)
        )
    )


def compose_axis_angle(
    axis1: Tensor, angle1: Tensor, axis2: Tensor, angle2: Tensor
) -> tuple[Tensor, Tensor]:
    """Axis and angle of the rotation that does the second and then the first.

    >>> pole = torch.tensor([0.0, 1.0, 0.0])
    >>> compose_axis_angle(pole, torch.tensor(1.0), pole, torch.tensor(0.5))
    (tensor([0., 1., 0.]), tensor(1.5000))
    """
    first = axis_angle_to_quaternion(axis1, angle1)
    second = axis_angle_to_quaternion(axis2, angle2)
    return quaternion_to_axis_angle(compose_quaternion(first, second))


def compose_angles(
    a1: Tensor, b1: Tensor, c1: Tensor, a2: Tensor, b2: Tensor, c2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Euler angles of the rotation R(a1, b1, c1) R(a2, b2, c2).

    >>> zero, third = torch.tensor(0.0), torch.tensor(0.3)
    >>> compose_angles(zero, third, zero, zero, third, zero)
    (tensor(0.), tensor(0.6000), tensor(0.))
    """
    return matrix_to_angles(angles_to_matrix(a1, b1, c1) @ angles_to_matrix(a2, b2, c2))


# ---- matrix <-> the others


def matrix_x(angle: Tensor) -> Tensor:
    """The turn about x by ``angle``, shape (..., 3, 3): y goes towards z.

    >>> matrix_x(torch.tensor(0.0))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([one, zero, zero, zero, c, 0 - s, zero, s, c])


def matrix_y(angle: Tensor) -> Tensor:
    """The turn about y by ``angle``, shape (..., 3, 3): z goes towards x.

    >>> matrix_y(torch.tensor(pi / 2)).round() + 0.0
    tensor([[ 0.,  0.,  1.],
            [ 0.,  1.,  0.],
            [-1.,  0.,  0.]])
    """
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([c, zero, s, zero, one, zero, 0 - s, zero, c])


def matrix_z(angle: Tensor) -> Tensor:
    """The turn about z by ``angle``, shape (..., 3, 3): x goes towards y.

    >>> matrix_z(torch.tensor(pi / 2)).round() + 0.0
    tensor([[ 0., -1.,  0.],
            [ 1.,  0.,  0.],
            [ 0.,  0.,  1.]])
    """
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([c, 0 - s, zero, s, c, zero, zero, zero, one])


def matrix_to_quaternion(R: Tensor) -> Tensor:
    """Of the four rows of 4 q q^T, which are all linear in R, the one whose factor is largest.

    >>> matrix_to_quaternion(torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    tensor([0., 1., 0., 0.])
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in R.unbind(-2))
    x, y, z = zy - yz, xz - zx, yx - xy
    rows = torch.stack(
        [
            *(1 + xx + yy + zz, x, y, z),
            *(x, 1 + xx - yy - zz, yx + xy, xz + zx),
            *(y, yx + xy, 1 - xx + yy - zz, zy + yz),
            *(z, xz + zx, zy + yz, 1 - xx - yy + zz),
        ],
        dim=-1,
    ).unflatten(-1, (4, 4))
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    row = rows.gather(-2, best.expand(*best.shape[:-1], 4))[..., 0, :]
    return _canonical(torch.nn.functional.normalize(row, dim=-1))


def quaternion_to_matrix(q: Tensor) -> Tensor:
    """
    >>> quaternion_to_matrix(torch.tensor([0.0, 0.0, 2.0, 0.0]))  # half a turn about y
    tensor([[-1.,  0.,  0.],
            [ 0.,  1.,  0.],
            [ 0.,  0., -1.]])
    """
    return _to_matrix(torch.nn.functional.normalize(q, dim=-1))


def matrix_to_rotation_vector(R: Tensor) -> Tensor:
    """
    >>> matrix_to_rotation_vector(matrix_z(torch.tensor(0.5)))
    tensor([0.0000, 0.0000, 0.5000])
    """
    return quaternion_to_rotation_vector(matrix_to_quaternion(R))


def rotation_vector_to_matrix(vector: Tensor) -> Tensor:
    """
    >>> rotation_vector_to_matrix(torch.zeros(3))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    return _to_matrix(rotation_vector_to_quaternion(vector))


def matrix_to_axis_angle(R: Tensor) -> tuple[Tensor, Tensor]:
    """
    >>> matrix_to_axis_angle(matrix_x(torch.tensor(-0.5)))
    (tensor([-1.,  0.,  0.]), tensor(0.5000))
    """
    return rotation_vector_to_axis_angle(matrix_to_rotation_vector(R))


def axis_angle_to_matrix(axis: Tensor, angle: Tensor) -> Tensor:
    """
    >>> axis_angle_to_matrix(torch.tensor([0.0, 0.0, 3.0]), torch.tensor(pi)).round() + 0.0
    tensor([[-1.,  0.,  0.],
            [ 0., -1.,  0.],
            [ 0.,  0.,  1.]])
    """
    return _to_matrix(axis_angle_to_quaternion(axis, angle))


def matrix_to_angles(R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    >>> matrix_to_angles(matrix_x(torch.tensor(0.5)))
    (tensor(0.), tensor(0.5000), tensor(0.))
    """
    alpha, beta = xyz_to_angles(R[..., :, 1])
    # R_y(gamma) is what is left; only its first row is wanted
    ca, sa = alpha.cos(), alpha.sin()
    c = ca * R[..., 0, 0] - sa * R[..., 2, 0]
    s = ca * R[..., 0, 2] - sa * R[..., 2, 2]
    return alpha, beta, torch.atan2(s, c)


def angles_to_matrix(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """
    >>> angles_to_matrix(*torch.zeros(3))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    ca, sa, cb, sb = alpha.cos(), alpha.sin(), beta.cos(), beta.sin()
    cc, sc = gamma.cos(), gamma.sin()
    x = [ca * cc - sa * cb * sc, sa * sb, ca * sc + sa * cb * cc]
    y = [sb * sc, cb, 0 - sb * cc]
    z = [0 - sa * cc - ca * cb * sc, ca * sb, ca * cb * cc - sa * sc]
    return _matrix([*x, *y, *z])


# ---- quaternion <-> rotation vector, axis and angle, angles


def quaternion_to_rotation_vector(q: Tensor) -> Tensor:
    """
    >>> quaternion_to_rotation_vector(torch.tensor([0.0, 0.0, 0.0, -1.0]))
    tensor([ 0.0000,  0.0000, -3.1416])
    """
    q = _canonical(torch.nn.functional.normalize(q, dim=-1))
    w, xyz = q[..., :1], q[..., 1:]
    s2 = (xyz * xyz).sum(-1, keepdim=True)
    near = s2 < 1e-3
    # angle / sin(angle/2): near the identity its series, elsewhere the formula; each with a
    # harmless argument where the other counts, so that no infinity enters a gradient
    t = torch.where(near, s2, 0.0)
    series = 2 + t * (1 / 3 + t * (3 / 20 + t * (5 / 56 + t * (35 / 576 + t * (63 / 1408)))))
    sine = torch.where(near, 1.0, s2).sqrt()
    return xyz * torch.where(near, series, 2 * torch.atan2(sine, w) / sine)


def rotation_vector_to_quaternion(vector: Tensor) -> Tensor:
    """
    >>> rotation_vector_to_quaternion(torch.tensor([0.0, pi / 2, 0.0]))
    tensor([0.7071, 0.0000, 0.7071, 0.0000])
    """
    t = (vector * vector).sum(-1, keepdim=True)
    near = t < 1e-2
    # cos(angle/2) and sin(angle/2) / angle in powers of the squared angle, or as they stand
    u = torch.where(near, t, 0.0)
    cos = 1 - u / 8 * (1 - u / 48 * (1 - u / 120 * (1 - u / 224 * (1 - u / 360))))
    sin = 0.5 - u / 48 * (1 - u / 80 * (1 - u / 168 * (1 - u / 288)))
    angle = torch.where(near, 1.0, t).sqrt()
    w = torch.where(near, cos, (angle / 2).cos())
    xyz = vector * torch.where(near, sin, (angle / 2).sin() / angle)
    return _canonical(torch.cat([w, xyz], dim=-1))


def quaternion_to_axis_angle(q: Tensor) -> tuple[Tensor, Tensor]:
    """
    >>> quaternion_to_axis_angle(torch.tensor([0.0, 0.0, 0.0, -1.0]))
    (tensor([ 0.,  0., -1.]), tensor(3.1416))
    """
    return rotation_vector_to_axis_angle(quaternion_to_rotation_vector(q))


def axis_angle_to_quaternion(axis: Tensor, angle: Tensor) -> Tensor:
    """
    >>> axis_angle_to_quaternion(torch.tensor([2.0, 0.0, 0.0]), torch.tensor(1.0))
    tensor([0.8776, 0.4794, 0.0000, 0.0000])
    """
    axis = torch.nn.functional.normalize(axis, dim=-1)
    half = angle[..., None] / 2
    axis, _ = torch.broadcast_tensors(axis, half)
    half = half.expand(*axis.shape[:-1], 1)
    return _canonical(torch.cat([half.cos(), half.sin() * axis], dim=-1))


def quaternion_to_angles(q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    >>> quaternion_to_angles(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    (tensor(0.), tensor(0.), tensor(0.))
    """
    return matrix_to_angles(quaternion_to_matrix(q))


def angles_to_quaternion(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """
    >>> angles_to_quaternion(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.0))
    tensor([0.8776, 0.4794, 0.0000, 0.0000])
    """
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    plus, minus, half = (alpha + gamma) / 2, (alpha - gamma) / 2, beta / 2
    c, s = half.cos(), half.sin()
    parts = [c * plus.cos(), s * minus.cos(), c * plus.sin(), 0 - s * minus.sin()]
    return _canonical(torch.stack(parts, dim=-1))


# ---- rotation vector <-> axis and angle, angles


def rotation_vector_to_axis_angle(vector: Tensor) -> tuple[Tensor, Tensor]:
    """
    >>> rotation_vector_to_axis_angle(torch.tensor([0.0, 0.0, 2.0]))
    (tensor([0., 0., 1.]), tensor(2.))
    """
    none = (vector == 0).all(-1)
    pole = torch.eye(3, dtype=vector.dtype, device=vector.device)[1]
    # the vector with a harmless stand-in at the identity, so that no infinity enters the gradient
    safe = torch.where(none[..., None], pole, vector)
    length = safe.norm(dim=-1)
    return safe / length[..., None], torch.where(none, torch.zeros_like(length), length)


def axis_angle_to_rotation_vector(axis: Tensor, angle: Tensor) -> Tensor:
    """
    >>> axis_angle_to_rotation_vector(torch.tensor([0.0, 0.0, 3.0]), torch.tensor(2.0))
    tensor([0., 0., 2.])
    """
    return torch.nn.functional.normalize(axis, dim=-1) * angle[..., None]


def rotation_vector_to_angles(vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    >>> rotation_vector_to_angles(torch.zeros(3))
    (tensor(0.), tensor(0.), tensor(0.))
    """
    return matrix_to_angles(rotation_vector_to_matrix(vector))


def angles_to_rotation_vector(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """
    >>> angles_to_rotation_vector(torch.tensor(0.0), torch.tensor(0.5), torch.tensor(0.0))
    tensor([0.5000, 0.0000, 0.0000])
    """
    return quaternion_to_rotation_vector(angles_to_quaternion(alpha, beta, gamma))


# ---- axis and angle <-> angles


def axis_angle_to_angles(axis: Tensor, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    >>> axis_angle_to_angles(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(0.5))
    (tensor(0.), tensor(0.5000), tensor(0.))
    """
    return matrix_to_angles(axis_angle_to_matrix(axis, angle))


def angles_to_axis_angle(alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """
    >>> angles_to_axis_angle(torch.tensor(0.0), torch.tensor(0.5), torch.tensor(0.0))
    (tensor([1., 0., 0.]), tensor(0.5000))
    """
    return quaternion_to_axis_angle(angles_to_quaternion(alpha, beta, gamma))


# ---- points of the sphere


def xyz_to_angles(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, beta) of the direction: xyz/|xyz| = R_y(alpha) R_x(beta) e_y.

    >>> xyz_to_angles(torch.tensor([0.0, 0.0, 2.0]))
    (tensor(0.), tensor(1.5708))
    """
    x, y, z = xyz.unbind(-1)
    on_axis = (x == 0) & (z == 0)
    one = torch.ones_like(z)
    safe_z = torch.where(on_axis, one, z)
    alpha = torch.where(on_axis, torch.zeros_like(x), torch.atan2(x, safe_z))
    radius = torch.where(on_axis, torch.zeros_like(z), torch.hypot(x, safe_z))
    # at the origin the direction is taken as +y
    return alpha, torch.atan2(radius, torch.where(on_axis & (y == 0), one, y))


def angles_to_xyz(alpha: Tensor, beta: Tensor) -> Tensor:
    """The point R_y(alpha) R_x(beta) e_y of the unit sphere, shape (..., 3).

    >>> angles_to_xyz(torch.tensor(0.0), torch.tensor(0.0))
    tensor([0., 1., 0.])
    """
    alpha, beta = torch.broadcast_tensors(alpha, beta)
    return torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], dim=-1)


# ---- what they share


def _matrix(elements: list[Tensor]) -> Tensor:
    """The nine elements, row by row, as (..., 3, 3)."""
    return torch.stack(elements, dim=-1).unflatten(-1, (3, 3))


def _to_matrix(q: Tensor) -> Tensor:
    """Of unit quaternions."""
    w, x, y, z = q.unbind(-1)
    w2, x2, y2, z2 = w * w, x * x, y * y, z * z
    xy, xz, yz, wx, wy, wz = x * y, x * z, y * z, w * x, w * y, w * z
    return _matrix(
        [
            *(x2 - y2 - z2 + w2, 2 * (xy - wz), 2 * (xz + wy)),
            *(2 * (xy + wz), y2 - x2 - z2 + w2, 2 * (yz - wx)),
            *(2 * (xz - wy), 2 * (yz + wx), z2 - x2 - y2 + w2),
        ]
    )


def _shoemake(
    *shape: int,
    generator: torch.Generator | None,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Tensor:
    u, first, second = (
        torch.rand(shape, generator=generator, dtype=dtype, device=device) for _ in range(3)
    )
    first, second = 2 * pi * first, 2 * pi * second
    a, b = (1 - u).sqrt(), u.sqrt()
    return torch.stack(
        [b * second.cos(), a * first.sin(), a * first.cos(), b * second.sin()], dim=-1
    )


def _canonical(q: Tensor) -> Tensor:
    """Of q and -q, the same rotation, the one with w >= 0."""
    return torch.where(q[..., :1] < 0, -q, q)
