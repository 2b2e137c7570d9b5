"""Clusters of water of any size, at the density of the liquid: what cost depends on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SPACING = 3.1  # Å, between the oxygens of neighbours: 29.8 Å^3 for a molecule, as in the liquid
_CONTACT = 1.6  # Å, least distance of atoms of two molecules
_BOND, _ANGLE = 0.9572, np.deg2rad(104.52)  # of the free molecule


def water_cluster(
    molecules: int, seed: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Water on a compact part of a simple cubic lattice, each molecule turned at random.

    Turns that bring atoms of two molecules nearer than 1.6 Å are drawn again.

    Returns:
        Atomic numbers (3 n,), O H H of each molecule, and positions (3 n, 3), Å.

    >>> numbers, positions = water_cluster(2)
    >>> numbers.tolist(), round(float(np.linalg.norm(positions[3] - positions[0])), 6)
    ([8, 1, 1, 8, 1, 1], 3.1)
    """
    rng = np.random.default_rng(seed)
    edge = np.arange(np.ceil(round(molecules ** (1 / 3), 9)))
    places = SPACING * np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), -1).reshape(-1, 3)
    from_centre = np.linalg.norm(places - places.mean(0), axis=1).round(6)
    places = places[np.argsort(from_centre, kind="stable")[:molecules]]
    at = np.array([_ANGLE / 2, -_ANGLE / 2])
    hydrogens = _BOND * np.stack([np.cos(at), np.sin(at), 0 * at], -1)
    molecule = np.concatenate([np.zeros((1, 3)), hydrogens])
    positions = np.empty((molecules, 3, 3))
    for i, place in enumerate(places):
        near = np.linalg.norm(places[:i] - place, axis=1) < SPACING + 2 * _BOND + _CONTACT
        others = positions[:i][near].reshape(-1, 1, 3)
        while True:
            positions[i] = place + molecule @ _rotation(rng).T
            if (np.linalg.norm(others - positions[i], axis=-1) > _CONTACT).all():
                break
    return np.tile(np.array([8, 1, 1]), molecules), positions.reshape(-1, 3)


def _rotation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A uniformly random rotation, from a random quaternion."""
    a, b, c, d = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
