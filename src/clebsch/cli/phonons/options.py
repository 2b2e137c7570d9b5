"""Options that several verbs of ``clebsch phonons`` have, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clebsch.errors import UserError

_POTENTIAL = "Model file of a potential, sevennet-0 or sevennet-l3i5."

Crystals = Annotated[
    list[str], typer.Argument(help="Crystals in any usual format.", show_default=False)
]
ReferenceData = Annotated[
    Path, typer.Argument(help="Crystals with reference DoS.", show_default=False)
]
Network = Annotated[
    Path, typer.Argument(help="Model file of a network for the DoS.", show_default=False)
]
NetworkOption = Annotated[
    Path, typer.Option(help="Model file of a network for the DoS.", show_default=False)
]
Model = Annotated[str, typer.Option("--model", "-m", help=_POTENTIAL)]
Potential = Annotated[str, typer.Option(help=_POTENTIAL)]
KeptFolder = Annotated[
    Path, typer.Option(help="Folder; crystals that are in it already are not computed again.")
]
DrawingSeed = Annotated[int, typer.Option(help="Of the drawing.")]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        help="JSON file with the names of every part; by default tutorial_split_ids.json "
        "beside DATA.",
        show_default=False,
    ),
]
Part = Annotated[str, typer.Option(help="train, valid or test.")]
LeastSide = Annotated[float, typer.Option(help="Å from an atom to its image in the supercell.")]
SupercellAtoms = Annotated[int, typer.Option(help="Atoms in a supercell.", min=2)]


def split_file(data: Path, split: Path | None, part: str) -> Path:
    """The file that says which crystals of ``data`` belong to the part.

    Raises:
        UserError: no such part, or no file.
    """
    if part not in ("train", "valid", "test"):
        raise UserError(f"--part is train, valid or test, not {part!r}.")
    file = split or data.parent / "tutorial_split_ids.json"
    if not file.exists() and split is None:
        raise UserError(f"{data}: there is no {file.name} beside it; name a --split file.")
    return file
