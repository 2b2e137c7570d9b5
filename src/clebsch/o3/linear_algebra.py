"""Rows made orthonormal, completed to a basis, matrices put on a diagonal: e3nn's conventions.

Where order and sign of the rows do not matter, ``torch.linalg.qr`` and
``scipy.linalg.null_space`` do the first two.
"""

from __future__ import annotations

import torch
from torch import Tensor


def orthonormalize(rows: Tensor, eps: float = 1e-9) -> tuple[Tensor, Tensor]:
    """Gram-Schmidt of rows, twice over; dependent rows are dropped.

    Args:
        rows: (n, dim).
        eps: a rest shorter than 2 eps counts as dependent, a smaller entry as zero.

    Returns:
        Orthonormal rows (rank, dim), each with a positive first entry, and the matrix
        (rank, n) that makes them of ``rows``.

    Raises:
        ValueError: ``rows`` is not a matrix.

    >>> y, A = orthonormalize(torch.tensor([[0.0, 2.0], [0.0, 1.0], [3.0, 1.0]]))
    >>> y
    tensor([[0., 1.],
            [1., 0.]])
    >>> A
    tensor([[ 0.5000,  0.0000,  0.0000],
            [-0.1667,  0.0000,  0.3333]])
    """
    n, dim = _shape(rows)
    found, matrix = rows.new_zeros(0, dim), rows.new_zeros(0, n)
    for number in range(n):
        x, a = rows[number], rows.new_zeros(n)
        a[number] = 1.0
        for _ in range(2):  # a second pass removes what rounding left of the first
            overlap = found @ x
            x, a = x - overlap @ found, a - overlap @ matrix
        length = x.norm()
        if length <= 2 * eps:
            continue
        x, a = _cleaned(x / length, eps), _cleaned(a / length, eps)
        sign = x[x.nonzero()[0, 0]].sign()
        found, matrix = torch.cat([found, sign * x[None]]), torch.cat([matrix, sign * a[None]])
    return found, matrix


def complete_basis(rows: Tensor, eps: float = 1e-9) -> Tensor:
    """Orthonormal rows that complete orthogonal ``rows`` (n, dim) to a basis: (dim - n, dim).

    Unit vectors are taken in order, each freed of what is there already.

    Raises:
        ValueError: ``rows`` is not a matrix.

    >>> complete_basis(torch.tensor([[0.0, 1.0, 0.0]]))
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    dim = _shape(rows)[1]
    given, _ = orthonormalize(rows, eps)
    unit = torch.eye(dim, dtype=rows.dtype, device=rows.device)
    basis, _ = orthonormalize(torch.cat([given, unit]), eps)
    return basis[given.shape[0] :]


def direct_sum(*matrices: Tensor) -> Tensor:
    """Matrices (..., m_i, n_i) on the diagonal of one, (..., sum m_i, sum n_i).

    ``torch.block_diag`` does it for matrices without batch dimensions.

    Raises:
        ValueError: no matrix is given.

    >>> direct_sum(torch.ones(1, 2), 2 * torch.ones(1, 1))
    tensor([[1., 1., 0.],
            [0., 0., 2.]])
    """
    if not matrices:
        raise ValueError("a direct sum needs one matrix or more")
    batch = torch.broadcast_shapes(*(matrix.shape[:-2] for matrix in matrices))
    columns = sum(matrix.shape[-1] for matrix in matrices)
    rows, start = [], 0
    for matrix in matrices:
        width = matrix.shape[-1]
        padding = (start, columns - start - width)
        rows.append(torch.nn.functional.pad(matrix.expand(*batch, -1, -1), padding))
        start += width
    return torch.cat(rows, dim=-2)


def _shape(rows: Tensor) -> tuple[int, int]:
    if rows.dim() != 2:
        raise ValueError(f"vectors must be the rows of a matrix, not of shape {tuple(rows.shape)}")
    return rows.shape[0], rows.shape[1]


def _cleaned(x: Tensor, eps: float) -> Tensor:
    return x.where(x.abs() >= eps, 0.0)
