"""``clebsch density picture``: surfaces of densities, differences and potentials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clebsch.cli.density.options import Frames, ModelDevice, Source, Structures, Subtracted
from clebsch.cli.options import Quiet


def picture_command(
    source: Source,
    structures: Structures = None,
    quantity: Annotated[
        str,
        typer.Option(
            help="density; potential, on a surface of the density; difference, from free atoms or "
            "--reference; error, from the --reference."
        ),
    ] = "density",
    reference: Subtracted = None,
    frame: Frames = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Of the surface, electrons/Å^3. [0.3; under a potential 0.0135; of a difference "
            "beyond which half of it lies]",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            help="Between points, Å. [0.08 to 0.3, by the size of the structure]",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(help="Of the potential's colours, V.", show_default=False),
    ] = None,
    turn: Annotated[
        tuple[float, float],
        typer.Option(help="Degrees from the broadest side, about the vertical and the horizontal."),
    ] = (-12.0, 18.0),
    out: Annotated[
        Path | None, typer.Option(help="PNG file. [QUANTITY.png]", show_default=False)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also a page that can be turned, 5 MB.", show_default=False),
    ] = None,
    device: ModelDevice = None,
    quiet: Quiet = False,
) -> None:
    """Draw surfaces of a density, of a difference or error, or the electrostatic potential on one.

    Needs scikit-image, which comes with the extra density.
    """
    from rich.progress import track

    from clebsch.cli.density.input import open_densities
    from clebsch.cli.density.reference import check_options, frames_of, numbered, reference_of
    from clebsch.density.scene import density_scene, difference_scene, potential_scene
    from clebsch.density.scene_figure import check_png, draw_scene
    from clebsch.density.scene_page import write_scene_page
    from clebsch.errors import UserError
    from clebsch.files import check_place

    check_options(quantity, reference)
    if quantity == "potential" and reference is not None:
        raise UserError("a picture of the potential has no --reference; leave it out.")
    if limit is not None and (quantity != "potential" or not limit > 0):
        raise UserError("--limit is the end of a potential's colours: positive, in V.")
    path = Path(f"{quantity}.png") if out is None else out
    check_png(path)
    densities = open_densities(source, structures or [], device, crystals=True)
    references = reference_of(quantity, reference, densities)
    frames = frames_of(densities, frame or [], source)
    several = len(frames) > 1
    for place in (p for p in (path, html) if p is not None):  # all of them, before any is written
        for number in frames:
            check_place(numbered(place, number, several))
    lines = []
    for number in track(frames, "drawing", disable=quiet):
        named = densities.source[number]
        if quantity == "density":
            scene = density_scene(named.density, level, spacing)
        elif quantity == "potential":
            scene = potential_scene(named.density, level, spacing, limit)
        else:
            assert references is not None
            title = references.title
            other = references.of(named.density, named.name)
            scene = difference_scene(named.density, other, level, spacing, title)
        target = numbered(path, number, several)
        draw_scene(scene, target, turn)
        shown = f"{named.name}: {', '.join(layer.label for layer in scene.layers)} -> {target}"
        if html is not None:
            page = numbered(html, number, several)
            write_scene_page(scene, page)
            shown += f", {page}"
        lines.append(shown)
    print("\n".join(lines))
