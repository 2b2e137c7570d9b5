"""``clebsch density cube``: values on a box of points as cube files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clebsch.cli.density.options import Frames, ModelDevice, Source, Structures, Subtracted
from clebsch.cli.options import Quiet


def cube_command(
    source: Source,
    structures: Structures = None,
    quantity: Annotated[
        str,
        typer.Option(
            help="density; potential (electrostatic, of nuclei and electrons); difference, from "
            "free atoms or --reference; error, from the --reference."
        ),
    ] = "density",
    reference: Subtracted = None,
    frame: Frames = None,
    spacing: Annotated[float, typer.Option(help="Between points, Å.")] = 0.1,
    margin: Annotated[float, typer.Option(help="Around the atoms of a molecule, Å.")] = 4.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Cube file. [QUANTITY.cube]", show_default=False),
    ] = None,
    device: ModelDevice = None,
    quiet: Quiet = False,
) -> None:
    """Write a density, potential or difference as Gaussian cube files.

    The box stands around a molecule; of a crystal it is the cell. One slab of the box is in memory
    at a time. Cube files are in atomic units.
    """
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from clebsch.cli.density.input import open_densities
    from clebsch.cli.density.reference import check_options, frames_of, numbered, reference_of
    from clebsch.density import Box, density_error_percent, write_cube
    from clebsch.files import check_place

    check_options(quantity, reference)
    path = Path(f"{quantity}.cube") if out is None else out
    densities = open_densities(source, structures or [], device, crystals=True)
    references = reference_of(quantity, reference, densities)
    frames = frames_of(densities, frame or [], source)
    targets = {n: numbered(path, n, several=len(frames) > 1) for n in frames}
    for target in targets.values():  # all of them, before any is written
        check_place(target)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    lines = []
    with Bar(*columns, disable=quiet) as bar:
        for number in frames:
            task = bar.add_task(f"{quantity} of frame {number}", total=None)
            named = densities.source[number]
            density = named.density
            other = None if references is None else references.of(density, named.name)
            target = targets[number]
            kind: Any = "potential" if quantity == "potential" else "density"
            box = write_cube(
                target,
                density,
                Box.of(density, spacing, margin),
                kind,
                other,
                lambda done, total, task=task: bar.update(  # type: ignore[misc]
                    task, completed=done, total=total
                ),
            )
            points = " x ".join(str(n) for n in box.shape)
            line = (
                f"{named.name}: {len(density.numbers)} atoms, {float(density.electrons()):.6g} "
                f"electrons, {points} points -> {target}"
            )
            if quantity == "error" and other is not None and density.cell is None:
                line += f"\ndensity error: {density_error_percent(density, other):.3f} %"
            lines.append(line)
    print("\n".join(lines))
