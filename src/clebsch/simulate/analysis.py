"""Structure and transport from a trajectory: radial distribution, displacement, energy drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from vesin import ase_neighbor_list

from clebsch.errors import UserError


@dataclass(frozen=True)
class RadialDistribution:
    """Pair distances of a trajectory.

    ``r`` (bins,): bin centres in Å. ``pairs``: "A-B" -> (bins,). In a 3-D periodic cell this is
    g(r), relative to an ideal gas of the same density (dimensionless, 1 far away). Otherwise
    (``periodic`` False) it is the mean number of B atoms around an A atom per Å.
    """

    r: np.ndarray
    pairs: dict[str, np.ndarray]
    periodic: bool


def element_pairs(symbols: Sequence[str]) -> list[tuple[str, str]]:
    """Every unordered pair of the elements in ``symbols``, sorted by name."""
    return list(combinations_with_replacement(sorted(set(symbols)), 2))


def rdf(
    frames: Sequence[Atoms],
    rmax: float = 6.0,
    bins: int = 200,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> RadialDistribution:
    """Radial distribution function per pair of elements, averaged over ``frames``.

    ``rmax`` may exceed half the cell: periodic images are counted. With n_AB(r) the number of
    ordered pairs in a shell, g_AB(r) = n_AB(r) V / (N_A N_B 4/3 pi (r_out^3 - r_in^3)), so that
    its integral against the density of B counts the neighbours of an A atom (Allen and
    Tildesley, Computer Simulation of Liquids, 2nd ed., sec. 2.6).

    Args:
        frames: structures; every frame holds the same number of each element.
        rmax: Å.
        bins: number of shells of equal width.
        pairs: elements to correlate; all pairs by default.

    Raises:
        UserError: there is no frame.
    """
    if not len(frames):
        raise UserError("a radial distribution needs at least one frame; the trajectory is empty.")
    edges = np.linspace(0.0, rmax, bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    periodic = all(atoms.pbc.all() and atoms.cell.rank == 3 for atoms in frames)
    chosen = list(pairs) if pairs is not None else element_pairs(frames[0].get_chemical_symbols())
    totals = {pair: np.zeros(bins) for pair in chosen}
    for atoms in frames:
        symbols = np.array(atoms.get_chemical_symbols())
        first, second, distance = ase_neighbor_list("ijd", atoms, rmax)
        for a, b in chosen:
            n_a, n_b = int((symbols == a).sum()), int((symbols == b).sum())
            if not n_a or not n_b:
                continue
            ordered = (symbols[first] == a) & (symbols[second] == b)
            count = np.histogram(distance[ordered], edges)[0].astype(float)
            if periodic:
                totals[a, b] += count * atoms.get_volume() / (n_a * n_b * shells)
            else:
                totals[a, b] += count / (n_a * np.diff(edges))
    return RadialDistribution(
        r=0.5 * (edges[1:] + edges[:-1]),
        pairs={f"{a}-{b}": total / len(frames) for (a, b), total in totals.items()},
        periodic=periodic,
    )


def unwrapped_displacements(frames: Sequence[Atoms]) -> np.ndarray:
    """Displacement of each atom from the first frame, (frames, N, 3) in Å.

    Jumps across a periodic boundary are undone (an atom must move by less than half a cell
    between frames), a changing cell is replaced by its mean, and the drift of the centre of
    mass is removed.
    """
    positions = np.stack([atoms.get_positions() for atoms in frames])
    pbc = frames[0].pbc
    if pbc.any():
        cells = np.stack([np.asarray(atoms.cell.complete().array) for atoms in frames])
        scaled = positions @ np.linalg.inv(cells)
        steps = np.diff(scaled, axis=0)
        steps -= np.where(pbc, np.round(steps), 0.0)
        start = np.zeros((1, *scaled.shape[1:]))
        positions = np.concatenate([start, np.cumsum(steps, axis=0)]) @ cells.mean(axis=0)
    displacement = positions - positions[0]
    masses = frames[0].get_masses()
    drift = np.einsum("n,fnc->fc", masses / masses.sum(), displacement)
    return displacement - drift[:, None, :]


def msd(frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """Mean squared displacement per element against the lag, (frames,) in Å^2.

    Averaged over atoms and over all time origins with the FFT (Calandrini et al., Collection
    SFN 12, 201 (2011), sec. 4.2).
    """
    displacement = unwrapped_displacements(frames)
    n = len(displacement)
    square = np.einsum("fnc,fnc->fn", displacement, displacement)
    # S1(m) = sum_t r(t+m)^2 + r(t)^2 over the n - m origins; S2(m) is the autocorrelation.
    totals = np.concatenate([np.zeros((1, square.shape[1])), np.cumsum(square, axis=0)])
    lag = np.arange(n)
    s1 = (totals[n] - totals[lag]) + totals[n - lag]
    spectrum = np.fft.rfft(displacement, n=2 * n, axis=0)
    s2 = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n, axis=0)[:n].sum(axis=-1)
    per_atom = (s1 - 2.0 * s2) / (n - lag)[:, None]
    symbols = np.array(frames[0].get_chemical_symbols())
    return {
        element: np.maximum(per_atom[:, symbols == element].mean(axis=1), 0.0)
        for element in sorted(set(symbols.tolist()))
    }


def diffusion_coefficient(
    lag_ps: np.ndarray, msd_A2: np.ndarray, window: tuple[float, float] = (0.1, 0.5)
) -> float:
    """D in Å^2/ps (times 1e-4: cm^2/s) from <r^2> = 6 D t, by least squares.

    The fit uses the lags between the two fractions ``window`` of the longest: short ones are
    ballistic, long ones are averages over few origins. NaN if fewer than three lags are there.
    """
    n = len(lag_ps)
    part = slice(int(window[0] * n), max(int(window[1] * n), 1))
    t, y = lag_ps[part], msd_A2[part]
    if len(t) < 3:
        return float("nan")
    return float(np.polyfit(t, y, 1)[0] / 6.0)


@dataclass(frozen=True)
class Drift:
    """A straight line through a series: slope, its standard error, scatter about the line."""

    slope: float
    standard_error: float
    rms: float


def linear_drift(time: np.ndarray, values: np.ndarray) -> Drift:
    """Least-squares slope of ``values`` (T,) against ``time`` (T,).

    The standard error counts the residuals' correlation: that of independent samples times
    sqrt(g), with g the statistical inefficiency 1 + 2 sum rho (Chodera et al., JCTC 3, 26
    (2007)), the sum cut at the first negative correlation. NaN with fewer than three samples.
    """
    n = len(time)
    if n < 3:
        return Drift(float("nan"), float("nan"), float("nan"))
    t = time - time.mean()
    y = values - values.mean()
    slope = float(t @ y / (t @ t))
    residual = y - slope * t
    variance = float(residual @ residual) / (n - 2)
    inefficiency = 1.0
    if variance > 0:
        spectrum = np.fft.rfft(residual, n=2 * n)
        rho = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n)[:n]
        rho = rho / rho[0]
        below = np.flatnonzero(rho < 0)
        end = int(below[0]) if len(below) else n
        weights = 1.0 - np.arange(1, end) / n
        inefficiency = max(1.0, 1.0 + 2.0 * float(weights @ rho[1:end]))
    return Drift(
        slope=slope,
        standard_error=float(np.sqrt(variance / (t @ t) * inefficiency)),
        rms=float(np.sqrt(residual @ residual / n)),
    )
