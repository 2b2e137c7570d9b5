"""An electron density of a molecule or a crystal: a basis, atoms and coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from ase import Atoms
from ase.units import Bohr, Hartree
from torch import Tensor

from clebsch.density import moments
from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.evaluate import density_values, nuclear_potential, potential_values
from clebsch.density.ewald import ReciprocalPotential, periodic_potential, reciprocal_potential


@dataclass(frozen=True)
class ElectronDensity:
    """rho(r) of a molecule, or of a crystal with a cell.

    Everything is differentiable in coefficients, positions and points. Of a crystal the
    coefficients are those of one cell, and there is no dipole or quadrupole: they depend on how it
    is cut.

    Attributes:
        basis: the functions of each element.
        numbers: (N,) int64.
        positions: (N, 3), Å.
        coefficients: (K,), atomic units (functions normalised in bohr), atom after atom, each in
            the layout of ``basis.irreps(Z)``. Their dtype is that of all results.
        cell: (3, 3), rows, Å, periodic along all three, or None.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together, or a cell without volume.

    >>> basis = AuxiliaryBasis("one s", {1: ((0.5,),)})
    >>> per = moments.electrons_per_function(basis, torch.tensor([1]), torch.zeros(1).double())
    >>> proton = torch.zeros(1, 3, dtype=torch.float64)
    >>> hydrogen = ElectronDensity(basis, torch.tensor([1]), proton, 1 / per)
    >>> round(float(hydrogen.electrons()), 12)
    1.0
    """

    basis: AuxiliaryBasis
    numbers: Tensor
    positions: Tensor
    coefficients: Tensor
    cell: Tensor | None = None

    def __post_init__(self) -> None:
        n, total = len(self.numbers), int(self.basis.offsets(self.numbers.cpu())[-1])
        if self.positions.shape != (n, 3) or self.coefficients.shape != (total,):
            raise ValueError(
                f"{n} atoms need positions of shape ({n}, 3) and {total} coefficients in the basis "
                f"{self.basis.name}, not {tuple(self.positions.shape)} and "
                f"{tuple(self.coefficients.shape)}"
            )
        if self.positions.dtype != self.coefficients.dtype:
            raise ValueError(
                f"positions are {self.positions.dtype} but coefficients "
                f"{self.coefficients.dtype}; make them alike"
            )
        if self.positions.device != self.coefficients.device:
            raise ValueError("positions and coefficients must be on one device")
        if self.cell is not None:
            self._check_cell(self.cell)

    def _check_cell(self, cell: Tensor) -> None:
        if cell.shape != (3, 3) or not float(torch.linalg.det(cell.detach()).abs()) > 1e-6:
            raise ValueError(
                "a cell has three vectors of shape (3, 3), Å, and a volume; None is a molecule"
            )
        if cell.dtype != self.positions.dtype or cell.device != self.positions.device:
            raise ValueError("cell and positions must be of one dtype and on one device")

    def at(self, points: Tensor) -> Tensor:
        """rho at points in Å, (P, 3) -> (P,), electrons/Å^3.

        Points are handled 2048 at a time, each lot with the atoms that reach it: those near each
        other in space should be near each other in the list. Of a crystal all images count.
        """
        return density_values(self, points.to(self.coefficients)) / Bohr**3

    def electron_potential(self, points: Tensor) -> Tensor:
        """Electrostatic potential of the electrons alone, (P, 3) Å -> (P,), V; negative.

        Of a crystal its mean over the cell is 0, as if in a uniform background.
        """
        points = points.to(self.coefficients)
        if self.cell is not None:
            return -Hartree * periodic_potential(self, points, nuclei=False)
        return -Hartree * potential_values(self, points)

    def potential(self, points: Tensor) -> Tensor:
        """Electrostatic potential of nuclei and electrons, (P, 3) Å -> (P,), V.

        Positive where a positive charge is repelled; infinite on a nucleus. Of a crystal its mean
        over the cell is 0.
        """
        points = points.to(self.coefficients)
        if self.cell is not None:
            return Hartree * periodic_potential(self, points, nuclei=True)
        nuclei = nuclear_potential(self.numbers, self.positions, points)
        return Hartree * (nuclei - potential_values(self, points))

    def reciprocal_potential(self, nuclei: bool) -> ReciprocalPotential:
        """Smooth part of a crystal's potential; kept, unless a gradient is wanted."""
        wanted = (self.coefficients, self.positions, self.cell)
        if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in wanted):
            return reciprocal_potential(self, nuclei)
        if nuclei not in self._reciprocal:
            self._reciprocal[nuclei] = reciprocal_potential(self, nuclei)
        return self._reciprocal[nuclei]

    def electrons(self) -> Tensor:
        """Number of electrons, exact."""
        return self.coefficients @ self._per_function

    def atomic_electrons(self) -> Tensor:
        """Electrons in the functions of each atom, (N,)."""
        return moments.atomic_electrons(self)

    def dipole(self) -> Tensor:
        """Sum of Z R minus integral of r rho, (3,), e Å; of a neutral molecule independent of
        the origin.

        Raises:
            ValueError: the density is periodic.
        """
        self._check_molecule("dipole")
        nuclei = (self.numbers.to(self.positions)[:, None] * self.positions).sum(0)
        return nuclei - moments.first_moment(self)

    def quadrupole(self, origin: Tensor | None = None) -> Tensor:
        """Traceless quadrupole sum of q (3 r r^T - r^2) / 2 (Buckingham), (3, 3), e Å^2.

        Args:
            origin: (3,), Å; default 0.

        Raises:
            ValueError: the density is periodic.
        """
        self._check_molecule("quadrupole")
        origin = self.positions.new_zeros(3) if origin is None else origin.to(self.positions)
        R = self.positions - origin
        nuclei = torch.einsum("a,ai,aj->ij", self.numbers.to(R), R, R)
        total = nuclei - moments.second_moment(self, origin)
        return (3 * total - total.trace() * torch.eye(3).to(total)) / 2

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> ElectronDensity:
        """The same in another precision, or on another device."""
        return ElectronDensity(
            self.basis,
            self.numbers.to(device),
            self.positions.to(device, dtype),
            self.coefficients.to(device, dtype),
            None if self.cell is None else self.cell.to(device, dtype),
        )

    def _check_molecule(self, what: str) -> None:
        if self.cell is not None:
            raise ValueError(
                f"a periodic density has no {what}: it would depend on how the cell is cut"
            )

    @cached_property
    def _per_function(self) -> Tensor:
        return moments.electrons_per_function(self.basis, self.numbers, self.coefficients)

    @cached_property
    def _reciprocal(self) -> dict[bool, ReciprocalPotential]:
        return {}


def periodic_cell(atoms: Atoms) -> Tensor | None:
    """The cell of a structure that is periodic along all three vectors, Å, float64; else None.

    Raises:
        ValueError: it is periodic along one or two only.

    >>> from ase.build import bulk, molecule
    >>> periodic_cell(molecule("H2O")), periodic_cell(bulk("Ne")).shape
    (None, torch.Size([3, 3]))
    """
    periodic = sum(bool(p) for p in atoms.pbc)
    if periodic == 0:
        return None
    if periodic < 3:
        raise ValueError(
            f"the structure {atoms.get_chemical_formula()} is periodic along {periodic} of its "
            "cell vectors; a density needs all three, or none for a molecule"
        )
    return torch.from_numpy(atoms.cell.array.copy())
