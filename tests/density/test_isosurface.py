"""Isosurfaces against spheres and ellipsoids, and their levels."""

from __future__ import annotations

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from ase.units import Bohr

from clebsch.density import AuxiliaryBasis, Box, ElectronDensity
from clebsch.density.isosurface import enclosing_level, field_of, isosurface
from clebsch.errors import UserError

pytest.importorskip("skimage")

BASIS = AuxiliaryBasis("s", {1: ((0.5,),)})
HEIGHT = math.pi**-0.75 / Bohr**3  # of the Gaussian exp(-r^2 / 2)


def gaussian(*centres: tuple[float, float, float], factor: float = 1.0) -> ElectronDensity:
    numbers = torch.ones(len(centres), dtype=torch.int64)
    c = torch.full((len(centres),), factor, dtype=torch.float64)
    return ElectronDensity(BASIS, numbers, torch.tensor(centres, dtype=torch.float64), c)


def radius(level: float) -> float:
    return math.sqrt(-2 * math.log(level / HEIGHT)) * Bohr


@pytest.mark.parametrize("level", [0.02, -0.02])
def test_surface_of_a_gaussian_is_a_sphere(level) -> None:
    centre = (0.3, -0.2, 1.0)
    density = gaussian(centre, factor=math.copysign(1.0, level))
    surface = field_of(density, spacing=0.15, level=level).surface(level)
    away = surface.vertices - np.array(centre)
    r = radius(abs(level))
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), r, atol=5e-4)
    np.testing.assert_allclose(surface.normals, away / r, atol=1e-2)
    assert surface.volume == pytest.approx(4 / 3 * math.pi * r**3, rel=1e-2)
    assert surface.area == pytest.approx(4 * math.pi * r**2, rel=1e-2)
    edges = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()  # closed


def test_surface_on_oblique_steps_is_the_same_sphere() -> None:
    steps = 0.15 * np.array([[1.0, 0.0, 0.0], [0.4, 1.0, 0.0], [-0.3, 0.2, 0.9]])
    shape = (60, 50, 50)
    box = Box(-(np.array(shape) - 1) / 2 @ steps, steps, shape)
    surface = isosurface(box.values(gaussian((0.0, 0.0, 0.0)).at), box, 0.02)
    r = radius(0.02)
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), r, atol=5e-4)
    np.testing.assert_allclose(surface.normals, surface.vertices / r, atol=1e-2)
    assert surface.volume == pytest.approx(4 / 3 * math.pi * r**3, rel=1e-2)


def test_box_grows_until_it_holds_the_surface() -> None:
    basis = AuxiliaryBasis("wide", {1: ((0.05,),)})
    wide = dataclasses.replace(gaussian((0.0, 0.0, 0.0)), basis=basis)
    level = 1e-5
    field = field_of(wide, spacing=0.3, level=level)
    assert field.box.shape[0] * 0.3 > 2 * 3.0 + 1
    height = (0.1 / math.pi) ** 0.75 / Bohr**3
    r = math.sqrt(-math.log(level / height) / 0.05) * Bohr
    assert field.surface(level).volume == pytest.approx(4 / 3 * math.pi * r**3, rel=1e-2)


def test_surface_of_a_crystal_goes_through_the_cell() -> None:
    cell = 4.0 * torch.eye(3, dtype=torch.float64)
    at_corner = dataclasses.replace(gaussian((0.0, 0.0, 0.0)), cell=cell)
    surface = field_of(at_corner, spacing=0.2).surface(0.05)
    corners = np.round(surface.vertices / 4.0) * 4.0
    away = np.linalg.norm(surface.vertices - corners, axis=1)
    np.testing.assert_allclose(away, radius(0.05), atol=3e-3)
    assert len(np.unique(corners, axis=0)) == 8


def test_surface_in_an_oblique_cell_has_its_level(density) -> None:
    cell = torch.tensor([[4.0, 0.0, 0.0], [1.0, 4.2, 0.0], [0.3, -0.8, 4.4]], dtype=torch.float64)
    c = torch.zeros_like(density.coefficients)
    for start, n in zip(density.basis.offsets(density.numbers).tolist(), (4, 3, 3), strict=False):
        c[start : start + n] = 1.0  # s functions, with cusps
    crystal = dataclasses.replace(density, cell=cell, coefficients=c)
    surface = field_of(crystal, spacing=0.12).surface(1.0)
    values = crystal.at(torch.from_numpy(surface.vertices))
    assert float((values - 1.0).abs().max()) < 0.06
    assert float((values - 1.0).abs().mean()) < 5e-3
    fractional = surface.vertices @ np.linalg.inv(cell.numpy())
    assert fractional.min() > -0.01
    assert fractional.max() < 1.01


def test_level_that_encloses_a_share() -> None:
    r = np.linspace(0, 8, 4001)
    values = np.exp(-r)
    # in one dimension the part beyond level is 1 - level
    assert enclosing_level(values, 0.7) == pytest.approx(0.3)
    assert enclosing_level(-values, 0.7) == pytest.approx(0.3)
    assert enclosing_level(np.zeros((2, 2, 2))) == 0


def test_levels_without_a_surface(monkeypatch) -> None:
    field = field_of(gaussian((0.0, 0.0, 0.0)), spacing=0.3)
    with pytest.raises(UserError, match="no surface at 100: the values go up to"):
        field.surface(100.0)
    with pytest.raises(UserError, match="all values are beyond it"):
        field.surface(1e-30)
    with pytest.raises(UserError, match="nearer to 0"):
        field.surface(-0.1)
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(UserError, match="scikit-image, which is not installed"):
        field.surface(0.02)
