"""Figures of a simulation: energy, temperature, pressure, radial distribution, displacement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clebsch.figures import COLOURS, figure
from clebsch.simulate.analysis import Drift, RadialDistribution
from clebsch.simulate.settings import MDSettings

BLUE, RED, GREY = COLOURS[0], COLOURS[1], "#7f7f7f"


def plot_dynamics(
    folder: Path,
    thermo: dict[str, np.ndarray],
    n_atoms: int,
    settings: MDSettings,
    drift: Drift | None,
    distribution: RadialDistribution | None,
    lags_ps: np.ndarray | None,
    displacement: dict[str, np.ndarray] | None,
    diffusion: dict[str, float] | None,
) -> None:
    """Write energy, temperature, pressure and volume, rdf and msd figures to ``folder``."""
    if len(thermo["time_ps"]) > 1:
        plot_energy(folder / "energy.png", thermo, n_atoms, drift)
        plot_temperature(folder / "temperature.png", thermo, settings)
        if np.isfinite(thermo["pressure_GPa"]).all():
            plot_pressure(folder / "pressure.png", thermo, settings)
    if distribution is not None and distribution.pairs:
        plot_rdf(folder / "rdf.png", distribution)
    if lags_ps is not None and displacement is not None:
        plot_msd(folder / "msd.png", lags_ps, displacement, diffusion)


def plot_energy(
    path: Path, thermo: dict[str, np.ndarray], n_atoms: int, drift: Drift | None
) -> None:
    """Potential, kinetic and total energy per atom, each relative to its start, in meV."""
    time = thermo["time_ps"]
    per_atom = {
        name: 1000.0 * (thermo[f"{name}_eV"] - thermo[f"{name}_eV"][0]) / n_atoms
        for name in ("potential", "kinetic", "total")
    }
    with figure(path, 6.4, 5.2) as canvas:
        upper, lower = canvas.subplots(2, 1, sharex=True)
        for name, colour in zip(per_atom, (RED, GREY, BLUE), strict=True):
            upper.plot(time, per_atom[name], color=colour, lw=0.9, label=name)
        upper.set_ylabel("energy change (meV/atom)")
        upper.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        lower.plot(time, per_atom["total"], color=BLUE, lw=0.9)
        lower.set_ylabel("total energy change (meV/atom)")
        lower.set_xlabel("time (ps)")
        if drift is not None and np.isfinite(drift.slope):
            line = per_atom["total"].mean() + drift.slope * (time - time.mean())
            lower.plot(time, line, color=RED, lw=1.2, ls="--")
            lower.set_title(
                f"drift {drift.slope:.2g} ± {drift.standard_error:.1g} meV/atom/ps, "
                f"fluctuation {drift.rms:.2g} meV/atom"
            )


def plot_temperature(path: Path, thermo: dict[str, np.ndarray], settings: MDSettings) -> None:
    """Temperature against time, its running mean and the target."""
    time, temperature = thermo["time_ps"], thermo["temperature_K"]
    mean = np.cumsum(temperature) / np.arange(1, len(temperature) + 1)
    with figure(path, 6.4, 4.0) as canvas:
        axes = canvas.add_subplot()
        axes.plot(time, temperature, color=BLUE, lw=0.8, label="temperature")
        axes.plot(time, mean, color=RED, lw=1.4, label="running mean")
        target = "start" if settings.ensemble == "nve" else "target"
        axes.axhline(settings.temperature_K, color=GREY, ls="--", lw=1, label=target)
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("temperature (K)")
        axes.set_ylim(bottom=0)
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_pressure(path: Path, thermo: dict[str, np.ndarray], settings: MDSettings) -> None:
    """Pressure, and in NPT the volume on the right-hand axis."""
    with figure(path, 6.4, 4.0) as canvas:
        axes = canvas.add_subplot()
        axes.plot(thermo["time_ps"], thermo["pressure_GPa"], color=BLUE, lw=0.8)
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("pressure (GPa)", color=BLUE)
        if settings.ensemble == "npt":
            axes.axhline(settings.pressure_GPa, color=GREY, ls="--", lw=1)
            right = axes.twinx()
            right.spines["right"].set_visible(True)
            right.grid(False)
            right.plot(thermo["time_ps"], thermo["volume_A3"], color=RED, lw=1)
            right.set_ylabel("volume (Å³)", color=RED)
            right.ticklabel_format(useOffset=False)


def plot_rdf(path: Path, distribution: RadialDistribution) -> None:
    """Radial distribution per pair; in a molecule the neighbours per Å."""
    with figure(path, 6.4, 4.0) as canvas:
        axes = canvas.add_subplot()
        met = {pair: values for pair, values in distribution.pairs.items() if values.any()}
        for (pair, values), colour in _coloured(met):
            axes.plot(distribution.r, values, lw=1.1, color=colour, label=pair)
        if distribution.periodic:
            axes.axhline(1.0, color=GREY, ls="--", lw=0.8)
            axes.set_ylabel("g(r)")
        else:
            axes.set_ylabel("neighbours per Å")
        axes.set_xlabel("r (Å)")
        axes.set_xlim(0, float(distribution.r[-1]))
        axes.set_ylim(bottom=0)
        if met:
            axes.legend(fontsize=8, ncols=1 if len(met) < 8 else 2)


def plot_msd(
    path: Path,
    lags_ps: np.ndarray,
    displacement: dict[str, np.ndarray],
    diffusion: dict[str, float] | None,
) -> None:
    """Mean squared displacement per element, with the diffusion coefficient if it has one."""
    with figure(path, 6.4, 4.0) as canvas:
        axes = canvas.add_subplot()
        for (element, values), colour in _coloured(displacement):
            label = element
            value = (diffusion or {}).get(element, float("nan"))
            if np.isfinite(value):
                label += f"   D = {1e-4 * value:.2g} cm²/s"
            axes.plot(lags_ps, values, lw=1.2, color=colour, label=label)
        if diffusion:
            axes.axvspan(0.1 * lags_ps[-1], 0.5 * lags_ps[-1], color=GREY, alpha=0.12, lw=0)
        axes.set_xlabel("time lag (ps)")
        axes.set_ylabel("mean squared displacement (Å²)")
        axes.set_xlim(0, float(lags_ps[-1]))
        axes.set_ylim(bottom=0)
        axes.legend()


def _coloured(curves: dict[str, np.ndarray]) -> Iterator[tuple[tuple[str, np.ndarray], str]]:
    for index, item in enumerate(curves.items()):
        yield item, COLOURS[index % len(COLOURS)]
