"""Options that several verbs have, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

BatchAtoms = Annotated[int, typer.Option(help="Atoms in one batch.", min=1)]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
