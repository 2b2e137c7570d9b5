"""Lattice vibrations: densities of states, their grids and units, harmonic thermodynamics."""

from clebsch.phonons.spectrum import FrequencyGrid, PhononDos, published_target
from clebsch.phonons.thermodynamics import (
    debye_temperature,
    entropy,
    free_energy,
    heat_capacity,
    internal_energy,
    mean_frequency,
    per,
    zero_point_energy,
)
from clebsch.phonons.units import convert_frequency

__all__ = [
    "FrequencyGrid",
    "PhononDos",
    "convert_frequency",
    "debye_temperature",
    "entropy",
    "free_energy",
    "heat_capacity",
    "internal_energy",
    "mean_frequency",
    "per",
    "published_target",
    "zero_point_energy",
]
