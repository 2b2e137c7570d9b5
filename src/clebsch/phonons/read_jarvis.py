"""The phonons of JARVIS-DFT with their structures: one JSON object."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.dataset import PhononRecord
from clebsch.phonons.spectrum import PhononDos

_PARTS = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}


def is_jarvis(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON file is of this set."""
    return isinstance(content, dict) and {"freq_cm1", "entries"} <= set(content)


def read_jarvis(path: str, content: dict[str, Any]) -> list[PhononRecord]:
    """All crystals; curves with maximum 1 from -300 to 1000 cm^-1, so not whole spectra.

    Gurunathan, Choudhary & Tavazza, Phys. Rev. Mater. 7, 023803 (2023).

    Raises:
        UserError: an entry that is not such a record.
    """
    records = []
    for name, entry in content["entries"].items():
        try:
            atoms = Atoms(
                entry["species"],
                cell=entry["lattice"],
                scaled_positions=entry["frac_coords"],
                pbc=True,
            )
            dos = PhononDos(
                np.asarray(content["freq_cm1"], dtype=np.float64),
                np.asarray(entry["phdos"], dtype=np.float64),
            )
            atoms.info["name"] = name
            part = _PARTS.get(str(entry.get("split", "")), "")
            if part:
                atoms.info["split"] = part
            records.append(PhononRecord(name, f"{path}, {name}", atoms, dos, False, part))
        except UserError as error:
            raise UserError(f"{path}, {name}: {error}.") from error
        except Exception as error:  # numpy's and ase's own
            raise UserError(
                f"{path}, {name}: is no JARVIS phonon record ({type(error).__name__}: {error}); "
                "mend or remove the entry."
            ) from error
    return records
