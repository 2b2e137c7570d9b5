"""What an engine says about a structure, how large its numbers are, and how far two are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Size (eV/Å, or eV of an atom) from which on errors count relative to it: no structure near a
#: minimum has such forces, and rounding grows with what is rounded.
STRONG = 10.0
#: The unit of deviations that are numbers of things.
COUNT = "count"
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Prediction:
    """The numbers of one structure.

    Attributes:
        energy: eV.
        atomic_energy: (N,) eV.
        forces: (N, 3) eV/Å.
        virial: (3, 3) eV, volume times stress, tension positive; None where the engine gives none.
        atomic_virial: (N, 3, 3) eV, or None; its sum is the virial.
    """

    energy: float
    atomic_energy: Array
    forces: Array
    virial: Array | None
    atomic_virial: Array | None = None

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        arrays = [np.asarray(self.energy), self.atomic_energy, self.forces]
        arrays += [] if self.virial is None else [self.virial]
        return all(bool(np.isfinite(array).all()) for array in arrays)


@dataclass(frozen=True)
class Tolerance:
    """How far two engines may be apart in a structure whose numbers are small.

    Attributes:
        energy: eV per atom, and eV of one atom.
        forces: eV/Å.
    """

    energy: float
    forces: float

    def __add__(self, other: Tolerance) -> Tolerance:
        return Tolerance(self.energy + other.energy, self.forces + other.forces)

    def for_size(self, size: float) -> Tolerance:
        """Both times 1 + size / ``STRONG``; ``size`` as of ``size_of``."""
        factor = 1.0 + size / STRONG
        return Tolerance(self.energy * factor, self.forces * factor)


@dataclass(frozen=True)
class Deviation:
    """The largest difference of one quantity, where it is, and what it may be."""

    quantity: str
    value: float
    unit: str
    tolerance: float
    place: str = ""

    @property
    def ratio(self) -> float:
        """Value over tolerance; infinite where the value is not a number."""
        return self.value / self.tolerance if np.isfinite(self.value) else float("inf")

    @property
    def is_count(self) -> bool:
        """Whether this counts things that should not be there."""
        return self.unit == COUNT

    @property
    def within(self) -> bool:
        """Whether the value is one, and no larger than the tolerance."""
        return self.ratio <= 1.0


def size_of(prediction: Prediction, atoms: Atoms, shifts: Mapping[str, float]) -> float:
    """How large a structure's numbers are, for errors that grow with them.

    The largest of: a force in eV/Å, an atom's energy of interaction in eV, the virial in eV per
    atom. A pair at 0.5 Å can have 1e5 eV, of which float32 does not keep 1e-4.

    Args:
        prediction: of the reference.
        atoms: the structure.
        shifts: energy of each species' atom, eV.
    """
    own = np.array([shifts[symbol] for symbol in atoms.get_chemical_symbols()])
    sizes = [np.abs(prediction.forces).max(), np.abs(prediction.atomic_energy - own).max()]
    if prediction.virial is not None:
        sizes.append(np.abs(prediction.virial).max() / len(atoms))
    return float(np.nan_to_num(max(sizes), nan=0.0, posinf=0.0))


def compare(
    expected: Prediction, found: Prediction, atoms: Atoms, tolerance: Tolerance, reach: float
) -> list[Deviation]:
    """Energy per atom, energies of atoms, forces, and stress or virial.

    Args:
        expected: the reference.
        found: what is judged.
        atoms: the structure.
        tolerance: for a structure of this size.
        reach: the cutoff, Å.

    Returns:
        One deviation per quantity; that of the virial only where both have it.
    """
    # Energies of the species' atoms can be large: their last digits are nobody's fault.
    digits = 4 * _EPSILON * float(np.abs(expected.atomic_energy).max())
    energy = abs(found.energy - expected.energy) / len(atoms)
    atomic = np.abs(found.atomic_energy - expected.atomic_energy)
    deviations = [
        Deviation("energy", energy, "eV/atom", tolerance.energy + digits),
        Deviation(
            "atomic energy",
            float(atomic.max()),
            "eV",
            tolerance.energy + digits,
            place_of(atomic, atoms),
        ),
        force_deviation(found.forces - expected.forces, atoms, tolerance.forces),
    ]
    if expected.virial is not None and found.virial is not None:
        difference = found.virial - expected.virial
        deviations.append(virial_deviation(difference, atoms, tolerance.forces, reach))
        if found.atomic_virial is not None:
            difference = found.atomic_virial.sum(axis=0) - expected.virial
            total = virial_deviation(difference, atoms, tolerance.forces, reach)
            deviations.append(replace(total, quantity=f"atomic {total.quantity}, summed"))
    return deviations


def count(quantity: str, number: int, place: str = "") -> Deviation:
    """A number of things of which there should be none."""
    return Deviation(quantity, float(number), COUNT, 0.5, place)


def force_deviation(difference: Array, atoms: Atoms, tolerance: float) -> Deviation:
    """A difference of forces (N, 3), eV/Å."""
    size = np.abs(difference)
    return Deviation("forces", float(size.max()), "eV/Å", tolerance, place_of(size, atoms))


def virial_deviation(difference: Array, atoms: Atoms, forces: float, reach: float) -> Deviation:
    """A difference of virials (3, 3) in eV, as one of the stress where there is a stress.

    Every atom may add what its force's tolerance does over one cutoff.

    Args:
        difference: eV.
        atoms: the structure.
        forces: tolerance of the forces, eV/Å.
        reach: the cutoff, Å.
    """
    quantity, unit, volume = "virial", "eV", 1.0
    if atoms.pbc.all():
        quantity, unit, volume = "stress", "eV/Å³", float(atoms.get_volume())
    size = np.abs(difference) / volume
    a, b = np.unravel_index(int(size.argmax()), (3, 3))
    tolerance = forces * reach * len(atoms) / volume
    return Deviation(quantity, float(size.max()), unit, tolerance, "xyz"[a] + "xyz"[b])


def place_of(size: Array, atoms: Atoms) -> str:
    """Where (N,) or (N, 3) is largest: ``"atom 3 (Si), y"``; a NaN counts as largest."""
    index = np.unravel_index(int(size.argmax()), size.shape)
    place = f"atom {index[0]} ({atoms.symbols[int(index[0])]})"
    return place if size.ndim == 1 else f"{place}, {'xyz'[index[1]]}"
