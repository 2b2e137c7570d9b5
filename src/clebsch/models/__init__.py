"""Models: what maps structures to properties, and the file they are kept in."""

from clebsch.models.configuration import SIZES, PotentialConfig
from clebsch.models.density import DensityModel, predict_density
from clebsch.models.density_configuration import DensityConfig
from clebsch.models.dos import PhononDosModel
from clebsch.models.dos_configuration import DosConfig
from clebsch.models.frozen import FrozenPotential
from clebsch.models.initialisation import set_unit_variance
from clebsch.models.interaction import Interaction
from clebsch.models.model_file import (
    load,
    load_density_model,
    load_dos_model,
    load_model,
    read_header,
    save_model,
)
from clebsch.models.potential import Potential

__all__ = [
    "SIZES",
    "DensityConfig",
    "DensityModel",
    "DosConfig",
    "FrozenPotential",
    "Interaction",
    "PhononDosModel",
    "Potential",
    "PotentialConfig",
    "load",
    "load_density_model",
    "load_dos_model",
    "load_model",
    "predict_density",
    "read_header",
    "save_model",
    "set_unit_variance",
]
