"""Phonons of any potential: forces of displaced supercells, by phonopy."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator as ASECalculator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from clebsch.errors import UserError
from clebsch.phonons import (
    PhononDos,
    convert_frequency,
    debye_temperature,
    entropy,
    free_energy,
    heat_capacity,
    internal_energy,
    mean_frequency,
    zero_point_energy,
)
from clebsch.vibrations.symmetrised_cell import Supercell, choose_supercell, symmetrised

Array = NDArray[np.float64]
Relaxation = Literal["none", "positions", "hydrostatic", "symmetric"]

#: Modes below minus this wavenumber (cm^-1) count as imaginary; nearer to zero it is noise.
IMAGINARY = 1.0


@dataclass(frozen=True)
class DisplacementSettings:
    """How phonons are computed from forces.

    Attributes:
        relax: what is brought to zero force before: ``"none"``, ``"positions"``, also the volume
            (``"hydrostatic"``), or the whole cell (``"symmetric"``). The space group stays.
        fmax: eV/A, the relaxation's largest force; for the cell eV per unit of strain.
        max_steps: of the relaxation.
        least_side: A, wanted distance of an atom from its image in the supercell.
        max_atoms: in the supercell.
        distance: A, of the displacements.
        mesh: A; the number of q-points along a reciprocal vector b is about ``mesh`` |b|.
        smearing: cm^-1, standard deviation of the normal distribution of every mode.
        step: cm^-1, of the resulting curve.
        tolerance: A, within which the input's symmetry is recognised.

    Raises:
        UserError: a value that makes no sense.
    """

    relax: Relaxation = "hydrostatic"
    fmax: float = 2e-3
    max_steps: int = 300
    least_side: float = 10.0
    max_atoms: int = 128
    distance: float = 0.02
    mesh: float = 60.0
    smearing: float = 4.0
    step: float = 1.0
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.relax not in ("none", "positions", "hydrostatic", "symmetric"):
            raise UserError(
                'what is relaxed is "none", "positions", "hydrostatic" or "symmetric", not '
                f"{self.relax!r}."
            )
        for name in ("fmax", "max_steps", "distance", "mesh", "step", "tolerance", "max_atoms"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name):g}.")
        for name in ("smearing", "least_side"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} cannot be negative, as {getattr(self, name):g} is.")


@dataclass(frozen=True)
class LatticeDynamics:
    """The phonons of a crystal.

    Attributes:
        atoms: the structure whose phonons they are, relaxed.
        projected: partial density of states of every atom, (N, K), 3 states each.
        gamma: (3 n,) wavenumbers at the zone centre of the primitive cell's n atoms, cm^-1,
            without the splitting of longitudinal and transverse optical modes.
        largest: cm^-1, the highest wavenumber of the mesh.
        imaginary: share of modes that are imaginary.
        supercell: what was displaced.
        displacements: number of displaced supercells.
        volume_change: of the relaxation, relative.
        relaxation_steps: evaluations that it took.
        seconds: wall time of ``relaxation``, ``forces``, ``phonons``, and processor time in all
            (``processor``).
    """

    atoms: Atoms
    projected: PhononDos
    gamma: Array
    largest: float
    imaginary: float
    supercell: Supercell
    displacements: int
    volume_change: float
    relaxation_steps: int
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def dos(self) -> PhononDos:
        """The whole density of states, 3N states."""
        total = PhononDos(self.projected.frequencies, self.projected.density.sum(0))
        return total.normalized(3 * len(self.atoms))

    @property
    def by_element(self) -> dict[str, PhononDos]:
        """Partial density of states of every element."""
        symbols = np.array(self.atoms.get_chemical_symbols())
        return {
            symbol: PhononDos(
                self.projected.frequencies, self.projected.density[symbols == symbol].sum(0)
            )
            for symbol in dict.fromkeys(symbols.tolist())
        }

    def thermodynamics(self, temperatures: Sequence[float]) -> dict[str, Any]:
        """Harmonic figures per mol of atoms, imaginary modes left out; units in the names."""
        states = self.dos.states_at()
        w = self.projected.frequencies
        joule = units._e * units._Nav / len(self.atoms)
        T = np.asarray(temperatures, dtype=np.float64)
        return {
            "mean_frequency_cm1": float(mean_frequency(w, states)),
            "debye_temperature_K": float(debye_temperature(w, states)),
            "zero_point_energy_J_per_mol_atoms": joule * float(zero_point_energy(w, states)),
            "temperature_K": T.tolist(),
            "heat_capacity_J_per_K_mol_atoms": (joule * heat_capacity(w, states, T)).tolist(),
            "entropy_J_per_K_mol_atoms": (joule * entropy(w, states, T)).tolist(),
            "free_energy_J_per_mol_atoms": (joule * free_energy(w, states, T)).tolist(),
            "internal_energy_J_per_mol_atoms": (joule * internal_energy(w, states, T)).tolist(),
        }


def finite_displacements(
    atoms: Atoms,
    calculator: ASECalculator,
    settings: DisplacementSettings | None = None,
    where: str = "the crystal",
    on_force: Callable[[int, int], None] | None = None,
) -> LatticeDynamics:
    """Harmonic phonons of a crystal from the forces of a calculator.

    The crystal is made symmetric, relaxed, made symmetric again; phonopy (Togo, J. Phys. Soc.
    Jpn. 92, 012001 (2023)) chooses the displacements that symmetry leaves and makes force
    constants, which obey the sum rule and permutation symmetry. Forces that remain without
    displacement are subtracted.

    Args:
        atoms: periodic in three directions.
        calculator: any of ASE's, with forces, and stress where the cell is relaxed.
        settings: see `DisplacementSettings`.
        where: what messages call the crystal.
        on_force: called with the number of forces done and that of all.

    Raises:
        UserError: phonopy is missing, a structure without cell, a relaxation that does not
            converge, forces that are not finite.
    """
    settings = settings or DisplacementSettings()
    phonopy = import_phonopy()
    _check(atoms, where)
    processor = time.process_time()
    start = time.perf_counter()
    with _named(where):
        relaxed, steps = relax(atoms, calculator, settings, where)
        supercell = choose_supercell(
            relaxed, settings.least_side, settings.max_atoms, settings.tolerance
        )
    relaxation_s = time.perf_counter() - start

    start = time.perf_counter()
    with _quiet():
        phonon = phonopy.Phonopy(
            _to_phonopy(relaxed), supercell.matrix.T, primitive_matrix="auto", symprec=1e-5
        )
        phonon.generate_displacements(distance=settings.distance)
        displaced = phonon.supercells_with_displacements
        cells = [phonon.supercell, *displaced]
    forces = []
    for done, cell in enumerate(cells):
        forces.append(_forces(cell, calculator, where))
        if on_force is not None:
            on_force(done + 1, len(cells))
    forces_s = time.perf_counter() - start

    start = time.perf_counter()
    with _quiet():
        phonon.forces = np.array(forces[1:]) - forces[0]
        phonon.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
        phonon.symmetrize_force_constants(show_drift=False)
        phonon.run_mesh(settings.mesh, with_eigenvectors=True, is_mesh_symmetry=False)
        mesh = phonon.get_mesh_dict()
        phonon.run_qpoints([[0.0, 0.0, 0.0]])
        gamma = convert_frequency(phonon.get_qpoints_dict()["frequencies"][0], "THz")
    modes = convert_frequency(mesh["frequencies"], "THz")
    vectors = mesh["eigenvectors"]
    share = np.square(np.abs(vectors)).reshape(len(vectors), -1, 3, vectors.shape[-1]).sum(2)
    weights = np.asarray(mesh["weights"], dtype=np.float64)
    weights /= weights.sum()
    by_primitive = smeared(
        modes.ravel(),
        (share * weights[:, None, None]).transpose(1, 0, 2).reshape(share.shape[1], -1),
        settings.smearing,
        settings.step,
    )
    # phonopy may have found a smaller primitive cell: every atom takes its equivalent's curve
    primitive = phonon.primitive
    place = [primitive.p2p_map[primitive.s2p_map[i]] for i in phonon.supercell.u2s_map]
    return LatticeDynamics(
        relaxed,
        PhononDos(by_primitive.frequencies, by_primitive.density[place]).normalized(3.0),
        np.asarray(gamma),
        float(modes.max()),
        float((weights[:, None] * (modes < -IMAGINARY)).sum() / modes.shape[1]),
        supercell,
        len(displaced),
        float(relaxed.get_volume() / atoms.get_volume() - 1),
        steps,
        {
            "relaxation": relaxation_s,
            "forces": forces_s,
            "phonons": time.perf_counter() - start,
            "processor": time.process_time() - processor,
        },
    )


def relax(
    atoms: Atoms,
    calculator: ASECalculator,
    settings: DisplacementSettings,
    where: str = "the crystal",
) -> tuple[Atoms, int]:
    """The symmetric crystal at zero force, and the steps that it took.

    Raises:
        UserError: not converged within ``settings.max_steps``.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    ideal = symmetrised(atoms, settings.tolerance)
    ideal.info, ideal.constraints = {}, []
    if settings.relax == "none":
        return ideal, 0
    moving = ideal.copy()
    moving.calc = calculator
    with _quiet():
        moving.set_constraint(FixSymmetry(moving, symprec=1e-4))
        target: Any = moving
        if settings.relax != "positions":
            hydrostatic = settings.relax == "hydrostatic"
            target = FrechetCellFilter(moving, hydrostatic_strain=hydrostatic)
        optimiser = BFGS(target, logfile=None)
        converged = optimiser.run(fmax=settings.fmax, steps=settings.max_steps)
    if not converged:
        largest = float(np.linalg.norm(target.get_forces(), axis=1).max())
        raise UserError(
            f"{where}: the relaxation did not converge in {settings.max_steps} steps (largest "
            f"force {largest:.2g} eV/Å, wanted {settings.fmax:g}); allow more steps or a larger "
            "force, or take the structure as it is."
        )
    moving.calc, moving.constraints = None, []
    return symmetrised(moving, settings.tolerance), int(optimiser.nsteps)


