"""``clebsch freeze``: the inference form of a trained potential."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clebsch.cli.options import Quiet

if TYPE_CHECKING:
    from clebsch.models import FrozenPotential, Potential
    from clebsch.verify import Case

MAX_FRAMES = 64
_VERIFIED_FRAMES = 3
_FAILED = 1


def freeze(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Frozen model [default: MODEL-frozen.clebsch].", show_default=False),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Largest error of the energy in eV/atom, ten times as many eV/Å of forces."
        ),
    ] = 1e-6,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Structures to measure the error on, or embedded:NAME; up to 64 of them, evenly "
            "spaced [default: generated ones].",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the file even where verification fails.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Replace the radial networks by splines, within a measured error, and verify the result.

    The result is a model file as any other, for md, predict, evaluate and Python: several times
    faster, with less memory, and with nothing left to train. Before it is written it is verified
    beside its source, as by clebsch verify --quick; where a check fails nothing is written and
    the exit code is 1.
    """
    from clebsch.cli.simulation import load
    from clebsch.errors import UserError
    from clebsch.files import check_place
    from clebsch.models import FrozenPotential, save_model
    from clebsch.simulate.calculator import check_elements
    from clebsch.structures import read_dataset
    from clebsch.verify import given_cases

    target = out or model.with_name(f"{model.stem}-frozen.clebsch")
    potential = load(model, "cpu")
    if isinstance(potential, FrozenPotential):
        raise UserError(f"{model}: is frozen already; give the model that it was made of.")
    if target.resolve() == model.resolve():
        raise UserError(
            f"{model}: the frozen model would replace its own source, which cannot be had back; "
            "give --out another name."
        )
    check_place(target)  # said before minutes of work
    frames, cases = None, []
    if data:
        dataset = read_dataset(data[0] if len(data) == 1 else data)
        indices = dataset.frames.tolist()
        if not indices:
            raise UserError(f"{dataset.path}: holds no structure but isolated atoms.")
        chosen = indices[:: -(-len(indices) // MAX_FRAMES)]
        for index in chosen:
            check_elements(potential, dataset[index].numbers, dataset.where(index))
        frames = [dataset[index] for index in chosen]
        cases = given_cases(dataset, potential, _VERIFIED_FRAMES)
    frozen = potential.freeze(tolerance, frames)
    _verify(frozen, potential, cases, target, force, quiet)
    save_model(frozen, target)
    facts = frozen.facts
    print(
        f"{facts['intervals']} spline intervals, tables of {facts['table_bytes'] / 2**20:.1f} MiB\n"
        f"largest errors on {facts['checked_on']}: energy "
        f"{facts['energy_error_eV_per_atom']:.1e} eV/atom, forces "
        f"{facts['forces_error_eV_per_A']:.1e} eV/Å\n"
        f"Frozen model: {target}"
    )


def _verify(
    frozen: FrozenPotential,
    source: Potential,
    cases: list[Case],
    target: Path,
    force: bool,
    quiet: bool,
) -> None:
    """Verify a frozen model, say what was found, and write it into the model's header.

    Raises:
        typer.Exit: a check failed, and ``force`` was not given.
    """
    from rich.console import Console

    from clebsch.cli.verify import run, say
    from clebsch.verify import Settings

    report = run(frozen, cases, Settings(quick=True, ranks=(1, 2)), target, source, None, [], quiet)
    frozen.header["verification"] = report.digest()
    console = Console(stderr=not report.passed)
    say(report, console)
    if not report.passed and not force:
        console.print(
            f"{target}: not written; clebsch verify says more, --force writes it nevertheless.",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(_FAILED)
