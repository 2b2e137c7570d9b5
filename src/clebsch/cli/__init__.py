"""The command ``clebsch``: one verb per file, loaded when it is called.

``clebsch --help`` and ``clebsch --version`` import neither torch nor any verb.
"""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from clebsch import __version__
from clebsch.errors import UserError


class Verb(NamedTuple):
    """Where a verb lives and what it says in ``clebsch --help``."""

    module: str
    attribute: str
    help: str


#: Every verb, in the order of ``clebsch --help``. The attribute is a function or a ``typer.Typer``.
VERBS: dict[str, Verb] = {
    "quickstart": Verb(
        "clebsch.cli.quickstart",
        "quickstart_command",
        "Train and simulate on the embedded ethanol data.",
    ),
    "inspect": Verb(
        "clebsch.cli.inspect", "inspect_command", "Look at a data set before training."
    ),
    "train": Verb("clebsch.cli.train", "app", "Train a model on reference calculations."),
    "evaluate": Verb(
        "clebsch.cli.evaluate", "evaluate", "Compare a model with reference calculations."
    ),
    "freeze": Verb(
        "clebsch.cli.freeze", "freeze", "Turn a trained potential into its fast inference form."
    ),
    "verify": Verb(
        "clebsch.cli.verify",
        "verify_command",
        "Check that all engines agree and that the numbers obey physics.",
    ),
    "predict": Verb(
        "clebsch.cli.predict",
        "predict",
        "Energies and forces, phonon spectra or electron densities of structures.",
    ),
    "phonons": Verb(
        "clebsch.cli.phonons", "app", "Lattice vibrations: through a potential, of alloys, by atom."
    ),
    "density": Verb(
        "clebsch.cli.density", "app", "Electron densities: make reference data, use densities."
    ),
    "md": Verb("clebsch.cli.md", "md", "Run molecular dynamics with a trained potential."),
    "lammps": Verb(
        "clebsch.cli.lammps", "lammps", "Check LAMMPS, and print the lines for an input script."
    ),
    "reproduce": Verb(
        "clebsch.cli.reproduce", "reproduce_command", "Get the published figures again."
    ),
    "bench": Verb("clebsch.cli.bench", "bench_command", "Measure time and memory beside peers."),
}


def load_verb(name: str) -> Any:
    """The click command of a verb, with its options; imports the verb's module."""
    verb = VERBS[name]
    target = getattr(importlib.import_module(verb.module), verb.attribute)
    if isinstance(target, typer.Typer):
        command: Any = typer.main.get_group(target)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(target)
        command = typer.main.get_command(single)
    command.name = name
    return command


class Verbs(TyperGroup):
    """A group whose listed commands are place holders until one of them is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_verb(name) if name in VERBS else command, rest


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _verb in VERBS.items():
    app.command(_name, help=_verb.help)(lambda: None)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"clebsch {__version__}")
        raise typer.Exit


@app.callback(epilog="clebsch VERB --help says more about each verb.")
def clebsch(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Symmetry-aware neural networks for materials science: train, inspect, simulate."""


def _print_warning(message: Warning | str, *place: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


@contextmanager
def _ctrl_c_stays() -> Iterator[None]:
    """Ctrl-C ends in KeyboardInterrupt even where another library makes another error of it.

    Libraries that are being imported do: numpy a RecursionError, others an ImportError.
    """
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:  # ignored, or somebody's own
        yield
        return
    interrupted = False

    def on_ctrl_c(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_ctrl_c)
    try:
        yield
    except Exception as error:
        if interrupted and not isinstance(error, UserError):
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, previous)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 check failed, 2 wrong input, 130 interrupted."""
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        with _ctrl_c_stays():
            app(prog_name="clebsch")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
