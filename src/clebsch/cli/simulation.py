"""What md, predict and evaluate share: loading a model, printing results."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from clebsch.errors import UserError
from clebsch.models import FrozenPotential, Potential, load_model
from clebsch.simulate import MDResult


def load(path: Path, device: str) -> Potential | FrozenPotential:
    """Load a model on a device.

    Raises:
        UserError: the file is no model, or the device is not there.
    """
    check_device(device)
    return load_model(path, device=device)


def check_device(device: str) -> None:
    """Raise UserError if the device is not there."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"device '{device}' cannot be used ({reason}); try --device cpu."
        ) from error


def engine_of(out: Path, engine: str | None, ranks: int | None) -> str:
    """The engine that ran in a folder.

    Raises:
        UserError: another one is asked for, or ranks of the engine ase.
    """
    from clebsch.simulate.lammps_state import STATE
    from clebsch.simulate.record import RESTART

    found = "lammps" if (out / STATE).exists() and not (out / RESTART).exists() else "ase"
    if engine not in (None, found):
        raise UserError(f"{out}: is a run of the engine {found}; it cannot go on with {engine}.")
    if found == "ase" and ranks is not None:
        raise UserError(f"{out}: is a run of the engine ase, which is one process; no --ranks.")
    return found


def print_run(result: MDResult) -> None:
    """Say how a run ended, how fast it was and what it measured."""
    summary = result.summary
    print(
        f"{summary['formula']}: {summary['time_ps']:g} ps in {summary['steps']} steps, "
        f"{summary['wall_s']:.1f} s"
        + (f" ({summary['ns_per_day']:.3g} ns/day)" if summary["ns_per_day"] else "")
    )
    units = {"temperature_K": "K", "pressure_GPa": "GPa", "volume_A3": "Å^3"}
    if summary["settings"]["ensemble"] != "npt":
        del units["volume_A3"]  # it does not move
    for name, value in summary["second_half"].items():
        if name not in units:
            continue
        label = name.rsplit("_", 1)[0]
        print(
            f"{label}: {value['mean']:.4g} {units[name]}, fluctuation {value['std']:.2g} "
            f"{units[name]} (second half)"
        )
    if isfinite(summary.get("nve_drift_meV_per_atom_ps", float("nan"))):
        print(
            f"drift of the total energy: {summary['nve_drift_meV_per_atom_ps']:.3g} ± "
            f"{summary['nve_drift_standard_error']:.1g} meV/atom/ps"
        )
    for element, value in summary.get("diffusion_coefficient_A2_per_ps", {}).items():
        print(f"diffusion of {element}: {1e-4 * value:.3g} cm^2/s")
    if result.stopped is not None:
        print(f"stopped: {result.stopped}; the model knows nothing there.")
        print("Lower the temperature or time step, relax the start, or train on such structures.")
    if result.interrupted:
        print("interrupted: everything is written; --resume goes on.")
    print(f"trajectory, thermo.csv, md.json and figures: {result.out}")


COLUMNS = {
    "energy_mae_meV_per_atom": "energy\nMAE\nmeV/atom",
    "energy_rmse_meV_per_atom": "energy\nRMSE\nmeV/atom",
    "forces_mae_meV_per_A": "force\nMAE\nmeV/Å",
    "forces_rmse_meV_per_A": "force\nRMSE\nmeV/Å",
    "stress_mae_meV_per_A3": "stress\nMAE\nmeV/Å³",
    "stress_rmse_meV_per_A3": "stress\nRMSE\nmeV/Å³",
}


def print_evaluation(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Tables of errors: overall, per element, per configuration type, and the worst frames."""
    console = console or Console()
    types = metrics["by_config_type"]
    n = metrics["frames"]
    rows = {"the frame" if n == 1 else f"all {n} frames": metrics["overall"]}
    rows |= {f"element {name}": row for name, row in metrics["by_element"].items()}
    if len(types) > 1:
        rows |= {f"type {name}": row for name, row in types.items()}
    present = [name for name in COLUMNS if any(name in row for row in rows.values())]
    table = Table()
    table.add_column("", no_wrap=True)
    for name in present:
        table.add_column(COLUMNS[name], justify="right")
    for title, row in rows.items():
        table.add_row(title, *(f"{row[name]:.2f}" if name in row else "" for name in present))
    console.print(table)
    if metrics["worst_frames"]:
        table = Table("worst frame", title_justify="left")
        table.add_column("energy\nerror\nmeV/atom", justify="right")
        table.add_column("force\nRMSE\nmeV/Å", justify="right")
        table.add_column("worst\natom", justify="right")
        for row in metrics["worst_frames"]:
            energy, force = row.get("energy_error_meV_per_atom"), row.get("forces_rmse_meV_per_A")
            table.add_row(
                row["where"],
                "" if energy is None else f"{energy:.2f}",
                "" if force is None else f"{force:.1f}",
                str(row.get("worst_atom", "")),
            )
        console.print(table)
