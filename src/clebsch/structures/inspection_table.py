"""An inspection as text in the terminal."""

from __future__ import annotations

from collections import Counter

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clebsch.structures.inspection import Inspection

_MOST_ROWS = 15


def print_inspection(found: Inspection, console: Console) -> None:
    """Print tables of what there is, of the elements, of outliers, and the warnings."""
    stats = found.statistics
    table = Table(title=escape(found.path), show_header=False, title_justify="left")
    sizes = list(stats.n_atoms_histogram)
    types = Counter(found.config_types.tolist()).most_common()
    shown = ", ".join(f"{name} ({count})" for name, count in types[:8])
    rows = {
        "frames": f"{stats.n_frames} (and {len(found.isolated)} isolated atoms)"
        if found.isolated
        else str(stats.n_frames),
        "atoms": f"{stats.n_atoms}; {sizes[0]} to {sizes[-1]} per frame"
        if len(sizes) > 1
        else f"{stats.n_atoms}; {sizes[0]} per frame",
        "configuration types": shown + (f" and {len(types) - 8} more" if len(types) > 8 else ""),
        "energies": f"in {stats.n_energy} frames; {stats.energy_mean:.4f} ± "
        f"{stats.energy_std:.4f} eV/atom after atomic energies ({stats.e0_source})"
        if stats.n_energy
        else "none",
        "forces": f"in {stats.n_forces} frames; RMS {stats.force_rms:.4f}, longest "
        f"{stats.force_max:.3f} eV/Å"
        if stats.n_forces
        else "none",
        "stress": f"in {stats.n_stress} frames; RMS {stats.stress_rms:.5f} eV/Å³"
        if stats.n_stress
        else "none",
        "neighbours": f"{stats.mean_neighbours:.1f} per atom within {stats.cutoff:g} Å",
    }
    if stats.n_forces and stats.n_energy:
        rows["forces against energies"] = found.work.verdict
    if stats.n_stress and stats.n_energy:
        rows["stress against energies"] = found.stress.verdict
    if stats.n_forces:
        rows["net force"] = f"at most {np.nanmax(found.net_force):.2g} eV/Å per atom"
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console.print(table)
    _elements(found, console)
    if found.outliers:
        outliers = Table(title="Outliers", title_justify="left")
        outliers.add_column("frame", justify="right")
        outliers.add_column("what is odd")
        for i, why in list(found.outliers.items())[:_MOST_ROWS]:
            outliers.add_row(str(i), escape("; ".join(why)))
        console.print(outliers)
        if len(found.outliers) > _MOST_ROWS:
            console.print(f"... and {len(found.outliers) - _MOST_ROWS} more outliers")
    if found.warnings:
        console.print("What can go wrong in training:")
        for sentence in found.warnings:
            console.print(f"  - {escape(sentence)}", highlight=False)
    else:
        console.print("Nothing seems wrong with these data.")


def _elements(found: Inspection, console: Console) -> None:
    stats = found.statistics
    table = Table(title="Elements", title_justify="left")
    for name in ("element", "atoms", "E0 / eV", "force RMS / (eV/Å)", "nearest neighbour / Å"):
        table.add_column(name, justify="left" if name == "element" else "right")
    for symbol in stats.species[:40]:
        nearest = {p: d for p, d in stats.shortest.items() if symbol in p.split("-")}
        pair = min(nearest, key=lambda p: nearest[p]) if nearest else None
        rms = stats.force_rms_per_species.get(symbol)
        table.add_row(
            symbol,
            str(stats.composition[symbol]),
            f"{stats.e0s[symbol]:.3f}",
            "" if rms is None else f"{rms:.3f}",
            "" if pair is None else f"{nearest[pair]:.3f} ({pair})",
        )
    console.print(table)
    if len(stats.species) > 40:
        console.print(f"... and {len(stats.species) - 40} more elements")
