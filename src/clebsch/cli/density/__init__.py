"""``clebsch density``: electron densities, their making and their use."""

from __future__ import annotations

import typer

from clebsch.cli.density.cube import cube_command
from clebsch.cli.density.make_data import make_data_command
from clebsch.cli.density.picture import picture_command
from clebsch.cli.density.properties import properties_command
from clebsch.cli.density.restart import restart_command

app = typer.Typer(
    help="Electron densities: make reference data, use densities.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def density() -> None:
    """Electron densities: make reference data, use densities."""


app.command("make-data")(make_data_command)
app.command("properties")(properties_command)
app.command("cube")(cube_command)
app.command("picture")(picture_command)
app.command("restart")(restart_command)
