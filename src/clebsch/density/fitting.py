"""A density matrix fitted by auxiliary functions, with the number of electrons imposed.

The coefficients minimise (rho - fit | rho - fit) in the metric under the constraint q.c = N: with
M c = b + lambda q. B. I. Dunlap, J. W. D. Connolly, J. R. Sabin, J. Chem. Phys. 71, 3396 (1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.metric import Metric, check_metric, metric_matrix
from clebsch.density.molecule import auxiliary_molecule, import_pyscf
from clebsch.density.moments import electrons_per_function
from clebsch.density.order import from_quantum_chemistry

_PRODUCTS = {"coulomb": "int3c2e_sph", "overlap": "int3c1e_sph"}
_NUMBERS = 4_000_000  # of three-index integrals held at a time


@dataclass(frozen=True)
class Fit:
    """Coefficients of a fitted density.

    Attributes:
        coefficients: (K,), float64, the library's order, atomic units.
        free_electrons: electrons that the fit had before the constraint.
    """

    coefficients: Tensor
    free_electrons: float


def fit_density(
    molecule: Any,
    density_matrix: npt.NDArray[np.float64],
    basis: AuxiliaryBasis,
    numbers: npt.NDArray[np.int64],
    positions: npt.NDArray[np.float64],
    metric: Metric = "coulomb",
) -> Fit:
    """Fit the density of a ``pyscf.gto.Mole`` and its density matrix.

    Args:
        molecule: with the atoms of ``numbers`` and ``positions`` (Å), in their order.
        density_matrix: of all electrons, (n, n).

    Raises:
        ValueError: the functions are so near to linear dependence that the fit has no solution.
    """
    check_metric(metric)
    auxiliary = auxiliary_molecule(basis, numbers, positions)
    projections = torch.from_numpy(_project(molecule, auxiliary, density_matrix, metric))
    b = from_quantum_chemistry(projections, basis, numbers).numpy()
    q = electrons_per_function(basis, torch.as_tensor(numbers), projections).numpy()
    try:
        factor = scipy.linalg.cho_factor(metric_matrix(basis, numbers, positions, metric).numpy())
    except scipy.linalg.LinAlgError as error:
        raise ValueError(
            f"the functions of {basis.name} on these atoms are linearly dependent in the {metric} "
            "metric"
        ) from error
    c, y = scipy.linalg.cho_solve(factor, np.stack([b, q], axis=1)).T
    free = float(q @ c)
    c = c + y * (molecule.nelectron - free) / (q @ y)
    return Fit(torch.from_numpy(c), free)


def _project(
    molecule: Any, auxiliary: Any, density_matrix: npt.NDArray[np.float64], metric: Metric
) -> npt.NDArray[np.float64]:
    """(chi_k | rho) for each function, PySCF's order, (K,)."""
    df = import_pyscf().df
    lower = np.tril_indices(molecule.nao_nr())
    packed = (density_matrix + density_matrix.T)[lower]
    packed[lower[0] == lower[1]] *= 0.5
    starts = auxiliary.ao_loc_nr()
    result = np.zeros(starts[-1])
    per_lot = max(1, _NUMBERS // (9 * len(packed)))
    for first in range(0, auxiliary.nbas, per_lot):
        last = min(auxiliary.nbas, first + per_lot)
        shells = (0, molecule.nbas, 0, molecule.nbas, first, last)
        integrals = df.incore.aux_e2(
            molecule, auxiliary, _PRODUCTS[metric], aosym="s2ij", shls_slice=shells
        )
        result[starts[first] : starts[last]] = packed @ integrals
    return result
