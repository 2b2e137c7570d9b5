"""Whether a curve can be the phonon density of states of a crystal."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.spectrum import PhononDos
from clebsch.phonons.units import PER_WAVENUMBER
from clebsch.structures.space_group import primitive_size

#: Share of the states that may have imaginary frequencies.
IMAGINARY = 0.05
#: Deviation of the integral from 3N, relative.
INTEGRAL = 0.02
#: Band top times the square root of the lightest mass, cm^-1 u^(1/2). The 1,521 crystals of
#: Petretto et al. lie between 620 (heavy, soft) and 8,400 (azides).
LEAST_TOP, MOST_TOP = 150.0, 12_000.0


def band_top(dos: PhononDos) -> float:
    """The wavenumber below which 99.99 % of the states lie, cm^-1."""
    below = dos.cumulative(dos.frequencies)
    return float(dos.frequencies[np.searchsorted(below, 0.9999 * below[-1])])


def reduced_top(dos: PhononDos, atoms: Atoms) -> float:
    """`band_top` times the square root of the lightest mass, cm^-1 u^(1/2)."""
    return band_top(dos) * float(np.sqrt(atoms.get_masses().min()))


def check_curve(dos: PhononDos, atoms: Atoms, unit: str = "cm^-1") -> None:
    """Refuse what is no phonon density of states of this crystal.

    Args:
        dos: the curve.
        atoms: the crystal.
        unit: what the file's frequencies were said to be in, for the message.

    Raises:
        UserError: negative values, nothing at all, too many imaginary states, or a spectrum that
            ends where none can, as in another unit.
    """
    lowest, highest = float(dos.density.min()), float(dos.density.max())
    if lowest < -0.01 * highest or highest <= 0:
        raise UserError(
            "the density of states is negative, or zero everywhere: are the columns frequency "
            "and density, in this order?"
        )
    share = dos.imaginary_states()
    if share > IMAGINARY:
        raise UserError(
            f"{share:.0%} of the states have negative (imaginary) frequencies, more than "
            f"{IMAGINARY:.0%}: the structure is not stable; relax it, or remove the record"
        )
    top = reduced_top(dos, atoms)
    if (top < LEAST_TOP and 2 not in atoms.numbers) or top > MOST_TOP:
        said = band_top(dos) * PER_WAVENUMBER[unit]
        others = [
            name
            for name, per in PER_WAVENUMBER.items()
            if name != unit and 600 < top * PER_WAVENUMBER[unit] / per < 9000
        ]
        hint = f"; as {' or '.join(others)} it would be usual" if others else ""
        raise UserError(
            f"the spectrum ends at {said:.4g} {unit}, which cannot be for "
            f"{atoms.get_chemical_formula()}: is it in another unit than {unit}{hint}?"
        )


def whole_curve(dos: PhononDos, atoms: Atoms, unit: str = "cm^-1") -> tuple[PhononDos, bool, str]:
    """The curve with 3N states, whether it is known to be whole, and what is odd in it.

    An integral of 1, and that of the primitive cell of a larger one, are as good as 3N. A curve
    whose largest value per ``unit`` is 1 is in arbitrary units. Any other integral is odd.
    """
    dos = PhononDos(dos.frequencies, dos.density.clip(min=0.0))
    states, modes = float(dos.states()), 3 * len(atoms)

    def is_near(value: float) -> bool:
        return abs(states / value - 1) < INTEGRAL

    scaled = dos.normalized(modes)
    if is_near(modes) or is_near(1.0) or is_near(3 * primitive_size(atoms)):
        return scaled, True, ""
    if abs(float(dos.density.max()) / PER_WAVENUMBER[unit] - 1) < 1e-4:
        return scaled, False, ""
    return scaled, False, f"the integral is {states:.4g} instead of 3N = {modes}"
