"""The phonon density of states as a curve, and the grids on which networks learn it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clebsch.errors import UserError
from clebsch.phonons.units import PER_WAVENUMBER, convert_frequency

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PhononDos:
    """Vibrational states per cm^-1 of one cell, at given wavenumbers.

    Attributes:
        frequencies: (K,) cm^-1, ascending; imaginary modes are negative.
        density: (K,) or (curves, K), states per cm^-1.

    Raises:
        UserError: frequencies that do not ascend, shapes that do not fit, values that are not
            finite.

    >>> dos = PhononDos(np.linspace(0, 300, 301), np.linspace(0, 300, 301) ** 2)
    >>> float(dos.normalized(6).states().round(12))
    6.0
    """

    frequencies: Array
    density: Array

    def __post_init__(self) -> None:
        frequencies = np.asarray(self.frequencies, dtype=np.float64)
        density = np.asarray(self.density, dtype=np.float64)
        object.__setattr__(self, "frequencies", frequencies)
        object.__setattr__(self, "density", density)
        if frequencies.ndim != 1 or density.shape[-1:] != frequencies.shape:
            raise UserError(
                f"a density of states needs a value for every frequency, not {density.shape} "
                f"for {frequencies.shape}"
            )
        if len(frequencies) < 2 or (np.diff(frequencies) <= 0).any():
            raise UserError("the frequencies of a density of states must ascend, at least two")
        if not (np.isfinite(frequencies).all() and np.isfinite(density).all()):
            raise UserError("a density of states must be finite at every frequency")

    @classmethod
    def from_units(cls, frequencies: ArrayLike, density: ArrayLike, unit: str) -> PhononDos:
        """A curve in ``unit`` ("cm^-1", "THz" or "meV"), with states per that unit."""
        return cls(
            convert_frequency(frequencies, unit),
            np.asarray(density, dtype=np.float64) * PER_WAVENUMBER.get(unit, 1.0),
        )

    def states_at(self) -> Array:
        """States that stand for each frequency (trapezoidal weights), shape of ``density``.

        What the functions of `clebsch.phonons.thermodynamics` sum.
        """
        steps = np.diff(self.frequencies)
        return self.density * 0.5 * (np.append(steps, 0.0) + np.insert(steps, 0, 0.0))

    def states(self) -> Array:
        """Number of states under the curve (trapezoidal rule); 3N of a whole one."""
        return np.asarray(np.trapezoid(self.density, self.frequencies, axis=-1))

    def imaginary_states(self) -> float:
        """Share of the states below zero."""
        total = float(self.states())
        below = self.frequencies < 0
        if total <= 0 or below.sum() < 2:
            return 0.0
        return float(np.trapezoid(self.density[below], self.frequencies[below]) / total)

    def normalized(self, to: float) -> PhononDos:
        """The same curve with the integral ``to``: 3N of a cell, 1 of a distribution."""
        return PhononDos(self.frequencies, self.density * (to / self.states())[..., None])

    def cumulative(self, frequencies: ArrayLike) -> Array:
        """States below each of ``frequencies``, exact for the piecewise linear curve."""
        w, g = self.frequencies, self.density
        x = np.clip(np.asarray(frequencies, dtype=np.float64), w[0], w[-1])
        steps = np.concatenate([[0.0], np.cumsum(0.5 * (g[1:] + g[:-1]) * np.diff(w))])
        i = np.clip(np.searchsorted(w, x, side="right") - 1, 0, len(w) - 2)
        along = (x - w[i]) / (w[i + 1] - w[i])
        here = g[i] + along * (g[i + 1] - g[i])
        return steps[i] + 0.5 * (g[i] + here) * (x - w[i])

    def smoothed(self, width: float) -> PhononDos:
        """Convolved with a normal distribution of this standard deviation, cm^-1.

        States that would leave the grid at either end stay on it: the integral is kept.
        """
        if width <= 0:
            return self
        w = self.frequencies
        kernel = np.exp(-0.5 * ((w[:, None] - w[None, :]) / width) ** 2)
        weights = np.gradient(w)
        kernel = kernel / (weights[:, None] * kernel).sum(0)
        states = (self.density * weights) @ kernel.T
        return PhononDos(w, states).normalized(float(self.states()))


@dataclass(frozen=True)
class FrequencyGrid:
    """Equal bins, centred on ``start``, ``start + step``, ..., ``stop`` (cm^-1).

    >>> FrequencyGrid(0, 1000, 20).centres[[0, 1, -1]].tolist(), len(FrequencyGrid(0, 1000, 20))
    ([0.0, 20.0, 1000.0], 51)
    """

    start: float = 0.0
    stop: float = 1000.0
    step: float = 20.0

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.stop > self.start):
            raise UserError(
                f"a frequency grid needs a positive step and stop > start, not {self.start} to "
                f"{self.stop} by {self.step} cm^-1"
            )

    def __len__(self) -> int:
        return round((self.stop - self.start) / self.step) + 1

    @property
    def centres(self) -> Array:
        """(K,) cm^-1."""
        return np.asarray(self.start + self.step * np.arange(len(self)), dtype=np.float64)

    @property
    def edges(self) -> Array:
        """(K + 1,) cm^-1; no bin begins below zero where the grid does not."""
        edges = self.start + self.step * (np.arange(len(self) + 1, dtype=np.float64) - 0.5)
        if self.start >= 0:
            edges[0] = self.start
        return np.asarray(edges)

    @property
    def middles(self) -> Array:
        """(K + 1,) cm^-1 that stand for the states of each bin and of those beyond the grid.

        The first bin is half as wide as the others; states beyond count as one bin further.
        """
        edges = np.append(self.edges, self.edges[-1] + self.step)
        return np.asarray(0.5 * (edges[1:] + edges[:-1]))

    def states(self, dos: PhononDos) -> Array:
        """(K + 1,) states of each bin and, last, beyond the grid; none of them gets lost.

        What lies below the grid, imaginary modes among it, is left out.
        """
        below = dos.cumulative(self.edges)
        beyond = float(dos.states()) - below[-1]
        return np.append(np.diff(below), beyond).clip(min=0.0)


def published_target(dos: PhononDos) -> Array:
    """The 51 values at 0, 20, ..., 1000 cm^-1 that Chen et al. train on, largest value 1.

    Savitzky-Golay smoothing (window 101 points of 1 cm^-1, order 3; shorter curves take the
    largest odd window that fits), linear interpolation, zero outside, negative values cut off.

    Source: Chen et al., Adv. Sci. 8, 2004214 (2021), and its published tutorial.

    Raises:
        UserError: a curve that is zero between 0 and 1000 cm^-1.
    """
    from scipy.signal import savgol_filter

    points = len(dos.density)
    window = min(101, points - (1 - points % 2))
    smooth = savgol_filter(dos.density, window, min(3, window - 1))
    grid = FrequencyGrid(0.0, 1000.0, 20.0).centres
    target = np.interp(grid, dos.frequencies, smooth, left=0.0, right=0.0).clip(min=0.0)
    if target.max() <= 0:
        raise UserError("the density of states is zero from 0 to 1000 cm^-1")
    return target / target.max()
