"""The script that makes water clusters: cutting across the faces of the box, without sharing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_water_clusters.py"
EDGE = 4 * 3.0


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.is_file():
        pytest.skip("an installed package has no scripts")
    spec = importlib.util.spec_from_file_location("make_water_clusters", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def box(rng):
    """64 molecules near a lattice of 3 Å, (64, 3, 3)."""
    axis = np.arange(4) * 3.0
    sites = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    water = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    turns = Rotation.random(64, rng).as_matrix()
    sites += rng.uniform(-0.1, 0.1, sites.shape)
    return sites[:, None] + np.einsum("nij,aj->nai", turns, water)


@pytest.mark.parametrize("compact", [False, True])
def test_clusters(script, box, rng, compact) -> None:
    cutter = script.Cutter(box, EDGE, rng)
    found = [cutter.cut(n, compact) for n in (1, 2, 4, 8)]
    assert cutter.used.sum() == 15  # no molecule twice
    for n, atoms in zip((1, 2, 4, 8), found, strict=True):
        assert atoms.get_chemical_symbols() == ["O", "H", "H"] * n
        np.testing.assert_allclose(atoms.positions.mean(0), 0, atol=1e-7)
        bonds, nearest = script.lengths(atoms)
        np.testing.assert_allclose(bonds, np.hypot(0.76, 0.59), atol=1e-7)
        if n > 1:
            assert nearest.min() > 2.7
            assert nearest.max() < 3.5  # whole, though the box is cut through


def test_compact_clusters_are_those_nearest_across_faces(script, box, rng) -> None:
    cutter = script.Cutter(box, EDGE, rng)
    chosen = cutter.compact(0, 7)  # a corner of the box
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3) * EDGE
    images = box[None, :, 0] + shifts[:, None] - box[0, 0]
    distance = np.linalg.norm(images, axis=-1).min(0)
    assert set(chosen) == set(np.argsort(distance)[:7].tolist())
    oxygen = cutter.atoms(0, chosen).positions[::3]
    np.testing.assert_allclose(
        np.linalg.norm(oxygen - oxygen[0], axis=-1), distance[chosen], atol=1e-6
    )
    assert cutter.compact(0, 64) is None  # larger than the box


def test_orders(script, box) -> None:
    frames = np.stack([box, box + 0.5])
    orders = [(3, True, "train"), (3, False, "test"), (5, True, "")]
    found = script.clusters(frames, EDGE, iter(orders), 0, 2, seed=1)
    again = script.clusters(frames, EDGE, iter(orders), 0, 2, seed=1)
    assert [a.info.get("split") for a in found] == ["train", "test", None]
    assert [a.info["config_type"] for a in found] == ["compact-3", "grown-3", "compact-5"]
    assert [a.info["trajectory"] for a in found] == ["f0", "f1", "f0"]
    assert all((a.positions == b.positions).all() for a, b in zip(found, again, strict=True))
    with pytest.raises(SystemExit, match="no cluster of 65 molecules"):
        script.clusters(frames, EDGE, iter([(65, False, "")]), 0, 2, seed=1)
    assert script.size_and_count("12:4") == (12, 4)
    assert script.size_and_count("16") == (16, 1)


@pytest.mark.slow
def test_liquid(script, monkeypatch) -> None:
    pytest.importorskip("openmm")
    monkeypatch.setattr(script, "SIDE", 7)
    monkeypatch.setattr(script, "MELTING", 400)
    monkeypatch.setattr(script, "SPACING", 100)
    positions, edge = script.liquid(2, seed=3)
    assert positions.shape == (2, 343, 3, 3)
    assert edge == pytest.approx((343 * 30.0) ** (1 / 3))
    bonds = np.linalg.norm(positions[:, :, 1:] - positions[:, :, :1], axis=-1)
    assert bonds.mean() == pytest.approx(0.97, abs=0.02)
    assert 0.005 < bonds.std() < 0.05
    assert np.abs(positions[1] - positions[0]).max() > 0.05
    again, _ = script.liquid(2, seed=3)
    np.testing.assert_array_equal(again, positions)
