"""What a network for electron densities is made of."""

from __future__ import annotations

from typing import Self

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, model_validator

from clebsch.density.basis import AuxiliaryBasis

#: For each element, for each l, one value per exponent.
PerShell = dict[str, list[list[float]]]


class DensityConfig(BaseModel):
    """Everything that defines a ``DensityModel`` but its weights.

    Attributes:
        species: chemical symbols, in the order of the species index.
        basis: name of the auxiliary basis.
        exponents: of each species, for each l, falling, bohr^-2.
        start: of each species, coefficients of its s functions that a prediction is added to:
            those of the free atom or their means in training; atomic units.
        scales: of each species, for each l, the typical size of what is learnt along each
            direction of `clebsch.models.density.directions`.
        cutoff: largest distance of neighbours, A.
        layers, lmax, channels: size of the network; ``lmax`` 0 is the invariant twin, which
            knows s functions only.
        correlation: 0 for layers that end in a gate (NequIP), or the highest degree of the
            polynomials that they end in instead (MACE).
        n_basis, cutoff_power, radial_width, radial_depth: radial functions and networks.
        mean_neighbours: typical number of neighbours, divides the sums over edges.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    species: list[str] = Field(min_length=1)
    basis: str
    exponents: PerShell
    start: dict[str, list[float]]
    scales: PerShell
    cutoff: float = Field(default=5.0, gt=0)
    layers: int = Field(default=2, ge=1)
    lmax: int = Field(default=4, ge=0)
    channels: int = Field(default=32, ge=1)
    correlation: int = Field(default=2, ge=0)
    n_basis: int = Field(default=8, ge=1)
    cutoff_power: int = Field(default=6, ge=2)
    radial_width: int = Field(default=64, ge=1)
    radial_depth: int = Field(default=2, ge=0)
    mean_neighbours: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [s for s in self.species if s not in atomic_numbers]
        if unknown:
            raise ValueError(f"species {unknown} are no chemical symbols")
        if len(set(self.species)) != len(self.species):
            raise ValueError(f"species {self.species} repeat")
        for name in self.species:
            for field in ("exponents", "start", "scales"):
                if name not in getattr(self, field):
                    raise ValueError(f"{field} lack {name}")
            shells = [len(row) for row in self.exponents[name]]
            if [len(row) for row in self.scales[name]] != shells:
                raise ValueError(f"scales of {name} are not one for each exponent")
            if len(self.start[name]) != shells[0]:
                raise ValueError(f"start of {name} is not one number for each s function")
        return self

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers of the species."""
        return [atomic_numbers[s] for s in self.species]

    @property
    def auxiliary_basis(self) -> AuxiliaryBasis:
        """The functions whose coefficients are predicted."""
        rows = {
            atomic_numbers[s]: tuple(tuple(row) for row in self.exponents[s]) for s in self.species
        }
        return AuxiliaryBasis(self.basis, rows)
