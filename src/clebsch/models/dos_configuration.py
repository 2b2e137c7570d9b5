"""What a network for the phonon density of states is made of."""

from __future__ import annotations

from typing import Self

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, model_validator

from clebsch.phonons.spectrum import FrequencyGrid


class DosConfig(BaseModel):
    """Everything that defines a ``PhononDosModel`` but its weights.

    Attributes:
        species: chemical symbols, in the order of the species index.
        cutoff: largest distance of neighbours, A.
        layers, lmax, channels: size of the network; ``lmax`` 0 is the invariant twin.
        n_basis, cutoff_power, radial_width, radial_depth: radial functions and networks.
        readout_width: hidden units between an atom's scalars and its spectrum.
        mean_neighbours: typical number of neighbours, divides the sums over edges.
        start, stop, step: bins of the spectrum, cm^-1; one more bin holds what lies beyond.
        members: networks whose mean is predicted and whose spread is the uncertainty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    species: list[str] = Field(min_length=1)
    cutoff: float = Field(default=5.0, gt=0)
    layers: int = Field(default=2, ge=1)
    lmax: int = Field(default=2, ge=0)
    channels: int = Field(default=32, ge=1)
    n_basis: int = Field(default=10, ge=1)
    cutoff_power: int = Field(default=6, ge=2)
    radial_width: int = Field(default=64, ge=1)
    radial_depth: int = Field(default=2, ge=0)
    readout_width: int = Field(default=64, ge=1)
    mean_neighbours: float = Field(default=30.0, gt=0)
    start: float = 0.0
    stop: float = 1000.0
    step: float = Field(default=20.0, gt=0)
    members: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [s for s in self.species if s not in atomic_numbers]
        if unknown:
            raise ValueError(f"species {unknown} are no chemical symbols")
        if len(set(self.species)) != len(self.species):
            raise ValueError(f"species {self.species} repeat")
        if self.stop <= self.start:
            raise ValueError("stop must be above start")
        return self

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers of the species."""
        return [atomic_numbers[s] for s in self.species]

    @property
    def grid(self) -> FrequencyGrid:
        """The bins of the spectrum."""
        return FrequencyGrid(self.start, self.stop, self.step)
