"""Functions on the sphere, given by their coefficients of spherical harmonics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt, pi

import torch
from torch import Tensor

from clebsch.nn import Norm
from clebsch.o3 import Irreps, RotationGrid, SphereGrid, spherical_harmonics


@dataclass(frozen=True, eq=False)
class SphericalSignal:
    """f(r) = sum_lm a_lm Y_lm(r/|r|) with harmonics of squared integral 1.

    One signal or a batch of them. The inversion makes p_val f(p_arg r) of f(r), so that degree l
    has the parity p_val p_arg^l: a density has (1, -1), the default. e3nn's ``SphericalTensor``,
    which has the same coefficients.

    Attributes:
        coefficients: shape (..., (lmax+1)^2).
        p_val: parity of the values, 1 or -1.
        p_arg: parity of the argument, 1 or -1.

    Raises:
        ValueError: the last axis is not (lmax+1)^2 long, or a parity is neither 1 nor -1.

    >>> signal = SphericalSignal.with_peaks_at(torch.eye(3), lmax=4)
    >>> signal.irreps
    1x0e+1x1o+1x2e+1x3o+1x4e
    >>> signal.signal_xyz(2 * torch.eye(3))
    tensor([1.0000, 1.0000, 1.0000])
    """

    coefficients: Tensor
    p_val: int = 1
    p_arg: int = -1

    def __post_init__(self) -> None:
        shape = self.coefficients.shape
        if not shape or shape[-1] == 0 or isqrt(shape[-1]) ** 2 != shape[-1]:
            raise ValueError(
                "a signal has (lmax+1)^2 coefficients (1, 4, 9, ...) in its last dimension, "
                f"not {tuple(shape)}"
            )
        if self.p_val not in (1, -1) or self.p_arg not in (1, -1):
            raise ValueError(
                f"the parities p_val and p_arg are 1 or -1, not {self.p_val} and {self.p_arg}"
            )

    @property
    def lmax(self) -> int:
        """Highest degree."""
        return isqrt(self.coefficients.shape[-1]) - 1

    @property
    def irreps(self) -> Irreps:
        """Irreps of the coefficients."""
        return Irreps([(1, (l, self.p_val * self.p_arg**l)) for l in range(self.lmax + 1)])

    # ---- signals from points

    @classmethod
    def with_peaks_at(
        cls, vectors: Tensor, lmax: int, values: Tensor | None = None, p_arg: int = -1
    ) -> SphericalSignal:
        """The smallest signal that has these values in these directions.

        Args:
            vectors: directions, shape (N, 3); N = 0 gives zero.
            values: shape (N,), by default the lengths. Where a value is 0 the direction is left
                free, as in e3nn.

        Raises:
            ValueError: wrong shapes, no direction where a value is asked for, or values that no
                signal of this lmax has.

        >>> vectors = torch.tensor([[1.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> SphericalSignal.with_peaks_at(vectors, lmax=4).signal_xyz(vectors)
        tensor([1.0000, 5.0000])
        """
        if vectors.dim() != 2 or vectors.shape[1] != 3:
            raise ValueError(f"with_peaks_at: vectors are (N, 3), not {tuple(vectors.shape)}")
        if values is None:
            values = torch.linalg.vector_norm(vectors, dim=-1)
        values = values.expand(len(vectors))
        wanted = values != 0
        vectors, values = vectors[wanted], values[wanted]
        if bool((vectors == 0).all(-1).any()):
            raise ValueError("with_peaks_at: a vector of length 0 has no direction for a peak")
        Y = _harmonics(vectors, lmax)
        if len(vectors) == 0:
            return cls(Y.sum(0), 1, p_arg)
        overlap = Y @ Y.mT
        weights = torch.linalg.pinv(overlap, hermitian=True) @ values
        missed = (overlap @ weights - values).detach().abs().max()
        if missed > 1e-4 * values.detach().abs().max():
            raise ValueError(
                f"with_peaks_at: no signal up to lmax={lmax} has these {len(values)} values: they "
                "contradict each other, or are too many"
            )
        return cls(weights @ Y, 1, p_arg)

    @classmethod
    def sum_of_diracs(
        cls, positions: Tensor, values: Tensor, lmax: int, p_val: int = 1, p_arg: int = -1
    ) -> SphericalSignal:
        """Sum of delta functions cut off at lmax, each with the height of its value.

        Args:
            positions: shape (..., N, 3), of any length.
            values: shape (..., N).

        >>> eye = torch.eye(3)
        >>> signal = SphericalSignal.sum_of_diracs(eye[:2], torch.tensor([-1.0, 1.0]), lmax=7)
        >>> signal.signal_xyz(eye).mul(10).round()
        tensor([-10.,  10.,   0.])
        """
        positions, values = _broadcast(positions, values)
        total = (_harmonics(positions, lmax) * values[..., None]).sum(-2)
        return cls(4 * pi / (lmax + 1) ** 2 * total, p_val, p_arg)

    @classmethod
    def from_samples_on_s2(
        cls,
        positions: Tensor,
        values: Tensor,
        lmax: int,
        res: int = 100,
        p_val: int = 1,
        p_arg: int = -1,
    ) -> SphericalSignal:
        """From scattered samples: every point of a grid takes the value of the nearest sample.

        Args:
            positions: shape (..., N, 3), of any length, N > 0.
            values: shape (..., N).
            res: number of polar angles of the grid.

        Raises:
            ValueError: no samples, or a grid too coarse for lmax.

        >>> axis = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
        >>> samples = torch.tensor([1.0, -1.0])
        >>> signal = SphericalSignal.from_samples_on_s2(axis, samples, lmax=1)
        >>> signal.coefficients.abs().round(decimals=1)
        tensor([0.0000, 0.0000, 0.0000, 3.1000])
        """
        positions, values = _broadcast(positions, values)
        if values.shape[-1] == 0:
            raise ValueError("from_samples_on_s2: there are no samples")
        grid = SphereGrid.equiangular(res, lmax=lmax)
        grid.check_resolves(lmax)
        lead, n = values.shape[:-1], values.shape[-1]
        directions = torch.nn.functional.normalize(positions, dim=-1).reshape(lead.numel(), n, 3)
        points = grid.points.to(directions).reshape(1, -1, 3)
        nearest = torch.cdist(points, directions.detach()).argmin(-1)
        on_grid = values.reshape(lead.numel(), n).gather(1, nearest)
        on_grid = on_grid.reshape(*lead, grid.n_beta, grid.n_alpha)
        return cls(grid.from_grid(on_grid, lmax, "integral"), p_val, p_arg)

    @classmethod
    def from_least_squares(
        cls, positions: Tensor, values: Tensor, lmax: int, p_val: int = 1, p_arg: int = -1
    ) -> SphericalSignal:
        """The signal with the least squared error at the samples, the smallest one of several.

        Args:
            positions: shape (..., N, 3), of any length.
            values: shape (..., N).

        >>> signal = SphericalSignal(torch.randn(9, dtype=torch.float64))
        >>> points = torch.randn(30, 3, dtype=torch.float64)
        >>> fit = SphericalSignal.from_least_squares(points, signal.signal_xyz(points), lmax=2)
        >>> torch.allclose(fit.coefficients, signal.coefficients)
        True
        """
        positions, values = _broadcast(positions, values)
        inverse = torch.linalg.pinv(_harmonics(positions, lmax))
        return cls((inverse @ values[..., None]).squeeze(-1), p_val, p_arg)

    # ---- values

    def signal_xyz(self, r: Tensor) -> Tensor:
        """Values in directions.

        Args:
            r: shape (*B, 3), of any length.

        Returns:
            Shape (..., *B), the batch of the signal first.
        """
        Y = _harmonics(r, self.lmax)
        values = self.coefficients @ Y.reshape(-1, Y.shape[-1]).mT
        return values.reshape(self.coefficients.shape[:-1] + r.shape[:-1])

    def signal_on_grid(self, grid: SphereGrid | int = 100) -> tuple[Tensor, Tensor]:
        """Points and values on a grid; a number is that of the polar angles of e3nn's grid.

        Returns:
            Shapes (n_beta, n_alpha, 3) and (..., n_beta, n_alpha).
        """
        if isinstance(grid, int):
            grid = SphereGrid.equiangular(grid, lmax=self.lmax)
        values = grid.to_grid(self.coefficients, self.lmax, "integral")
        return grid.points.to(values), values

    def norms(self) -> Tensor:
        """Length of the coefficients of each degree, (..., lmax+1); invariant.

        >>> SphericalSignal(torch.tensor([1.5, 0.0, 3.0, 4.0])).norms()
        tensor([1.5000, 5.0000])
        """
        norms: Tensor = Norm(self.irreps)(self.coefficients)
        return norms

    # ---- signals from signals

    def rotated(self, R: Tensor) -> SphericalSignal:
        """The signal turned by R (3, 3) in O(3), f(R^-1 r) for a proper rotation."""
        D = self.irreps.D_from_matrix(R.to(self.coefficients))
        return replace(self, coefficients=self.coefficients @ D.mT)

    def product(self, other: SphericalSignal, lmax: int | None = None) -> SphericalSignal:
        """The product of the values, exact, up to ``lmax`` (default: all degrees it has).

        Raises:
            ValueError: the arguments have different parities.

        >>> x = SphericalSignal(torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64))
        >>> square, r = x.product(x), torch.randn(5, 3, dtype=torch.float64)
        >>> torch.allclose(square.signal_xyz(r), x.signal_xyz(r) ** 2)
        True
        """
        if self.p_arg != other.p_arg:
            raise ValueError(
                "the product of signals needs equal parities of the argument, not "
                f"p_arg={self.p_arg} and {other.p_arg}"
            )
        lmax = self.lmax + other.lmax if lmax is None else lmax
        grid = SphereGrid.gauss_legendre(max(self.lmax + other.lmax, lmax) + lmax)
        values = self.signal_on_grid(grid)[1] * other.signal_on_grid(grid)[1]
        coefficients = grid.from_grid(values, lmax, "integral")
        return SphericalSignal(coefficients, self.p_val * other.p_val, self.p_arg)

    def inner(self, other: SphericalSignal) -> Tensor:
        """Integral of the product of the values over the sphere, (...)."""
        n = (min(self.lmax, other.lmax) + 1) ** 2
        return (self.coefficients[..., :n] * other.coefficients[..., :n]).sum(-1)

    def cross_correlation(self, other: SphericalSignal, grid: RotationGrid) -> Tensor:
        """``self.inner(other.rotated(R))`` for every rotation R of a grid.

        Returns:
            Shape (..., n_alpha, n_beta, n_gamma); R are ``grid.matrices``.

        >>> grid = RotationGrid.gauss_legendre(4)
        >>> f, g = (SphericalSignal(torch.randn(9, dtype=torch.float64)) for _ in range(2))
        >>> R = grid.matrices[2, 1, 3]
        >>> torch.allclose(f.cross_correlation(g, grid)[2, 1, 3], f.inner(g.rotated(R)))
        True
        """
        lmax = min(self.lmax, other.lmax)
        blocks = []
        for l in range(lmax + 1):
            part = slice(l**2, (l + 1) ** 2)
            f, g = self.coefficients[..., part], other.coefficients[..., part]
            blocks.append((g[..., :, None] * f[..., None, :]).flatten(-2))
        return grid.to_grid(torch.cat(blocks, dim=-1), lmax, "integral")


def _harmonics(r: Tensor, lmax: int) -> Tensor:
    if lmax < 0:
        raise ValueError(f"lmax of a signal must not be negative, not {lmax}")
    return spherical_harmonics(list(range(lmax + 1)), r, normalization="integral")


def _broadcast(positions: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    if positions.shape[-1:] != (3,) or positions.dim() < 2 or values.dim() < 1:
        raise ValueError(
            "samples have positions (..., N, 3) and values (..., N), "
            f"not {tuple(positions.shape)} and {tuple(values.shape)}"
        )
    positions, values = torch.broadcast_tensors(positions, values[..., None])
    return positions, values[..., 0]
