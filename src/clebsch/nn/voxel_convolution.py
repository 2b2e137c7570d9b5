"""Convolutions and filters on grids of voxels that commute with rotations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, floor, sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d

from clebsch.nn.arguments import check_features, named
from clebsch.nn.constants import ExactConstants, on_cpu
from clebsch.nn.linear import Linear
from clebsch.o3 import Irreps, spherical_harmonics
from clebsch.ops import Specification

_CHUNK = 2**16  # points of the quadrature that are in memory at once


class VoxelConvolution(ExactConstants):
    """A field on a grid, convolved with a kernel made of spherical harmonics.

    Weiler et al., 3D Steerable CNNs (2018): out = L x + K * x with a linear map L of each voxel
    (its self-connection) and the kernel, between features and harmonics Y of the direction,

        K(r) = sum_b phi_b(|r|) W_b (. (x) Y(r)),

    phi_b smooth bumps of equal width that vanish at r = 0 and at the kernel's radius.

    A *trilinear* kernel is the integral of K over each voxel's hat function: the layer is then
    the convolution in space, per volume of the cube of the kernel's diameter, of the field that
    trilinear interpolation makes of the voxels. It is smooth in the size of the voxels, and the
    same weights serve any grid (``on_grid``). Otherwise the kernel is sampled at the centres of
    the voxels and divided by their number, as in e3nn.

    The result commutes with the rotations and reflections that map the grid to itself exactly,
    with others up to the grid's resolution.

    Args:
        irreps_in: irreps of the field.
        irreps_edge: irreps of the spherical harmonics, usually up to l = 2 or 3.
        irreps_out: irreps of the result.
        diameter: of the kernel, in the unit of ``steps``.
        n_basis: number of radial functions.
        steps: lengths of a voxel along the three axes; or (3, 3), rows are the vectors from a
            voxel to the next along each axis of the grid (any crystal's cell / grid points).
        trilinear: integrate the kernel over the voxels instead of sampling it.
        periodic: the grid repeats; else zero surrounds it.
        stride: keep every n-th voxel of the result, along all axes or for each.

    Shape: (batch, irreps_in.dim, X, Y, Z) -> (batch, irreps_out.dim, X', Y', Z'), one cell of
    the grid after the other; the channels of layout ``ir_mul`` are the second dimension.
    X' = ceil(X / stride).

    Raises:
        ValueError: steps that span no volume, a kernel that touches no voxel but the centre,
            irreps that reach nothing of the result, a stride that does not divide a periodic grid.

    Attributes:
        weight: (n_basis, weight_numel) standard normal.

    Example:
        >>> layer = VoxelConvolution(
        ...     "1x0e", "0e + 1o", "2x0e + 1x1o", diameter=4.0, n_basis=2, steps=(1.0, 1.0, 0.5)
        ... )
        >>> layer(torch.randn(1, 1, 8, 8, 16)).shape
        torch.Size([1, 5, 8, 8, 16])
    """

    table: Tensor

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str,
        *,
        diameter: float,
        n_basis: int,
        steps: Sequence[float] | Sequence[Sequence[float]] | Tensor = (1.0, 1.0, 1.0),
        trilinear: bool = True,
        periodic: bool = False,
        stride: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.irreps_edge = Irreps(irreps_edge)
        self.diameter, self.n_basis = float(diameter), n_basis
        self.trilinear, self.periodic = trilinear, periodic
        self.stride = _each_axis(stride)
        self.specification = Specification.fully_connected(
            self.irreps_in, self.irreps_edge, self.irreps_out, shared_weights=False
        )
        if not self.specification.weight_numel:
            raise ValueError(
                f"VoxelConvolution: {named(self.irreps_in)} (x) {named(self.irreps_edge)} contains "
                f"nothing of {named(self.irreps_out)}"
            )
        self.self_connection = Linear(self.irreps_in, self.irreps_out)
        self.weight = nn.Parameter(torch.randn(n_basis, self.specification.weight_numel))
        self.register_constant("table", self._on_grid(steps))
        for n, path in enumerate(self.specification.paths):
            self.register_constant(f"coupling_{n}", self.specification.symbol(path))

    @on_cpu
    def _on_grid(self, steps: Sequence[float] | Sequence[Sequence[float]] | Tensor) -> Tensor:
        """The kernel's table for voxels of these sizes, which are kept."""
        vectors, heights = _grid(steps)
        if not self.diameter > 0 or self.n_basis < 1:
            raise ValueError(
                f"VoxelConvolution: a kernel of diameter {self.diameter} with {self.n_basis} "
                "radial functions is none"
            )
        radius = self.diameter / 2
        if self.trilinear:  # hats of width one reach into the ball
            reach = [ceil(radius / height + 1) - 1 for height in heights]
        else:
            reach = [floor(radius / height) for height in heights]
        if not any(reach):
            raise ValueError(
                f"VoxelConvolution: a kernel of diameter {self.diameter} touches no neighbour "
                f"on a grid of steps {heights}"
            )
        self.steps, self.reach = vectors, tuple(reach)
        self.taps = tuple(2 * n + 1 for n in reach)
        cells = torch.cartesian_prod(
            *(torch.arange(-n, n + 1.0, dtype=torch.float64) for n in reach)
        )
        if self.trilinear:
            # Six points for each width of a bump: 1e-3 of the largest entry, or better.
            widths = max(heights) / radius * (self.n_basis + 1)
            offsets, weights = _hat_quadrature(min(12, max(3, ceil(6 * widths))))
            weights = weights * (vectors.det().abs() / self.diameter**3)
        else:
            offsets, weights = torch.zeros(1, 3, dtype=torch.float64), torch.ones(1)
            weights = weights.double() / len(cells)
        # One entry for each voxel, radial function and harmonic: (V, n_basis, irreps_edge.dim).
        table = torch.zeros(len(cells), self.n_basis, self.irreps_edge.dim, dtype=torch.float64)
        size = max(1, _CHUNK // len(cells))
        for shift, weight in zip(offsets.split(size), weights.split(size), strict=True):
            points = (cells[:, None] + shift) @ vectors
            radial = _bumps(torch.linalg.vector_norm(points, dim=-1), radius, self.n_basis)
            angular = spherical_harmonics(
                self.irreps_edge, points, normalize=True, normalization="component"
            )
            table += torch.einsum("vqb,vqj,q->vbj", radial, angular, weight)
        return table

    def on_grid(
        self, steps: Sequence[float] | Sequence[Sequence[float]] | Tensor
    ) -> VoxelConvolution:
        """The same layer, sharing its weights, for voxels of other sizes or shapes."""
        other = VoxelConvolution(
            self.irreps_in, self.irreps_edge, self.irreps_out,
            diameter=self.diameter, n_basis=self.n_basis, steps=steps, trilinear=self.trilinear,
            periodic=self.periodic, stride=self.stride,
        )  # fmt: skip
        other.weight, other.self_connection = self.weight, self.self_connection
        return other.to(self.weight.device)

    def kernel(self) -> Tensor:
        """The kernel, (irreps_out.dim, irreps_in.dim, *taps)."""
        spec, weight = self.specification, self.weight
        table = self.table.to(weight.dtype)
        harmonics = spec.y.slices()
        blocks: dict[tuple[int, int], Tensor] = {}
        for n, (path, place) in enumerate(zip(spec.paths, spec.weight_slices, strict=True)):
            u, v, w = spec.weight_shape(path)
            symbol = getattr(self, f"coupling_{n}").to(table)
            basis = table[:, :, harmonics[path.y]].unflatten(-1, (-1, v))
            steered = torch.einsum("ijk,nbjv->kinbv", symbol, basis)
            mixed = weight[:, place].reshape(self.n_basis, u, v, w)
            block = torch.einsum("kinbv,buvw->kwiun", steered, mixed).flatten(2, 3).flatten(0, 1)
            key = (path.z, path.x)
            blocks[key] = blocks[key] + block if key in blocks else block
        rows = []
        for k, (mul_z, ir_z) in enumerate(spec.z):
            row = [
                blocks[k, i]
                if (k, i) in blocks
                else table.new_zeros(mul_z * ir_z.dim, mul_x * ir_x.dim, len(table))
                for i, (mul_x, ir_x) in enumerate(spec.x)
            ]
            rows.append(torch.cat(row, dim=1))
        return torch.cat(rows).unflatten(-1, self.taps)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 5 or 0 in x.shape[2:]:
            raise ValueError(
                f"VoxelConvolution: x is {tuple(x.shape)}; it must be (batch, "
                f"{self.irreps_in.dim}, X, Y, Z) with at least one voxel along each axis"
            )
        check_features(self, "x with channels last", x.movedim(1, -1), self.irreps_in)
        a, b, c = self.stride
        own = self.self_connection(x[:, :, ::a, ::b, ::c].movedim(1, -1)).movedim(-1, 1)
        if self.periodic:
            _check_stride(self, x, self.stride)
            return own + conv3d(_wrap(x, self.reach), self.kernel(), stride=self.stride)
        return own + conv3d(x, self.kernel(), stride=self.stride, padding=self.reach)

    def extra_repr(self) -> str:
        taps = " x ".join(map(str, self.taps))
        return f"{self.irreps_in} -> {self.irreps_out}, {taps} voxels, {self.n_basis} functions"


class LowPass(ExactConstants):
    """A Gaussian blur of every component, before voxels are dropped or after they are added.

    Dropping voxels of an unblurred field folds fine detail onto coarse, which turns with the
    grid and not with the field (Zhang, Making Convolutional Networks Shift-Invariant Again, 2019).

    Args:
        scale: the blur in voxels of the shortest step: sigma = sqrt(scale^2 - 1) / 2. At 1 and
            below nothing is done.
        stride: voxels of the result are this far apart; needs a blur.
        steps: lengths of a voxel along the three axes, in any unit.
        periodic: the grid repeats; else zero surrounds it.
        transposed: add voxels instead, ``stride`` - 1 between neighbours.

    Shape: (..., X, Y, Z) -> (..., X', Y', Z'): ceil(X / stride) voxels; transposed
    (X - 1) stride + 1, or X stride if periodic.

    Raises:
        ValueError: a stride without a blur, or that does not divide a periodic grid.

    Example:
        >>> LowPass(2.0, stride=2)(torch.ones(3, 9, 9, 9)).shape
        torch.Size([3, 5, 5, 5])
    """

    def __init__(
        self,
        scale: float,
        *,
        stride: int = 1,
        steps: Sequence[float] = (1.0, 1.0, 1.0),
        periodic: bool = False,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        if scale <= 1 and stride != 1:
            raise ValueError(f"LowPass: a stride of {stride} needs a scale above 1, not {scale}")
        self.scale, self.stride = float(scale), stride
        self.periodic, self.transposed = periodic, transposed
        sigma = 0.5 * sqrt(max(scale**2 - 1, 0.0))
        half = (int(1 + 5 * sigma) | 1) // 2  # 2.5 sigma to either side
        for axis, step in zip("xyz", steps, strict=True):
            ratio = step / min(steps)
            n = torch.arange(-(half // ratio), half // ratio + 1, dtype=torch.float64, device="cpu")
            n = n * ratio
            line = torch.exp(-(n**2) / (2 * sigma**2)) if sigma else n.new_ones(1)
            self.register_constant(f"line_{axis}", line / line.sum())

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3:
            raise ValueError(f"LowPass: x is {tuple(x.shape)}; it must be (..., X, Y, Z)")
        if self.scale <= 1:
            return x
        steps = (self.stride,) * 3
        out = x.reshape(-1, 1, *x.shape[-3:])
        if self.transposed:
            out, steps = self._spread(out), (1, 1, 1)
        elif self.periodic:
            _check_stride(self, out, steps)
        for axis, name in enumerate("xyz"):
            line = getattr(self, f"line_{name}").to(out.dtype)
            shape, reach, step = [1, 1, 1], [0, 0, 0], [1, 1, 1]
            shape[axis], reach[axis], step[axis] = len(line), len(line) // 2, steps[axis]
            kernel = line.view(1, 1, *shape)
            if self.periodic:
                out = conv3d(_wrap(out, reach), kernel, stride=step)
            else:
                out = conv3d(out, kernel, stride=step, padding=reach)
        return out.reshape(*x.shape[:-3], *out.shape[-3:])

    def _spread(self, x: Tensor) -> Tensor:
        """Zeros between the voxels, the sum kept per volume."""
        s = self.stride
        sizes = [n * s if self.periodic else (n - 1) * s + 1 for n in x.shape[-3:]]
        out = x.new_zeros(*x.shape[:2], *sizes)
        out[..., ::s, ::s, ::s] = x * s**3
        return out

    def extra_repr(self) -> str:
        return f"scale={self.scale}, stride={self.stride}"


def _grid(
    steps: Sequence[float] | Sequence[Sequence[float]] | Tensor,
) -> tuple[Tensor, list[float]]:
    """Vectors from voxel to voxel, rows of (3, 3), and the distances between the grid's planes."""
    given = torch.as_tensor(steps, dtype=torch.float64).cpu()
    if given.shape not in ((3,), (3, 3)):
        raise ValueError(f"steps are {tuple(given.shape)}; they must be (3,) or (3, 3)")
    vectors = given.diag() if given.dim() == 1 else given
    if not (torch.isfinite(vectors).all() and vectors.det().abs() > 1e-12 * vectors.norm() ** 3):
        raise ValueError(f"steps {given.tolist()} span no volume")
    if given.dim() == 1:
        return vectors, given.abs().tolist()
    return vectors, (1 / torch.linalg.inv(vectors).norm(dim=0)).tolist()


def _bumps(r: Tensor, radius: float, n: int) -> Tensor:
    """n smooth functions with compact support, equally spaced inside (0, radius): (..., n).

    exp(2 - 1/(1+d) - 1/(1-d)) of the distance d from their centres in spacings, as e3nn's
    ``smooth_finite``, with its factor that gives their squares a sum near one.
    """
    spacing = radius / (n + 1)
    centres = torch.arange(1, n + 1, dtype=r.dtype) * spacing
    d = (r[..., None] - centres) / spacing
    square = (d * d).clamp(max=1.0)
    inside = square < 1.0
    return 1.14136 * torch.exp(2 - 2 / (1 - square).where(inside, 1.0)).where(inside, 0.0)


def _hat_quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Points (Q, 3) and weights (Q,) that integrate a voxel's trilinear hat, in steps."""
    x, w = np.polynomial.legendre.leggauss(n)
    half = (x + 1) / 2
    line = np.concatenate([-half[::-1], half])
    weight = np.concatenate([w[::-1], w]) / 2 * (1 - np.abs(line))
    points = torch.tensor(list(product(line.tolist(), repeat=3)), dtype=torch.float64)
    weights = torch.tensor(list(product(weight.tolist(), repeat=3)), dtype=torch.float64)
    return points, weights.prod(-1)


def _wrap(x: Tensor, reach: Sequence[int]) -> Tensor:
    """``reach`` more voxels on either side of each axis, of the grid's periodic images."""
    for axis, (n, more) in enumerate(zip(x.shape[-3:], reach, strict=True)):
        if more:
            index = torch.arange(-more, n + more, device=x.device) % n
            x = x.index_select(axis - 3, index)
    return x


def _each_axis(stride: int | Sequence[int]) -> tuple[int, int, int]:
    a, b, c = (stride,) * 3 if isinstance(stride, int) else tuple(stride)
    if min(a, b, c) < 1:
        raise ValueError(f"a stride is at least one, not {stride}")
    return a, b, c


def _check_stride(layer: nn.Module, x: Tensor, stride: Sequence[int]) -> None:
    if any(n % s for n, s in zip(x.shape[-3:], stride, strict=True)):
        raise ValueError(
            f"{type(layer).__name__}: a periodic grid of {tuple(x.shape[-3:])} voxels cannot keep "
            f"every {tuple(stride)}: the stride must divide it"
        )
