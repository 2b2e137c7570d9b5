"""Models: what maps structures to properties, and the file they are kept in."""

from clebsch.models.configuration import SIZES, PotentialConfig
from clebsch.models.dos import PhononDosModel
from clebsch.models.dos_configuration import DosConfig
from clebsch.models.frozen import FrozenPotential
from clebsch.models.initialisation import set_unit_variance
from clebsch.models.model_file import load, load_dos_model, load_model, read_header, save_model
from clebsch.models.potential import Interaction, Potential

__all__ = [
    "SIZES",
    "DosConfig",
    "FrozenPotential",
    "Interaction",
    "PhononDosModel",
    "Potential",
    "PotentialConfig",
    "load",
    "load_dos_model",
    "load_model",
    "read_header",
    "save_model",
    "set_unit_variance",
]
