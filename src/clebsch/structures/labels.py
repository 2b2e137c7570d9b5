"""Which numbers of a record are the energy, the forces and the stress.

Files name them in many ways. A key is split into words: it is an energy if it has the word
``energy`` (or is one of a few usual abbreviations) and all its other words only say where the
number comes from (``REF_energy``, ``dft_energy``, ``energy_pbe``). Where several keys fit, a key
that says "reference" wins over a plain one, which may have been left there by another calculator;
a plain one wins over ``free_energy``.

A virial is turned into a stress by ``stress = -virial / volume``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import UserError
from clebsch.structures.graph import full_stress, periodic_volume
from clebsch.structures.sites import coincident_atoms, shared_site

LABELS = ("energy", "forces", "stress")

_ORIGINS = {
    "ref", "reference", "dft", "qm", "qmmm", "ccsd", "mp2", "pbe", "pbe0", "scan", "r2scan",
    "lda", "gga", "hf", "dftb", "xtb", "vasp", "qe", "gap", "cp2k", "castep", "true", "target",
    "label", "total", "tot", "data",
}  # fmt: skip
_WORDS = {
    "energy": {"energy", "energies", "e", "etot", "totenergy", "toteng", "u0"},
    "forces": {"forces", "force", "f", "frc"},
    "stress": {"stress", "stresses"},
    "virial": {"virial", "virials"},
}


@dataclass(frozen=True)
class LabelKeys:
    """Keys asked for by the user; None means: find it."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None


@lru_cache(maxsize=4096)
def kind_of_key(key: str) -> str | None:
    """``energy``, ``forces``, ``stress`` or ``virial`` if the key means that, else None.

    >>> kind_of_key("REF_energy"), kind_of_key("dft_force"), kind_of_key("bond_energy")
    ('energy', 'forces', None)
    """
    words = key.replace("-", "_").lower().split("_")
    for kind, names in _WORDS.items():
        rest = [w for w in words if w not in names and w not in _ORIGINS]
        if any(w in names for w in words) and (not rest or (kind == "energy" and rest == ["free"])):
            return kind
    return None


def _rank(key: str) -> tuple[int, str]:
    words = set(key.lower().split("_"))
    return (2 if "free" in words else 0 if words & {"ref", "reference", "dft"} else 1), key


