import math
from itertools import permutations, product

import pytest
import torch

from clebsch.errors import UserError
from clebsch.o3 import Irrep, rand_matrix, rotations, so3_generators, wigner_3j, wigner_D
from clebsch.o3.wigner import wigner_D_up_to


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


def special_vectors():
    """The identity, half and quarter turns, tiny turns and all but half turns, about many axes."""
    axes = torch.cat([torch.eye(3), torch.ones(1, 3), torch.tensor([[1.0, -2, 0.5]])]).double()
    sizes = [0, math.pi, math.pi / 2, 3, 0.1, 1e-3, 1e-6, 1e-10, math.pi - 1e-7]
    axes = axes / axes.norm(dim=-1, keepdim=True)
    return (torch.tensor(sizes, dtype=torch.float64)[:, None, None] * axes).flatten(0, 1)


def special_rotations():
    return rotations.rotation_vector_to_matrix(special_vectors())


@pytest.mark.parametrize("n", [200, 300])  # by PyTorch, by the kernel
def test_every_degree_to_32_is_orthogonal_to_1e_12(n, generator):
    random = rand_matrix(n - 45, generator=generator, dtype=torch.float64)
    D = wigner_D_up_to(32, torch.cat([special_rotations(), random]))
    for l, matrices in enumerate(D):
        eye = torch.eye(2 * l + 1, dtype=torch.float64)
        assert (matrices @ matrices.mT - eye).abs().max() < 1e-12, l
        assert (matrices[0] - eye).abs().max() < 1e-13, l


@pytest.mark.parametrize("l", [2, 8, 16, 32])
def test_D_agrees_with_the_matrix_exponential(l, generator, float64):
    vectors = torch.cat([special_vectors(), torch.randn(5, 3, generator=generator)])
    exponent = torch.einsum("na,aij->nij", vectors, so3_generators(l))
    D = wigner_D(l, rotations.rotation_vector_to_matrix(vectors))
    torch.testing.assert_close(D, torch.matrix_exp(exponent), atol=1e-12, rtol=0)


def test_D_at_special_rotations_agrees_with_e3nn(e3nn_o3):
    exact = special_rotations()[:25]  # e3nn's arc cosine loses the smaller angles
    for R in (exact, -exact):
        for ir in ("1o", "2e", "5o", "8e"):
            theirs = e3nn_o3.Irrep(ir).D_from_matrix(R)
            torch.testing.assert_close(Irrep(ir).D_from_matrix(R), theirs, atol=1e-10, rtol=0)


def test_float32_matrices_are_orthogonal_to_float32(generator):
    R = rand_matrix(50, generator=generator)
    for l, D in enumerate(wigner_D_up_to(12, R)):
        assert (D @ D.mT - torch.eye(2 * l + 1)).abs().max() < 1e-5, l


def test_derivatives_along_the_group_at_special_rotations():
    """First and second, where quaternions and angles have their seams."""
    turns = special_rotations()[[0, 5, 6, 8, 11]]
    vector = torch.zeros(len(turns), 3, dtype=torch.float64, requires_grad=True)

    def f(vector):
        return wigner_D(4, rotations.rotation_vector_to_matrix(vector) @ turns)

    assert torch.autograd.gradcheck(f, vector)
    assert torch.autograd.gradgradcheck(f, vector, fast_mode=True)


def test_gradient_at_the_identity_is_the_generator(float64):
    for l in (1, 3, 8):
        J = torch.autograd.functional.jacobian(
            lambda v, l=l: wigner_D(l, rotations.rotation_vector_to_matrix(v)), torch.zeros(3)
        )
        torch.testing.assert_close(J.permute(2, 0, 1), so3_generators(l), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, in jacfwd
def test_vmap_forward_mode_export_and_compile(generator, float64):
    R = rand_matrix(4, 3, generator=generator)
    expected = wigner_D(3, R)
    torch.testing.assert_close(torch.func.vmap(lambda R: wigner_D(3, R))(R), expected)
    forward = torch.func.vmap(torch.func.jacfwd(lambda R: wigner_D(3, R)))(R[:, 0])
    backward = torch.func.vmap(torch.func.jacrev(lambda R: wigner_D(3, R)))(R[:, 0])
    torch.testing.assert_close(forward, backward)
    compiled = torch.compile(lambda R: wigner_D(3, R), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(R), expected)

    class Module(torch.nn.Module):
        def forward(self, R):
            return wigner_D(3, R)

    batch = torch.export.Dim("batch")
    exported = torch.export.export(Module(), (R,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(R[:2]), expected[:2])


def test_D_refuses_what_is_no_matrix():
    with pytest.raises(UserError, match="3, 3"):
        wigner_D(1, torch.zeros(4))


@pytest.mark.parametrize("t", [(32, 32, 32), (32, 31, 2), (20, 32, 12), (17, 9, 26)])
def test_3j_orthogonality_at_high_degree(t):
    C = wigner_3j(*t, dtype=torch.float64)
    for axis, l in enumerate(t):
        rows = (2 * l + 1) * C.movedim(axis, 0).flatten(1) @ C.movedim(axis, 0).flatten(1).mT
        torch.testing.assert_close(rows, torch.eye(2 * l + 1).double(), atol=1e-13, rtol=0)


def test_3j_of_permuted_degrees(e3nn_o3):
    """Only ascending degrees are computed, so every permutation is compared with the oracle."""
    for t in [(2, 3, 4), (1, 4, 4), (3, 5, 7), (6, 6, 1)]:
        for order in permutations(t):
            torch.testing.assert_close(
                wigner_3j(*order), e3nn_o3.wigner_3j(*order), atol=1e-14, rtol=0
            )
