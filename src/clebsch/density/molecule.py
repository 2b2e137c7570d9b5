"""PySCF's side: its molecules and bases, and clear sentences where it has none."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols
from ase.units import Bohr

from clebsch.density.basis import AuxiliaryBasis
from clebsch.errors import UserError


def import_pyscf() -> Any:
    """The module ``pyscf`` with what is needed of it.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pyscf.df
        import pyscf.dft
        import pyscf.gto
        import pyscf.scf.atom_ks
    except ImportError as error:
        raise UserError(
            'this needs PySCF, which is not installed; run pip install "clebsch[density]".'
        ) from error
    return pyscf


def load_basis(name: str, symbol: str, role: str) -> list[Any]:
    """PySCF's shells ``[l, (exponent, factors...), ...]`` of an element.

    Args:
        name: of the basis.
        symbol: of the element.
        role: ``"auxiliary"`` or ``"orbital"``, for the message.

    Raises:
        UserError: PySCF has no such basis, or not for this element.
    """
    gto = import_pyscf().gto
    shells: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another package may have it
        try:
            shells = gto.basis.load(name, symbol)
        except (KeyError, RuntimeError, ValueError, OSError, TypeError, AttributeError):
            known = False
        else:
            known = bool(shells)
    if not known:
        raise UserError(
            f"PySCF has no {role} basis {name!r} for {symbol}; check the name, or choose another."
        )
    return shells


def needs_core_potential(name: str, symbol: str) -> bool:
    """Whether the orbital basis is made for an effective core potential on this element."""
    gto = import_pyscf().gto
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(gto.basis.load_ecp(name, symbol))
        except (KeyError, RuntimeError, ValueError, OSError, TypeError, AttributeError):
            return False


def make_molecule(
    numbers: npt.ArrayLike, positions: npt.ArrayLike, basis: str | dict[str, Any], spin: int = 0
) -> Any:
    """A neutral ``pyscf.gto.Mole``; positions in Å."""
    gto = import_pyscf().gto
    atom = [
        (chemical_symbols[int(z)], tuple(r))  # in bohr: PySCF's Å differs in the tenth digit
        for z, r in zip(np.asarray(numbers), np.asarray(positions, dtype=float) / Bohr, strict=True)
    ]
    return gto.M(atom=atom, unit="Bohr", basis=basis, spin=spin, verbose=0, symmetry=False)


def auxiliary_molecule(
    basis: AuxiliaryBasis, numbers: npt.ArrayLike, positions: npt.ArrayLike
) -> Any:
    """A ``Mole`` whose orbitals are the auxiliary functions, in the order of ``order.to_pyscf``."""
    basis.check_elements(numbers, "the structure")
    shells = {
        chemical_symbols[z]: [[l, [a, 1.0]] for l, row in enumerate(rows) for a in row]
        for z, rows in basis.exponents.items()
        if z in set(np.asarray(numbers).tolist())
    }
    return make_molecule(numbers, positions, shells, spin=int(np.asarray(numbers).sum()) % 2)


def without_checkpoint(scf: Any) -> Any:
    """The SCF object, its checkpoint file closed: nobody restarts from it."""
    file = getattr(scf, "_chkfile", None)
    scf.chkfile = None
    if file is not None:
        file.close()
    return scf
