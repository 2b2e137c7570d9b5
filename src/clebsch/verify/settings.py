"""What a verification is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clebsch.errors import UserError

ENGINES = ("plain", "float32", "frozen", "source", "compile", "ase", "domains", "lammps")
CHECKS = ("derivatives", "symmetries", "neighbours", "cutoff", "exactness", "conservation")


@dataclass(frozen=True)
class Settings:
    """What is checked.

    Attributes:
        quick: fewer pairs, displacements and steps, 216 atoms in the place of 1,000.
        only: keywords of ``ENGINES`` and ``CHECKS``; all where empty.
        require: keywords of engines that must have run.
        ranks: of LAMMPS, one engine each.
        compile: ask ``torch.compile``, too, which takes minutes.
        tolerance: of freezing, eV/atom.
        seed: of the built-in structures, rotations and velocities.

    Raises:
        UserError: a keyword that there is not, no number of ranks, or no tolerance.
    """

    quick: bool = False
    only: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    ranks: tuple[int, ...] = (1, 2, 4)
    compile: bool = False
    tolerance: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        for option, given, known in (
            ("only", self.only, ENGINES + CHECKS),
            ("require", self.require, ENGINES),
        ):
            for keyword in given:
                if keyword not in known:
                    raise UserError(
                        f"{option}: there is nothing called {keyword!r}; choose from "
                        f"{', '.join(known)}."
                    )
        if not 0 < self.tolerance < float("inf"):
            raise UserError(f"tolerance: give an energy above 0 eV/atom, not {self.tolerance:g}.")
        if not self.ranks or min(self.ranks) < 1:
            raise UserError(f"ranks: give whole numbers from 1, not {self.ranks or 'none'}.")

    def wants(self, keyword: str) -> bool:
        """Whether an engine or check is asked for."""
        if keyword in self.require or keyword in self.only:
            return True
        return not self.only and (self.compile or keyword != "compile")

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)
