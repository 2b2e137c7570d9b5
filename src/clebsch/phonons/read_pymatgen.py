"""pymatgen's ``PhononDos``, ``CompletePhononDos`` and ``Structure`` as JSON, read without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.read_curve import Curve
from clebsch.phonons.spectrum import PhononDos


def is_pymatgen_dos(content: Any) -> bool:
    """Whether a JSON object is a density of states; pymatgen's are in THz, states per THz."""
    return isinstance(content, dict) and {"frequencies", "densities"} <= set(content)


def is_pymatgen_structure(content: Any) -> bool:
    """Whether a JSON object is a ``Structure``."""
    return isinstance(content, dict) and {"lattice", "sites"} <= set(content)


def pymatgen_curve(content: dict[str, Any], where: str) -> Curve:
    """The curve of ``PhononDos.as_dict()``.

    Raises:
        UserError: what is no curve.
    """
    try:
        dos = PhononDos.from_units(content["frequencies"], content["densities"], "THz")
    except UserError as error:
        raise UserError(f"{where}: {error}.") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: is no PhononDos of pymatgen ({error}).") from None
    return Curve(dos, "THz")


def pymatgen_atoms(content: dict[str, Any], where: str) -> Atoms:
    """The crystal of ``Structure.as_dict()``.

    Raises:
        UserError: what is no structure, or a site that elements share.
    """
    try:
        symbols = []
        for number, site in enumerate(content["sites"]):
            species = site["species"]
            if len(species) != 1 or abs(float(species[0].get("occu", 1)) - 1) > 1e-3:
                raise UserError(
                    f"{where}: site {number} is not fully occupied by one element; a density of "
                    "states to learn from needs an ordered crystal."
                )
            symbols.append(species[0]["element"])
        return Atoms(
            symbols,
            cell=np.asarray(content["lattice"]["matrix"], dtype=np.float64),
            scaled_positions=[site["abc"] for site in content["sites"]],
            pbc=True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: is no Structure of pymatgen ({type(error).__name__}: {error})."
        ) from None
