"""Harmonic thermodynamics of a phonon density of states.

Every function takes wavenumbers (K,) in cm^-1 and the number of ``states`` (..., K) at each of
them, 3N in all of a cell with N atoms, and returns the value of that cell; `per` turns it into
other amounts of substance. States at zero or imaginary wavenumbers have no finite free energy:
they are left out, as phonopy does.

Source: Maradudin, Montroll & Weiss, Theory of Lattice Dynamics (1963), chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from clebsch.errors import UserError
from clebsch.phonons.units import KELVIN_PER_WAVENUMBER

Array = NDArray[np.float64]
Amount = Literal["cell", "atom", "mol of atoms", "mol of cells", "kg"]

#: Below this wavenumber (cm^-1) a mode counts as a translation and is left out.
LEAST = 1e-3


def heat_capacity(frequencies: ArrayLike, states: ArrayLike, temperature: ArrayLike) -> Array:
    """C_v of the cell in eV/K.

    Args:
        frequencies: (K,) cm^-1.
        states: (..., K) states at each.
        temperature: (T,) or one number, K.

    Returns:
        (..., T), or (...) for one temperature.

    >>> cv = heat_capacity([100.0], [3.0], 5000.0)
    >>> round(float(cv / (3 * units.kB)), 3)  # Dulong and Petit
    1.0
    """

    def mode(x: Array) -> Array:
        half = 0.5 * x
        return (half / np.sinh(np.minimum(half, 350.0))) ** 2

    return units.kB * _sum(mode, frequencies, states, temperature)


def entropy(frequencies: ArrayLike, states: ArrayLike, temperature: ArrayLike) -> Array:
    """Vibrational entropy of the cell in eV/K; shapes as in `heat_capacity`."""

    def mode(x: Array) -> Array:
        x = np.minimum(x, 700.0)
        return x / np.expm1(x) - np.log1p(-np.exp(-x))

    return units.kB * _sum(mode, frequencies, states, temperature)


def free_energy(frequencies: ArrayLike, states: ArrayLike, temperature: ArrayLike) -> Array:
    """Helmholtz free energy of the vibrations in eV, zero-point energy included."""

    def mode(x: Array) -> Array:
        return 0.5 * x + np.log1p(-np.exp(-np.minimum(x, 700.0)))

    T = np.asarray(temperature, dtype=np.float64)
    return units.kB * T * _sum(mode, frequencies, states, temperature)


def internal_energy(frequencies: ArrayLike, states: ArrayLike, temperature: ArrayLike) -> Array:
    """Energy of the vibrations in eV, zero-point energy included."""

    def mode(x: Array) -> Array:
        return 0.5 * x + x / np.expm1(np.minimum(x, 700.0))

    T = np.asarray(temperature, dtype=np.float64)
    return units.kB * T * _sum(mode, frequencies, states, temperature)


def zero_point_energy(frequencies: ArrayLike, states: ArrayLike) -> Array:
    """Half a quantum in every mode, eV of the cell, shape (...)."""
    w, g = _real_modes(frequencies, states)
    return 0.5 * units.invcm * (g @ w)


def mean_frequency(frequencies: ArrayLike, states: ArrayLike, moment: int = 1) -> Array:
    """(sum g w^n / sum g)^(1/n) in cm^-1, shape (...); n = ``moment``.

    >>> float(mean_frequency([0.0, 100.0, 200.0], [0.0, 1.0, 1.0]))
    150.0
    """
    w, g = _real_modes(frequencies, states)
    total = g.sum(-1)
    mean = np.asarray((g @ w**moment) / np.where(total > 0, total, 1.0), dtype=np.float64)
    return np.asarray(mean.clip(min=0.0) ** (1 / moment), dtype=np.float64)


def debye_temperature(frequencies: ArrayLike, states: ArrayLike, moment: int = 2) -> Array:
    """The temperature of the Debye spectrum with the same ``moment`` of the frequency, K.

    Debye's g ~ w^2 has <w^n> = 3/(n+3) w_D^n. Moment 1 fits the zero-point energy, moment 2 the
    heat capacity at high temperature.
    """
    mean = mean_frequency(frequencies, states, moment)
    return KELVIN_PER_WAVENUMBER * mean * ((moment + 3) / 3) ** (1 / moment)


def per(value: ArrayLike, amount: Amount, n_atoms: ArrayLike, mass: ArrayLike) -> Array:
    """A value of a cell (eV or eV/K) as that of another amount.

    Args:
        value: of the cell.
        amount: ``"cell"`` or ``"atom"``: stays eV; ``"mol of atoms"``, ``"mol of cells"``:
            J/mol; ``"kg"``: J/kg.
        n_atoms: atoms in the cell.
        mass: of the cell, u.

    Raises:
        UserError: an unknown amount.
    """
    value, atoms = (np.asarray(x, dtype=np.float64) for x in (value, n_atoms))
    joule_per_mol = units._e * units._Nav
    if amount == "cell":
        return value
    if amount == "atom":
        return value / atoms
    if amount == "mol of atoms":
        return value / atoms * joule_per_mol
    if amount == "mol of cells":
        return value * joule_per_mol
    if amount == "kg":
        return value * joule_per_mol / (np.asarray(mass) * 1e-3)
    raise UserError(
        f'an amount is "cell", "atom", "mol of atoms", "mol of cells" or "kg", not {amount!r}'
    )


def _real_modes(frequencies: ArrayLike, states: ArrayLike) -> tuple[Array, Array]:
    w = np.asarray(frequencies, dtype=np.float64)
    g = np.asarray(states, dtype=np.float64)
    if w.ndim != 1 or g.shape[-1:] != w.shape:
        raise UserError(f"{g.shape} states do not fit {w.shape} frequencies")
    real = w > LEAST
    return w[real], g[..., real]


def _sum(
    mode: Callable[[Array], Array],
    frequencies: ArrayLike,
    states: ArrayLike,
    temperature: ArrayLike,
) -> Array:
    w, g = _real_modes(frequencies, states)
    T = np.asarray(temperature, dtype=np.float64)
    if (T <= 0).any():
        raise UserError("a temperature must be above 0 K")
    x = KELVIN_PER_WAVENUMBER * w / np.atleast_1d(T)[:, None]
    value = np.einsum("...k,tk->...t", g, mode(x))
    return value[..., 0] if T.ndim == 0 else value
