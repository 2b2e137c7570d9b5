"""The part of a run's report in which a predicted density can be looked at and turned."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from clebsch.density import ElectronDensity
from clebsch.density.scene import density_scene, difference_scene, potential_scene
from clebsch.density.scene_figure import draw_scene
from clebsch.density.scene_page import scenes_html
from clebsch.train.report import Section


def picture_section(
    density: ElectronDensity,
    reference: ElectronDensity,
    name: str,
    folder: str | os.PathLike[str],
) -> Section | None:
    """Density, its error and the potential on its surface, to be turned; and each as PNG.

    Args:
        density: as predicted.
        reference: what it should be.
        name: of the structure.
        folder: where ``density.png``, ``density-error.png`` and ``potential.png`` are written.

    Returns:
        None without scikit-image, which comes with the extra density. A page grows by some 6 MB,
        most of them plotly's script.

    Raises:
        UserError: the folder cannot be written.
    """
    if find_spec("skimage") is None:
        return None
    error = difference_scene(density, reference, title="Error of the density")
    scenes = {
        "density": density_scene(density),
        "density-error": error,
        "potential": potential_scene(density),
    }
    for file, scene in scenes.items():
        draw_scene(scene, Path(folder) / f"{file}.png")
    levels = " and ".join(layer.label for layer in error.layers)
    return Section(
        "Pictures",
        f"{name}. Half of the absolute error lies beyond {levels}; the "
        "potential is that on the surface of 0.002 electrons/bohr³.",
        blocks=scenes_html(list(scenes.values())),
    )
