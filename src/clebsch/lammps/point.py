"""Energies, forces and virials of single structures, computed by LAMMPS."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from clebsch.lammps.box import Box, data_file
from clebsch.lammps.launch import run

#: bar per eV/A^3, as LAMMPS's unit style metal has it
_NKTV2P = 1.6021765e6

_SCRIPT = """\
clear
units metal
atom_style atomic
atom_modify map array sort 0 0.0
boundary {boundary}
box tilt large
newton on
read_data {name}.data
pair_style clebsch{precision} domain off
pair_coeff * * {model} {elements}
neighbor 0.5 bin
neigh_modify one 20000 page 200000
compute energies all pe/atom pair
compute virials all stress/atom NULL pair
compute pressures all pressure NULL virial
thermo_style custom step pe c_pressures[1] c_pressures[2] c_pressures[3] &
    c_pressures[4] c_pressures[5] c_pressures[6]
run 0 post no
variable pe equal pe
print "$(v_pe:%.17g) $(c_pressures[1]:%.17g) $(c_pressures[2]:%.17g) $(c_pressures[3]:%.17g) &
$(c_pressures[4]:%.17g) $(c_pressures[5]:%.17g) $(c_pressures[6]:%.17g)" file {name}.totals
write_dump all custom {name}.atoms id fx fy fz c_energies c_virials[1] c_virials[2] &
    c_virials[3] c_virials[4] c_virials[5] c_virials[6] modify sort id format float %.17g
"""


def single_point(
    model_file: Path | str,
    structures: Sequence[Atoms],
    ranks: int = 1,
    dtype: torch.dtype | None = None,
) -> list[dict[str, Any]]:
    """What LAMMPS says of structures, in their own axes and order of atoms.

    Args:
        model_file: the model.
        structures: any periodicity.
        ranks: MPI processes.
        dtype: of the model; None leaves it.

    Returns:
        For each: ``energy`` (eV), ``atomic_energy`` (N,), ``forces`` (N, 3) in eV/A, ``virial``
        (3, 3) in eV with tension positive (volume times stress), ``atomic_virial`` (N, 3, 3), and
        ``stress`` (3, 3) in eV/A^3 where the structure is periodic in three directions.

    Raises:
        UserError: LAMMPS can not run here or stops with an error.
    """
    precision = {None: "", torch.float32: " precision single", torch.float64: " precision double"}
    boxes = [Box.around(atoms) for atoms in structures]
    # The same types everywhere, so that one worker per rank answers for all structures.
    elements = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    scripts = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # A name without blanks: LAMMPS splits its input at them.
        (folder / "model.clebsch").symlink_to(Path(model_file).resolve())
        for number, (atoms, box) in enumerate(zip(structures, boxes, strict=True)):
            text = data_file(atoms, box, elements)
            (folder / f"{number}.data").write_text(text, encoding="ascii")
            scripts.append(
                _SCRIPT.format(
                    name=number,
                    boundary=box.boundary,
                    precision=precision[dtype],
                    model="model.clebsch",
                    elements=" ".join(elements),
                )
            )
        (folder / "in.lammps").write_text("".join(scripts), encoding="ascii")
        run("in.lammps", ranks, folder, options=["-log", "none", "-nocite"])
        return [
            _read(folder, number, box, bool(atoms.pbc.all()))
            for number, (atoms, box) in enumerate(zip(structures, boxes, strict=True))
        ]


def _read(folder: Path, number: int, box: Box, bulk: bool) -> dict[str, Any]:
    totals = np.loadtxt(folder / f"{number}.totals", ndmin=1)
    table = np.loadtxt(folder / f"{number}.atoms", skiprows=9, ndmin=2)
    # Pressure times volume is the virial, positive for compression: ours has the other sign.
    virial = -_symmetric(totals[1:]) * box.volume / _NKTV2P
    each = np.array([box.tensor_back(_symmetric(row)) for row in table[:, 5:11]]) / _NKTV2P
    found: dict[str, Any] = {
        "energy": float(totals[0]),
        "atomic_energy": table[:, 4],
        "forces": box.back(table[:, 1:4]),
        "virial": box.tensor_back(virial),
        "atomic_virial": each,
    }
    if bulk:
        found["stress"] = found["virial"] / box.volume
    return found


def _symmetric(components: Any) -> Any:
    """(3, 3) from LAMMPS's order xx, yy, zz, xy, xz, yz."""
    xx, yy, zz, xy, xz, yz = components
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
