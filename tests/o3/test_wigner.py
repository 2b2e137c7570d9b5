import math
from itertools import product

import pytest
import torch

from clebsch.errors import UserError
from clebsch.o3 import Irrep, rand_matrix, wigner_3j, wigner_D


def triples(lmax):
    for a, b, c in product(range(lmax + 1), repeat=3):
        if abs(a - b) <= c <= a + b:
            yield a, b, c


def test_3j_agree_with_e3nn_to_l_8(e3nn_o3):
    for t in triples(8):
        ours, theirs = wigner_3j(*t, dtype=torch.float64), e3nn_o3.wigner_3j(*t)
        torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=0, msg=str(t))
        assert torch.equal(ours != 0, theirs.abs() > 1e-12), t


@pytest.mark.parametrize("t", [(1, 1, 1), (2, 3, 4), (5, 5, 5), (8, 7, 6), (12, 10, 7)])
def test_3j_are_invariant(t, generator):
    R = rand_matrix(generator=generator, dtype=torch.float64)
    C = wigner_3j(*t, dtype=torch.float64)
    turned = torch.einsum("ijk,ai,bj,ck->abc", C, *(wigner_D(l, R) for l in t))
    torch.testing.assert_close(turned, C, atol=1e-13, rtol=0)
    assert C.norm().item() == pytest.approx(1, abs=1e-14)


def test_3j_at_high_degree_are_exactly_orthogonal():
    C = wigner_3j(32, 30, 16, dtype=torch.float64).flatten(0, 1)
    eye = torch.eye(33, dtype=torch.float64)
    torch.testing.assert_close(33 * C.mT @ C, eye, atol=1e-14, rtol=0)


def test_3j_are_copies_in_the_asked_dtype():
    C = wigner_3j(1, 1, 1)
    assert C.dtype == torch.get_default_dtype()
    C.zero_()
    assert wigner_3j(1, 1, 1, dtype=torch.float64).norm().item() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("t", [(1, 1, 3), (0, 1, 0), (-1, 0, 1)])
def test_3j_triangle_rule(t):
    with pytest.raises(UserError, match="no 3j symbol"):
        wigner_3j(*t)


@pytest.mark.parametrize("l", range(9))
def test_D_agrees_with_e3nn(l, generator, e3nn_o3):
    R = rand_matrix(3, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        wigner_D(l, R), e3nn_o3.Irrep(l, 1).D_from_matrix(R), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("l", [0, 1, 2, 8, 32])
def test_D_is_an_orthogonal_representation(l, generator):
    R, S = rand_matrix(2, 5, generator=generator, dtype=torch.float64)
    eye = torch.eye(2 * l + 1, dtype=torch.float64).expand(5, -1, -1)
    torch.testing.assert_close(wigner_D(l, R) @ wigner_D(l, R).mT, eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        wigner_D(l, R @ S), wigner_D(l, R) @ wigner_D(l, S), atol=1e-12, rtol=0
    )
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(wigner_D(l, identity), eye[0], atol=1e-13, rtol=0)


def test_D_of_reflection_is_that_of_the_proper_rotation(generator):
    R = rand_matrix(3, generator=generator, dtype=torch.float64)
    assert torch.equal(wigner_D(3, -R), wigner_D(3, R))
    torch.testing.assert_close(Irrep("1o").D_from_matrix(-R), -R)
    torch.testing.assert_close(Irrep("1e").D_from_matrix(-R), R)
    torch.testing.assert_close(Irrep("0o").D_from_matrix(-R), -torch.ones(3, 1, 1).double())


def test_D_gradients_at_the_identity_and_elsewhere(generator):
    eye = torch.eye(3, dtype=torch.float64)
    R = torch.cat([eye[None], rand_matrix(2, generator=generator, dtype=torch.float64)])
    R.requires_grad_()
    for l in (0, 1, 3):
        assert torch.autograd.gradcheck(lambda R, l=l: wigner_D(l, R), R)
    assert torch.autograd.gradgradcheck(lambda R: wigner_D(2, R), R)


def test_D_in_float32_and_empty(generator):
    R = rand_matrix(4, generator=generator, dtype=torch.float64)
    error = wigner_D(6, R.float()) - wigner_D(6, R)
    assert error.abs().max() < 3e-6
    assert wigner_D(4, torch.empty(0, 3, 3)).shape == (0, 9, 9)
    with pytest.raises(UserError, match="negative"):
        wigner_D(-1, R)


def test_D_about_the_polar_axis_mixes_only_plus_and_minus_m():
    angle, l = 0.7, 3
    R = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]],
        dtype=torch.float64,
    )
    m = torch.arange(-l, l + 1)
    mixes = m[:, None].abs() == m.abs()
    D = wigner_D(l, R)
    assert D[~mixes].abs().max() < 1e-14
    torch.testing.assert_close(D.diagonal(), torch.cos(m.double() * angle), atol=1e-14, rtol=0)
