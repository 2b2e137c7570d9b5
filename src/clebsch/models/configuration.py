"""What a potential is made of."""

from __future__ import annotations

from typing import Literal, Self

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Literal["small", "medium", "large"]

# size -> layers, lmax, channels
SIZES: dict[str, dict[str, int]] = {
    "small": {"layers": 2, "lmax": 1, "channels": 32},
    "medium": {"layers": 3, "lmax": 2, "channels": 32},
    "large": {"layers": 4, "lmax": 3, "channels": 64},
}


class PotentialConfig(BaseModel):
    """Everything that defines a ``Potential`` but its weights.

    Attributes:
        species: chemical symbols, in the order of the species index.
        cutoff: largest distance of neighbours, A.
        pair_cutoffs: shorter cutoffs of single pairs, such as ``{"H-O": 3.5}``, A.
        size: preset of ``layers``, ``lmax`` and ``channels``; each can be set on its own.
        layers: number of interaction layers.
        lmax: highest degree of features and edge harmonics; 0 is the invariant twin.
        channels: channels of every irrep.
        parity: carry both parities of every degree instead of the natural one, (-1)^l.
        n_basis: radial basis functions.
        cutoff_power: power of the polynomial cutoff.
        radial_width, radial_depth: hidden layers of the radial networks.
        readout_width: channels between the last layer and the energy.
        mean_neighbours: typical number of neighbours, divides the sums over edges.
        scales: energy scale of each species, eV; empty for one.
        shifts: energy of each species' atom, eV; empty for zero.
        zbl: add the ZBL core repulsion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    species: list[str] = Field(min_length=1)
    cutoff: float = Field(default=5.0, gt=0)
    pair_cutoffs: dict[str, float] = Field(default_factory=dict)
    size: Size = "small"
    layers: int = Field(default=0, ge=0)
    lmax: int = Field(default=-1, ge=-1)
    channels: int = Field(default=0, ge=0)
    parity: bool = False
    n_basis: int = Field(default=8, ge=1)
    cutoff_power: int = Field(default=6, ge=2)
    radial_width: int = Field(default=64, ge=1)
    radial_depth: int = Field(default=2, ge=0)
    readout_width: int = Field(default=16, ge=1)
    mean_neighbours: float = Field(default=10.0, gt=0)
    scales: list[float] = Field(default_factory=list)
    shifts: list[float] = Field(default_factory=list)
    zbl: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_from_size(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        preset = SIZES.get(values.get("size", "small"), SIZES["small"])
        filled = dict(values)
        for key, value in preset.items():
            if filled.get(key) is None:
                filled[key] = value
        return filled

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [s for s in self.species if s not in atomic_numbers]
        if unknown:
            raise ValueError(f"species {unknown} are no chemical symbols")
        if len(set(self.species)) != len(self.species):
            raise ValueError(f"species {self.species} repeat")
        for name, values in (("scales", self.scales), ("shifts", self.shifts)):
            if values and len(values) != len(self.species):
                raise ValueError(f"{name} needs one value for each of {self.species}")
        for pair, cutoff in self.pair_cutoffs.items():
            ends = pair.split("-")
            if len(ends) != 2 or not set(ends) <= set(self.species):
                raise ValueError(f"pair_cutoffs: {pair!r} is no pair of {self.species}")
            if not 0 < cutoff <= self.cutoff:
                raise ValueError(f"pair_cutoffs: {pair} must lie in (0, {self.cutoff}] A")
        if self.layers < 1 or self.channels < 1 or self.lmax < 0:
            raise ValueError("layers and channels must be at least 1, lmax at least 0")
        return self

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers of the species."""
        return [atomic_numbers[s] for s in self.species]
