"""An SCF that starts from a known electron density: its potential, and the orbitals that follow.

Of a density rho in auxiliary functions the Coulomb potential is known exactly and the
exchange-correlation potential on PySCF's grid. They give a Kohn-Sham matrix, whose orbitals are
occupied. What a density does not tell, the exact exchange of hybrids, comes from these orbitals,
by steps in which v_xc[rho] stays and Coulomb and exchange follow the orbitals in density fitting:
no grid takes part, so that a step is cheap beside a cycle of the SCF, and an error of rho enters
through v_xc alone.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.units import Hartree

from clebsch.density.basis import DEFAULT_BASIS
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.level import Level
from clebsch.density.molecule import auxiliary_molecule, import_pyscf
from clebsch.density.order import to_quantum_chemistry_order
from clebsch.density.reference import NotConvergedError, check_structure, make_scf
from clebsch.errors import UserError

Matrix = npt.NDArray[np.float64]

#: PySCF's own guesses that `compare_guesses` runs.
GUESSES = ("minao", "atom", "huckel")

_NUMBERS = 12_000_000  # values of functions and integrals held at a time
_POINTS = 4096  # at most at a time
_STEPS = 12
_GRADIENT = 1e-3  # of the orbitals, hartree: below it v_xc[rho] is the larger error
_GRID_LEVEL = 1  # PySCF's, for a guess; level 0 costs a cycle, level 3 saves none
_EMPTY = 1e-10  # electrons/bohr^3 below which there is no exchange
_NOTHING = 1e-9  # value of a function below which it is absent
_FIT_ERROR = 0.05  # electrons per atom that a neutral molecule's density may lack


@dataclass(frozen=True)
class Start:
    """An SCF that is ready to run: ``start.scf.kernel(dm0=start.density_matrix)``.

    Attributes:
        scf: ``pyscf.dft.RKS``; its fitting integrals are in it already.
        density_matrix: (n, n), with the orbitals as PySCF's tags ``mo_coeff`` and ``mo_occ``.
        steps: how often Coulomb and exchange were computed from orbitals.
    """

    scf: Any
    density_matrix: Matrix
    steps: int


@dataclass(frozen=True)
class GuessResult:
    """An SCF from one guess.

    Attributes:
        guess: ``"density"`` or PySCF's name.
        cycles: of the SCF, as PySCF counts them.
        seconds: of everything: guess, grid, integrals and SCF.
        guess_seconds: of the guess alone; the density's has fitting integrals in it.
        processor_seconds: of everything, the processor's time in all threads: on a machine with
            other work it says more.
        energy: eV.
    """

    guess: str
    cycles: int
    seconds: float
    guess_seconds: float
    processor_seconds: float
    energy: float


def initial_density_matrix(density: ElectronDensity, level: Level, steps: int = _STEPS) -> Matrix:
    """A density matrix for PySCF to start from, ``dm0``.

    Args:
        density: of a neutral closed-shell molecule.
        level: of theory; its auxiliary basis need not be that of the density.
        steps: at most so many with Coulomb and exchange of the orbitals.

    Returns:
        (n, n) between the orbital functions, in PySCF's order.

    Raises:
        UserError: see `prepare_scf`.
    """
    return prepare_scf(density, level, steps).density_matrix


def effective_potential(density: ElectronDensity, level: Level) -> Matrix:
    """J[rho] + v_xc[rho] between the orbital functions, (n, n), hartree, in PySCF's order.

    With ``scf.get_hcore()`` it is a Kohn-Sham matrix. Exact exchange is replaced by that of PBE,
    and a functional that needs the kinetic energy density, which rho does not tell, by PBE.

    Raises:
        UserError: see `prepare_scf`.
    """
    check_density(density, level)
    scf = make_scf(density.numbers.numpy(), density.positions.numpy(), level)
    coulomb, own, stand_in = _potentials(scf, density, _Functional(level.xc), level.grid_level)
    return coulomb + own + stand_in


def prepare_scf(density: ElectronDensity, level: Level, steps: int = _STEPS) -> Start:
    """An SCF at a level of theory, ready to start from a density.

    Of Hartree-Fock, where a step would be a whole cycle, there is one at most.

    Args:
        density: of a neutral closed-shell molecule.
        level: of theory; its auxiliary basis need not be that of the density.
        steps: at most so many with Coulomb and exchange of the orbitals; 0 for a molecule so
            large that exact exchange costs more than the grid.

    Raises:
        UserError: PySCF is missing, an element without orbital functions, a crystal, an open shell,
            a density that is not that of the neutral molecule.
        ValueError: ``steps`` below 0.
    """
    if steps < 0:
        raise ValueError(f"the number of steps must be 0 or more, not {steps}")
    check_density(density, level)
    scf = make_scf(density.numbers.numpy(), density.positions.numpy(), level)
    functional = _Functional(level.xc)
    grid_level = min(_GRID_LEVEL, level.grid_level)
    coulomb, own, stand_in = _potentials(scf, density, functional, grid_level)
    fixed = scf.get_hcore() + own
    matrix, taken = _occupied(scf, fixed + coulomb + stand_in), 0
    if functional.hartree_fock and steps > 0:
        exchange = functional.exchange(_fitted(scf), matrix)
        matrix, taken = _occupied(scf, fixed + coulomb + exchange), 1
    elif steps > 0:
        matrix, taken = _relax(scf, matrix, fixed, functional, steps)
    return Start(scf, matrix, taken)


def compare_guesses(
    density: ElectronDensity,
    level: Level,
    guesses: Sequence[str] = GUESSES,
    on_finished: Callable[[GuessResult], None] | None = None,
) -> list[GuessResult]:
    """The SCF from the density and from PySCF's own guesses, each from nothing.

    Returns:
        That of the density, then those of ``guesses``.

    Raises:
        NotConvergedError: an SCF did not converge.
        UserError: see `prepare_scf`.
    """
    results = []
    for guess in ("density", *guesses):
        began, processor = time.perf_counter(), time.process_time()
        if guess == "density":
            start = prepare_scf(density, level)
            scf, matrix = start.scf, start.density_matrix
        else:
            scf = make_scf(density.numbers.numpy(), density.positions.numpy(), level)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of PySCF about itself
                matrix = scf.get_init_guess(key=guess)
        ready = time.perf_counter()
        scf.kernel(dm0=matrix)
        if not scf.converged:
            raise NotConvergedError(f"the SCF from the guess {guess} did not converge")
        results.append(
            GuessResult(
                guess,
                int(scf.cycles),
                time.perf_counter() - began,
                ready - began,
                time.process_time() - processor,
                float(scf.e_tot) * Hartree,
            )
        )
        if on_finished:
            on_finished(results[-1])
    return results


def check_density(density: ElectronDensity, level: Level, where: str = "the density") -> None:
    """Make sure that an SCF at this level can start from a density.

    Raises:
        UserError: see `prepare_scf`.
    """
    atoms = Atoms(numbers=density.numbers.numpy(), positions=density.positions.detach().numpy())
    if density.cell is not None:
        atoms.set_cell(density.cell.detach().numpy())
        atoms.pbc = True
    check_structure(atoms, where)
    # the auxiliary basis of the level has no part in it
    replace(level, aux=DEFAULT_BASIS).check(atoms.numbers.tolist())
    electrons, expected = float(density.electrons()), int(density.numbers.sum())
    if not abs(electrons - expected) <= _FIT_ERROR * len(atoms):
        raise UserError(
            f"{where}: holds {electrons:.3f} electrons, but the neutral molecule has {expected}; "
            "only neutral molecules are supported."
        )


class _Functional:
    """The parts of a functional: what a density tells, and what orbitals must.

    Attributes:
        semilocal: as PySCF names it; empty of Hartree-Fock.
        stand_in: semilocal exchange for the exact one that is missing in it.
    """

    def __init__(self, xc: str) -> None:
        numint = import_pyscf().dft.numint.NumInt()
        self.omega, self.long_range, self.fraction = numint.rsh_and_hybrid_coeff(xc)
        kind = numint._xc_type(xc)
        self.hartree_fock = kind == "HF"
        if self.omega == 0:
            self.long_range = self.fraction
        exact = (self.long_range + self.fraction) / 2
        self.stand_in = f"{exact:.12g}*pbe," if exact else ""
        if self.hartree_fock:
            self.semilocal, self.stand_in = "", "pbe"
        elif kind == "MGGA":
            self.semilocal = f"{1 - exact:.12g}*pbe,pbe"
        else:
            self.semilocal = xc

    def exchange(self, scf: Any, matrix: Matrix) -> Any:
        """-1/2 of exact exchange, as much of it as the functional has; 0 where it has none."""
        total: Any = 0.0
        if self.fraction:
            total = total - 0.5 * self.fraction * scf.get_k(scf.mol, matrix)
        if self.long_range != self.fraction:
            beyond = scf.get_k(scf.mol, matrix, omega=self.omega)
            total = total - 0.5 * (self.long_range - self.fraction) * beyond
        return total

    def coulomb_and_exchange(self, scf: Any, matrix: Matrix) -> Any:
        """The Coulomb potential of orbitals too."""
        if self.omega == 0 and self.fraction:  # faster together
            coulomb, exchange = scf.get_jk(scf.mol, matrix)
            return coulomb - 0.5 * self.fraction * exchange
        return scf.get_j(scf.mol, matrix) + self.exchange(scf, matrix)


def _relax(
    scf: Any, matrix: Matrix, fixed: Matrix, functional: _Functional, steps: int
) -> tuple[Matrix, int]:
    """Orbitals whose core and semilocal potential stay; how many steps that took."""
    fitted = _fitted(scf)
    diis = import_pyscf().scf.diis.CDIIS()
    overlap = scf.get_ovlp()
    for step in range(steps):
        fock = fixed + functional.coulomb_and_exchange(fitted, matrix)
        gradient = scf.get_grad(matrix.mo_coeff, matrix.mo_occ, fock)  # type: ignore[attr-defined]
        if np.linalg.norm(gradient) < _GRADIENT:
            return matrix, step
        matrix = _occupied(scf, diis.update(overlap, matrix, fock))
    return matrix, steps


def _potentials(
    scf: Any, density: ElectronDensity, functional: _Functional, grid_level: int
) -> tuple[Matrix, Matrix, Matrix]:
    """Coulomb, semilocal and the stand-in's exchange potential of a density, (n, n) each."""
    grids = import_pyscf().dft.gen_grid.Grids(scf.mol)
    grids.level = grid_level
    grids.build()
    auxiliary = auxiliary_molecule(density.basis, density.numbers, density.positions.numpy())
    c = to_quantum_chemistry_order(
        density.coefficients.detach().double(), density.basis, density.numbers
    ).numpy()
    own, stand_in = _semilocal(
        scf.mol, auxiliary, c, (functional.semilocal, functional.stand_in), grids
    )
    return _coulomb(scf.mol, auxiliary, c), own, stand_in


