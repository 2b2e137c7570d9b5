"""A trained model as a driver of i-PI (path-integral and advanced molecular dynamics).

i-PI loads this file as a "custom" potential, through a socket

    i-pi-py_driver -u -a clebsch -m custom -P PES.py -o model=MODEL.clebsch,template=START.xyz

or inside its own process, with ``<ffdirect>`` and ``<pes> custom </pes>``; see ``examples/ipi``.
PES.py holds ``from clebsch.simulate.ipi_driver import *``. Needs ``pip install clebsch[engines]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from clebsch.errors import UserError
from clebsch.models import load_model
from clebsch.ops.threads import threads_for
from clebsch.simulate.calculator import PotentialModel, check_elements, model_dtype
from clebsch.simulate.neighbours import VerletList
from clebsch.structures.graph import AtomGraph, collate

__all__ = ["__DRIVER_CLASS__", "__DRIVER_NAME__", "ClebschDriver"]

__DRIVER_NAME__ = "clebsch"
__DRIVER_CLASS__ = "ClebschDriver"

Result = tuple[float, np.ndarray, np.ndarray, str]


class ClebschDriver:
    """Potential, forces and virial of structures, in i-PI's atomic units.

    Args:
        model: model file, or a loaded model.
        template: structure file of any ASE format: elements in the order of i-PI's atoms, and
            which directions are periodic. The cell is i-PI's.
        device: where the model runs.

    Raises:
        UserError: a model or template is not given or not there, or an element is one that the
            model does not know.
    """

    def __init__(
        self,
        model: str | PotentialModel | None = None,
        template: str | None = None,
        device: str = "cpu",
        verbose: bool = False,
        **unknown: Any,
    ):
        unknown.pop("verbosity", None)  # i-PI's <ffdirect> adds it
        if unknown:
            raise UserError(
                f"unknown parameter '{next(iter(unknown))}' of the driver; known are model, "
                "template and device."
            )
        if model is None or template is None:
            missing = "model" if model is None else "template"
            raise UserError(
                f"the driver needs a {missing}; give it as -o model=MODEL.clebsch,"
                "template=START.xyz or in <parameters>."
            )
        self.model = load_model(model, device=device) if isinstance(model, str) else model
        self.model.eval()
        if not Path(template).is_file():
            raise UserError(f"{template}: no such file; the template is a structure file.")
        try:
            self.atoms = ase.io.read(template)
        except Exception as error:
            raise UserError(f"{template}: cannot be read as a structure ({error}).") from error
        self.atoms.set_constraint()
        check_elements(self.model, self.atoms.numbers, template)
        self.device = device
        self._lists: list[VerletList] = []  # one for each bead of a batch

    def __call__(self, cell: Any, positions: Any) -> Any:
        """Evaluate one structure, or lists of them (i-PI's ``batch_size``) at once."""
        if isinstance(cell, list):
            return self.evaluate(cell, positions)
        return self.evaluate([cell], [positions])[0]

    def evaluate(
        self, cells: Sequence[np.ndarray], positions: Sequence[np.ndarray]
    ) -> list[Result]:
        """Potential, forces (N, 3), virial (3, 3) and i-PI's extra text of B structures.

        Args:
            cells: B of (3, 3) bohr, vectors as columns.
            positions: B of (N, 3) bohr.

        Raises:
            UserError: i-PI simulates another number of atoms than the template has.
        """
        from ipi.utils.units import unit_to_internal

        bohr = unit_to_internal("length", "angstrom", 1.0)
        hartree = unit_to_internal("energy", "electronvolt", 1.0)
        graphs = [
            self._graph(np.asarray(cell).T / bohr, np.asarray(x) / bohr, bead)
            for bead, (cell, x) in enumerate(zip(cells, positions, strict=True))
        ]
        batch = collate(graphs)
        with threads_for(batch.n_edges):
            output = self.model(batch.to(self.device), forces=True, stress=True)
        found = {name: value.detach().cpu().double().numpy() for name, value in output.items()}
        forces = found["forces"].reshape(len(graphs), -1, 3) * (hartree / bohr)
        volume = batch.cell.double().det().abs().numpy()[:, None, None]
        virial = -found["stress"] * volume * hartree  # i-PI's sign: positive where compressed
        energy = found["energy"] * hartree
        return [(float(energy[n]), forces[n], virial[n], "") for n in range(len(graphs))]

    def _graph(self, cell: np.ndarray, positions: np.ndarray, bead: int) -> AtomGraph:
        if len(positions) != len(self.atoms):
            raise UserError(
                f"i-PI has {len(positions)} atoms, the template {len(self.atoms)}; give both the "
                "same structure."
            )
        while len(self._lists) <= bead:
            self._lists.append(VerletList(self.model.cutoff, dtype=model_dtype(self.model)))
        self.atoms.set_cell(cell)
        self.atoms.set_positions(positions)
        return self._lists[bead].graph(self.atoms)[0]
