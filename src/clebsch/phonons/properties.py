"""What follows from predicted states: harmonic thermodynamics with the ensemble's uncertainty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from clebsch.errors import UserError
from clebsch.phonons.spectrum import FrequencyGrid
from clebsch.phonons.thermodynamics import (
    Amount,
    debye_temperature,
    entropy,
    free_energy,
    heat_capacity,
    internal_energy,
    mean_frequency,
    per,
    zero_point_energy,
)

Array = NDArray[np.float64]

#: Share of the states below the band limit.
BAND_SHARE = 0.99

#: Functions of the temperature, by name; True where they are per kelvin.
AT_TEMPERATURE = {
    "heat_capacity": True,
    "entropy": True,
    "free_energy": False,
    "internal_energy": False,
}
_FUNCTIONS = (heat_capacity, entropy, free_energy, internal_energy)

#: Amounts in the order of the tables; "cell" says the same as "mol of cells".
AMOUNTS: tuple[Amount, ...] = ("atom", "mol of atoms", "mol of cells", "kg")

_UNITS: dict[tuple[str, bool], tuple[str, str]] = {
    # (amount, per kelvin): unit, and as part of a column's name
    ("cell", True): ("eV/(K cell)", "eV_per_K_cell"),
    ("atom", True): ("eV/(K atom)", "eV_per_K_atom"),
    ("mol of atoms", True): ("J/(K mol of atoms)", "J_per_K_mol_atoms"),
    ("mol of cells", True): ("J/(K mol of cells)", "J_per_K_mol_cells"),
    ("kg", True): ("J/(K kg)", "J_per_K_kg"),
    ("cell", False): ("eV/cell", "eV_per_cell"),
    ("atom", False): ("eV/atom", "eV_per_atom"),
    ("mol of atoms", False): ("J/(mol of atoms)", "J_per_mol_atoms"),
    ("mol of cells", False): ("J/(mol of cells)", "J_per_mol_cells"),
    ("kg", False): ("J/kg", "J_per_kg"),
}


@dataclass(frozen=True)
class Quantity:
    """One figure of a crystal.

    Attributes:
        column: its name with temperature and unit, such as
            ``heat_capacity_300K_J_per_K_mol_atoms``.
        value: in ``unit``.
        std: standard deviation over the networks of an ensemble; None for a single network.
        unit: such as ``J/(K mol of atoms)``.
    """

    column: str
    value: float
    std: float | None
    unit: str


class Thermodynamics:
    """Harmonic thermodynamics of one cell, at several temperatures.

    Values are those of the mean spectrum; the uncertainty is the standard deviation of the same
    figure over the members of an ensemble.

    Args:
        grid: bins of the states.
        states: (K + 1,) states of the cell, the last beyond the grid.
        member_states: (M, K + 1) of every network, or None where there is one.
        temperatures: K.
        n_atoms: in the cell.
        mass: of the cell, u.

    Raises:
        UserError: a temperature that is not above 0 K.

    >>> grid = FrequencyGrid(0, 400, 20)
    >>> debye = np.append(grid.centres**2, 0.0)
    >>> cell = Thermodynamics(grid, 6 * debye / debye.sum(), None, [300.0, 1000.0], 2, 50.0)
    >>> cell.heat_capacity(1000.0).unit, round(cell.heat_capacity(1000.0).value, 1)
    ('J/(K mol of atoms)', 24.5)
    """

    def __init__(
        self,
        grid: FrequencyGrid,
        states: Array,
        member_states: Array | None,
        temperatures: Sequence[float],
        n_atoms: int,
        mass: float,
    ) -> None:
        self.grid, self.n_atoms, self.mass = grid, n_atoms, mass
        self.temperatures = tuple(float(t) for t in temperatures)
        rows = states[None] if member_states is None else np.vstack([states, member_states])
        linear = rows @ _weights(grid, self.temperatures)
        w, edges = _grid(grid)
        self._mean_frequency = _spread(mean_frequency(w, rows))
        self._debye_temperature = _spread(debye_temperature(w, rows))
        self._band_limit = _spread(band_limit(edges, rows))
        # (temperatures x functions + 1): all of them are linear in the states
        self._linear = _spread(linear)
        self._factors = {a: float(per(1.0, a, n_atoms, mass)) for a in get_args(Amount)}

    def heat_capacity(self, temperature: float, amount: Amount = "mol of atoms") -> Quantity:
        """At constant volume."""
        return self._at("heat_capacity", temperature, amount)

    def entropy(self, temperature: float, amount: Amount = "mol of atoms") -> Quantity:
        """Of the vibrations."""
        return self._at("entropy", temperature, amount)

    def free_energy(self, temperature: float, amount: Amount = "mol of atoms") -> Quantity:
        """Helmholtz free energy of the vibrations, zero-point energy included."""
        return self._at("free_energy", temperature, amount)

    def internal_energy(self, temperature: float, amount: Amount = "mol of atoms") -> Quantity:
        """Of the vibrations, zero-point energy included."""
        return self._at("internal_energy", temperature, amount)

    def zero_point_energy(self, amount: Amount = "mol of atoms") -> Quantity:
        """Half a quantum in every mode."""
        return self._quantity("zero_point_energy", -1, amount, False)

    def debye_temperature(self) -> Quantity:
        """Of the Debye spectrum with the same mean square frequency."""
        value, std = self._debye_temperature
        return Quantity("debye_temperature_K", float(value), _number(std), "K")

    def mean_frequency(self) -> Quantity:
        """Mean over all states, cm^-1."""
        value, std = self._mean_frequency
        return Quantity("mean_frequency_cm1", float(value), _number(std), "cm^-1")

    def band_limit(self) -> Quantity:
        """Below it lie 99 % of the states, cm^-1."""
        value, std = self._band_limit
        return Quantity("band_limit_cm1", float(value), _number(std), "cm^-1")

    def quantities(self, amounts: Sequence[Amount] = AMOUNTS) -> Iterator[Quantity]:
        """Everything, in a fixed order."""
        yield from (self.mean_frequency(), self.band_limit(), self.debye_temperature())
        for amount in amounts:
            yield self.zero_point_energy(amount)
        for temperature in self.temperatures:
            for name in AT_TEMPERATURE:
                for amount in amounts:
                    yield self._at(name, temperature, amount)

    def _at(self, name: str, temperature: float, amount: Amount) -> Quantity:
        if temperature not in self.temperatures:
            raise UserError(
                f"{temperature:g} K is not among the temperatures "
                f"{', '.join(f'{t:g}' for t in self.temperatures)} K of this table"
            )
        place = self.temperatures.index(temperature)
        column = list(AT_TEMPERATURE).index(name) * len(self.temperatures) + place
        return self._quantity(f"{name}_{temperature:g}K", column, amount, AT_TEMPERATURE[name])

    def _quantity(self, title: str, column: int, amount: Amount, per_kelvin: bool) -> Quantity:
        unit, suffix = _UNITS[amount, per_kelvin]
        factor = self._factors[amount]
        value, std = self._linear
        uncertainty = None if std is None else float(std[column]) * factor
        return Quantity(f"{title}_{suffix}", float(value[column]) * factor, uncertainty, unit)


def band_limit(edges: Array, states: Array, share: float = BAND_SHARE) -> Array:
    """The wavenumber below which ``share`` of the states lie, shape (...).

    Args:
        edges: (K + 1,) of bins over each of which states are spread evenly.
        states: (..., K).
        share: 0 to 1.

    >>> float(band_limit(np.array([0.0, 10, 30, 50]), np.array([0, 3.0, 3.0]), 0.75))
    40.0
    """
    below = np.cumsum(states, axis=-1)
    below /= below[..., -1:]
    i = np.minimum((below < share).sum(-1), len(edges) - 2)
    high = np.take_along_axis(below, i[..., None], -1)[..., 0]
    here = np.take_along_axis(states, i[..., None], -1)[..., 0] / states.sum(-1)
    along = 1 - (high - share) / np.where(here > 0, here, 1.0)
    return np.asarray(edges[i] + along * (edges[i + 1] - edges[i]))


def check_amount(amount: str) -> Amount:
    """``amount`` as one that `Thermodynamics` knows.

    Raises:
        UserError: it is none.
    """
    for known in get_args(Amount):
        if amount == known:
            return known
    raise UserError(
        f'an amount is "cell", "atom", "mol of atoms", "mol of cells" or "kg", not {amount!r}'
    )


def _spread(values: Array) -> tuple[Array, Array | None]:
    """The first of (1 + M, ...) values and the standard deviation of the others."""
    return values[0], values[1:].std(0, ddof=1) if len(values) > 2 else None


def _number(value: Array | None) -> float | None:
    return None if value is None else float(value)


@lru_cache(maxsize=16)
def _grid(grid: FrequencyGrid) -> tuple[Array, Array]:
    """What stands for the bins, and their edges, one bin beyond the grid included; cm^-1."""
    return grid.middles, np.append(grid.edges, grid.edges[-1] + grid.step)


@lru_cache(maxsize=16)
def _weights(grid: FrequencyGrid, temperatures: tuple[float, ...]) -> Array:
    """(K + 1, 4 x temperatures + 1): what one state in each bin contributes, eV or eV/K."""
    single = np.eye(len(grid) + 1)
    columns = [function(grid.middles, single, list(temperatures)) for function in _FUNCTIONS]
    return np.hstack([*columns, zero_point_energy(grid.middles, single)[:, None]])
