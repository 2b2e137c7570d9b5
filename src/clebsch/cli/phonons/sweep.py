"""``clebsch phonons sweep``: an alloy over its composition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clebsch.cli.options import BatchAtoms, Device, Quiet
from clebsch.cli.phonons.options import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clebsch.vibrations.alloy_comparison import Comparison, Reference


def sweep_command(
    model: Network,
    alloy: Annotated[
        str,
        typer.Argument(
            help='Formula, such as "Mg3(Bi{1-x}Sb{x})2" or "Mg3(Bi0.5Sb0.5)2", or a CIF with '
            "partial occupancies.",
            show_default=False,
        ),
    ],
    lattice: Annotated[
        list[str] | None,
        typer.Option(
            help="Structure of an end member, FILE or FILE#RECORD; again for each end member.",
            show_default=False,
        ),
    ] = None,
    points: Annotated[int, typer.Option(help="Compositions.", min=2)] = 11,
    low: Annotated[str, typer.Option("--from", help="First x.")] = "0",
    high: Annotated[str, typer.Option("--to", help="Last x.")] = "1",
    supercells: Annotated[
        list[str] | None,
        typer.Option(
            help="Beside it sqs or random supercells; again for both.", show_default=False
        ),
    ] = None,
    size: Annotated[
        tuple[int, int, int], typer.Option(help="Cells of the lattice in a supercell.")
    ] = (2, 2, 2),
    number: Annotated[int, typer.Option(help="Supercells per composition.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Of the supercells.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="Of the heat capacity, K.")] = 300.0,
    reference: Annotated[
        Path | None,
        typer.Option(help="CSV of a known DoS of this composition.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("alloy"),
    max_atoms: BatchAtoms = 1000,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Phonon density of states of an alloy: virtual crystals, and supercells beside them."""
    from rich.progress import Progress

    from clebsch.cli.simulation import check_device
    from clebsch.errors import UserError
    from clebsch.models import load_dos_model
    from clebsch.vibrations.alloy_comparison import check_same_alloy, compare_with, read_reference
    from clebsch.vibrations.alloy_output import sweep_rows, write_comparison, write_sweep
    from clebsch.vibrations.alloy_sweep import (
        SweepSettings,
        compositions,
        read_alloy,
        read_lattice,
        sweep,
    )

    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder for the results.")
    kinds: Any = tuple(dict.fromkeys(supercells or ()))
    settings = SweepSettings(kinds, size, number, seed, temperature, max_atoms)
    check_device(device)
    network = load_dos_model(model, device)
    lattices = [read_lattice(place) for place in lattice or ()]
    mixture = read_alloy(alloy, lattices)
    known = None if reference is None else read_reference(reference)
    if known is not None:
        check_same_alloy(known, mixture)
    at = compositions(mixture, points, low, high)
    with Progress(disable=quiet) as bar:
        task = bar.add_task("predicting", total=None)
        found = sweep(
            network,
            mixture,
            at,
            settings,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    facts = {
        "model": {"file": model.name, "trained_on": network.header.get("data", {})},
        "lattices": [place.name for place in lattices],
    }
    files = write_sweep(found, mixture, settings, out, facts)
    print(f"{mixture.text}; lattice: {mixture.lattice_rule}; positions are not relaxed")
    _print_rows(sweep_rows(found, settings), temperature)
    if known is not None:
        comparisons = compare_with(known, network, mixture, found[0], lattices)
        files += write_comparison(comparisons, known, out, facts)
        _print_comparisons(comparisons, known)
    print(f"{', '.join(file.name for file in files)}: {out}")


def _print_rows(rows: Sequence[dict[str, Any]], temperature: float) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("composition", "crystals"):
        table.add_column(name, no_wrap=True)
    titles = ["mean\nfrequency\ncm⁻¹", f"C_v({temperature:g} K)\nJ/(K mol\nof atoms)"]
    compared = any("mae_to_virtual" in row for row in rows)
    if compared:
        titles += ["from the\nvirtual\ncm⁻¹", "MAE"]
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    capacity = next(n for n in rows[0] if n.startswith("heat_capacity") and "mol" in n)
    before = ""
    for row in rows:
        count = f"{row['structures']} {row['treatment']}" if "mismatch" in row else "virtual"
        cells = ["" if row["composition"] == before else row["composition"], count]
        before = row["composition"]
        cells += [_with(row["mean_frequency_cm1"], row["mean_frequency_cm1_std"])]
        cells += [f"{row[capacity]:.2f}"]
        if compared and "mae_to_virtual" in row:
            cells += [f"{row['wasserstein_to_virtual_cm1']:.2f}", f"{row['mae_to_virtual']:.4f}"]
        table.add_row(*cells)
    Console().print(table)


def _print_comparisons(comparisons: Sequence[Comparison], known: Reference) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    title = f"beside {known.name}, whose mean frequency is {known.mean_frequency:.1f} cm⁻¹"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for title in ("MAE,\nmaximum 1", "Wasserstein\ncm⁻¹", "mean\nfrequency\ncm⁻¹"):
        table.add_column(title, justify="right")
    for c in comparisons:
        table.add_row(c.title, f"{c.mae:.4f}", f"{c.wasserstein:.1f}", f"{c.mean_frequency:.1f}")
    Console().print(table)


def _with(value: float, std: float | None) -> str:
    return f"{value:.2f}" if std is None else f"{value:.2f} ± {std:.2f}"
