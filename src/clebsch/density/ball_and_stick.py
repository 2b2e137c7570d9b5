"""Atoms and bonds of a picture as triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

Array = npt.NDArray[np.float64]

_BOND = 1.25  # of the sum of covalent radii
_STICK = 0.09  # Å
_LINE = 0.025  # Å
_PIECES = 8  # along a stick, so that nearer triangles hide further ones


@dataclass(frozen=True)
class Mesh:
    """Triangles with a colour at each corner.

    Attributes:
        vertices: (V, 3), Å.
        triangles: (T, 3).
        normals: (V, 3), of length 1, outwards.
        colours: (V, 3), red, green, blue from 0 to 1.
    """

    vertices: Array
    triangles: npt.NDArray[np.int64]
    normals: Array
    colours: Array


def joined(meshes: list[Mesh]) -> Mesh:
    """One mesh of several."""
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([np.zeros((0, 3)), *(m.vertices for m in meshes)]),
        np.concatenate(
            [np.zeros((0, 3), np.int64)]
            + [m.triangles + s for m, s in zip(meshes, starts, strict=False)]
        ),
        np.concatenate([np.zeros((0, 3)), *(m.normals for m in meshes)]),
        np.concatenate([np.zeros((0, 3)), *(m.colours for m in meshes)]),
    )


def atom_colours(numbers: npt.NDArray[np.int64]) -> Array:
    """Jmol's, with white a little grey so that it stands out from paper, (N, 3)."""
    return np.asarray(0.94 * jmol_colors[numbers], dtype=np.float64)


def bonds(numbers: npt.NDArray[np.int64], positions: Array) -> npt.NDArray[np.int64]:
    """Pairs of atoms closer than 1.25 sums of covalent radii, (B, 2)."""
    from scipy.spatial import cKDTree

    if len(numbers) < 2:
        return np.zeros((0, 2), np.int64)
    radii = covalent_radii[numbers]
    pairs = cKDTree(positions).query_pairs(2 * _BOND * radii.max(), output_type="ndarray")
    distances = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    kept = pairs[distances < _BOND * radii[pairs].sum(1)]
    return np.asarray(kept[np.lexsort(kept.T[::-1])], dtype=np.int64)


def ball_and_stick(numbers: npt.NDArray[np.int64], positions: Array, detail: int = 3) -> Mesh:
    """A ball on every atom and a stick of two colours on every bond.

    Args:
        detail: 20 x 4^detail triangles to a ball.
    """
    colours = atom_colours(numbers)
    unit, faces = _sphere(detail)
    meshes = []
    for z, place, colour in zip(numbers, positions, colours, strict=True):
        radius = 0.2 + 0.18 * covalent_radii[z]
        meshes.append(_coloured(place + radius * unit, faces, unit, colour))
    for i, j in bonds(numbers, positions):
        middle = (positions[i] + positions[j]) / 2
        meshes.append(stick(positions[i], middle, colours[i], _STICK))
        meshes.append(stick(middle, positions[j], colours[j], _STICK))
    return joined(meshes)


def cell_edges(cell: Array) -> Mesh:
    """The twelve edges of a cell."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    meshes = []
    for a in corners:
        for b in corners:
            if (b - a).sum() == 1 and abs(b - a).sum() == 1:
                meshes.append(stick(a @ cell, b @ cell, np.full(3, 0.45), _LINE, pieces=40))
    return joined(meshes)


def stick(a: Array, b: Array, colour: Array, radius: float, pieces: int = _PIECES) -> Mesh:
    """A cylinder between two places, open at its ends."""
    axis = b - a
    other = np.eye(3)[np.abs(axis).argmin()]
    u = np.cross(axis, other)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u) / np.linalg.norm(axis)
    sides = 16
    angles = 2 * np.pi * np.arange(sides) / sides
    normals = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v
    along = a + np.linspace(0, 1, pieces + 1)[:, None, None] * axis
    vertices = (along + radius * normals).reshape(-1, 3)
    ring, side = np.meshgrid(np.arange(pieces), np.arange(sides), indexing="ij")
    here, right = ring * sides + side, ring * sides + (side + 1) % sides
    triangles = np.stack(
        [
            np.stack([here, right, right + sides], -1),
            np.stack([here, right + sides, here + sides], -1),
        ]
    ).reshape(-1, 3)
    return _coloured(vertices, triangles, np.tile(normals, (pieces + 1, 1)), colour)


def _coloured(
    vertices: Array, triangles: npt.NDArray[np.int64], normals: Array, colour: Array
) -> Mesh:
    return Mesh(vertices, triangles, normals, np.tile(colour, (len(vertices), 1)))


@cache
def _sphere(detail: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """An icosahedron whose faces are halved ``detail`` times."""
    g = (1 + 5**0.5) / 2
    points = [(0, s, t * g) for s in (1, -1) for t in (1, -1)]
    vertices = np.array([np.roll(p, k) for p in points for k in range(3)], dtype=np.float64)
    distance = np.linalg.norm(vertices[:, None] - vertices, axis=-1)
    near = np.abs(distance - 2) < 1e-6
    triangles = np.array(
        [
            (i, j, k)
            for i in range(12)
            for j in range(i + 1, 12)
            for k in range(j + 1, 12)
            if near[i, j] and near[j, k] and near[i, k]
        ]
    )
    corners = vertices[triangles]
    inward = np.einsum("ti,ti->t", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(detail):
        a, b, c = (vertices[triangles[:, i]] for i in range(3))
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        every = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]])
        flat = every.transpose(2, 0, 1, 3).reshape(-1, 3)
        _, first, inverse = np.unique(flat.round(9), axis=0, return_index=True, return_inverse=True)
        vertices, triangles = flat[first], inverse.reshape(-1, 3)
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), triangles.astype(np.int64)
