"""What a run of LAMMPS has to remember so that it can go on: ``lammps.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from clebsch.errors import UserError
from clebsch.files import write_text
from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.lammps_output import Orientation
from clebsch.simulate.lammps_script import LammpsRun, Limits
from clebsch.simulate.record import fixed_atoms
from clebsch.simulate.settings import MDSettings

#: What a resumed run has to know; it tells which engine runs in a folder.
STATE = "lammps.json"


@dataclass
class RunState:
    """What decides how a run goes on, but for what is in LAMMPS's restart files."""

    atoms: Atoms
    settings: MDSettings
    orientation: Orientation
    boundary: str
    triclinic: bool
    n_dof: int
    target_K: float
    ranks: int
    device: str = "cpu"
    step: int = 0
    start_energy: float = float("nan")
    wall_s: float = 0.0
    model: str | None = None  # fingerprint

    def script(self, guard: DomainGuard, model: Path) -> LammpsRun:
        """What the input script is made from."""
        settings, n_atoms = self.settings, len(self.atoms)
        force = guard.largest_force
        change = guard.largest_change(self.target_K) * n_atoms
        return LammpsRun(
            settings=settings,
            title=f"{settings.ensemble.upper()} dynamics of {self.atoms.get_chemical_formula()} "
            f"with {model.name}",
            elements=sorted(set(self.atoms.get_chemical_symbols())),
            boundary=self.boundary,
            triclinic=self.triclinic,
            lost_dof=3 * n_atoms - self.n_dof,
            fixed=[int(index) for index in fixed_atoms(self.atoms)],
            limits=Limits(
                temperature_K=guard.hottest(self.target_K, self.n_dof),
                force=force if np.isfinite(force) else None,
                energy=change if settings.ensemble == "nve" else None,
                distances=bool(guard.min_distance),
            ),
            device=self.device,
        )

    def save(self, folder: Path) -> None:
        """Write lammps.json."""
        atoms, way = self.atoms, self.orientation
        values = {
            "engine": "lammps",
            "step": self.step,
            "settings": self.settings.model_dump(),
            "start_energy": self.start_energy if np.isfinite(self.start_energy) else None,
            "target_K": self.target_K,
            "n_dof": self.n_dof,
            "wall_s": self.wall_s,
            "ranks": self.ranks,
            "model": self.model,
            "boundary": self.boundary,
            "triclinic": self.triclinic,
            "rotation": way.rotation.tolist(),
            "offset": way.offset.tolist(),
            "lengths": way.lengths.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
            "fixed": fixed_atoms(atoms).tolist(),
            "masses": dict(zip(atoms.get_chemical_symbols(), atoms.get_masses(), strict=True)),
            "symbols": atoms.get_chemical_symbols(),
        }
        write_text(folder / STATE, json.dumps(values) + "\n")

    @classmethod
    def load(cls, folder: Path) -> RunState:
        """Read lammps.json.

        Raises:
            UserError: it is not there or not readable.
        """
        path = folder / STATE
        if not path.is_file():
            raise UserError(
                f"{path}: no such file, so there is no run of LAMMPS to resume; leave --resume out."
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            atoms = Atoms(
                values["symbols"],
                cell=values["cell"],
                pbc=values["pbc"],
                masses=[values["masses"][symbol] for symbol in values["symbols"]],
            )
            if values["fixed"]:
                atoms.set_constraint(FixAtoms(values["fixed"]))
            settings = MDSettings.checked(**values["settings"])
            rotation, offset, lengths = (
                np.array(values[name]) for name in ("rotation", "offset", "lengths")
            )
            energy = values["start_energy"]
            return cls(
                atoms=atoms,
                settings=settings,
                orientation=Orientation(
                    atoms, rotation, offset, lengths, settings.ensemble == "npt"
                ),
                boundary=str(values["boundary"]),
                triclinic=bool(values["triclinic"]),
                n_dof=int(values["n_dof"]),
                target_K=float(values["target_K"]),
                ranks=int(values["ranks"]),
                step=int(values["step"]),
                start_energy=float("nan") if energy is None else float(energy),
                wall_s=float(values["wall_s"]),
                model=values.get("model"),  # older runs have none
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: does not describe a run ({error}); start the run again."
            ) from error
