"""``clebsch train``: data in, a trained model and its report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clebsch.train.fit import RunResult

app = typer.Typer(
    help="Train a model on reference calculations.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def train() -> None:
    """Train a model on reference calculations."""


Config = Annotated[
    Path | None, typer.Option(help="YAML file; what it leaves out is chosen from the data.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key: optimiser.lr=0.005."),
]
Out = Annotated[Path | None, typer.Option(help="Run directory [default: runs/NAME OF THE DATA].")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the run in the run directory.")
]


@app.command("potential")
def train_potential_command(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA...",
            help="Files with structures, energies and forces, or embedded:NAME.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    set_: Overrides = None,
    out: Out = None,
    valid: Annotated[
        str | None, typer.Option(help="Validation file, instead of a part of DATA.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Test file, instead of a part of DATA.")] = None,
    energy_key: Annotated[str | None, typer.Option(help="Key of the energies.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Key of the forces.")] = None,
    stress_key: Annotated[str | None, typer.Option(help="Key of the stresses.")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train an interatomic potential (NequIP) on energies, forces and stresses.

    Without a configuration, cutoff, size, batch, loss weights and schedule are chosen from the
    data and written to config.yaml. Ctrl-C leaves a usable model; --resume goes on.
    """
    from clebsch.train.config import load_config
    from clebsch.train.potential_run import train_potential

    overrides = list(set_ or [])
    settings = load_config(config, overrides)
    given = {
        "valid": valid,
        "test": test,
        "energy_key": energy_key,
        "forces_key": forces_key,
        "stress_key": stress_key,
    }
    for name, value in given.items():
        if value is not None:
            settings.data = settings.data.model_copy(update={name: value})
    files: Any = data[0] if data and len(data) == 1 else data
    result = train_potential(files, settings, out, resume=resume, overwrite=overwrite)
    _stop_if_interrupted(result)
    _print_errors(result.metrics)
    _say_where(result)


@app.command("dos")
def train_dos_command(
    data: Annotated[
        str | None,
        typer.Argument(help="Crystals with phonon densities of states.", show_default=False),
    ] = None,
    config: Config = None,
    set_: Overrides = None,
    out: Out = None,
    split: Annotated[
        Path | None, typer.Option(help="JSON file with the names in train, valid and test.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a model of the phonon density of states of crystals.

    Without a configuration, grid, size, batch and schedule are chosen from the data and written
    to config.yaml. Ctrl-C leaves a usable model; --resume goes on.
    """
    from clebsch.train.config import load_config
    from clebsch.train.dos_config import DosTrainConfig
    from clebsch.train.dos_run import train_dos

    settings = load_config(config, list(set_ or []), kind=DosTrainConfig)
    if split is not None:
        settings.split_file = str(split)
    result = train_dos(data, settings, out, resume=resume, overwrite=overwrite)
    _stop_if_interrupted(result)
    for part, name in (("test", "Test"), ("valid", "Validation")):
        if f"{part}_dos_mae" in result.metrics:
            errors = {k.removeprefix(f"{part}_"): v for k, v in result.metrics.items()}
            typer.echo(
                f"{name} MAE: DoS {errors['dos_mae']:.4f} (maximum 1), mean frequency "
                f"{errors['mean_frequency_mae_cm1']:.2f} cm^-1, C_v(300 K) "
                f"{errors['heat_capacity_mae_J_per_K_mol']:.3f} J/(K mol of cells) "
                f"({result.metrics[f'n_{part}']} crystals)"
            )
    _say_where(result)


@app.command("density")
def train_density_command(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA...",
            help="Files of clebsch density make-data, or embedded:NAME.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    set_: Overrides = None,
    out: Out = None,
    valid: Annotated[
        str | None, typer.Option(help="Validation file, instead of a part of DATA.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Test file, instead of a part of DATA.")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a model of electron densities of molecules.

    Without a configuration, size, batch and schedule are chosen from the data and written to
    config.yaml. Ctrl-C leaves a usable model; --resume goes on. Needs the extra "density".
    """
    from clebsch.train.config import load_config
    from clebsch.train.density_config import DensityTrainConfig
    from clebsch.train.density_run import train_density

    settings = load_config(config, list(set_ or []), kind=DensityTrainConfig)
    for name, value in (("valid", valid), ("test", test)):
        if value is not None:
            settings.data = settings.data.model_copy(update={name: value})
    files: Any = data[0] if data and len(data) == 1 else data
    result = train_density(files, settings, out, resume=resume, overwrite=overwrite)
    _stop_if_interrupted(result)
    for part, name in (("test", "Test"), ("valid", "Validation")):
        if f"{part}_density_error_percent" in result.metrics:
            errors = {k.removeprefix(f"{part}_"): v for k, v in result.metrics.items()}
            typer.echo(
                f"{name}: density error {errors['density_error_percent']:.3f} %, dipole "
                f"{errors['dipole_error_D_per_molecule']:.4f} D per molecule "
                f"({result.metrics[f'n_{part}']} structures)"
            )
    _say_where(result)


def _stop_if_interrupted(result: RunResult) -> None:
    if result.interrupted:
        model = result.folder / "model.clebsch"
        typer.echo(
            f"Interrupted: {model} holds the best weights so far; add --resume to go on.", err=True
        )
        raise typer.Exit(130)


def _say_where(result: RunResult) -> None:
    model, report = result.folder / "model.clebsch", result.folder / "report.html"
    typer.echo(f"Model:  {model}\nReport: {report}")


def _print_errors(metrics: dict[str, Any]) -> None:
    """The final errors as a small table."""
    columns = (
        ("energy", "meV_per_atom", "meV/atom"),
        ("forces", "meV_per_A", "meV/Å"),
        ("stress", "meV_per_A3", "meV/Å³"),
    )
    for part, name in (("test", "Test"), ("valid", "Validation")):
        errors = [
            f"{quantity} {metrics[f'{part}_{quantity}_mae_{unit}']:.2f} {shown}"
            for quantity, unit, shown in columns
            if f"{part}_{quantity}_mae_{unit}" in metrics
        ]
        if errors:
            typer.echo(f"{name} MAE: {', '.join(errors)} ({metrics[f'n_{part}']} frames)")
