"""What densities are compared with, and which ones a command is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clebsch.cli.density.input import Densities
from clebsch.density import DensityDataset, ElectronDensity, read_density
from clebsch.density.free_atoms import superposition
from clebsch.errors import UserError, no_such_frame

QUANTITIES = ("density", "potential", "difference", "error")
FREE_ATOMS = "free-atoms"
_SAME = 1e-3  # Å, within which two files may have rounded one structure


def check_options(quantity: str, reference: str | None) -> None:
    """Raise UserError unless the quantity is known and has the reference that it needs."""
    if quantity not in QUANTITIES:
        raise UserError(f"--quantity is one of {', '.join(QUANTITIES)}, not {quantity!r}.")
    if quantity == "density" and reference is not None:
        raise UserError("--reference is subtracted; ask for --quantity difference or error.")
    if quantity == "error" and (reference or FREE_ATOMS).partition(":")[0] == FREE_ATOMS:
        raise UserError("--quantity error needs the true densities: --reference FILE.")


def frames_of(densities: Densities, asked: Sequence[int], file: str) -> list[int]:
    """The numbers asked for; without any, the first.

    Raises:
        UserError: a number beyond the end.
    """
    for frame in asked:
        if not 0 <= frame < len(densities):
            raise no_such_frame(file, frame, len(densities))
    return list(asked) or [0]


def reference_of(quantity: str, reference: str | None, densities: Densities) -> References | None:
    """What is subtracted, if anything; a difference without a reference is from free atoms."""
    if quantity == "difference" and reference is None:
        reference = FREE_ATOMS
    return None if reference is None else References(reference, densities)


class References:
    """What densities are compared with: those of a file, or superposed free atoms.

    Args:
        reference: a file of densities, or ``free-atoms``, or ``free-atoms:FILE`` for those that a
            file of densities has.
        densities: what is compared; free atoms are theirs.

    Raises:
        UserError: a file that cannot be read, or no free atoms.
    """

    def __init__(self, reference: str, densities: Densities) -> None:
        self.name = reference
        self._atoms = densities.free_atoms
        self._data: DensityDataset | None = None
        kind, _, file = reference.partition(":")
        if kind == FREE_ATOMS and file:
            self._atoms = read_density(file).free_atoms
        elif reference != FREE_ATOMS:
            self._data = read_density(reference)
        if self._data is None and not self._atoms:
            raise UserError(
                "free atoms are not known here; name a file of densities that has them: "
                f"--reference {FREE_ATOMS}:FILE."
            )

    @property
    def title(self) -> str:
        """What a density minus these is called."""
        return "Density minus free atoms" if self._data is None else "Density minus reference"

    def of(self, density: ElectronDensity, where: str) -> ElectronDensity:
        """The reference for a density.

        Raises:
            UserError: there is none of its structure, or not of its elements.
        """
        if self._data is None:
            lacking = set(density.numbers.tolist()) - set(self._atoms)
            if lacking:
                raise UserError(f"{where}: its file has no free atom of element {min(lacking)}.")
            wrong = [z for z, c in self._atoms.items() if len(c) != density.basis.dim(z)]
            if wrong:
                raise UserError(f"{self.name}: its free atoms are in another auxiliary basis.")
            free = superposition(
                {z: c.to(density.coefficients) for z, c in self._atoms.items()},
                density.basis,
                density.numbers,
                density.positions,
            )
            return ElectronDensity(
                free.basis, free.numbers, free.positions, free.coefficients, density.cell
            )
        numbers = density.numbers.cpu().numpy()
        positions = density.positions.detach().cpu().numpy()
        for i, record in enumerate(self._data):
            if np.array_equal(record.numbers, numbers) and np.allclose(
                record.positions, positions, rtol=0, atol=_SAME
            ):
                found = self._data.density(i).to(density.coefficients.dtype)
                return found.to(found.coefficients.dtype, density.coefficients.device)
        raise UserError(f"{self.name}: holds no density of the structure of {where}.")


def numbered(path: Path, frame: int, several: bool) -> Path:
    """``rho.cube``, or ``rho-3.cube`` where there are several."""
    return path.with_name(f"{path.stem}-{frame}{path.suffix}") if several else path
