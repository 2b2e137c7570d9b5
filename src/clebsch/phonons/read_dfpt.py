"""The DFPT phonons of Petretto et al., Sci. Data 5, 180065 (2018): JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import ase.io
import numpy as np
from ase import units

from clebsch.errors import UserError
from clebsch.phonons.dataset import PhononRecord
from clebsch.phonons.spectrum import PhononDos


def is_dfpt(first: Any) -> bool:
    """Whether the first line of a JSON-lines file is of this set."""
    return isinstance(first, dict) and {"phonon", "metadata"} <= set(first)


def read_dfpt(path: str, lines: Iterable[str]) -> list[PhononRecord]:
    """All crystals: wavenumbers in cm^-1, states per eV and cell (made states per cm^-1).

    Raises:
        UserError: a line that is not such a record.
    """
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            facts, curve = content["metadata"], content["phonon"]
            atoms = ase.io.read(io.StringIO(facts["structure"]), format="cif")
            w = np.array(curve["dos_frequencies"], dtype=np.float64)
            g = np.array(curve["ph_dos"], dtype=np.float64) * units.invcm
            name = str(facts["material_id"])
            dos = PhononDos(w, g)
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}.") from error
        except Exception as error:  # json's, ase's and numpy's own
            raise UserError(
                f"{path}, line {number}: is no DFPT phonon record ({type(error).__name__}: "
                f"{error}); mend or remove the line."
            ) from error
        atoms.info["name"] = name
        records.append(PhononRecord(name, f"{path}, {name}", atoms, dos))
    return records
