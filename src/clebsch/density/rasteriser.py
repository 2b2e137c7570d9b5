"""Triangles as pixels: the nearest opaque one, and translucent ones over it from back to front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clebsch.density.ball_and_stick import Mesh

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_LOT = 1 << 20  # pixels that are tried at a time
_LIGHT = np.array([-0.35, 0.45, 0.82]) / np.linalg.norm([-0.35, 0.45, 0.82])
_HALF = (_LIGHT + np.array([0.0, 0.0, 1.0])) / np.linalg.norm(_LIGHT + np.array([0.0, 0.0, 1.0]))
_FOG = 0.35  # share of white in what is furthest away
_FOG_DEPTH = 6.0  # Å at least, over which it grows
#: of a pixel; a little off, so that no edge of two triangles goes through one exactly
_CENTRE = (0.5 + 1.3e-7, 0.5 + 0.7e-7)
_STEEPEST = 0.2  # a skin seen from the side is thicker by 1 / this at most


@dataclass(frozen=True)
class Skin:
    """A mesh with its opacity when seen at a right angle; 1 hides what is behind.

    Attributes:
        closed: its far side is not drawn.
    """

    mesh: Mesh
    opacity: float = 1.0
    closed: bool = True


@dataclass
class _Pixels:
    """Points of triangles under the centres of pixels; every array (F,) or (F, 3)."""

    place: Indices
    depth: Array
    normal: Array
    colour: Array


def paint(skins: Sequence[Skin], low: Array, per_angstrom: float, width: int, height: int) -> Array:
    """Picture of meshes seen along -z, (height, width, 3) from 0 to 1, the first row on top.

    Args:
        low: x and y of the picture's lower left corner, Å.
        per_angstrom: pixels to an Å.
    """
    depths = np.concatenate([s.mesh.vertices[:, 2] for s in skins])
    far, near = float(depths.min()), float(depths.max())

    def shaded(pixels: _Pixels) -> Array:
        colour = _shaded(pixels.colour, pixels.normal)
        fog = _FOG * (near - pixels.depth) / max(near - far, _FOG_DEPTH)
        return np.asarray(colour + fog[:, None] * (1 - colour))

    image = np.ones((height * width, 3))
    nearest = np.full(height * width, -np.inf)
    for skin in skins:
        if skin.opacity == 1:
            for pixels in _pixels(skin, low, per_angstrom, width, height):
                order = pixels.depth.argsort()  # of several in one place the last is kept
                order = order[pixels.depth[order] > nearest[pixels.place[order]]]
                image[pixels.place[order]] = shaded(pixels)[order]
                nearest[pixels.place[order]] = pixels.depth[order]
    places, distances, colours, opacities = [], [], [], []
    for skin in skins:
        if skin.opacity < 1:
            for pixels in _pixels(skin, low, per_angstrom, width, height):
                seen = pixels.depth > nearest[pixels.place]
                steep = np.clip(np.abs(pixels.normal[seen, 2]), _STEEPEST, 1)
                places.append(pixels.place[seen])
                distances.append(pixels.depth[seen])
                colours.append(shaded(pixels)[seen].astype(np.float32))
                opacities.append(1 - (1 - skin.opacity) ** (1 / steep))
    if places:
        _lay_over(image, *(np.concatenate(x) for x in (places, distances, colours, opacities)))
    return image.reshape(height, width, 3)[::-1]


def _lay_over(image: Array, place: Indices, depth: Array, colour: Array, opacity: Array) -> None:
    """Blend what lies over each pixel, the furthest first."""
    order = np.lexsort((depth, place))
    place, colour, opacity = place[order], colour[order], opacity[order, None]
    first = np.flatnonzero(np.diff(place, prepend=-1))
    counts = np.diff(np.append(first, len(place)))
    for rank in range(int(counts.max(initial=0))):
        here = first[counts > rank] + rank
        below = image[place[here]]
        image[place[here]] = below + opacity[here] * (colour[here] - below)


def _pixels(
    skin: Skin, low: Array, per_angstrom: float, width: int, height: int
) -> Iterator[_Pixels]:
    mesh, triangles = skin.mesh, skin.mesh.triangles
    flat = (mesh.vertices[:, :2] - low) * per_angstrom
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    twice_area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (
        c[:, 0] - a[:, 0]
    )
    triangles = triangles[twice_area > 0 if skin.closed else twice_area != 0]
    for which, place, weights in _covered(flat[triangles], width, height):
        corners = triangles[which]
        normal, colour = (
            np.einsum("fi,fix->fx", weights, values[corners])
            for values in (mesh.normals, mesh.colours)
        )
        depth = np.einsum("fi,fi->f", weights, mesh.vertices[corners, 2])
        yield _Pixels(place, depth, normal, colour)


def _covered(corners: Array, width: int, height: int) -> Iterator[tuple[Indices, Indices, Array]]:
    """Triangle, pixel and barycentric weights (F, 3) wherever a pixel's centre is covered."""
    low = np.maximum(np.ceil(corners.min(1) - 0.5), 0).astype(np.int64)
    high = np.floor(corners.max(1) - 0.5).astype(np.int64)
    high = np.minimum(high, np.array([width, height]) - 1)
    sizes = (high - low + 1).clip(min=0)
    sizes = np.where(sizes.all(1), sizes.max(1), 0)
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    k = 1
    while k // 2 < sizes.max(initial=0):
        members = np.flatnonzero((sizes > k // 2) & (sizes <= k))
        for start in range(0, len(members), max(1, _LOT // k**2)):
            t = members[start : start + max(1, _LOT // k**2)]
            x = low[t, 0, None] + np.arange(k)
            y = low[t, 1, None] + np.arange(k)
            dx, dy = x + _CENTRE[0] - a[t, 0, None], y + _CENTRE[1] - a[t, 1, None]
            inverse = 1 / area[t, None]
            second = (dx * v[t, 1, None] * inverse)[:, None, :] - (dy * v[t, 0, None] * inverse)[
                :, :, None
            ]
            third = (dy * u[t, 0, None] * inverse)[:, :, None] - (dx * u[t, 1, None] * inverse)[
                :, None, :
            ]
            inside = (second >= 0) & (third >= 0) & (second + third <= 1)
            inside &= (x <= high[t, 0, None])[:, None, :] & (y <= high[t, 1, None])[:, :, None]
            which, row, column = inside.nonzero()
            w1, w2 = second[inside], third[inside]
            place = y[which, row] * width + x[which, column]
            yield t[which], place, np.stack([1 - w1 - w2, w1, w2], axis=1)
        k *= 2


def _shaded(colour: Array, normal: Array) -> Array:
    """Light from above on the left, a little from everywhere, and a highlight."""
    n = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-30)
    n = n * np.where(n[:, 2:] < 0, -1.0, 1.0)
    diffuse = np.clip(n @ _LIGHT, 0, 1)[:, None]
    bright = np.clip(n @ _HALF, 0, 1)[:, None] ** 50
    return np.asarray(np.clip(colour * (0.52 + 0.52 * diffuse) + 0.3 * bright, 0, 1))
