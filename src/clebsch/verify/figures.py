"""Figures of a verification: all checks at a glance, the cutoff, the energy of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from clebsch.figures import COLOURS, figure
from clebsch.verify.cutoff import STEP_TOLERANCE
from clebsch.verify.report import Finding, Report

_FAIL, _NOT_RUN = COLOURS[1], "#c8c8c8"
_PASS = LinearSegmentedColormap.from_list("pass", ["#e3f2ec", COLOURS[2]])
_LABEL = 40  # letters
_DIGITS = 8  # orders of magnitude below the tolerance that the colours tell apart


def plot_matrix(path: Path, report: Report) -> None:
    """Every check against every case: how far below its tolerance the deviation is."""
    rows = report.rows()
    checks = list(dict.fromkeys(row.check for row in rows if row.case))
    cases = list(dict.fromkeys(row.case for row in rows if row.case))
    labels = [name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}" for name in cases]
    below = 0.06 * max(map(len, labels), default=0)  # inches that the slanted names take
    width = 3.0 + below / 2 + 0.34 * len(cases)
    height = max(0.7 + 0.24 * len(checks), 1.6) + below
    with figure(path, width, height) as canvas:
        axes = canvas.add_subplot()
        axes.grid(False)
        for row in rows:
            if row.case:
                x, y = cases.index(row.case), checks.index(row.check)
                axes.add_patch(_square(x, y, _colour(row)))
                if row.status == "fail":
                    axes.text(x, y, "×", ha="center", va="center", color="white", weight="bold")
        axes.set_xlim(-0.5, len(cases) - 0.5)
        axes.set_ylim(len(checks) - 0.5, -0.5)
        axes.set_xticks(range(len(cases)), labels, rotation=55, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(checks)), checks)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        scale = ScalarMappable(Normalize(-_DIGITS, 0), _PASS)
        bar = canvas.colorbar(scale, ax=axes, shrink=0.6, aspect=24, pad=0.02)
        bar.set_label("lg (deviation / tolerance)")
        bar.outline.set_visible(False)


def plot_cutoff(path: Path, curves: list[dict[str, Any]]) -> None:
    """Steps of energy and force between both sides of the cutoff, as the sides come together."""
    with figure(path, 6.8, 3.4) as canvas:
        left, right = canvas.subplots(1, 2)
        for axes, key, label in (
            (left, "energy_step_eV", "step of the energy (eV)"),
            (right, "force_step_eV_per_A", "step of the force (eV/Å)"),
        ):
            for number, curve in enumerate(curves):
                # What is exactly zero has no place on a logarithmic axis.
                step = np.maximum(curve[key], 1e-18)
                axes.loglog(
                    curve["gap_A"],
                    step,
                    marker="o",
                    markersize=2.5,
                    lw=1,
                    color=COLOURS[number % len(COLOURS)],
                    ls=("-", "--", ":")[number // len(COLOURS) % 3],
                    label=curve["pair"],
                )
            axes.axhline(STEP_TOLERANCE, color="#7f7f7f", ls="--", lw=1)
            axes.set_xlabel("distance from the cutoff (Å)")
            axes.set_ylabel(label)
        if len(curves) <= 10:
            left.legend(ncols=2, fontsize=7)


def plot_dynamics(path: Path, curves: list[dict[str, Any]]) -> None:
    """Total energy of each run, at the step and at its halves."""
    with figure(path, 6.8, 0.4 + 2.3 * len(curves)) as canvas:
        panels = canvas.subplots(len(curves), 1, squeeze=False)[:, 0]
        for axes, curve in zip(panels, curves, strict=True):
            for number, (step, energy) in enumerate(
                zip(curve["step_fs"], curve["energy_eV_per_atom"], strict=True)
            ):
                axes.plot(
                    curve["time_fs"],
                    1000 * np.array(energy),
                    color=COLOURS[number],
                    lw=1.1,
                    label=f"step {step:.3g} fs",
                )
            axes.set_title(curve["case"], loc="left")
            axes.set_xlabel("time (fs)")
            axes.set_ylabel("total energy change\n(meV/atom)")
            axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _colour(row: Finding) -> Any:
    if row.status == "fail":
        return _FAIL
    if row.status == "not run":
        return _NOT_RUN
    ratio = max(row.ratio, 10.0**-_DIGITS)
    return _PASS(1 + np.log10(min(ratio, 1.0)) / _DIGITS)


def _square(x: int, y: int, colour: Any) -> Any:
    return Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, facecolor=colour, lw=0)
