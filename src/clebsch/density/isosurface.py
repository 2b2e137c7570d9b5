"""Surfaces on which a field has one value, as triangles.

Marching cubes in the variant without ambiguous cases: T. Lewiner et al., J. Graphics Tools 8, 1
(2003), from scikit-image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, log10
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import map_coordinates, spline_filter

from clebsch.density.cube import Box, slabs_of
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.separable import along_axes
from clebsch.errors import UserError

Array = npt.NDArray[np.float64]

_POINTS = 6e5  # of a box by default
_FINEST, _COARSEST = 0.08, 0.3  # Å
_MARGIN = 3.0  # Å
_WIDEST = 12.0  # Å
_SMALL = 0.1  # electrons/Å^3


@dataclass(frozen=True)
class Surface:
    """Triangles with their corners and normals.

    Attributes:
        vertices: (V, 3), Å.
        triangles: (T, 3), corners; seen from the side of smaller values anticlockwise.
        normals: (V, 3), of length 1, towards smaller values.
        values: (V,) of another field, or None.
    """

    vertices: Array
    triangles: npt.NDArray[np.int64]
    normals: Array
    values: Array | None = None

    @property
    def volume(self) -> float:
        """Volume within a closed surface, Å^3."""
        a, b, c = (self.vertices[self.triangles[:, i]] for i in range(3))
        return float(np.einsum("ti,ti->", a, np.cross(b, c)) / 6)

    @property
    def area(self) -> float:
        """Å^2."""
        a, b, c = (self.vertices[self.triangles[:, i]] for i in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def isosurface(values: Array, box: Box, level: float, periodic: bool = False) -> Surface:
    """Where values on a box pass a level.

    Args:
        values: of the box's shape.
        level: the region inside is above it; a negative one has the values below it inside.
        periodic: the box is a cell, and the surface goes on to its far faces.

    Raises:
        UserError: no value or every value is beyond the level, or scikit-image is not installed.
    """
    field = np.pad(values, [(0, 1)] * 3, mode="wrap") if periodic else values
    field = field if level > 0 else -field
    if not field.min() < abs(level) < field.max():
        furthest = values.max() if level > 0 else values.min()
        raise UserError(
            f"there is no surface at {level:g}: the values go up to {furthest:.3g}; choose a level "
            "nearer to 0."
            if field.max() <= abs(level)
            else f"there is no surface at {level:g}: all values are beyond it; choose another."
        )
    # nearly straight lines where a density falls exponentially, and no cusps for splines to ring at
    field, target = np.arcsinh(field / abs(level)), float(np.arcsinh(1.0))
    places, triangles, _, _ = _marching_cubes()(field, target)
    at = places.astype(np.float64)
    # marching cubes goes straight between points: Newton's steps on a cubic spline
    spline = spline_filter(field, order=3, mode="mirror")
    for _ in range(2):
        gradient = _gradient(spline, at)
        step = (target - _values(spline, at)) / np.maximum((gradient**2).sum(1), 1e-300)
        at += np.clip(step[:, None] * gradient, -0.3, 0.3)
    # a gradient is turned by the inverse of what turns a vector; inside is higher
    directions = -_gradient(spline, at) @ np.linalg.inv(box.steps).T
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    surface = Surface(
        box.origin + at @ box.steps,
        triangles.astype(np.int64),
        directions / np.where(lengths > 0, lengths, 1.0),
    )
    return _outwards(surface)


def _values(spline: Array, at: Array) -> Array:
    values = map_coordinates(spline, at.T, order=3, mode="mirror", prefilter=False)
    return np.asarray(values, dtype=np.float64)


def _gradient(spline: Array, at: Array) -> Array:
    h = 1e-3 * np.eye(3)
    return np.stack([(_values(spline, at + x) - _values(spline, at - x)) / 2e-3 for x in h], axis=1)


def _outwards(surface: Surface) -> Surface:
    """Normals and the order of corners away from the inside."""
    a, b, c = (surface.vertices[surface.triangles[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    mean = surface.normals[surface.triangles].sum(1)
    if np.einsum("ti,ti->", flat, mean) < 0:
        return replace(surface, triangles=surface.triangles[:, ::-1].copy())
    return surface


def _marching_cubes() -> Any:
    try:
        from skimage.measure import marching_cubes
    except ModuleNotFoundError as error:
        raise UserError(
            "isosurfaces need scikit-image, which is not installed; it comes with the extra "
            "density: pip install 'clebsch[density]'."
        ) from error
    return marching_cubes


@dataclass(frozen=True)
class Field:
    """Values on a box that holds the surface of interest."""

    box: Box
    values: Array
    periodic: bool

    def surface(self, level: float) -> Surface:
        """`isosurface` at a level."""
        return isosurface(self.values, self.box, level, self.periodic)


def field_of(
    density: ElectronDensity,
    difference_from: ElectronDensity | None = None,
    spacing: float | None = None,
    level: float = 0.0,
) -> Field:
    """A density, or a difference of two, on a box that holds its surface at a level.

    Args:
        spacing: Å; default 0.08 to 0.3, by the size of the box.
        level: electrons/Å^3; the box of a molecule grows until the values on its faces are below.

    Raises:
        UserError: as `Box.of`.
    """
    margin = _MARGIN
    while True:
        step = _spacing(density, margin) if spacing is None else spacing
        box = Box.of(density, step, margin)
        values = _values_on(box, density, difference_from)
        if density.cell is not None or level == 0 or margin >= _WIDEST:
            break
        if _largest_on_faces(values) < abs(level):
            break
        margin *= 1.5
    return Field(box, values, density.cell is not None)


def _values_on(
    box: Box, density: ElectronDensity, difference_from: ElectronDensity | None
) -> Array:
    if along_axes(box.steps):
        return np.concatenate(list(slabs_of(density, box, "density", difference_from)))
    # on a box along the axes, where densities are fast, and from there by splines
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    places = box.origin + corners * np.array(box.shape) @ box.steps
    step = float(np.linalg.norm(box.steps, axis=1).min())
    counts = np.ceil(np.ptp(places, axis=0) / step).astype(int) + 9
    origin = places.min(0) - 4 * step
    straight = Box(origin, step * np.eye(3), (int(counts[0]), int(counts[1]), int(counts[2])))
    values = np.concatenate(list(slabs_of(density, straight, "density", difference_from)))
    at = (box.points().reshape(-1, 3).numpy() - origin) / step
    spline = spline_filter(np.arcsinh(values / _SMALL), order=3, mode="mirror")
    return np.asarray(_SMALL * np.sinh(_values(spline, at)).reshape(box.shape))


def _largest_on_faces(values: Array) -> float:
    return max(float(np.abs(values.take(end, axis)).max()) for axis in range(3) for end in (0, -1))


def _spacing(density: ElectronDensity, margin: float) -> float:
    if density.cell is not None:
        volume = float(torch.linalg.det(density.cell).abs())
    else:
        positions = density.positions.detach()
        volume = float((positions.amax(0) - positions.amin(0) + 2 * margin).prod())
    return float(np.clip((volume / _POINTS) ** (1 / 3), _FINEST, _COARSEST))


def enclosing_level(values: Array, share: float = 0.5) -> float:
    """The level beyond which, of either sign, lies a share of the integral of |values|.

    Rounded to one significant digit; 0 where everything is 0.

    >>> enclosing_level(np.array([0.0, 0.1, -0.3, 0.6]), share=0.5)
    0.6
    """
    sizes = np.sort(np.abs(values).ravel())[::-1]
    total = np.cumsum(sizes)
    if total[-1] == 0:
        return 0.0
    level = float(sizes[np.searchsorted(total, share * total[-1])])
    return round(level, -floor(log10(level)))
