"""What an electron density says of its molecule, and how far it is from a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.data import atomic_masses
from ase.units import Debye

from clebsch.density.data import DensityRecord
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.forces import hellmann_feynman_forces
from clebsch.density.grid import density_error_percent
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


@dataclass(frozen=True)
class DensityErrors:
    """How far a density is from a reference.

    Attributes:
        against_fit: 100 integral |rho - rho_reference| / N_e, the reference in auxiliary functions.
        against_grid: the same against the Kohn-Sham density at points, or None where not kept.
        dipole: |difference|, D; from the dipole of the Kohn-Sham density where that is known.
    """

    against_fit: float
    against_grid: float | None
    dipole: float


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


def density_errors(
    density: ElectronDensity, record: DensityRecord, reference: ElectronDensity
) -> DensityErrors:
    """Compare a density with a reference of the same molecule.

    Args:
        record: the reference as its data set has it.
        reference: its fitted density.
    """
    on_grid = None
    if record.grid is not None:
        with torch.no_grad():
            values = density.at(torch.from_numpy(record.grid.points)).cpu().numpy()
        difference = np.abs(values - record.grid.density)
        on_grid = float(100 * record.grid.weights @ difference / record.electrons)
    known = np.isfinite(record.dipole).all()
    expected = record.dipole if known else reference.dipole().detach().numpy()
    dipole = density.dipole().detach().cpu().numpy()
    return DensityErrors(
        against_fit=density_error_percent(density, reference),
        against_grid=on_grid,
        dipole=float(np.linalg.norm(dipole - expected)) / Debye,
    )
