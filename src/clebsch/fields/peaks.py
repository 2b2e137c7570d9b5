"""Local maxima of a function on the sphere."""

from __future__ import annotations

import torch
from torch import Tensor

from clebsch.fields.spherical_signal import SphericalSignal
from clebsch.o3 import SphereGrid

NEWTON_STEPS = 12


def find_peaks(signal: SphericalSignal, res: int = 100) -> tuple[Tensor, Tensor]:
    """Directions and values of the local maxima, highest first.

    Maxima on a grid (over the seam and the poles as well) are refined by Newton's method, so that
    they are exact to rounding; e3nn's stay on its grid. Of a constant there are none.

    Args:
        signal: one signal, not a batch.
        res: number of polar angles of the grid. Maxima closer to each other than about two
            spacings, pi / res, may be found as one.

    Returns:
        Shapes (P, 3), of length 1, and (P,); not differentiated.

    Raises:
        ValueError: a batch of signals.

    >>> vectors = torch.tensor([[4.0, 0.0, 4.0], [0.0, 5.0, 0.0]])
    >>> directions, values = find_peaks(SphericalSignal.with_peaks_at(vectors, lmax=4))
    >>> values[:2].round(decimals=1)
    tensor([5.7000, 5.0000])
    """
    if signal.coefficients.dim() != 1:
        raise ValueError(
            "find_peaks takes one signal at a time, not coefficients of shape "
            f"{tuple(signal.coefficients.shape)}"
        )
    exact = SphericalSignal(signal.coefficients.detach().double())
    res = max(res, 2 * signal.lmax + 2)
    grid = SphereGrid(res, 2 * res, gauss=False)
    points, values = exact.signal_on_grid(grid)
    # beyond a pole the next ring is the pole's own, half a turn away
    opposite = values.roll(res, dims=1)
    padded = torch.cat([opposite[:1], values, opposite[-1:]])
    padded = torch.cat([padded[:, -1:], padded, padded[:, :1]], dim=1)
    neighbours = [
        padded[1 + i : res + 1 + i, 1 + j : 2 * res + 1 + j]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
        if (i, j) != (0, 0)
    ]
    largest = torch.stack(neighbours).amax(0)
    # of a flat top all points are kept; they meet after the refinement
    spread = values.max() - values.min()
    is_peak = (values >= largest) & bool(spread > 1e-12 * values.abs().max())
    found = _refined(exact, points[is_peak], 2 * torch.pi / res)
    heights = exact.signal_xyz(found)
    order = heights.argsort(descending=True)
    found, heights = found[order], heights[order]
    far = torch.cdist(found, found) > 2 * torch.pi / res
    first = [i for i in range(len(found)) if bool(far[i, :i].all())]
    like = signal.coefficients
    return found[first].to(like), heights[first].to(like)


def _refined(signal: SphericalSignal, points: Tensor, longest: float) -> Tensor:
    """Newton's method in the tangent planes; a step that does not climb is not taken."""
    for _ in range(NEWTON_STEPS):
        helper = torch.eye(3, dtype=points.dtype)[points.abs().argmin(-1)]
        t1 = torch.nn.functional.normalize(torch.linalg.cross(points, helper), dim=-1)
        plane = torch.stack([t1, torch.linalg.cross(points, t1)], dim=1)
        with torch.enable_grad():
            u = torch.zeros(len(points), 2, dtype=points.dtype, requires_grad=True)
            moved = points + (u[:, None] @ plane).squeeze(1)
            f = signal.signal_xyz(moved)
            (slope,) = torch.autograd.grad(f.sum(), u, create_graph=True)
            rows = [torch.autograd.grad(slope[:, i].sum(), u, retain_graph=True)[0] for i in (0, 1)]
        slope, curvature = slope.detach(), torch.stack(rows, dim=1)
        curvatures, axes = torch.linalg.eigh(curvature)
        floor = 1e-12 * curvatures.abs().amax(-1, keepdim=True).clamp(min=1e-300)
        along = (axes.mT @ slope[..., None]).squeeze(-1) / curvatures.abs().clamp(min=floor)
        step = (axes @ along[..., None]).squeeze(-1)
        length = torch.linalg.vector_norm(step, dim=-1, keepdim=True)
        step = step * (longest / length.clamp(min=longest))
        there = torch.nn.functional.normalize(points + (step[:, None] @ plane).squeeze(1), dim=-1)
        climbs = signal.signal_xyz(there) >= f.detach()
        points = torch.where(climbs[:, None], there, points)
    return points
