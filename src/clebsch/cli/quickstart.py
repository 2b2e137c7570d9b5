"""``clebsch quickstart``: the main job on the embedded ethanol data, from frames to dynamics."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clebsch.simulate import MDResult
    from clebsch.train.report import Section

DATA = "embedded:ethanol"


def quickstart_command(
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("runs/quickstart"),
    minutes: Annotated[float, typer.Option(help="Time for training.", min=0.01)] = 7.0,
    md_ps: Annotated[float, typer.Option(help="Length of the NVE run in ps.", min=0.001)] = 3.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Train a potential on the embedded ethanol data and run dynamics with it.

    540 PBE0 calculations of ethanol become a potential, with the settings that are the default
    of ``clebsch train potential``, and an NVE run. Called again it goes on where it stopped; a
    finished run is only named.
    """
    from clebsch.structures import read_dataset
    from clebsch.train.config import TrainConfig
    from clebsch.train.potential_run import train_potential

    report = out / "report.html"
    metrics_file = out / "metrics.json"
    if report.exists() and "nve_drift_meV_per_atom_ps" in _read(metrics_file):
        _finish(out, _read(metrics_file))
        return

    began = time.monotonic()
    typer.echo(f"Step 1 of 2: training on {DATA} for {minutes:g} minutes, in {out}")
    resume = (out / "config.yaml").exists()
    config = TrainConfig.model_validate({"max_time": minutes})
    result = train_potential(DATA, config, out, resume=resume, progress=not quiet)
    if result.interrupted:
        typer.echo("Interrupted; the same command goes on.", err=True)
        raise typer.Exit(130)

    typer.echo(f"Step 2 of 2: {md_ps:g} ps of NVE dynamics at 300 K, in {out / 'md'}")
    data = read_dataset(DATA)
    start = data[int(data.frames[0])]  # the frames before are isolated atoms
    dynamics = _dynamics(result.model.double(), start, out / "md", md_ps, not quiet)
    if dynamics.interrupted:
        typer.echo("Interrupted; the same command goes on.", err=True)
        raise typer.Exit(130)

    metrics = dict(result.metrics)
    metrics["nve_drift_meV_per_atom_ps"] = dynamics.summary.get("nve_drift_meV_per_atom_ps")
    metrics["nve_ps"] = dynamics.summary["time_ps"]
    metrics["nve_stopped"] = dynamics.stopped
    metrics["wall_s"] = round(result.metrics["wall_s"] + dynamics.summary["wall_s"], 3)
    result.write_report([_section(dynamics)], title="Quickstart: a potential for ethanol")
    _write(metrics_file, metrics)
    typer.echo(f"Took {time.monotonic() - began:.0f} s.")
    _finish(out, metrics)


def _dynamics(model: Any, start: Any, folder: Path, length_ps: float, progress: bool) -> MDResult:
    """The NVE run, or the rest of it."""
    from clebsch.simulate import resume_md, run_md
    from clebsch.simulate.record import RESTART, RestartState

    if (folder / RESTART).exists():
        state = RestartState.load(folder)
        if state.step < state.settings.steps:
            return resume_md(model, folder, progress=progress)
        import shutil

        shutil.rmtree(folder)  # done, but by a model that was not finished: run it again
    return run_md(model, start, folder, time_ps=length_ps, temperature_K=300.0, progress=progress)


def _section(dynamics: MDResult) -> Section:
    from clebsch.train.report import Picture, Section, Table, format_number

    summary = dynamics.summary
    rows: list[list[object]] = [
        ["", ""],
        ["length (ps)", format_number(summary["time_ps"])],
        ["time step (fs)", format_number(summary["settings"]["timestep_fs"])],
        ["ms per step", format_number(summary["ms_per_step"])],
        ["drift of the total energy (meV/atom/ps)", _drift(summary)],
        [
            "fluctuation of the total energy, RMS (meV/atom)",
            format_number(summary["nve_rms_fluctuation_meV_per_atom"]),
        ],
    ]
    captions = {
        "energy.png": "Total energy against time, relative to its start.",
        "temperature.png": "Temperature; the start gives half of its heat to the bonds.",
        "rdf.png": "Distances between the atoms along the run.",
    }
    figures = [
        Picture(dynamics.out / "figures" / name, caption)
        for name, caption in captions.items()
        if (dynamics.out / "figures" / name).exists()
    ]
    text = dynamics.stopped or (
        "Constant-energy (NVE) dynamics of one molecule with the trained potential, in float64, "
        "velocities drawn for 300 K."
    )
    return Section("Molecular dynamics", text, [Table(rows)], figures)


def _drift(summary: dict[str, Any]) -> str:
    return f"{summary['nve_drift_meV_per_atom_ps']:.2g} ± {summary['nve_drift_standard_error']:.1g}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return content


def _write(path: Path, metrics: dict[str, Any]) -> None:
    from clebsch.files import write_text

    write_text(path, json.dumps(metrics, indent=1) + "\n")


def _finish(out: Path, metrics: dict[str, Any]) -> None:
    drift = metrics["nve_drift_meV_per_atom_ps"]
    typer.echo(
        f"Held-out errors (MAE): forces {metrics['test_forces_mae_meV_per_A']:.1f} meV/Å, "
        f"energy {metrics['test_energy_mae_meV_per_atom']:.2f} meV/atom; NVE drift "
        f"{'none measured' if drift is None else f'{drift:.2g} meV/atom/ps'}.\n"
        f"Model:  {out / 'model.clebsch'}\n"
        f"Open:   {out / 'report.html'}"
    )
