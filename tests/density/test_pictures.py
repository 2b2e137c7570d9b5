"""Pictures: what is seen where, and files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from clebsch.density import ElectronDensity
from clebsch.density.ball_and_stick import Mesh, ball_and_stick, bonds, cell_edges
from clebsch.density.rasteriser import Skin, paint
from clebsch.density.scene import density_scene, difference_scene, potential_scene
from clebsch.density.scene_figure import draw_scene
from clebsch.density.scene_page import plotly_scene, scenes_html, write_scene_page
from clebsch.errors import UserError

pytest.importorskip("skimage")


@pytest.fixture
def water(density) -> ElectronDensity:
    """Smooth and positive: s functions only, ten electrons."""
    c = torch.zeros_like(density.coefficients)
    o = density.basis.offsets(density.numbers).tolist()
    for start, n in zip(o[:-1], (4, 3, 3), strict=True):
        c[start : start + n] = 1.0
    smooth = dataclasses.replace(density, coefficients=c)
    return dataclasses.replace(smooth, coefficients=c * 10 / smooth.electrons())


def square(z: float, colour: tuple[float, float, float], size: float = 1.0) -> Mesh:
    vertices = np.array([[-size, -size, z], [size, -size, z], [size, size, z], [-size, size, z]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, triangles, np.tile([0.0, 0, 1], (4, 1)), np.tile(colour, (4, 1)))


def test_nearer_squares_hide_and_translucent_ones_blend() -> None:
    red, green = square(0.0, (0.8, 0.0, 0.0)), square(1.0, (0.0, 0.8, 0.0), 0.5)
    low = np.array([-1.0, -1.0])
    only = [paint([Skin(m)], low, 10.0, 20, 20) for m in (red, green)]
    both = paint([Skin(green), Skin(red)], low, 10.0, 20, 20)
    assert (both[10, 10] - both[1, 1])[1] > 0.3  # green in the middle, red at the edge
    again = paint([Skin(red), Skin(green)], low, 10.0, 20, 20)
    np.testing.assert_array_equal(both, again)
    assert (only[0] < 1).any(-1).sum() == 400  # every pixel once, no seam on the diagonal
    assert (only[1] < 1).any(-1).sum() == 100
    half = paint([Skin(red), Skin(green, 0.5)], low, 10.0, 20, 20)
    np.testing.assert_allclose(half[10, 10], (both[10, 10] + _behind(red, low)) / 2, atol=1e-6)
    # both squares are seen once each, also where their triangles meet
    assert np.ptp(half[6:14, 6:14], axis=(0, 1)).max() < 1e-6
    behind = paint([Skin(square(2.0, (0, 0, 0.8))), Skin(green, 0.5)], low, 10.0, 20, 20)
    np.testing.assert_allclose(behind[10, 10], behind[1, 1], atol=1e-12)


def _behind(red: Mesh, low: np.ndarray) -> np.ndarray:
    """Colour of the red square in a picture as deep as the one with both."""
    far = square(1.0, (0.0, 0.8, 0.0), 1e-9)
    return paint([Skin(red), Skin(far)], low, 10.0, 20, 20)[10, 9]


def test_two_translucent_layers_from_back_to_front() -> None:
    low = np.array([-1.0, -1.0])
    layers = [Skin(square(z, c), 0.5) for z, c in ((0.0, (0.8, 0, 0)), (0.01, (0, 0, 0.8)))]
    one, other = (paint(order, low, 4.0, 8, 8) for order in (layers, layers[::-1]))
    np.testing.assert_array_equal(one, other)
    assert one[4, 4, 2] > one[4, 4, 0]


def test_first_row_of_a_picture_is_on_top() -> None:
    low = np.array([-1.0, -1.0])
    upper = square(0.0, (0.0, 0.0, 0.0), 0.25)
    upper = dataclasses.replace(upper, vertices=upper.vertices + np.array([0.0, 0.6, 0.0]))
    image = paint([Skin(upper)], low, 10.0, 20, 20)
    rows = np.flatnonzero((image < 1).any((1, 2)))
    assert rows.max() < 10


def test_balls_and_sticks() -> None:
    numbers = np.array([8, 1, 1, 8])
    positions = np.array([[0.0, 0, 0.117], [0.0, 0.757, -0.471], [0.0, -0.757, -0.471], [3, 0, 0]])
    assert bonds(numbers, positions).tolist() == [[0, 1], [0, 2]]
    assert bonds(numbers[:1], positions[:1]).shape == (0, 2)
    mesh = ball_and_stick(numbers, positions, detail=2)
    corners = mesh.vertices[mesh.triangles]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ti,ti->t", flat, mesh.normals[mesh.triangles].mean(1)) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-12)
    edges = cell_edges(np.diag([2.0, 3.0, 4.0]))
    np.testing.assert_allclose(np.ptp(edges.vertices, axis=0), [2, 3, 4], atol=0.06)


def test_scenes_of_a_molecule(water, tmp_path) -> None:
    plain = density_scene(water, 0.2, spacing=0.2)
    assert plain.title == "Electron density of H₂O"
    assert [layer.label for layer in plain.layers] == ["0.2 electrons/Å³"]
    half = dataclasses.replace(water, coefficients=water.coefficients / 2)
    more = difference_scene(water, half, 0.1, spacing=0.2)
    less = difference_scene(half, water, 0.1, spacing=0.2)
    assert [layer.label[0] for layer in more.layers] == ["+"]
    assert [layer.label[0] for layer in less.layers] == ["−"]
    np.testing.assert_allclose(
        plain.layers[0].surface.volume, more.layers[0].surface.volume, rtol=1e-3
    )
    scene = potential_scene(water, spacing=0.2)
    surface = scene.layers[0].surface
    np.testing.assert_allclose(
        surface.values, water.potential(torch.from_numpy(surface.vertices)), rtol=1e-10
    )
    assert np.mean(np.abs(surface.values) <= scene.limit) > 0.95
    for i, one in enumerate((plain, more, scene)):
        draw_scene(one, tmp_path / f"{i}.png")
        with Image.open(tmp_path / f"{i}.png") as image:
            assert min(image.size) > 500
            pixels = np.asarray(image.convert("RGB"))
        assert (pixels == 255).all(-1).mean() < 0.8
    with pytest.raises(UserError, match="is a PNG"):
        draw_scene(plain, tmp_path / "a.pdf")
    with pytest.raises(UserError, match="must be positive"):
        density_scene(water, -0.1)
    with pytest.raises(UserError, match="the same everywhere"):
        difference_scene(water, water, spacing=0.3)
    with pytest.raises(UserError, match="the difference is at most"):
        difference_scene(water, half, 1e4, spacing=0.3)


def test_titles_count_molecules(water) -> None:
    apart = torch.tensor([20.0, 0.0, 0.0], dtype=torch.float64)
    two = ElectronDensity(
        water.basis,
        water.numbers.repeat(2),
        torch.cat([water.positions, water.positions + apart]),
        water.coefficients.repeat(2),
    )
    assert density_scene(two, 0.2, spacing=0.3).title.endswith("of 2 H₂O")


def test_a_crystal_shows_its_cell(water, tmp_path) -> None:
    cell = torch.diag(torch.tensor([4.0, 4.5, 5.0], dtype=torch.float64))
    crystal = dataclasses.replace(water, cell=cell, positions=water.positions - 9.0)
    first = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
    crystal = dataclasses.replace(
        crystal, positions=crystal.positions - crystal.positions[0] + first
    )
    scene = density_scene(crystal, 0.2, spacing=0.25)
    assert (scene.numbers == 8).sum() == 8  # the corner atom at every corner
    assert scene.positions.min() > -1e-6
    draw_scene(scene, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_interactive_figures(water, tmp_path) -> None:
    scenes = [density_scene(water, 0.2, spacing=0.3), potential_scene(water, spacing=0.3)]
    figure = plotly_scene(scenes[1])
    kinds = [trace.type for trace in figure.data]
    assert kinds == ["mesh3d", "scatter3d", "mesh3d"]
    np.testing.assert_allclose(
        np.asarray(figure.data[2].intensity), scenes[1].layers[0].surface.values, rtol=1e-6
    )
    assert figure.data[2].cmax == -figure.data[2].cmin == scenes[1].limit
    blocks = scenes_html(scenes)
    assert len(blocks[0]) > 3e6 > 1e6 > len(blocks[1])  # the script is there once
    assert 'id="scene-0"' in blocks[0]
    assert 'id="scene-1"' in blocks[1]
    write_scene_page(scenes[0], tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert "<html>" in page
    assert 'src="http' not in page