def smeared(modes: Array, weights: Array, width: float, step: float) -> PhononDos:
    """Modes as curves, each a normal distribution that stays on its side of zero.

    Args:
        modes: (M,) cm^-1, imaginary ones negative.
        weights: (curves, M) states of each mode.
        width: cm^-1, standard deviation.
        step: cm^-1, of the curve.

    Returns:
        Density (curves, K); each integral (trapezoidal) is the sum of the weights.
    """
    reach = 5 * width + 2 * step
    imaginary = modes < -IMAGINARY
    up = _half_line(np.abs(modes[~imaginary]), weights[:, ~imaginary], width, step, reach)
    if not imaginary.any():
        return PhononDos(step * np.arange(up.shape[1], dtype=np.float64), up)
    down = _half_line(-modes[imaginary], weights[:, imaginary], width, step, reach)
    # at zero both halves meet, each with half an interval
    middle = 0.5 * (up[:, :1] + down[:, :1])
    density = np.hstack([down[:, :0:-1], middle, up[:, 1:]])
    frequencies = step * np.arange(1 - down.shape[1], up.shape[1], dtype=np.float64)
    return PhononDos(frequencies, density)


def _half_line(w: Array, weights: Array, width: float, step: float, reach: float) -> Array:
    """(curves, K) from zero upwards; what would cross zero is reflected."""
    length = int(np.ceil((w.max(initial=0.0) + reach) / step)) + 1
    density = np.zeros((len(weights), length))
    place = np.floor(w / step).astype(np.int64)
    along = w / step - place
    for curve, g in zip(density, weights, strict=True):
        curve += np.bincount(place, g * (1 - along), length)
        curve += np.bincount(place + 1, g * along, length)
    density /= step
    density[:, 0] *= 2  # half an interval is its own
    if width > 0:
        density = gaussian_filter1d(density, width / step, axis=1, mode="mirror", truncate=5.0)
    return density


