"""Pictures of densities as PNG."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.patches import Patch

from clebsch.density.ball_and_stick import Mesh, ball_and_stick, cell_edges
from clebsch.density.rasteriser import Skin, paint
from clebsch.density.scene import Layer, Scene
from clebsch.errors import UserError
from clebsch.figures import figure

Array = npt.NDArray[np.float64]

POTENTIAL_COLOURS = "RdBu"  # red is negative, as chemists have it
_OVERSAMPLING = 2
_PIXELS = 900  # of the picture's longer side
TILT = (-12.0, 18.0)  # degrees about the vertical and the horizontal


def check_png(path: str | os.PathLike[str]) -> None:
    """Raise UserError unless a file's name says that it is a PNG."""
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"{path}: the picture is a PNG; name it so.")


def draw_scene(
    scene: Scene, path: str | os.PathLike[str], view: tuple[float, float] | None = None
) -> None:
    """Write a picture as PNG.

    Args:
        path: replaced as a whole at the end.
        view: degrees that the structure is turned about the vertical and the horizontal axis from
            its broadest side; default a little of both.

    Raises:
        UserError: the name is not that of a PNG, or the place cannot be written.
    """
    check_png(path)
    turn = view_rotation(scene, TILT if view is None else view)
    image, width = _render(scene, turn)
    height_px, width_px = image.shape[:2]
    side = 5.6 / max(width_px, height_px)
    extra = 1.0 if scene.limit is not None else 0.0
    with figure(Path(path), side * width_px + extra + 0.3, side * height_px + 0.8) as canvas:
        axes = canvas.add_subplot()
        axes.imshow(image, interpolation="antialiased")
        axes.set_axis_off()
        canvas.suptitle(scene.title, fontsize=10)
        handles = [
            Patch(color=layer.colour, alpha=layer.opacity, label=layer.label)
            for layer in scene.layers
            if layer.colour
        ]
        if handles:
            canvas.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        for layer in scene.layers:
            if layer.surface.values is not None and scene.limit is not None:
                colours = ScalarMappable(Normalize(-scene.limit, scene.limit), POTENTIAL_COLOURS)
                bar = canvas.colorbar(colours, ax=axes, shrink=0.7, pad=0.02, extend="both")
                bar.set_label(f"electrostatic potential {layer.label} (V)")
                bar.outline.set_visible(False)
        _scale_bar(axes, width_px / width, width_px, height_px)


def _scale_bar(axes: Axes, per_angstrom: float, width_px: int, height_px: int) -> None:
    lengths = [n for n in (1, 2, 5, 10, 20, 50) if n * per_angstrom < 0.3 * width_px] or [1]
    pixels = lengths[-1] * per_angstrom
    x, y = 0.02 * width_px, 0.985 * height_px
    axes.plot([x, x + pixels], [y, y], color="#1c1c1c", lw=1.5, solid_capstyle="butt")
    axes.text(x + pixels / 2, y - 0.008 * height_px, f"{lengths[-1]} Å", ha="center", va="bottom")


def view_rotation(scene: Scene, turned: tuple[float, float]) -> Array:
    """Rows are the picture's right, up and towards the eye; the broadest side is seen."""
    if scene.cell is not None:
        right = scene.cell[0] / np.linalg.norm(scene.cell[0])
        front = np.cross(right, scene.cell[2])
        front = np.cross(right, scene.cell[1]) if np.linalg.norm(front) < 1e-6 else front
        front = -front / np.linalg.norm(front) * np.sign(np.linalg.det(scene.cell))
        axes = np.stack([right, np.cross(front, right), front])
        axes = axes if axes[1] @ scene.cell[2] > 0 else np.diag([1.0, -1.0, -1.0]) @ axes
    else:
        centred = scene.positions - scene.positions.mean(0)
        _, _, axes = np.linalg.svd(np.concatenate([centred, 1e-9 * np.eye(3)]))
        for row in axes[:2]:
            row *= np.sign(row[np.abs(row).argmax()])
        axes[2] = np.cross(axes[0], axes[1])
    a, b = np.deg2rad(turned)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray(about_x @ about_y @ axes)


def _render(scene: Scene, turn: Array) -> tuple[Array, float]:
    """Picture (height, width, 3) from 0 to 1, and the width that it shows in Å."""
    detail = 3 if len(scene.numbers) <= 30 else 2
    solid = [ball_and_stick(scene.numbers, scene.positions, detail)]
    if scene.cell is not None:
        solid.append(cell_edges(scene.cell))
    skins = [Skin(_turned(mesh, turn)) for mesh in solid]
    for layer in scene.layers:
        mesh = _turned(_coloured(layer, scene.limit), turn)
        # a cell cuts surfaces, so that their insides are seen
        skins.append(Skin(mesh, layer.opacity, closed=scene.cell is None))
    every = np.concatenate([skin.mesh.vertices[:, :2] for skin in skins])
    low, high = every.min(0), every.max(0)
    margin = 0.03 * (high - low).max()
    low, size = low - margin, high - low + 2 * margin
    pixels = np.maximum(1, np.round(_PIXELS * size / size.max())).astype(int)
    fine = _OVERSAMPLING * pixels
    image = paint(skins, low, float(fine[0] / size[0]), int(fine[0]), int(fine[1]))
    k = _OVERSAMPLING
    return image.reshape(pixels[1], k, pixels[0], k, 3).mean((1, 3)), float(size[0])


def _turned(mesh: Mesh, turn: Array) -> Mesh:
    return replace(mesh, vertices=mesh.vertices @ turn.T, normals=mesh.normals @ turn.T)


def _coloured(layer: Layer, limit: float | None) -> Mesh:
    surface = layer.surface
    if surface.values is not None and limit is not None:
        colours = matplotlib.colormaps[POTENTIAL_COLOURS](0.5 + 0.5 * surface.values / limit)[:, :3]
    else:
        colours = np.tile(to_rgb(layer.colour), (len(surface.vertices), 1))
    return Mesh(surface.vertices, surface.triangles, surface.normals, colours)
