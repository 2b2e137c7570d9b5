"""An inspection of phonon data as text in the terminal."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clebsch.phonons.inspection import IMAGINARY, NEIGHBOURS, PhononInspection

_MOST_ROWS = 20


def print_phonon_inspection(found: PhononInspection, console: Console) -> None:
    """Print what there is, the suspicious records and the duplicates."""
    table = Table(title=escape(found.path), show_header=False, title_justify="left")
    n = len(found.names)
    parts = Counter(part for part in found.parts if part)
    common = list(found.elements.items())
    shown = ", ".join(f"{symbol} ({count})" for symbol, count in common[:10])
    rare = [symbol for symbol, count in common if count < 5]
    whole = np.isfinite(found.integrals)
    rows = {
        "crystals": f"{n}, {len(found.suspicious)} of them suspicious",
        "split": ", ".join(f"{part} {count}" for part, count in parts.items()) or "none given",
        "elements": f"{len(common)}: {shown}{', ...' if len(common) > 10 else ''}",
        "rare elements": f"{', '.join(rare)} (in fewer than 5 crystals)" if rare else "none",
        "atoms in the cell": _range(found.n_atoms, "", 0),
        "lattice constants": _range(found.lengths, " Å", 2),
        "volume per atom": _range(found.volume, " Å³", 1),
        f"neighbours in {found.cutoff:g} Å": f"{_range(found.neighbours, '', 0)}, "
        f"mean {found.neighbours.mean():.1f}",
        "band tops": _range(found.tops, " cm^-1", 0),
        "mean frequencies": _range(found.mean_frequencies, " cm^-1", 0),
        "integrals / 3N": _range(found.integrals[whole], "", 4)
        if whole.any()
        else "arbitrary units",
        "imaginary modes": f"more than {IMAGINARY:.0%} of the states in "
        f"{int((found.imaginary > IMAGINARY).sum())} crystals, more than 0.1% in "
        f"{int((found.imaginary > 1e-3).sum())}",
        "duplicates": f"{len(found.duplicates)} groups alike to {NEIGHBOURS} neighbours (the same "
        "crystal, mirror images, polytypes)",
    }
    if whole.any() and not whole.all():
        rows["integrals / 3N"] += f"; {int((~whole).sum())} curves are in arbitrary units"
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console.print(table)
    if found.suspicious:
        odd = Table(title="Suspicious records", title_justify="left")
        odd.add_column("record")
        odd.add_column("what is odd")
        for name, why in list(found.suspicious.items())[:_MOST_ROWS]:
            odd.add_row(escape(name), escape("; ".join(why)))
        console.print(odd)
        if len(found.suspicious) > _MOST_ROWS:
            console.print(f"... and {len(found.suspicious) - _MOST_ROWS} more (--out lists all)")
    for group in found.duplicates[:_MOST_ROWS]:
        if group not in found.leaks:
            console.print(f"Alike: {', '.join(map(escape, group))}")
    if len(found.duplicates) > _MOST_ROWS:
        console.print(f"... and {len(found.duplicates) - _MOST_ROWS} more (--out lists all)")
    part = dict(zip(found.names, found.parts, strict=True))
    for group in found.leaks:
        listed = ", ".join(f"{name} ({part[name] or 'no part'})" for name in group)
        console.print(
            f"Leak: {escape(listed)} are alike; a test on one is none if another was trained on: "
            "keep them in one part.",
            soft_wrap=True,
        )
    if not (found.suspicious or found.leaks):
        console.print("Nothing seems wrong with these crystals.")


def _range(values: npt.NDArray[np.generic], unit: str, digits: int) -> str:
    low, middle, high = np.percentile(np.asarray(values, dtype=np.float64), [0, 50, 100])
    return f"{low:.{digits}f} to {high:.{digits}f}{unit}, median {middle:.{digits}f}"
