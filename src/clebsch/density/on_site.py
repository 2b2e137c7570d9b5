"""The metrics between functions of one atom, in closed form: they need no PySCF."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis, Block
from clebsch.density.metric import Metric, check_metric


def on_site_block(block: Block, metric: Metric) -> npt.NDArray[np.float64]:
    """(chi_k | chi_k') between functions of one l and m on the same nucleus, (n, n).

    Other pairs of functions on one nucleus are orthogonal. The Coulomb one is the integral of
    4 pi / k^2 times both Fourier transforms.

    Raises:
        UserError: an unknown metric.
    """
    check_metric(metric)
    l, a = block.l, block.exponents
    norms, total = np.outer(block.norms, block.norms), a[:, None] + a
    if metric == "overlap":
        return np.asarray(norms * math.gamma(l + 1.5) / 2 / total ** (l + 1.5))
    return np.asarray(
        norms * math.pi * math.gamma(l + 0.5) / 2 / (np.outer(a, a) * total ** (l + 0.5))
    )


def on_site_matrix(basis: AuxiliaryBasis, numbers: Tensor, metric: Metric = "coulomb") -> Tensor:
    """`metric_matrix` without its entries between atoms, (K, K), float64.

    >>> basis = AuxiliaryBasis("one s", {1: ((0.5,),)})
    >>> on_site_matrix(basis, torch.tensor([1, 1]), "overlap")
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    offsets = basis.offsets(numbers)
    matrix = torch.zeros(int(offsets[-1]), int(offsets[-1]), dtype=torch.float64)
    of_element = {}
    for z in sorted(set(numbers.tolist())):
        blocks = [np.kron(np.eye(2 * b.l + 1), on_site_block(b, metric)) for b in basis.blocks(z)]
        of_element[z] = torch.block_diag(*(torch.from_numpy(b) for b in blocks))
    for z, first, last in zip(numbers.tolist(), offsets[:-1], offsets[1:], strict=True):
        matrix[first:last, first:last] = of_element[z]
    return matrix