def _fitted(scf: Any) -> Any:
    """The same SCF with density fitting, itself where it has it already."""
    return scf if hasattr(scf, "with_df") else scf.density_fit()


def _occupied(scf: Any, fock: Matrix) -> Any:
    """Density matrix of the lowest orbitals, tagged with them."""
    energies, orbitals = scf.eig(fock, scf.get_ovlp())
    return scf.make_rdm1(orbitals, scf.get_occ(energies, orbitals))


def _coulomb(molecule: Any, auxiliary: Any, c: Matrix) -> Matrix:
    """(ij|rho), (n, n), from exact integrals a few shells at a time."""
    df = import_pyscf().df
    n = molecule.nao_nr()
    lower = np.tril_indices(n)
    starts = auxiliary.ao_loc_nr()
    total = np.zeros(len(lower[0]))
    per_lot = max(1, _NUMBERS // (9 * len(total)))
    for first in range(0, auxiliary.nbas, per_lot):
        last = min(auxiliary.nbas, first + per_lot)
        shells = (0, molecule.nbas, 0, molecule.nbas, first, last)
        integrals = df.incore.aux_e2(
            molecule, auxiliary, "int3c2e_sph", aosym="s2ij", shls_slice=shells
        )
        total += integrals @ c[starts[first] : starts[last]]
    matrix = np.zeros((n, n))
    matrix[lower] = total
    matrix.T[lower] = total
    return matrix


def _semilocal(
    molecule: Any, auxiliary: Any, c: Matrix, functionals: Sequence[str], grids: Any
) -> list[Matrix]:
    """v_xc[rho] of each functional (LDA or GGA; empty is none), (n, n), on PySCF's grid."""
    numint = import_pyscf().dft.numint
    evaluate = numint.NumInt().eval_xc_eff
    n = molecule.nao_nr()
    halves = [np.zeros((n, n)) for _ in functionals]
    lot = max(64, min(_POINTS, _NUMBERS // (4 * (n + len(c)))))
    for first in range(0, len(grids.weights), lot):
        inside = slice(first, first + lot)
        points, weights = grids.coords[inside], grids.weights[inside]
        rho = numint.eval_ao(auxiliary, points, deriv=1) @ c
        full = rho[0] > _EMPTY
        if not full.any():
            continue
        rho, weights = rho[:, full], weights[full]
        orbitals = numint.eval_ao(molecule, points[full], deriv=1)
        near = (np.abs(orbitals) > _NOTHING).any((0, 1))
        orbitals = orbitals[:, :, near]
        for functional, half in zip(functionals, halves, strict=True):
            if functional:
                kind = numint.NumInt()._xc_type(functional)
                given = rho[0] if kind == "LDA" else rho
                slope = evaluate(functional, given, deriv=1, xctype=kind)[1] * weights
                slope[0] /= 2  # the other half comes with the transpose
                weighted = np.einsum("xpi,xp->pi", orbitals[: len(slope)], slope)
                half[np.ix_(near, near)] += orbitals[0].T @ weighted
    return [half + half.T for half in halves]
