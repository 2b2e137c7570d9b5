"""Generators of SU(2) and SO(3) against e3nn, their algebra, and the matrices they generate."""

import pytest
import torch

from clebsch.errors import UserError
from clebsch.o3 import (
    change_basis_real_to_complex,
    rotations,
    so3_generators,
    su2_generators,
    wigner_D,
)


@pytest.mark.parametrize("l", range(9))
def test_agree_with_e3nn(l, e3nn_o3):
    close = {"atol": 1e-10, "rtol": 0}
    theirs = e3nn_o3.change_basis_real_to_complex(l)
    torch.testing.assert_close(change_basis_real_to_complex(l), theirs, **close)
    torch.testing.assert_close(su2_generators(l), e3nn_o3.su2_generators(l), **close)
    torch.testing.assert_close(so3_generators(l), e3nn_o3.so3_generators(l), **close)


@pytest.mark.parametrize("l", [0, 1, 2, 5, 32])
def test_algebra_and_casimir(l, float64):
    for X in (so3_generators(l), su2_generators(l)):
        for a, b, c in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
            torch.testing.assert_close(X[a] @ X[b] - X[b] @ X[a], X[c], atol=1e-11, rtol=0)
        eye = torch.eye(2 * l + 1).to(X.dtype)
        torch.testing.assert_close(-sum(x @ x for x in X), l * (l + 1) * eye, atol=1e-11, rtol=0)
    X, Q = so3_generators(l), change_basis_real_to_complex(l)
    assert torch.equal(X, -X.mT)
    torch.testing.assert_close(Q.conj().T @ Q, torch.eye(2 * l + 1).to(Q.dtype))


@pytest.mark.parametrize("l", [1, 3, 8])
def test_they_generate_the_wigner_matrices(l, generator, float64):
    vector = torch.randn(3, generator=generator)
    D = torch.matrix_exp((vector[:, None, None] * so3_generators(l)).sum(0))
    R = rotations.rotation_vector_to_matrix(vector)
    torch.testing.assert_close(wigner_D(l, R), D, atol=1e-12, rtol=0)


def test_types_and_negative_degree():
    assert so3_generators(2).dtype == torch.get_default_dtype()
    assert so3_generators(2, torch.float64).dtype == torch.float64
    assert su2_generators(2).dtype == torch.complex64
    assert su2_generators(2, torch.complex128).dtype == torch.complex128
    for function in (so3_generators, su2_generators, change_basis_real_to_complex):
        with pytest.raises(UserError, match="degree"):
            function(-1)
