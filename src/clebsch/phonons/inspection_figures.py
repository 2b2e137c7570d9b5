"""Figures of an inspection of phonon data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from matplotlib.colors import LogNorm

from clebsch.figures import COLOURS, figure
from clebsch.phonons.inspection import PhononInspection

_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)


def save_phonon_figures(found: PhononInspection, folder: Path) -> list[Path]:
    """Elements, cells and spectra as PNG into ``folder``."""
    drawn = {"elements": draw_elements, "cells": draw_cells, "spectra": draw_spectra}
    for name, draw in drawn.items():
        draw(found, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in drawn]


def place_in_table(z: int) -> tuple[int, int]:
    """Row and column of an element in the periodic table; lanthanides and actinides below.

    >>> [place_in_table(z) for z in (1, 2, 8, 26, 57, 72)]
    [(0, 0), (0, 17), (1, 15), (3, 7), (7, 2), (5, 3)]
    """
    row = next(r for r in range(7) if z <= _NOBLE[r + 1])
    n, length = z - _NOBLE[row] - 1, _NOBLE[row + 1] - _NOBLE[row]
    if length == 32 and 2 <= n < 17:
        return row + 2, n
    return row, n if n < 2 and z != 2 else 18 - (length - n)


def draw_elements(found: PhononInspection, path: Path) -> None:
    """The periodic table, coloured by the number of crystals with each element."""
    counts = {atomic_numbers[s]: n for s, n in found.elements.items()}
    norm = LogNorm(1, max(2, *counts.values()))
    with figure(path, 8.4, 4.4) as canvas:
        axes: Any = canvas.add_subplot()
        import matplotlib

        colours = matplotlib.colormaps["viridis_r"]
        for z in range(1, 104):
            row, column = place_in_table(z)
            y = -row - (0.4 if row > 6 else 0)
            there = counts.get(z, 0)
            face = colours(norm(there)) if there else "#f0f0f0"
            dark = there and norm(there) > 0.45
            axes.add_patch(
                matplotlib.patches.Rectangle((column, y), 0.94, 0.94, facecolor=face, lw=0)
            )
            text = {"color": "white" if dark else "black" if there else "#999999"}
            middle = column + 0.47
            axes.text(middle, y + 0.58, chemical_symbols[z], ha="center", va="center", **text)
            if there:
                axes.text(middle, y + 0.22, there, ha="center", va="center", fontsize=6, **text)
        axes.set(xlim=(0, 18), ylim=(-8.5, 1), aspect="equal")
        axes.axis("off")
        axes.set_title(f"crystals with each element, of {len(found.names)}")
        bar = canvas.colorbar(
            matplotlib.cm.ScalarMappable(norm, colours),
            ax=axes,
            orientation="horizontal",
            shrink=0.4,
            aspect=30,
            label="crystals",
        )
        bar.ax.grid(False)


def draw_cells(found: PhononInspection, path: Path) -> None:
    """Lattice constants, volume, atoms in the cell, neighbours."""
    with figure(path, 8.4, 5.2) as canvas:
        (a, b), (c, d) = canvas.subplots(2, 2)
        edges = np.linspace(0, np.percentile(found.lengths, 99.5) * 1.02, 60)
        for name, values, colour in zip("abc", found.lengths.T, COLOURS, strict=False):
            a.hist(values, edges, histtype="step", label=name, color=colour, lw=1.4)
        a.legend()
        a.set(xlabel="lattice constants of the cell as given / Å", ylabel="crystals")
        b.hist(found.volume, 60)
        b.set(xlabel="volume per atom / Å³", ylabel="crystals")
        c.hist(found.n_atoms, np.arange(0.5, found.n_atoms.max() + 1.5))
        c.set(xlabel="atoms in the cell", ylabel="crystals")
        top = max(1, int(found.neighbours.max()))
        step = max(1, top // 60)
        d.hist(found.neighbours, np.arange(-0.5, top + step + 0.5, step))
        mean = found.neighbours.mean()
        d.axvline(mean, color=COLOURS[1], label=f"mean {mean:.1f}")
        d.legend()
        d.set(xlabel=f"neighbours within {found.cutoff:g} Å", ylabel="atoms")


def draw_spectra(found: PhononInspection, path: Path) -> None:
    """Band tops and mean frequencies; the mean spectrum with percentiles."""
    with figure(path, 8.4, 3.4) as canvas:
        left, right = canvas.subplots(1, 2)
        edges = np.linspace(0, np.percentile(found.tops, 99.5) * 1.02, 45)
        for values, name in ((found.tops, "band top"), (found.mean_frequencies, "mean frequency")):
            left.hist(values, edges, histtype="step", lw=1.4, label=name)
        left.legend()
        left.set(xlabel="wavenumber / cm$^{-1}$", ylabel="crystals")
        w, (low, middle, high) = found.frequencies, found.percentiles
        right.fill_between(w, low, high, alpha=0.25, lw=0, label="10th to 90th percentile")
        right.plot(w, middle, label="median")
        right.plot(w, found.mean, label="mean")
        right.set(
            xlabel="wavenumber / cm$^{-1}$",
            ylabel="states per atom and cm$^{-1}$",
            xlim=(0, w[-1]),
            ylim=(0, None),
        )
        right.legend()
