"""Arguments and options that several verbs of ``clebsch density`` have."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Argument(
        help="File of densities (HDF5, npz, embedded:NAME), or a model.", show_default=False
    ),
]
Structures = Annotated[
    list[str] | None,
    typer.Argument(help="Of a model: files of any ASE format.", show_default=False),
]
Subtracted = Annotated[
    str | None,
    typer.Option(
        help="File of densities to subtract, free-atoms, or free-atoms:FILE that has them. "
        "[free-atoms for a difference]",
        show_default=False,
    ),
]
Frames = Annotated[
    list[int] | None,
    typer.Option(help="Number of the structure from 0, repeatable. [0]", show_default=False),
]
Split = Annotated[str | None, typer.Option(help="Only this part of the data, such as test.")]
ModelDevice = Annotated[
    str | None, typer.Option(help="Of a model: cpu, cuda, ... [cpu]", show_default=False)
]
