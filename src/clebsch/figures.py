"""The style of the figures that the commands write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from clebsch.files import atomic_path

#: Okabe & Ito's palette, told apart by colour-blind readers as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of ``width`` x ``height`` inches in the house style, saved to ``path`` at the end.

    No global state of matplotlib is touched, so no display is needed.
    """
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(width, height))
        yield canvas
        with atomic_path(path) as temporary:
            canvas.savefig(temporary)
