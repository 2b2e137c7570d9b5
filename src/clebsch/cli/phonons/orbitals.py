"""``clebsch phonons orbitals``: features of a network as functions on its atoms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clebsch.cli.phonons.options import Crystals, Network

if TYPE_CHECKING:
    from clebsch.vibrations.orbital_features import SiteRow


def orbitals_command(
    model: Network,
    structures: Crystals,
    out: Annotated[Path, typer.Option(help="Folder for JSON, PNG and HTML.")] = Path("orbitals"),
    layer: Annotated[int, typer.Option(help="0 is the input; the last has scalars only.")] = 1,
    channel: Annotated[
        int | None, typer.Option(help="Which of the features is drawn; the liveliest by default.")
    ] = None,
    member: Annotated[int, typer.Option(help="Network of an ensemble.")] = 0,
    tolerance: Annotated[
        float, typer.Option(help="Å, within which the symmetry of the input is recognised.")
    ] = 0.01,
    double: Annotated[bool, typer.Option("--double", help="Compute in double precision.")] = False,
) -> None:
    """Draw features above degree 0 as orbitals, and check that they obey each site's symmetry.

    The crystal is brought to its exact symmetry first. The table has, for every orbit of atoms,
    what its point group allows and how much any of its operations changes any feature.
    """
    import torch

    from clebsch.files import atomic_path, write_text
    from clebsch.models import load_dos_model
    from clebsch.vibrations.crystals import check_crystal, read_crystals
    from clebsch.vibrations.displacement_output import file_names
    from clebsch.vibrations.orbital_features import (
        draw_orbitals,
        orbital_features,
        plotly_orbitals,
        site_table,
    )
    from clebsch.vibrations.symmetrised_cell import symmetrised

    network = load_dos_model(model, dtype=torch.float64 if double else None)
    crystals = list(read_crystals(structures))
    for crystal in crystals:
        check_crystal(crystal.atoms, crystal.where)
    names = file_names([crystal.name for crystal in crystals])
    for name, crystal in zip(names, crystals, strict=True):
        ideal = symmetrised(crystal.atoms, tolerance)
        features = orbital_features(network, ideal, layer, member)
        shown = features.liveliest_channel() if channel is None else channel
        rows = site_table(features)
        formula = ideal.get_chemical_formula(mode="metal", empirical=True)
        title = f"{formula}, layer {layer}, channel {shown}"
        draw_orbitals(features, out / f"{name}.png", shown, title)
        with atomic_path(out / f"{name}.html") as temporary:
            plotly_orbitals(features, shown).write_html(temporary)
        content = {
            "model": str(model),
            "crystal": crystal.where,
            "layer": layer,
            "irreps": str(features.irreps),
            "dtype": str(network.dtype).removeprefix("torch."),
            "sites": [row.to_dict() for row in rows],
        }
        write_text(out / f"{name}.json", json.dumps(content, indent=1) + "\n")
        _print(title, rows)
    print(f"JSON, PNG and HTML: {out}")


def _print(title: str, rows: Sequence[SiteRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    columns = ("site", "symmetry", "operations", "allowed functions", "forced to zero", "rank")
    for column in (*columns, "largest change"):
        table.add_column(column)
    for row in rows:
        allowed = " ".join(f"l={l}:{n}" for l, n in enumerate(row.allowed))
        table.add_row(
            f"{row.element} {row.wyckoff}",
            row.symbol,
            str(row.order),
            allowed,
            ", ".join(f"l={l}" for l in row.forced) or "none",
            " ".join(f"l={l}:{n}" for l, n in row.rank.items()),
            f"{row.violation:.1e}",
        )
    Console().print(table)
