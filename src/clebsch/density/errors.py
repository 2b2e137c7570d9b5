"""How far an electron density is from a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase.units import Debye

from clebsch.density.data import DensityRecord
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.grid import IntegrationGrid, density_error_percent


@dataclass(frozen=True)
class DensityErrors:
    """How far a density is from a reference.

    Attributes:
        against_fit: 100 integral |rho - rho_reference| / N_e, the reference in auxiliary functions.
        against_grid: the same against the Kohn-Sham density at points, or None where not kept.
        dipole: length of the difference, D; from the dipole of the Kohn-Sham density where that is
            known.
    """

    against_fit: float
    against_grid: float | None
    dipole: float


def density_errors(
    density: ElectronDensity,
    record: DensityRecord,
    reference: ElectronDensity,
    grid: IntegrationGrid | None = None,
) -> DensityErrors:
    """Compare a density with a reference of the same molecule.

    Args:
        record: the reference as its data set has it.
        reference: its fitted density.
        grid: for ``against_fit``; default `integration_grid` of the reference's atoms.
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
        against_fit=density_error_percent(density, reference, grid),
        against_grid=on_grid,
        dipole=float(np.linalg.norm(dipole - expected)) / Debye,
    )
