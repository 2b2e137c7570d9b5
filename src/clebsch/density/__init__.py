"""Electron densities as sums of atom-centred functions: basis, evaluation, metrics, data.

Names are imported when they are first used, so that a model needs no file formats.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.density.basis import AuxiliaryBasis
    from clebsch.density.cube import Box, read_cube, write_cube
    from clebsch.density.data import DensityDataset, DensityRecord, read_density, write_density
    from clebsch.density.electron_density import ElectronDensity
    from clebsch.density.errors import DensityErrors, density_errors
    from clebsch.density.forces import hellmann_feynman_forces
    from clebsch.density.grid import density_error_percent, integration_grid
    from clebsch.density.level import Level
    from clebsch.density.making import make_data
    from clebsch.density.metric import hartree_energy, metric_matrix, squared_norms
    from clebsch.density.order import from_quantum_chemistry, to_quantum_chemistry_order
    from clebsch.density.properties import DensityProperties, density_properties
    from clebsch.density.restart import initial_density_matrix, prepare_scf

_HOMES = {
    "AuxiliaryBasis": "basis",
    "Box": "cube",
    "DensityDataset": "data",
    "DensityErrors": "errors",
    "DensityProperties": "properties",
    "DensityRecord": "data",
    "ElectronDensity": "electron_density",
    "Level": "level",
    "density_error_percent": "grid",
    "density_errors": "errors",
    "density_properties": "properties",
    "from_quantum_chemistry": "order",
    "hartree_energy": "metric",
    "hellmann_feynman_forces": "forces",
    "initial_density_matrix": "restart",
    "integration_grid": "grid",
    "make_data": "making",
    "metric_matrix": "metric",
    "prepare_scf": "restart",
    "read_cube": "cube",
    "read_density": "data",
    "squared_norms": "metric",
    "to_quantum_chemistry_order": "order",
    "write_cube": "cube",
    "write_density": "data",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "AuxiliaryBasis",
    "Box",
    "DensityDataset",
    "DensityErrors",
    "DensityProperties",
    "DensityRecord",
    "ElectronDensity",
    "Level",
    "density_error_percent",
    "density_errors",
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
