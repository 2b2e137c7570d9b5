"""Least squares of densities: linear models of coefficients, fitted in a metric of densities.

The coefficients of degree l on the atoms of an element are c = features @ weights, (rows, n) with a
row for each atom and component. Sought are the weights that minimise

    sum over molecules of (c - c_ref)^T M (c - c_ref) + sum over blocks of penalty |weights L|^2

with L L^T the metric M on one atom. M couples all blocks, so the normal equations are solved by
conjugate gradients, as in SALTED: Lewis, Grisafi, Ceriotti, Rossi, J. Chem. Theory Comput. 17, 7203
(2021). Their preconditioner is M without its entries between atoms; it is exact where M has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_TOLERANCE = 1e-10  # of the squared residual, in the preconditioner's norm
_MOST_STEPS = 1000


@dataclass(frozen=True, eq=False)
class LinearBlock:
    """Features of one element and degree in their principal axes.

    Attributes:
        features: (rows, R), with orthogonal columns.
        axes: (F, R): the given features times ``axes`` are ``features``.
        squares: (R,), squared lengths of the columns, rising.
        places: (rows, n) int64, of the coefficients in the flat tensor of all molecules.
        inverse: (n, n), inverse of L.
    """

    features: Tensor
    axes: Tensor
    squares: Tensor
    places: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, features: Tensor, places: Tensor, on_site: Tensor) -> LinearBlock:
        """From features (rows, F) and the metric on one atom (n, n)."""
        squares, axes = torch.linalg.eigh(features.mT @ features)
        kept = squares > 1e-13 * squares[-1:]  # the rest is round-off
        squares, axes = squares[kept], axes[:, kept]
        inverse = torch.linalg.inv(torch.linalg.cholesky(on_site))
        return cls(features @ axes, axes, squares, places, inverse)

    @property
    def largest(self) -> float:
        """The last of ``squares``; a penalty is a small part of it."""
        return float(self.squares[-1]) if len(self.squares) else 1.0


def least_squares(
    blocks: Sequence[LinearBlock],
    target: Tensor,
    metrics: Sequence[Tensor],
    strengths: Sequence[float],
) -> Iterator[list[Tensor]]:
    """Weights for each strength of the penalty, each solution started from the one before.

    Args:
        blocks: together they hold every coefficient once.
        target: c_ref of all molecules, one after the other, (K,).
        metrics: M of each molecule.
        strengths: penalties, in units of each block's ``largest``.

    Yields:
        (F, n) for each block.

    Raises:
        ValueError: no solution to the tolerance, or metrics that do not fit the target.
    """
    sizes = [len(m) for m in metrics]
    if sum(sizes) != len(target):
        raise ValueError(f"metrics of {sum(sizes)} functions, but {len(target)} coefficients")

    def gradient(c: Tensor) -> list[Tensor]:
        parts = zip(metrics, c.split(sizes), strict=True)
        flat = torch.cat([m @ part for m, part in parts])
        return [b.features.mT @ flat[b.places] @ b.inverse.mT for b in blocks]

    def coefficients(weights: list[Tensor]) -> Tensor:
        c = torch.zeros_like(target)
        for b, w in zip(blocks, weights, strict=True):
            c[b.places] = b.features @ (w @ b.inverse)
        return c

    right = gradient(target)
    weights = [torch.zeros_like(r) for r in right]
    for strength in strengths:
        penalties = [strength * b.largest for b in blocks]

        def normal(w: list[Tensor], penalties: list[float] = penalties) -> list[Tensor]:
            found = gradient(coefficients(w))
            return [g + p * x for g, p, x in zip(found, penalties, w, strict=True)]

        inverses = [1 / (b.squares + p)[:, None] for b, p in zip(blocks, penalties, strict=True)]
        weights = _conjugate_gradients(normal, right, inverses, weights)
        yield [b.axes @ (w @ b.inverse) for b, w in zip(blocks, weights, strict=True)]


def _conjugate_gradients(
    normal: Callable[[list[Tensor]], list[Tensor]],
    right: list[Tensor],
    inverses: list[Tensor],
    start: list[Tensor],
) -> list[Tensor]:
    """The solution of normal(w) = right, preconditioned by the product with ``inverses``."""

    def dot(x: list[Tensor], y: list[Tensor]) -> float:
        return sum(float((a * b).sum()) for a, b in zip(x, y, strict=True))

    def plus(x: list[Tensor], factor: float, y: list[Tensor]) -> list[Tensor]:
        return [a + factor * b for a, b in zip(x, y, strict=True)]

    def preconditioned(x: list[Tensor]) -> list[Tensor]:
        return [a * b for a, b in zip(x, inverses, strict=True)]

    w = start
    residual = plus(right, -1.0, normal(w))
    better = preconditioned(residual)
    direction, size = better, dot(residual, better)
    enough = _TOLERANCE * dot(right, preconditioned(right))
    for _ in range(_MOST_STEPS):
        if size <= enough:
            return w
        image = normal(direction)
        step = size / dot(direction, image)
        w, residual = plus(w, step, direction), plus(residual, -step, image)
        better = preconditioned(residual)
        before, size = size, dot(residual, better)
        direction = plus(better, size / before, direction)
    raise ValueError(
        f"the normal equations are not solved after {_MOST_STEPS} steps: take a stronger penalty"
    )
