"""Pictures of densities to be turned in a browser or a notebook."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from clebsch.density.ball_and_stick import Mesh, ball_and_stick, cell_edges, joined
from clebsch.density.scene import Layer, Scene
from clebsch.density.scene_figure import TILT, view_rotation
from clebsch.files import atomic_path

if TYPE_CHECKING:
    import plotly.graph_objects

_LIGHTING = {"ambient": 0.65, "diffuse": 0.55, "specular": 0.2, "roughness": 0.4, "fresnel": 0.1}
_DISTANCE = 1.45  # of the eye, in units of the structure's size


def plotly_scene(scene: Scene, height: int = 560) -> plotly.graph_objects.Figure:
    """A figure to be turned, zoomed and asked for atoms; a click in the legend hides a surface.

    Args:
        height: pixels.
    """
    import plotly.graph_objects as go

    detail = 2 if len(scene.numbers) <= 60 else 1
    solid = [ball_and_stick(scene.numbers, scene.positions, detail)]
    if scene.cell is not None:
        solid.append(cell_edges(scene.cell))
    _, up, eye = view_rotation(scene, TILT)
    right = np.cross(up, eye)
    # from the eye's left, above
    light = dict(zip("xyz", (1e4 * (2 * eye + up - right)).tolist(), strict=True))
    traces: list[Any] = [_solid(joined(solid))]
    traces.append(
        go.Scatter3d(
            **_xyz(scene.positions),
            mode="markers",
            marker={"size": 6, "opacity": 0},
            text=[f"{chemical_symbols[z]} {i}" for i, z in enumerate(scene.numbers)],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    traces += [_layer(layer, scene.limit, eye) for layer in scene.layers]
    for trace in traces:
        if trace.type == "mesh3d":
            trace.lightposition = light
    hidden = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    camera = {
        "eye": dict(zip("xyz", (_DISTANCE * eye).tolist(), strict=True)),
        "up": dict(zip("xyz", up.tolist(), strict=True)),
    }
    return go.Figure(
        data=traces,
        layout={
            "title": {"text": scene.title, "font": {"size": 15}},
            "height": height,
            "margin": {"l": 0, "r": 0, "t": 40, "b": 0},
            "scene": {"aspectmode": "data", "camera": camera, **hidden},
            "legend": {"itemsizing": "constant", "x": 0, "y": 0},
        },
    )


def scenes_html(scenes: Sequence[Scene], height: int = 480) -> list[str]:
    """Blocks of HTML for one page; the first brings plotly's script, once for all of them."""
    return [
        plotly_scene(scene, height).to_html(
            full_html=False,
            include_plotlyjs=i == 0,
            div_id=f"scene-{i}",
            config={"responsive": True, "displaylogo": False},
        )
        for i, scene in enumerate(scenes)
    ]


def write_scene_page(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write a page that needs no network.

    Raises:
        UserError: the place cannot be written.
    """
    with atomic_path(Path(path)) as temporary:
        plotly_scene(scene).write_html(temporary, config={"responsive": True, "displaylogo": False})


def _solid(mesh: Mesh) -> Any:
    import plotly.graph_objects as go

    colours = (255 * mesh.colours).round().astype(int)
    return go.Mesh3d(
        **_xyz(mesh.vertices),
        **_ijk(mesh.triangles),
        vertexcolor=[f"rgb({r},{g},{b})" for r, g, b in colours.tolist()],
        lighting=_LIGHTING,
        hoverinfo="skip",
        showlegend=False,
    )


def _layer(layer: Layer, limit: float | None, eye: npt.NDArray[np.float64]) -> Any:
    import plotly.graph_objects as go

    surface = layer.surface
    # translucent triangles are blended in their order: at first the furthest come first
    depth = (surface.vertices @ eye)[surface.triangles].mean(1)
    common = {
        **_xyz(surface.vertices),
        **_ijk(surface.triangles[depth.argsort()]),
        "opacity": layer.opacity,
        "lighting": _LIGHTING,
        "name": layer.label,
        "flatshading": False,
    }
    if surface.values is None or limit is None:
        return go.Mesh3d(**common, color=layer.colour, hoverinfo="skip", showlegend=True)
    return go.Mesh3d(
        **common,
        intensity=surface.values.astype(np.float32),
        colorscale="RdBu",
        cmin=-limit,
        cmax=limit,
        colorbar={"title": {"text": "V"}, "len": 0.7},
        hovertemplate="%{intensity:.2f} V<extra></extra>",
    )


def _xyz(points: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float32]]:
    return {axis: points[:, k].astype(np.float32) for k, axis in enumerate("xyz")}


def _ijk(triangles: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    kind = np.uint16 if triangles.max(initial=0) < 2**16 else np.int32
    return {corner: triangles[:, k].astype(kind) for k, corner in enumerate("ijk")}