def found_keys(atoms: Atoms) -> dict[str, Any]:
    """Every number of a frame that could be a label: calculator results, info, arrays."""
    keys: dict[str, Any] = {}
    keys.update({k: v for k, v in atoms.info.items() if k != "config_type"})
    keys.update(
        {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions", "species")}
    )
    if atoms.calc is not None:
        keys.update(atoms.calc.results)
    return keys


def choose(
    keys: Mapping[str, Any], kind: str, asked: str | None, where: str, n_atoms: int
) -> str | None:
    """The key that holds ``kind`` in this record, or None.

    Raises:
        UserError: a key was asked for and is not there.
    """
    if asked is not None:
        if asked in keys:
            return asked
        raise missing_key(asked, keys, where)
    fitting = [
        k for k, v in keys.items() if kind_of_key(k) == kind and _shape_fits(kind, v, n_atoms)
    ]
    return min(fitting, key=_rank) if fitting else None


def _shape_fits(kind: str, value: Any, n_atoms: int) -> bool:
    try:
        size = np.asarray(value, dtype=np.float64).size
    except (TypeError, ValueError):
        return False
    wanted = {"energy": (1,), "forces": (3 * n_atoms,), "stress": (6, 9), "virial": (9,)}
    return size in wanted[kind]


def missing_key(asked: str, keys: Iterable[str], where: str) -> UserError:
    """The error for a key that is not there, with the ones that are."""
    names = sorted(keys)
    close = get_close_matches(asked, names, n=3, cutoff=0.5)
    alike = [k for k in names if kind_of_key(k) == kind_of_key(asked) and kind_of_key(k)]
    hints = list(dict.fromkeys(close + alike))
    if hints:
        mend = f"did you mean {' or '.join(map(repr, hints))}?"
    elif names:
        mend = f"it has {', '.join(map(repr, names))}."
    else:
        mend = "it has no labels at all."
    return UserError(f"{where}: there is no {asked!r}; {mend}")


def standardise(atoms: Atoms, where: str, keys: LabelKeys, default_type: str = "default") -> Atoms:
    """Put the labels of one frame where the rest of the package looks for them, in place.

    Afterwards ``atoms.calc`` is a ``SinglePointCalculator`` with ``energy`` (float, eV),
    ``forces`` (N, 3) eV/Å and ``stress`` (6,) eV/Å^3, each only if the frame has it, and
    ``atoms.info["config_type"]`` is set.

    Raises:
        UserError: a key asked for is missing, a label has a wrong shape or is not finite, a
            position is not finite, or the cell has no volume in its periodic directions.
    """
    check_geometry(atoms, where)
    found = found_keys(atoms)
    n = len(atoms)
    results: dict[str, Any] = {}
    # Isolated atoms often come without forces; a key asked for need not be there for them.
    lone = is_isolated_atom(atoms)
    for label in ("energy", "forces"):
        asked = getattr(keys, label)
        if lone and asked not in found:
            asked = None
        key = choose(found, label, asked, where, n)
        if key is not None:
            results[label] = _number(found[key], label, key, where, n)
    key = keys.stress if keys.stress is None or not lone else None
    stress_key = choose(found, "stress", key, where, n)
    virial_key = choose(found, "virial", None, where, n) if stress_key is None else None
    if stress_key is not None and kind_of_key(stress_key) == "virial":
        stress_key, virial_key = None, stress_key
    if stress_key is not None:
        stress = _number(found[stress_key], "stress", stress_key, where, n)
        if atoms.pbc.all():
            results["stress"] = stress
    elif virial_key is not None and atoms.pbc.all():
        virial = _number(found[virial_key], "virial", virial_key, where, n)
        results["stress"] = -virial / atoms.get_volume()
    atoms.calc = SinglePointCalculator(atoms, **results) if results else None
    atoms.info["config_type"] = config_type(atoms, default_type)
    return atoms


def config_type(atoms: Atoms, default: str) -> str:
    """Name of the kind of configuration: ``config_type``, ``group`` or ``subset`` of a frame."""
    for key in ("config_type", "group", "subset"):
        if key in atoms.info and str(atoms.info[key]):
            return str(atoms.info[key])
    return default


def is_isolated_atom(atoms: Atoms) -> bool:
    """Whether the frame is one free atom, whose energy is the E0 of its element.

    One atom without periodic directions always is; one atom in a box is if its ``config_type``
    says so (``IsolatedAtom``, ``isolated_atom``, ``iso_atoms``).
    """
    if len(atoms) != 1:
        return False
    name = str(atoms.info.get("config_type", "")).lower().replace("_", "").replace("-", "")
    return not atoms.pbc.any() or name.startswith("iso")


def check_geometry(atoms: Atoms, where: str) -> None:
    """Refuse frames that no model can use.

    Raises:
        UserError: no atoms, positions or cell not finite, no volume in periodic directions,
            unknown elements, sites that elements share, or two atoms on one place.
    """
    if len(atoms) == 0:
        raise UserError(f"{where}: there are no atoms; remove the frame.")
    if not np.isfinite(atoms.positions).all():
        bad = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise UserError(f"{where}: the position of atom {bad} is not finite; mend or remove it.")
    if not np.isfinite(atoms.cell.array).all():
        raise UserError(f"{where}: the cell is not finite; mend or remove the frame.")
    if atoms.pbc.any() and periodic_volume(atoms.cell.array, atoms.pbc) < 1e-8:
        raise UserError(
            f"{where}: the structure is periodic but its cell has no volume; "
            "give the cell or set pbc to False."
        )
    if (atoms.numbers < 1).any() or (atoms.numbers > 118).any():
        bad = int(np.flatnonzero((atoms.numbers < 1) | (atoms.numbers > 118))[0])
        raise UserError(
            f"{where}: atom {bad} has atomic number {atoms.numbers[bad]}, which is no element."
        )
    shared = shared_site(atoms)
    if shared is not None:
        raise UserError(
            f"{where}: {shared}, a disordered crystal; give an ordered structure (if this is one, "
            "remove 'occupancy' from its info)."
        )
    pair = coincident_atoms(atoms)
    if pair is not None:
        raise UserError(
            f"{where}: atoms {pair[0]} and {pair[1]} are on top of each other; remove one of them."
        )


def _number(value: Any, kind: str, key: str, where: str, n_atoms: int) -> Any:
    try:
        number: npt.NDArray[np.float64] = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {key!r} is not a number but {value!r}.") from None
    shapes = {"energy": 1, "forces": 3 * n_atoms}
    if kind in shapes and number.size != shapes[kind]:
        raise UserError(
            f"{where}: {key!r} has shape {number.shape}, which cannot be the {kind} of "
            f"{n_atoms} atoms ({'one number' if kind == 'energy' else (n_atoms, 3)} expected)."
        )
    if kind in ("stress", "virial") and number.size not in (6, 9):
        raise UserError(f"{where}: {key!r} has shape {number.shape}; 6 or 9 numbers expected.")
    if not np.isfinite(number).all():
        atom = ""
        if kind == "forces":
            bad = ~np.isfinite(number.reshape(-1, 3)).all(axis=1)
            atom = f" of atom {int(np.flatnonzero(bad)[0])}"
        raise UserError(f"{where}: {key!r}{atom} is not finite; mend or remove the frame.")
    if kind == "energy":
        return float(number.reshape(()) if number.ndim == 0 else number.reshape(-1)[0])
    if kind == "forces":
        return number.reshape(n_atoms, 3)
    full = full_stress(number.reshape(-1))
    full = 0.5 * (full + full.T)
    return full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
