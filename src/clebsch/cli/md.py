"""``clebsch md``: molecular dynamics with a trained potential."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from clebsch.cli.options import Device, Quiet

LEFT_DOMAIN = 3

#: The option of each setting whose name is another.
_OPTIONS = {
    "temperature_K": "temperature",
    "pressure_GPa": "pressure",
    "time_ps": "time",
    "timestep_fs": "timestep",
    "thermostat_time_fs": "thermostat-time",
    "barostat_time_fs": "barostat-time",
    "bulk_modulus_GPa": "bulk-modulus",
    "sample_fs": "sample",
    "frame_fs": "every",
}

#: Settings that only some ensembles read.
_ENSEMBLES = {
    "thermostat": ("nvt",),
    "thermostat_time_fs": ("nvt", "npt"),
    "pressure_GPa": ("npt",),
    "barostat_time_fs": ("npt",),
    "bulk_modulus_GPa": ("npt",),
}


def md(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    structure: Annotated[
        str | None,
        typer.Argument(
            help="Structure file of any ASE format, or embedded:NAME; not with --resume.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything the run writes.")] = Path("md"),
    engine: Annotated[
        Literal["ase", "lammps"] | None,
        typer.Option(
            help="Who moves the atoms; lammps runs on several --ranks. [default: ase; with "
            "--resume that of the run]",
            show_default=False,
        ),
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option(
            help="MPI processes of the engine lammps. [default: 1]", min=1, show_default=False
        ),
    ] = None,
    ensemble: Annotated[
        Literal["nve", "nvt", "npt"] | None, typer.Option(help="[default: nve]", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="K; in NVE that of the initial velocities. [default: 300]", show_default=False
        ),
    ] = None,
    pressure: Annotated[
        float | None, typer.Option(help="GPa, for NPT. [default: 0]", show_default=False)
    ] = None,
    time: Annotated[
        float | None, typer.Option(help="Length in ps. [default: 10]", show_default=False)
    ] = None,
    timestep: Annotated[
        float | None, typer.Option(help="fs. [default: 0.5]", show_default=False)
    ] = None,
    thermostat: Annotated[
        Literal["bussi", "langevin"] | None,
        typer.Option(help="For NVT. [default: bussi]", show_default=False),
    ] = None,
    thermostat_time: Annotated[
        float | None,
        typer.Option(
            help="Relaxation time in fs; the inverse of the Langevin friction. [default: 100]",
            show_default=False,
        ),
    ] = None,
    barostat_time: Annotated[
        float | None,
        typer.Option(help="Relaxation time in fs. [default: 1000]", show_default=False),
    ] = None,
    bulk_modulus: Annotated[
        float | None,
        typer.Option(help="Rough value in GPa, for NPT. [default: 100]", show_default=False),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(help="Time between rows of thermo.csv, fs. [default: 5]", show_default=False),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            help="Time between frames of the trajectory, fs. [default: 500 frames, at least "
            "10 fs apart]",
            show_default=False,
        ),
    ] = None,
    frame: Annotated[
        int, typer.Option(help="Frame of the structure file to start from; -1 is the last.")
    ] = -1,
    supercell: Annotated[
        tuple[int, int, int], typer.Option(help="Repeat the cell, for instance 2 2 2.")
    ] = (1, 1, 1),
    relax: Annotated[
        bool, typer.Option("--relax", help="Move the atoms to a minimum of the energy first.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="Of velocities and thermostat. [default: 0]", show_default=False),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --out; --time may make it longer."),
    ] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Run molecular dynamics with a trained potential.

    Writes thermo.csv, trajectory.extxyz, md.json, figures and what --resume needs to --out; the
    engine lammps also its input script. Exit codes: 0 done; 2 wrong input; 3 the simulation left
    the domain of the model and was stopped; 130 interrupted (Ctrl-C), everything is written and
    --resume goes on.
    """
    from clebsch.cli.simulation import engine_of, load, print_run
    from clebsch.errors import UserError
    from clebsch.simulate import (
        read_structure,
        resume_lammps_md,
        resume_md,
        run_lammps_md,
        run_md,
    )
    from clebsch.simulate.settings import MDSettings

    given: dict[str, Any] = {
        "ensemble": ensemble,
        "temperature_K": temperature,
        "pressure_GPa": pressure,
        "time_ps": time,
        "timestep_fs": timestep,
        "thermostat": thermostat,
        "thermostat_time_fs": thermostat_time,
        "barostat_time_fs": barostat_time,
        "bulk_modulus_GPa": bulk_modulus,
        "sample_fs": sample,
        "frame_fs": every,
        "seed": seed,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        chosen = MDSettings.checked(**settings).ensemble
    except UserError as error:
        name, _, reason = str(error).partition(" = ")
        raise UserError(f"--{_OPTIONS.get(name, name)} {reason}") from error
    if resume:
        changed = [f"--{_OPTIONS.get(name, name)}" for name in settings if name != "time_ps"]
        changed += ["--supercell"] * (supercell != (1, 1, 1)) + ["--relax"] * relax
        changed += ["the structure"] * (structure is not None)
        if changed:
            raise UserError(
                f"--resume goes on with the settings of the run in {out}; leave out "
                f"{', '.join(changed)} (only --time may change)."
            )
        if engine_of(out, engine, ranks) == "lammps":
            result = resume_lammps_md(
                model, out, ranks=ranks, time_ps=time, device=device, progress=not quiet
            )
        else:
            potential = load(model, device)
            result = resume_md(potential, out, time_ps=time, progress=not quiet)
    else:
        if structure is None:
            raise UserError("no structure given; name a file, or use --resume to go on with a run.")
        for name, users in _ENSEMBLES.items():
            if name in settings and chosen not in users:
                raise UserError(
                    f"--{_OPTIONS.get(name, name)} has no effect with --ensemble {chosen}, only "
                    f"with {' and '.join(users)}; leave it out or choose another ensemble."
                )
        if ranks is not None and engine != "lammps":
            raise UserError("--ranks is for --engine lammps; the engine ase is one process.")
        potential = load(model, device)
        atoms, where = read_structure(structure, frame, supercell)
        shared: dict[str, Any] = {"relax": relax, "progress": not quiet, **settings}
        try:
            if engine == "lammps":
                result = run_lammps_md(model, atoms, out, ranks=ranks or 1, device=device, **shared)
            else:
                result = run_md(potential, atoms, out, **shared)
        except UserError as error:
            message = str(error)
            raise UserError(message.replace("the structure", where, 1)) from error
    print_run(result)
    if result.stopped is not None:
        raise typer.Exit(LEFT_DOMAIN)
    if result.interrupted:
        raise typer.Exit(130)
