"""``clebsch phonons``: lattice vibrations beyond one prediction."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Lattice vibrations: through a potential, compared, of alloys, atom by atom.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def phonons() -> None:
    """Lattice vibrations: through a potential, compared, of alloys, atom by atom."""
