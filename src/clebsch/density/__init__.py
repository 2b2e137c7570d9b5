"""Electron densities as sums of atom-centred functions: basis, evaluation, metrics, data."""

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.cube import Box, read_cube, write_cube
from clebsch.density.data import DensityDataset, DensityRecord, read_density, write_density
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.forces import hellmann_feynman_forces
from clebsch.density.grid import density_error_percent, integration_grid
from clebsch.density.level import Level
from clebsch.density.making import make_data
from clebsch.density.metric import hartree_energy, metric_matrix, squared_norms
from clebsch.density.order import from_quantum_chemistry, to_quantum_chemistry_order
from clebsch.density.properties import DensityProperties, density_properties
from clebsch.density.restart import initial_density_matrix, prepare_scf

__all__ = [
    "AuxiliaryBasis",
    "Box",
    "DensityDataset",
    "DensityProperties",
    "DensityRecord",
    "ElectronDensity",
    "Level",
    "density_error_percent",
    "density_properties",
    "from_quantum_chemistry",
    "hartree_energy",
    "hellmann_feynman_forces",
    "initial_density_matrix",
    "integration_grid",
    "make_data",
    "metric_matrix",
    "prepare_scf",
    "read_cube",
    "read_density",
    "squared_norms",
    "to_quantum_chemistry_order",
    "write_cube",
    "write_density",
]
