"""Orthonormal rows, completed bases, direct sums: e3nn's numbers, and more exact than those."""

import pytest
import torch
from scipy import linalg

from clebsch.o3 import complete_basis, direct_sum, orthonormalize


def dependent_rows(n=7, dim=6, rank=4):
    return torch.randn(n, rank) @ torch.randn(rank, dim)


def test_orthonormalize_equals_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.math")
    for rows in (dependent_rows(), torch.eye(4)[[2, 0]] * 3, torch.zeros(2, 3), torch.zeros(0, 3)):
        for found, expected in zip(orthonormalize(rows), e3nn.orthonormalize(rows), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_orthonormal_rows_span_the_same_space_exactly(float64):
    # Nearly parallel rows, of which a single Gram-Schmidt pass loses half of the digits.
    rows = torch.ones(5, 6) + 1e-7 * torch.randn(5, 6)
    y, A = orthonormalize(rows)
    torch.testing.assert_close(y @ y.T, torch.eye(5), atol=1e-13, rtol=0)
    torch.testing.assert_close(y, A @ rows, atol=1e-7, rtol=0)


def test_complete_basis_equals_e3nn_and_spans_the_null_space(float64):
    e3nn = pytest.importorskip("e3nn.math")
    rows, _ = orthonormalize(dependent_rows())
    found = complete_basis(rows)
    torch.testing.assert_close(found, e3nn.complete_basis(rows), atol=1e-10, rtol=1e-10)
    null = torch.from_numpy(linalg.null_space(rows.numpy()))
    torch.testing.assert_close(found.T @ found, null @ null.T, atol=1e-12, rtol=0)
    assert torch.equal(complete_basis(torch.zeros(0, 3)), torch.eye(3))
    assert complete_basis(torch.eye(3)).shape == (0, 3)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
def test_direct_sum_equals_e3nn(batch, float64):
    e3nn = pytest.importorskip("e3nn.math")
    matrices = [torch.randn(*batch, m, n) for m, n in ((1, 2), (3, 3), (2, 1))]
    found = direct_sum(*matrices)
    assert torch.equal(found, e3nn.direct_sum(*matrices))
    if not batch:
        assert torch.equal(found, torch.block_diag(*matrices))


def test_direct_sum_repeats_what_has_no_batch_and_is_differentiable(float64):
    one, many = torch.randn(2, 2, requires_grad=True), torch.randn(3, 1, 1, requires_grad=True)
    found = direct_sum(one, many)
    assert found.shape == (3, 3, 3)
    assert torch.equal(found[2, :2, :2], one)
    assert torch.autograd.gradcheck(direct_sum, (one, many))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_stays(dtype):
    rows = torch.tensor([[1.0, 2.0, 2.0], [2.0, 4.0, 4.0]], dtype=dtype)
    y, A = orthonormalize(rows, eps=1e-5)
    assert y.dtype == A.dtype == complete_basis(y, eps=1e-5).dtype == dtype
    assert y.shape == (1, 3)
    basis = torch.cat([y, complete_basis(y, eps=1e-5)])
    torch.testing.assert_close(basis @ basis.T, torch.eye(3, dtype=dtype))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"not of shape \(3,\)"):
        orthonormalize(torch.ones(3))
    with pytest.raises(ValueError, match="rows of a matrix"):
        complete_basis(torch.ones(1, 2, 3))
    with pytest.raises(ValueError, match="one matrix or more"):
        direct_sum()
