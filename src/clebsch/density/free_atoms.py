"""Densities of free atoms in the auxiliary basis: what a molecule's density is compared with.

A free atom is neutral, spin-restricted and spherical: the electrons of an open shell are spread
over its orbitals. Only s functions are filled then.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.fitting import fit_density
from clebsch.density.level import Level
from clebsch.density.molecule import import_pyscf, make_molecule, without_checkpoint


def free_atom(z: int, level: Level, basis: AuxiliaryBasis) -> Tensor:
    """Coefficients of the free atom at a level of theory, (dim,), float64.

    Raises:
        ValueError: the SCF did not converge, or its density is not spherical.
    """
    spherical = import_pyscf().scf.atom_ks.AtomSphericAverageRKS
    numbers, origin = np.array([z]), np.zeros((1, 3))
    molecule = make_molecule(numbers, origin, level.basis, spin=z % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of PySCF about itself
        scf = without_checkpoint(spherical(molecule))
        scf.xc, scf.conv_tol, scf.verbose = level.xc, level.conv_tol, 0
        scf.grids.level = max(level.grid_level, 4)
        scf.kernel()
    if not scf.converged:
        raise ValueError(f"the SCF of the free atom {chemical_symbols[z]} did not converge")
    fit = fit_density(molecule, scf.make_rdm1(), basis, numbers, origin, level.metric)
    c = fit.coefficients.clone()
    s = basis.blocks(z)[0].inside.stop
    if c[s:].numel() and float(c[s:].abs().max()) > 1e-4:
        raise ValueError(f"the free atom {chemical_symbols[z]} did not come out spherical")
    c[s:] = 0.0
    return c


def superposition(
    atoms: Mapping[int, Tensor], basis: AuxiliaryBasis, numbers: Tensor, positions: Tensor
) -> ElectronDensity:
    """Free atoms at these places: (N,) and (N, 3) Å."""
    parts = [atoms[int(z)] for z in numbers]
    coefficients = torch.cat(parts) if parts else positions.new_zeros(0)
    return ElectronDensity(basis, numbers, positions, coefficients.to(positions))