def import_phonopy() -> Any:
    """The package phonopy.

    Raises:
        UserError: it is not installed.
    """
    try:
        with _quiet():
            import phonopy
    except ImportError as error:
        raise UserError(
            f"finite displacements need phonopy, which cannot be imported ({error}); "
            "pip install 'clebsch[phonons]'."
        ) from error
    return phonopy


def _check(atoms: Atoms, where: str) -> None:
    if len(atoms) == 0:
        raise UserError(f"{where}: there are no atoms in it.")
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise UserError(
            f"{where}: phonons need a crystal, periodic in three directions with a cell; give "
            "three cell vectors."
        )


def _to_phonopy(atoms: Atoms) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )


def _forces(cell: Any, calculator: ASECalculator, where: str) -> Array:
    """(N, 3) eV/A of a supercell."""
    atoms = Atoms(numbers=cell.numbers, cell=cell.cell, positions=cell.positions, pbc=True)
    with _named(where), _quiet():
        atoms.calc = calculator
        forces = np.asarray(atoms.get_forces(), dtype=np.float64)
    if not np.isfinite(forces).all():
        raise UserError(f"{where}: the potential's forces are not finite there.")
    return forces


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Whatever is wrong with a structure is said with its name."""
    try:
        yield
    except UserError as error:
        said = str(error).removeprefix("the structure: ")
        raise UserError(said if said.startswith(where) else f"{where}: {said}") from error
    except ValueError as error:  # other calculators, of elements that they do not know
        raise UserError(f"{where}: the potential refuses it ({str(error)[:80]}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Other packages' warnings about their own insides stay there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
