"""Errors of predicted phonon spectra, each with its definition."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from ase import units
from numpy.typing import NDArray

from clebsch.phonons.spectrum import FrequencyGrid
from clebsch.phonons.thermodynamics import heat_capacity
from clebsch.phonons.units import KELVIN_PER_WAVENUMBER

Array = NDArray[np.float64]
TEMPERATURE = 300.0  # K
_GAS = units._k * units._Nav  # J/(K mol)


@dataclass
class DosPredictions:
    """Predicted and reference states of G crystals in K bins and beyond.

    Attributes:
        states, label: (G, K + 1) states of the cell; the label's last is NaN where unknown.
        spread: (G, K + 1) standard deviation of an ensemble, zero without.
        n_atoms: (G,).
        elemental: (G,) whether there is one element only.
        frame: (G,) index in the data set.
    """

    states: Array
    label: Array
    spread: Array
    n_atoms: NDArray[np.int64]
    elemental: NDArray[np.bool_]
    frame: NDArray[np.int64]


def merge(parts: list[DosPredictions]) -> DosPredictions:
    """Predictions of several sets one after the other."""
    return DosPredictions(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(DosPredictions)
        }
    )


def max_normalized(states: Array) -> Array:
    """(G, K) with maximum 1 in every row; zero rows stay."""
    top = states.max(-1, keepdims=True)
    return states / np.where(top > 0, top, 1.0)


def shares(states: Array) -> Array:
    """(G, K) with sum 1 in every row; zero rows stay."""
    total = states.sum(-1, keepdims=True)
    return states / np.where(total > 0, total, 1.0)


def wasserstein(a: Array, b: Array, step: float) -> Array:
    """Distance of two (G, K) spectra of equal sum in units of ``step``, (G,)."""
    return step * np.abs(np.cumsum(shares(a) - shares(b), -1)).sum(-1)


def published_heat_capacity(spectra: Array, grid: FrequencyGrid) -> Array:
    """C_v at 300 K as Chen et al. (2021) compute it, per 3 states, J/(K mol), (G,).

    From the values on the grid but for that at zero, by the trapezoidal rule. They multiply it
    by the atoms in the cell, and by one for elements.
    """
    w = grid.centres
    positive = w > 0
    x = 0.5 * KELVIN_PER_WAVENUMBER * w[positive] / TEMPERATURE
    g = spectra[:, positive]
    area = np.trapezoid(g, w[positive], axis=-1)
    capacity = np.trapezoid(g * (x / np.sinh(x)) ** 2, w[positive], axis=-1)
    return 3 * _GAS * capacity / np.where(area > 0, area, 1.0)


def dos_metrics(p: DosPredictions, grid: FrequencyGrid) -> dict[str, float]:
    """Mean errors over the crystals.

    - ``dos_mae``, ``dos_mse``: of spectra on the grid with maximum 1, over crystals and bins.
    - ``dos_wasserstein_cm1``: of the states on the grid, normalised to one.
    - ``mean_frequency_mae_cm1``: of sum g w / sum g on the grid.
    - ``heat_capacity_mae_J_per_K_mol``: `published_heat_capacity` per mol of cells (an element:
      per mol of atoms), the definition of Chen et al.
    - ``heat_capacity_mae_J_per_K_mol_atoms``: of 3 states per atom shared out as the spectrum
      on the grid is, per mol of atoms.
    """
    k = len(grid)
    predicted, label = p.states[:, :k], p.label[:, :k]
    difference = max_normalized(predicted) - max_normalized(label)
    w = grid.centres
    mean = [shares(x) @ w for x in (predicted, label)]
    published = [published_heat_capacity(x, grid) for x in (predicted, label)]
    cell = np.where(p.elemental, 1, p.n_atoms)
    middles = grid.middles[:-1]  # states of the bin at zero are not all at zero
    atom = [
        _GAS / units.kB * heat_capacity(middles, 3 * shares(x), TEMPERATURE)
        for x in (predicted, label)
    ]
    return {
        "dos_mae": float(np.abs(difference).mean()),
        "dos_mse": float(np.square(difference).mean()),
        "dos_wasserstein_cm1": float(wasserstein(predicted, label, grid.step).mean()),
        "mean_frequency_mae_cm1": float(np.abs(mean[0] - mean[1]).mean()),
        "heat_capacity_mae_J_per_K_mol": float((cell * np.abs(published[0] - published[1])).mean()),
        "heat_capacity_mae_J_per_K_mol_atoms": float(np.abs(atom[0] - atom[1]).mean()),
    }
