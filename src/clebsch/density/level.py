"""The level of theory of a reference density, and everything else that its numbers depend on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ase.data import chemical_symbols

from clebsch.density.basis import DEFAULT_BASIS
from clebsch.density.metric import Metric, check_metric
from clebsch.density.molecule import import_pyscf, load_basis, needs_core_potential
from clebsch.errors import UserError


@dataclass(frozen=True)
class Level:
    """How a density is computed and fitted; the defaults are those of the shipped data.

    Attributes:
        xc: exchange-correlation functional as PySCF names it; ``"hf"`` is Hartree-Fock.
        basis: orbital basis.
        aux: auxiliary basis of the fit, which is decontracted.
        metric: in which the error of the fit is least.
        grid_level: of PySCF's integration grid, 0 to 9.
        conv_tol: change of the energy at which the SCF has converged, hartree.
        density_fit: Coulomb and exchange with PySCF's default fitting basis: much faster.

    Raises:
        UserError: an unknown metric, a grid level or tolerance out of range.
    """

    xc: str = "pbe0"
    basis: str = "def2-tzvp"
    aux: str = DEFAULT_BASIS
    metric: Metric = "coulomb"
    grid_level: int = 3
    conv_tol: float = 1e-9
    density_fit: bool = True

    def __post_init__(self) -> None:
        check_metric(self.metric)
        if not 0 <= self.grid_level <= 9:
            raise UserError(f"the grid level must be 0 to 9, not {self.grid_level}")
        if not 0 < self.conv_tol < 1e-3:
            raise UserError(
                f"the SCF's tolerance must be between 0 and 1e-3 hartree, not {self.conv_tol}"
            )
        for name in ("xc", "basis", "aux"):
            object.__setattr__(self, name, getattr(self, name).strip().lower())

    def check(self, elements: Iterable[int]) -> None:
        """Make sure that PySCF can do this for these elements.

        Raises:
            UserError: unknown functional or basis, an element without functions, or one whose
                orbital basis leaves its core to an effective potential.
        """
        dft = import_pyscf().dft
        try:
            dft.libxc.parse_xc(self.xc)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"PySCF does not know the functional {self.xc!r}; write it as PySCF does, for "
                "instance pbe0, b3lyp, wb97x-v or hf."
            ) from error
        for z in sorted(set(elements)):
            symbol = chemical_symbols[z]
            load_basis(self.basis, symbol, "orbital")
            load_basis(self.aux, symbol, "auxiliary")
            if needs_core_potential(self.basis, symbol):
                raise UserError(
                    f"the orbital basis {self.basis} leaves the core of {symbol} to an effective "
                    "potential, and densities here are of all electrons; choose an all-electron "
                    "basis."
                )

    def check_same(self, other: Level, where: str) -> None:
        """Raise UserError unless ``other``, that of the file ``where``, is the same level."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                raise UserError(
                    f"{where}: was made with {field.name} = {theirs}, not {mine}; ask for the "
                    "same, or give --out another name."
                )

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Level:
        """The inverse of `to_json`; what it does not know is left out."""
        plain: dict[str, Any] = json.loads(text)
        known = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in plain.items() if k in known})

    def __str__(self) -> str:
        return f"{self.xc}/{self.basis}, {self.aux} in the {self.metric} metric"
