"""Units of energy: conversion, and suspicion by magnitude.

The energy of all electrons of an atom is known well enough to tell units apart: the
Thomas-Fermi-Scott-Schwinger formula, E = -0.768745 Z^(7/3) + Z^2/2 - 0.269900 Z^(5/3) hartree
(B.-G. Englert, Semiclassical Theory of Atoms, 1988), is within 1 % for carbon to argon.
"""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
import numpy.typing as npt
from ase import units

from clebsch.errors import UserError

_EV = {
    "ev": 1.0,
    "mev": 1e-3,
    "kcal/mol": units.kcal / units.mol,
    "kj/mol": units.kJ / units.mol,
    "hartree": units.Hartree,
    "ha": units.Hartree,
    "rydberg": units.Rydberg,
    "ry": units.Rydberg,
}
_SUSPECTS = ("kcal/mol", "kJ/mol", "meV", "Hartree", "Rydberg")


def energy_unit_in_ev(unit: str, where: str) -> float:
    """How many eV one ``unit`` is.

    >>> round(energy_unit_in_ev("kcal/mol", "file"), 6)
    0.043364

    Raises:
        UserError: the unit is not known.
    """
    key = unit.strip().lower().replace(" ", "").replace("_", "/").split(",")[0]
    if key in _EV:
        return _EV[key]
    close = get_close_matches(key, _EV, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(_EV)}."
    raise UserError(f"{where}: the energy unit {unit!r} is not known; {hint}")


def all_electron_energy(numbers: npt.ArrayLike) -> float:
    """Sum of the semi-classical all-electron energies of free atoms, eV."""
    z = np.asarray(numbers, dtype=np.float64)
    hartree = -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
    return float(np.where(z == 1, -0.5, hartree).sum() * units.Hartree)


def suspected_unit(numbers: npt.ArrayLike, energy: float) -> str | None:
    """Unit that a total energy seems to have, if that is not eV.

    An energy within 3 % of an all-electron energy in another unit is suspect. Energies of
    pseudopotential codes lie elsewhere; as those of heavy atoms may come near the all-electron
    energy in Hartree, units larger than eV are suspected for elements up to neon only.
    """
    ratio = energy / all_electron_energy(numbers)
    light = bool((np.asarray(numbers) <= 10).all())
    for name in _SUSPECTS if light else _SUSPECTS[:3]:
        if abs(ratio * _EV[name.lower()] - 1) < 0.03:
            return name
    return None
