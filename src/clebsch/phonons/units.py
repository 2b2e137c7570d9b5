"""Frequencies of lattice vibrations in the units that the field uses."""

from __future__ import annotations

from typing import Literal

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from clebsch.errors import UserError

FrequencyUnit = Literal["cm^-1", "THz", "meV"]

# CODATA 2014 as in ase.units: one source of constants for the whole library.
_PLANCK = 2 * np.pi * units._hbar  # J s
#: 1 cm^-1 in each unit.
PER_WAVENUMBER: dict[str, float] = {
    "cm^-1": 1.0,
    "THz": units._c * 1e2 * 1e-12,
    "meV": units.invcm * 1e3,
}
#: hc/k in K cm: the temperature that belongs to a wavenumber of 1 cm^-1.
KELVIN_PER_WAVENUMBER = _PLANCK * units._c * 1e2 / units._k


def convert_frequency(values: ArrayLike, unit: str, to: str = "cm^-1") -> NDArray[np.float64]:
    """Frequencies from one unit to another.

    Args:
        values: any shape.
        unit, to: ``"cm^-1"``, ``"THz"`` (cycles, not radians) or ``"meV"``.

    Raises:
        UserError: an unknown unit.

    >>> convert_frequency([1.0, 15.633], "THz").round(2).tolist()
    [33.36, 521.46]
    """
    for name in (unit, to):
        if name not in PER_WAVENUMBER:
            raise UserError(f'a frequency has the unit "cm^-1", "THz" or "meV", not {name!r}')
    return np.asarray(values, dtype=np.float64) * (PER_WAVENUMBER[to] / PER_WAVENUMBER[unit])
