"""Overlap and Coulomb metric: how far two densities are from each other, without a grid.

(f|g) = c_f^T M c_g with M_kl = integral of chi_k chi_l (overlap), or of chi_k(r) chi_l(r') /
|r - r'| (Coulomb). Coefficients are in atomic units, so the overlap of two densities is in
electrons^2/bohr^3 and the Coulomb one in hartree; half of (rho|rho) is the Hartree energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy.typing as npt
import torch
from ase.units import Hartree
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.molecule import auxiliary_molecule
from clebsch.density.order import matrix_from_quantum_chemistry
from clebsch.errors import UserError

Metric = Literal["coulomb", "overlap"]
METRICS: tuple[Metric, ...] = ("coulomb", "overlap")
_INTEGRALS = {"coulomb": "int2c2e_sph", "overlap": "int1e_ovlp_sph"}


def check_metric(metric: str) -> None:
    """Raise UserError unless it is one of the two."""
    if metric not in METRICS:
        raise UserError(f'the metric must be "coulomb" or "overlap", not {metric!r}')


def metric_matrix(
    basis: AuxiliaryBasis,
    numbers: npt.ArrayLike | Tensor,
    positions: npt.ArrayLike | Tensor,
    metric: Metric = "coulomb",
) -> Tensor:
    """M between all functions of one molecule, (K, K), float64, in the library's order.

    Needs PySCF. The block of atoms i and j is ``M[o[i]:o[i+1], o[j]:o[j+1]]`` with
    ``o = basis.offsets(numbers)``.

    Raises:
        UserError: PySCF is not installed, an unknown metric or an element without functions.
    """
    check_metric(metric)
    at = torch.as_tensor(positions, dtype=torch.float64).detach().cpu()
    z = torch.as_tensor(numbers).cpu()
    molecule = auxiliary_molecule(basis, z.numpy(), at.numpy())
    matrix = torch.from_numpy(molecule.intor(_INTEGRALS[metric], hermi=1))
    return matrix_from_quantum_chemistry(matrix, basis, z)


def squared_norms(coefficients: Tensor, offsets: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """c^T M c of every molecule of a batch, differentiable in c.

    Args:
        coefficients: (K,) of all molecules one after the other; for a loss, a difference.
        offsets: (G+1,) int64: molecule g has ``offsets[g]:offsets[g+1]``.
        matrices: G symmetric matrices, of any sizes.

    Returns:
        (G,).

    Raises:
        ValueError: the sizes do not fit together.

    >>> c = torch.tensor([1.0, 2.0, 3.0])
    >>> squared_norms(c, torch.tensor([0, 1, 3]), [torch.eye(1), 2 * torch.eye(2)])
    tensor([ 1., 26.])
    """
    bounds = offsets.tolist()
    if len(bounds) != len(matrices) + 1 or bounds[-1] != len(coefficients):
        raise ValueError(
            f"{len(matrices)} matrices need {len(matrices) + 1} offsets that end with the number "
            f"of coefficients, {len(coefficients)}, not {len(bounds)} that end with {bounds[-1]}"
        )
    values = []
    for first, last, matrix in zip(bounds, bounds[1:], matrices, strict=False):
        c = coefficients[first:last]
        if matrix.shape != (last - first, last - first):
            raise ValueError(
                f"a molecule with {last - first} coefficients needs a matrix of that size, not "
                f"{tuple(matrix.shape)}"
            )
        values.append(c @ (matrix.to(c) @ c))
    return torch.stack(values) if values else coefficients.new_zeros(0)


def hartree_energy(density: ElectronDensity, matrix: Tensor | None = None) -> Tensor:
    """Classical repulsion of the electrons, half of (rho|rho) in the Coulomb metric, eV.

    Args:
        matrix: of `metric_matrix`; otherwise made, which needs PySCF.

    Raises:
        ValueError: the density is periodic.
    """
    if density.cell is not None:
        raise ValueError("the Hartree energy of a periodic density is not implemented")
    if matrix is None:
        matrix = metric_matrix(density.basis, density.numbers, density.positions)
    c = density.coefficients
    return Hartree / 2 * (c @ (matrix.to(c) @ c))
