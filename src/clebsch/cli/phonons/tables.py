"""Tables that the verb phonons prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_ROWS = {
    "dos_mae": ("DoS MAE (maximum 1)", ".4f"),
    "dos_wasserstein_cm1": ("DoS Wasserstein (cm⁻¹)", ".1f"),
    "heat_capacity_mae_J_per_K_mol_atoms": ("C_v(300 K) MAE (J/(K mol of atoms))", ".3f"),
    "heat_capacity_mae_J_per_K_mol": ("C_v(300 K) MAE (J/(K mol of cells))", ".2f"),
    "mean_frequency_mae_cm1": ("mean frequency MAE (cm⁻¹)", ".1f"),
    "mean_frequency_shift_cm1": ("mean frequency, signed (cm⁻¹)", "+.1f"),
    "seconds_per_crystal_mean": ("time per crystal (s)", ".3g"),
    "seconds_per_crystal_median": ("the same, median (s)", ".3g"),
    "processor_seconds_per_crystal_mean": ("processor time per crystal (s)", ".3g"),
}


def print_comparison(content: Mapping[str, Any], console: Console | None = None) -> None:
    """Errors and times of both ways."""
    console = console or Console()
    ways = content["ways"]
    table = Table()
    table.add_column(f"{content['crystals']} crystals, mean")
    for way in ways:
        table.add_column(way, justify="right")
    for key, (title, form) in _ROWS.items():
        table.add_row(title, *(format(ways[way][key], form) for way in ways))
    console.print(table)
    for name, reason in content["failed"].items():
        console.print(f"left out {name}: {reason}", highlight=False)


def print_phonons(contents: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """A row for each crystal, at the temperature nearest to 300 K."""
    console = console or Console()
    T = contents[0]["thermodynamics"]["temperature_K"]
    at = min(range(len(T)), key=lambda i: abs(T[i] - 300.0))
    table = Table("crystal", "formula")
    for title in (
        f"C_v\n{T[at]:g} K",
        f"S\n{T[at]:g} K",
        "mean\ncm⁻¹",
        "top\ncm⁻¹",
        "imagi-\nnary",
        "volume",
        "atoms",
        "forces",
        "time\ns",
    ):
        table.add_column(title, justify="right")
    for c in contents:
        figures = c["thermodynamics"]
        seconds = sum(c["seconds"][part] for part in ("relaxation", "forces", "phonons"))
        table.add_row(
            c["name"],
            c["formula"],
            f"{figures['heat_capacity_J_per_K_mol_atoms'][at]:.2f}",
            f"{figures['entropy_J_per_K_mol_atoms'][at]:.2f}",
            f"{figures['mean_frequency_cm1']:.1f}",
            f"{c['largest_cm1']:.0f}",
            f"{c['imaginary_share']:.1%}",
            f"{c['volume_change']:+.1%}",
            str(c["supercell_atoms"]),
            str(c["displacements"]),
            f"{seconds:.1f}",
        )
    console.print(table)
    console.print(
        "C_v and S in J/(K mol of atoms); mean and top of the wavenumbers; change of volume in "
        "the relaxation; atoms of the supercell; displacements.",
        highlight=False,
    )
    for c in contents:
        if c["imaginary_share"] > 0:
            console.print(
                f"{c['name']}: {c['imaginary_share']:.1%} of the modes are imaginary; the crystal "
                "is unstable in this potential, or the supercell is too small. "
                "Thermodynamics leave them out.",
                highlight=False,
            )


def print_measured(rows: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Measured figures beside computed ones, a column for each crystal."""
    console = console or Console()
    table = Table("")
    for row in rows:
        table.add_column(row["crystal"], justify="right")
    titles = {
        "c_v_measured": "C_v measured (J/(K mol of atoms))",
        "c_v_dfpt": "C_v DFPT",
        "c_v_potential": "C_v potential",
        "c_v_direct": "C_v direct",
        "transverse_measured": "TO(Γ) measured (THz)",
        "zone_centre_potential": "TO(Γ) potential",
        "longitudinal_measured": "LO(Γ) measured (THz)",
        "band_top_dfpt": "band top DFPT (THz)",
        "band_top_potential": "band top potential",
        "peak_dfpt": "highest peak DFPT (THz)",
        "peak_potential": "highest peak potential",
        "peak_direct": "highest peak direct",
        "lattice_measured": "lattice constant measured (Å)",
        "lattice_potential": "lattice constant potential",
    }
    for key, title in titles.items():
        if key in rows[0]:
            form = ".3f" if key.startswith("lattice") else ".2f"
            table.add_row(title, *(format(row[key], form) for row in rows))
    console.print(table)
