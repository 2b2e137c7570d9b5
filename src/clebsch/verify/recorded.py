"""Numbers that a model gave before: with another version, on another machine.

What changes for every engine alike, such as the normalisation of a basis function, breaks no
symmetry and no derivative. It shows where numbers are kept and compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.verify.cases import Case, check_structure
from clebsch.verify.comparison import Deviation, Prediction, compare, size_of
from clebsch.verify.engines import EXACT, Eager
from clebsch.verify.report import Finding, judged

KEY = "numbers"


def record(case: Case, predictions: list[Prediction]) -> list[dict[str, Any]]:
    """Structures with their energies and forces, as plain data."""
    return [
        {
            "case": case.name,
            "place": place,
            "numbers": atoms.numbers.tolist(),
            "positions_A": atoms.positions.tolist(),
            "cell_A": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
            "energy_eV": found.energy,
            "atomic_energy_eV": found.atomic_energy.tolist(),
            "forces_eV_per_A": found.forces.tolist(),
        }
        for atoms, place, found in zip(case.structures, case.places, predictions, strict=True)
        if found.finite
    ]


def read_recorded(path: Path) -> list[dict[str, Any]]:
    """The numbers in a ``verify.json``.

    Raises:
        UserError: no such file, or none of ``clebsch verify``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))[KEY]
        for one in content:
            _prediction(one)
            _atoms(one)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: holds no numbers of a verification; give the verify.json of an earlier run."
        ) from error
    return list(content)


def check_recorded(engine: Eager, numbers: list[dict[str, Any]]) -> list[Finding]:
    """The reference on recorded structures against the recorded numbers.

    Raises:
        UserError: a structure has an element that the model does not know.
    """
    structures = [_atoms(one) for one in numbers]
    for atoms in structures:
        check_structure(atoms, engine.model, "the recorded structure")
    shifts = dict.fromkeys(engine.model.species, 0.0)
    given = engine.model.config.shifts
    shifts |= dict(zip(engine.model.species, given, strict=True)) if given else {}
    findings = []
    for one, atoms, found in zip(numbers, structures, engine.evaluate(structures), strict=True):
        expected = _prediction(one)
        tolerance = EXACT.for_size(size_of(expected, atoms, shifts))
        deviations: list[Deviation] = compare(
            expected, found, atoms, tolerance, engine.model.cutoff
        )
        findings += judged("numbers of before", one["case"], one["place"], deviations)
    return findings


def _atoms(one: dict[str, Any]) -> Atoms:
    return Atoms(
        numbers=one["numbers"], positions=one["positions_A"], cell=one["cell_A"], pbc=one["pbc"]
    )


def _prediction(one: dict[str, Any]) -> Prediction:
    return Prediction(
        float(one["energy_eV"]),
        np.array(one["atomic_energy_eV"], dtype=np.float64),
        np.array(one["forces_eV_per_A"], dtype=np.float64).reshape(-1, 3),
        None,
    )
