"""One reference density: Kohn-Sham SCF with PySCF, fit, forces and what is measured of both."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.units import Bohr, Hartree

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.data import DensityRecord, SampledDensity
from clebsch.density.fitting import fit_density
from clebsch.density.level import Level
from clebsch.density.molecule import (
    auxiliary_molecule,
    import_pyscf,
    make_molecule,
    without_checkpoint,
)
from clebsch.density.order import to_quantum_chemistry_order
from clebsch.density.orientation import principal_axes, turn_coefficients
from clebsch.errors import UserError

_BLOCK = 8192  # grid points at a time
_MAX_CYCLES = 100


class NotConvergedError(ValueError):
    """The SCF did not converge."""


def check_structure(atoms: Atoms, where: str) -> None:
    """Make sure that a structure is a neutral closed-shell molecule with sound positions.

    Raises:
        UserError: one sentence that says what it is instead.
    """
    if len(atoms) == 0:
        raise UserError(f"{where}: there are no atoms.")
    if atoms.pbc.any():
        raise UserError(
            f"{where}: is periodic, but reference densities are those of molecules; cut out a "
            "cluster, or remove the cell if it means nothing."
        )
    if not np.isfinite(atoms.positions).all():
        raise UserError(f"{where}: has positions that are not numbers; mend the file.")
    charge = float(atoms.info.get("charge", 0) or atoms.get_initial_charges().sum())
    if abs(charge) > 1e-6:
        raise UserError(
            f"{where}: has the charge {charge:g}, but only neutral molecules are supported; add "
            "the counter-ion or leave it out."
        )
    unpaired = float(atoms.info.get("spin", 0) or abs(atoms.get_initial_magnetic_moments()).sum())
    electrons = int(atoms.numbers.sum())
    if electrons % 2 or abs(unpaired) > 1e-6 or int(atoms.info.get("multiplicity", 1)) != 1:
        what = f"{electrons} electrons" if electrons % 2 else "unpaired spins"
        raise UserError(
            f"{where}: {atoms.get_chemical_formula()} has {what}, an open shell, but only closed "
            "shells are supported; leave it out."
        )
    distances = atoms.get_all_distances()
    radii = covalent_radii[atoms.numbers]
    near = distances < 0.5 * (radii[:, None] + radii)
    np.fill_diagonal(near, False)
    if near.any():
        i, j = np.argwhere(near)[0].tolist()
        raise UserError(
            f"{where}: atoms {i} ({chemical_symbols[atoms.numbers[i]]}) and {j} "
            f"({chemical_symbols[atoms.numbers[j]]}) lie on each other, {distances[i, j]:.3f} Å "
            "apart; mend the structure."
        )


def make_scf(
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    level: Level,
    gradient_tol: float | None = None,
) -> Any:
    """The restricted Kohn-Sham object of PySCF at a level, not run yet; positions in Å.

    Args:
        gradient_tol: of the orbitals' gradient; default the root of ``level.conv_tol``.
    """
    dft = import_pyscf().dft
    molecule = make_molecule(numbers, positions, level.basis)
    scf = without_checkpoint(dft.RKS(molecule))
    scf.xc, scf.conv_tol, scf.max_cycle = level.xc, level.conv_tol, _MAX_CYCLES
    scf.grids.level, scf.conv_tol_grad = level.grid_level, gradient_tol
    return scf.density_fit() if level.density_fit else scf


def run_scf(
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    level: Level,
    guess: npt.NDArray[np.float64] | None = None,
    gradient_tol: float | None = None,
) -> Any:
    """A converged restricted Kohn-Sham object of PySCF; positions in Å.

    Args:
        guess: density matrix to start from; default PySCF's own guess.
        gradient_tol: of the orbitals' gradient; default the root of ``level.conv_tol``.

    Raises:
        NotConvergedError: after 100 cycles.
    """
    scf = make_scf(numbers, positions, level, gradient_tol)
    scf.kernel(dm0=guess)
    if not scf.converged:
        raise NotConvergedError(f"the SCF did not converge within {_MAX_CYCLES} cycles")
    return scf


def compute_reference(
    numbers: npt.NDArray[np.int64],
    positions: npt.NDArray[np.float64],
    level: Level,
    basis: AuxiliaryBasis,
    keep_grid: bool = False,
) -> DensityRecord:
    """Density, energy, forces and dipole of one molecule.

    The calculation is done along the molecule's principal axes, so that turning the molecule turns
    the results and changes nothing else.

    Args:
        numbers, positions: (N,) and (N, 3) Å, neutral and closed-shell.
        keep_grid: keep the Kohn-Sham density on a coarse grid, for tests against it.

    Raises:
        NotConvergedError: the SCF did not converge.
        ValueError: the fit has no solution.
    """
    start = time.perf_counter()
    axes, centre = principal_axes(numbers, positions)
    own = (positions - centre) @ axes.T
    scf = run_scf(numbers, own, level)
    matrix = scf.make_rdm1()
    after_scf = time.perf_counter()
    fit = fit_density(scf.mol, matrix, basis, numbers, own, level.metric)
    auxiliary = auxiliary_molecule(basis, numbers, own)
    c = to_quantum_chemistry_order(fit.coefficients, basis, numbers).numpy()
    error = 0.0
    points, weights = _points(scf.mol, level.grid_level)
    for i in range(0, len(weights), _BLOCK):
        inside = slice(i, i + _BLOCK)
        fitted = auxiliary.eval_gto("GTOval_sph", points[inside]) @ c
        error += weights[inside] @ abs(kohn_sham_density(scf.mol, matrix, points[inside]) - fitted)
    gradients = scf.nuc_grad_method()
    gradients.grid_response = True
    forces = -gradients.kernel()
    turned = turn_coefficients(fit.coefficients, basis, numbers, torch.from_numpy(axes.T))
    return DensityRecord(
        numbers=np.asarray(numbers, dtype=np.int64),
        positions=np.asarray(positions, dtype=np.float64),
        coefficients=turned.numpy(),
        energy=float(scf.e_tot) * Hartree,
        forces=np.asarray(forces) @ axes * Hartree / Bohr,
        dipole=np.asarray(scf.dip_moment(unit="AU", verbose=0)) @ axes * Bohr,
        fit_error_percent=100 * float(error) / scf.mol.nelectron,
        free_electrons=fit.free_electrons,
        scf_seconds=after_scf - start,
        seconds=time.perf_counter() - start,
        grid=_sample(scf.mol, matrix, axes, centre) if keep_grid else None,
    )


def kohn_sham_density(
    molecule: Any, density_matrix: npt.NDArray[np.float64], points: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """rho of a density matrix at points in bohr, (P, 3) -> (P,), electrons/bohr^3."""
    orbitals = molecule.eval_gto("GTOval_sph", points)
    return np.einsum("pi,pi->p", orbitals @ density_matrix, orbitals)


def _points(molecule: Any, level: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """PySCF's grid, bohr."""
    grids = import_pyscf().dft.gen_grid.Grids(molecule)
    grids.level = level
    grids.build()
    return grids.coords, grids.weights


def _sample(
    molecule: Any,
    density_matrix: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
) -> SampledDensity:
    """The density on PySCF's grid of level 1, Å, back from the molecule's principal axes."""
    points, weights = _points(molecule, 1)
    kept = abs(weights) > 1e-14
    points, weights = points[kept], weights[kept]
    lots = [points[i : i + _BLOCK] for i in range(0, len(points), _BLOCK)]
    values = np.concatenate([kohn_sham_density(molecule, density_matrix, lot) for lot in lots])
    return SampledDensity(points @ axes * Bohr + centre, weights * Bohr**3, values / Bohr**3)
