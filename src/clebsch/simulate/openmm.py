"""A trained model as a force of OpenMM.

OpenMM calculates in nm and kJ/mol; everything that enters or leaves here in ASE's types is in Å
and eV. Needs ``pip install clebsch[engines]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units

from clebsch.errors import UserError
from clebsch.simulate.calculator import Calculator, PotentialModel, check_elements

if TYPE_CHECKING:
    from openmm import PythonForce, System

KJ_PER_MOL = units.kJ / units.mol  # eV
FORCE_UNIT = KJ_PER_MOL / units.nm  # kJ/mol/nm in eV/Å


def openmm_force(model: PotentialModel, atoms: Atoms, device: str | None = None) -> PythonForce:
    """The model as an OpenMM force on all particles of a system.

    Periodic cells follow the box of the simulation, so barostats work.

    Args:
        model: a loaded potential.
        atoms: elements and periodicity, in the order of the particles; positions do not matter.
        device: where the model runs; None leaves it where it is.

    Raises:
        UserError: OpenMM is missing, an element is unknown to the model, or the structure is
            periodic in one or two directions only.
    """
    openmm = _openmm()
    if atoms.pbc.any() and not atoms.pbc.all():
        raise UserError(
            "OpenMM knows systems that are periodic in three directions or in none; give the "
            f"slab or wire a vacuum wider than {model.cutoff:g} Å and make it periodic throughout."
        )
    check_elements(model, atoms.numbers)
    force = openmm.PythonForce(_Evaluation(model, atoms, device))
    force.setUsesPeriodicBoundaryConditions(bool(atoms.pbc.all()))
    force.setName("clebsch")
    return force


def openmm_system(model: PotentialModel, atoms: Atoms, device: str | None = None) -> System:
    """An OpenMM system of these atoms with the model as its only force.

    Masses are those of ``atoms``. The cell must be in OpenMM's form, see `reduced_cell`.

    Raises:
        UserError: as `openmm_force`, or a cell in another form.
    """
    openmm = _openmm()
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(float(mass))
    if atoms.pbc.all():
        cell = np.asarray(atoms.cell.array)
        if not np.allclose(cell, _reduce(cell)[0], atol=1e-9):
            raise UserError(
                "the cell is not in the form that OpenMM wants; take "
                "clebsch.simulate.openmm.reduced_cell(atoms) instead of the structure."
            )
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in cell / units.nm))
    system.addForce(openmm_force(model, atoms, device))
    return system


def reduced_cell(atoms: Atoms) -> Atoms:
    """The same structure, turned and with the cell vectors that OpenMM wants.

    a lies along x, b in the xy plane, and no vector leans by more than half of another:
    |b_x| <= a_x / 2, |c_x| <= a_x / 2, |c_y| <= b_y / 2. Velocities turn with the atoms. A
    structure without a periodic cell is returned as it is.
    """
    turned = atoms.copy()
    if not atoms.pbc.all():
        return turned
    cell, rotation = _reduce(np.asarray(atoms.cell.array))
    turned.set_cell(cell)
    turned.set_positions(atoms.get_positions() @ rotation, apply_constraint=False)
    if atoms.has("momenta"):
        turned.set_momenta(atoms.get_momenta() @ rotation, apply_constraint=False)
    return turned


def _reduce(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduced cell (3, 3) of the same lattice, and R (3, 3) that turns row vectors into it."""
    if np.linalg.det(cell) < 0:
        cell = cell * [[1], [1], [-1]]  # the same lattice, right-handed
    x = cell[0] / np.linalg.norm(cell[0])
    y = cell[1] - (cell[1] @ x) * x
    y /= np.linalg.norm(y)
    rotation = np.stack([x, y, np.cross(x, y)], axis=1)
    a, b, c = np.tril(cell @ rotation)
    c = c - np.round(c[1] / b[1]) * b
    c = c - np.round(c[0] / a[0]) * a
    b = b - np.round(b[0] / a[0]) * a
    return np.stack([a, b, c]), rotation


class _Evaluation:
    """What OpenMM calls at every step: positions and box in, energy and forces out."""

    def __init__(self, model: PotentialModel, atoms: Atoms, device: str | None):
        self.calculator = Calculator(model, device=device)
        self.atoms = Atoms(numbers=atoms.numbers, pbc=atoms.pbc)
        self.last: np.ndarray | None = None  # positions in cell vectors, not wrapped

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        try:
            return self.evaluate(state)
        except BaseException as error:  # OpenMM passes on the text of an error, and no more
            if str(error):
                raise
            said = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            raise type(error)(said) from error

    def evaluate(self, state: Any) -> tuple[float, np.ndarray]:
        """Energy, kJ/mol, and forces (N, 3), kJ/mol/nm, of an OpenMM state."""
        positions = np.asarray(state.getPositions(asNumpy=True)._value) * units.nm
        if self.atoms.pbc.all():
            cell = np.asarray(state.getPeriodicBoxVectors(asNumpy=True)._value) * units.nm
            # GPU platforms wrap atoms into the box; undone, the neighbour list lives longer.
            inside = np.linalg.solve(cell.T, positions.T).T
            if self.last is not None:
                jumps = np.round(self.last - inside)
                positions = positions + jumps @ cell
                inside = inside + jumps
            self.last = inside
            self.atoms.set_cell(cell)
        self.atoms.set_positions(positions)
        self.calculator.calculate(self.atoms)
        results = self.calculator.results
        return results["energy"] / KJ_PER_MOL, results["forces"] / FORCE_UNIT


def _openmm() -> Any:
    try:
        import openmm
    except ImportError as error:
        raise UserError("OpenMM is not installed; pip install clebsch[engines].") from error
    if not hasattr(openmm, "PythonForce"):
        raise UserError(
            f"OpenMM {openmm.__version__} has no PythonForce; pip install --upgrade openmm."
        )
    return openmm
