"""Does a simulation still walk where the model was trained?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols

from clebsch.models.domain import DISTANCE_MARGIN, min_distances


class Computed(Protocol):
    """A structure with its energy, forces and short distances; a ``Calculator`` is one."""

    atoms: Atoms
    results: dict[str, Any]
    edge_src: np.ndarray
    edge_dst: np.ndarray
    edge_lengths: np.ndarray


@dataclass(frozen=True)
class DomainGuard:
    """The limits of a run; ``check`` says in one sentence which is broken, or None.

    Args:
        min_distance: "A-B" -> shortest distance in Å that training saw (A <= B by name).
        max_force: the largest force on an atom in training, eV/Å.
        distance_margin: a pair may come closer than in training by this fraction.
        force_factor: a force may exceed the largest in training by this factor.
        temperature_factor: the temperature may exceed the target by this factor (and by ten
            standard deviations of the few degrees of freedom of a small system).
        energy_factor: in NVE the total energy may move by this many k_B T per atom.
    """

    min_distance: dict[str, float] = field(default_factory=dict)
    max_force: float | None = None
    distance_margin: float = DISTANCE_MARGIN
    force_factor: float = 3.0
    temperature_factor: float = 5.0
    energy_factor: float = 1.0

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> DomainGuard:
        """The guard of a model: its header's ``domain`` says what training saw."""
        force = (header.get("domain") or {}).get("max_force")
        largest = None if force is None else float(force)
        return cls(min_distance=min_distances(header), max_force=largest)

    @property
    def largest_force(self) -> float:
        """Allowed on an atom, eV/Å."""
        return np.inf if self.max_force is None else self.force_factor * self.max_force

    def hottest(self, target_K: float, n_dof: int) -> float:
        """Temperature that is still allowed, K."""
        factor = max(self.temperature_factor, 1.0 + 10.0 * np.sqrt(2.0 / max(n_dof, 1)))
        return float(factor * max(target_K, 100.0))

    def largest_change(self, target_K: float) -> float:
        """Allowed change of the total energy in NVE, eV per atom."""
        return float(self.energy_factor * units.kB * max(target_K, 100.0))

    def check(
        self,
        calculator: Computed,
        temperature_K: float,
        target_K: float,
        n_dof: int,
        energy_change: float | None = None,
    ) -> str | None:
        """Check the structure that ``calculator`` has just computed.

        Args:
            calculator: after a calculation; its edges and results are read.
            temperature_K: now.
            target_K: of the thermostat, or at the start of an NVE run.
            n_dof: degrees of freedom that share the kinetic energy.
            energy_change: eV per atom since the start; NVE only.
        """
        energy: float = calculator.results["energy"]
        forces: np.ndarray = calculator.results["forces"]
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            return "the energy or a force is not a number"
        return (
            self._close_pair(calculator)
            or self._large_force(calculator, forces)
            or self._hot(temperature_K, target_K, n_dof)
            or self._drifted(energy_change, target_K)
        )

    def _close_pair(self, calculator: Computed) -> str | None:
        if not self.min_distance or not len(calculator.edge_lengths):
            return None
        allowed = self._allowed(calculator.atoms.numbers)
        numbers = calculator.atoms.numbers
        src, dst = calculator.edge_src, calculator.edge_dst
        excess = calculator.edge_lengths - allowed[numbers[src], numbers[dst]]
        worst = int(excess.argmin())
        if excess[worst] >= 0:
            return None
        i, j = sorted((int(src[worst]), int(dst[worst])))
        pair = "-".join(sorted(chemical_symbols[numbers[k]] for k in (i, j)))
        return (
            f"atoms {i} and {j} ({pair}) are {calculator.edge_lengths[worst]:.2f} Å apart; the "
            f"closest {pair} pair in training was {self.min_distance[pair]:.2f} Å"
        )

    def _allowed(self, numbers: np.ndarray) -> np.ndarray:
        """Shortest allowed distance by two atomic numbers, (Z, Z); 0 for pairs never met."""
        table = np.zeros((int(numbers.max()) + 1,) * 2)
        for pair, distance in self.min_distance.items():
            a, b = (chemical_symbols.index(symbol) for symbol in pair.split("-"))
            if max(a, b) < len(table):
                table[a, b] = table[b, a] = (1.0 - self.distance_margin) * distance
        return table

    def _large_force(self, calculator: Computed, forces: np.ndarray) -> str | None:
        if self.max_force is None or not len(forces):
            return None
        size = np.linalg.norm(forces, axis=1)
        worst = int(size.argmax())
        if size[worst] <= self.largest_force:
            return None
        symbol = chemical_symbols[calculator.atoms.numbers[worst]]
        return (
            f"the force on atom {worst} ({symbol}) is {size[worst]:.1f} eV/Å; the largest in "
            f"training was {self.max_force:.1f} eV/Å"
        )

    def _hot(self, temperature_K: float, target_K: float, n_dof: int) -> str | None:
        limit = self.hottest(target_K, n_dof)
        if temperature_K <= limit:
            return None
        factor = limit / max(target_K, 100.0)
        return (
            f"the temperature is {temperature_K:.0f} K, more than {factor:.1f} times the "
            f"{target_K:.0f} K asked for"
        )

    def _drifted(self, energy_change: float | None, target_K: float) -> str | None:
        if energy_change is None:
            return None
        if abs(energy_change) <= self.largest_change(target_K):
            return None
        return (
            f"the total energy of an NVE run has moved by {1000 * energy_change:.1f} meV/atom, "
            f"more than k_B T; the time step may be too long"
        )
