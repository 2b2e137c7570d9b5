"""What an electron density says of its molecule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.data import atomic_masses
from ase.units import Debye

from clebsch.density.electron_density import ElectronDensity
from clebsch.density.forces import hellmann_feynman_forces
from clebsch.density.metric import hartree_energy

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DensityProperties:
    """Properties of a molecule's density.

    Attributes:
        formula: of the molecule.
        electrons: their number.
        dipole: (3,), D, from the negative to the positive end.
        quadrupole: traceless (Buckingham), (3, 3), D Å, about the centre of mass.
        hartree_energy: classical repulsion of the electrons, eV; None where not asked for.
        atomic_electrons: in the functions of each atom, (N,); they depend on the basis.
        forces: of Hellmann and Feynman, (N, 3), eV/Å, see `hellmann_feynman_forces`; None where
            not asked for.
    """

    formula: str
    electrons: float
    dipole: Array
    quadrupole: Array
    hartree_energy: float | None
    atomic_electrons: Array
    forces: Array | None


def density_properties(
    density: ElectronDensity, hartree: bool = True, forces: bool = False
) -> DensityProperties:
    """Properties of a molecule's density.

    Args:
        hartree: the Hartree energy too, which needs PySCF.
        forces: those of Hellmann and Feynman too.

    Raises:
        ValueError: the density is periodic.
        UserError: PySCF is missing.
    """
    with torch.no_grad():
        numbers = density.numbers.cpu().numpy()
        mass = torch.as_tensor(atomic_masses[numbers]).to(density.positions)
        centre = (mass[:, None] * density.positions).sum(0) / mass.sum()
        return DensityProperties(
            formula=Atoms(numbers=numbers).get_chemical_formula(),
            electrons=float(density.electrons()),
            dipole=density.dipole().cpu().numpy() / Debye,
            quadrupole=density.quadrupole(centre).cpu().numpy() / Debye,
            hartree_energy=float(hartree_energy(density)) if hartree else None,
            atomic_electrons=density.atomic_electrons().cpu().numpy(),
            forces=hellmann_feynman_forces(density).cpu().numpy() if forces else None,
        )
