"""``clebsch phonons``: lattice vibrations beyond one prediction."""

from __future__ import annotations

import typer

from clebsch.cli.phonons.compare import compare_command
from clebsch.cli.phonons.dos import dos_command
from clebsch.cli.phonons.measured import measured_command
from clebsch.cli.phonons.orbitals import orbitals_command
from clebsch.cli.phonons.partial import partial_command
from clebsch.cli.phonons.sweep import sweep_command

app = typer.Typer(
    help="Lattice vibrations: through a potential, compared, of alloys, atom by atom.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def phonons() -> None:
    """Lattice vibrations: through a potential, compared, of alloys, atom by atom."""


app.command("dos")(dos_command)
app.command("measured")(measured_command)
app.command("compare")(compare_command)
app.command("sweep")(sweep_command)
app.command("partial")(partial_command)
app.command("orbitals")(orbitals_command)
