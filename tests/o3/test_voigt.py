"""Voigt and Mandel matrices: against physics, ASE, the tensors themselves, Bond's matrices."""

import math

import pytest
import torch
from ase.stress import full_3x3_to_voigt_6_strain, full_3x3_to_voigt_6_stress

from clebsch.o3 import CartesianTensor, rand_matrix, voigt
from clebsch.o3.voigt import (
    COMPLIANCE,
    MANDEL,
    MANDEL_MATRIX,
    MANDEL_RANK_3,
    PIEZO_OPTIC,
    PIEZOELECTRIC_STRAIN,
    PIEZOELECTRIC_STRESS,
    SECOND_HARMONIC,
    STIFFNESS,
    STRAIN,
    STRESS,
    VoigtForm,
    bond_matrix,
)

FORMS = [value for value in vars(voigt).values() if isinstance(value, VoigtForm)]
SYMMETRY = {
    (1.0,): "ij=ji",
    (None, 1.0): "ijk=ikj",
    (1.0, 1.0): "ijkl=jikl=ijlk",
}
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def cartesian(form):
    return CartesianTensor(SYMMETRY[tuple(f and 1.0 for f in form.shear)])


def random_tensor(form, *lead, dtype=torch.float64):
    return cartesian(form).to_cartesian(torch.randn(*lead, cartesian(form).dim, dtype=dtype))


@pytest.fixture
def stiffness():
    """A stable crystal without symmetry, (3, 3, 3, 3)."""
    A = torch.randn(6, 6, dtype=torch.float64)
    return STIFFNESS.to_tensor(A @ A.T + torch.eye(6, dtype=torch.float64))


@pytest.fixture
def strain():
    return random_tensor(STRAIN)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_there_and_back(form):
    for lead in [(), (4,), (2, 0), (2, 3)]:
        t = random_tensor(form, *lead)
        matrix = form.from_tensor(t)
        assert matrix.shape == (*lead, *form.shape)
        torch.testing.assert_close(form.to_tensor(matrix), t)


def test_order_and_factors_are_those_of_ase():
    t = random_tensor(STRESS)
    for form, ase in [(STRESS, full_3x3_to_voigt_6_stress), (STRAIN, full_3x3_to_voigt_6_strain)]:
        factor = torch.from_numpy(ase((t if form is STRESS else torch.eye(3) + t).numpy()))
        torch.testing.assert_close(form.from_tensor(t), factor)


def test_order_of_each_component():
    letters = {"xx": 0, "yy": 1, "zz": 2, "yz": 3, "xz": 4, "xy": 5}
    for pair, place in letters.items():
        i, j = ("xyz".index(c) for c in pair)
        for form, factor in [(STRESS, 1), (STRAIN, 2), (MANDEL, math.sqrt(2))]:
            t = torch.zeros(3, 3, dtype=torch.float64)
            t[i, j] = t[j, i] = 1.0
            expected = torch.zeros(6, dtype=torch.float64)
            expected[place] = 1.0 if i == j else factor
            torch.testing.assert_close(form.from_tensor(t), expected, atol=0, rtol=0)


def test_stress_is_stiffness_times_engineering_strain(stiffness, strain):
    stress = torch.einsum("ijkl,kl->ij", stiffness, strain)
    C, eps = STIFFNESS.from_tensor(stiffness), STRAIN.from_tensor(strain)
    torch.testing.assert_close(STRESS.from_tensor(stress), C @ eps)
    energy = torch.einsum("ij,ijkl,kl->", strain, stiffness, strain) / 2
    torch.testing.assert_close(eps @ C @ eps / 2, energy)
    torch.testing.assert_close(STRESS.from_tensor(stress) @ eps / 2, energy)


def test_compliance_is_the_inverse_in_every_form(stiffness, strain):
    S = torch.linalg.inv(STIFFNESS.from_tensor(stiffness))
    tensor = COMPLIANCE.to_tensor(S)
    stress = torch.einsum("ijkl,kl->ij", stiffness, strain)
    torch.testing.assert_close(torch.einsum("ijkl,kl->ij", tensor, stress), strain)
    mandel = torch.linalg.inv(MANDEL_MATRIX.from_tensor(stiffness))
    torch.testing.assert_close(MANDEL_MATRIX.to_tensor(mandel), tensor)
    torch.testing.assert_close(S[3, 3], 4 * tensor[1, 2, 1, 2])
    torch.testing.assert_close(S[0, 3], 2 * tensor[0, 0, 1, 2])
    torch.testing.assert_close(S[0, 1], tensor[0, 0, 1, 1])


def test_mandel_is_an_isometry(stiffness, strain):
    torch.testing.assert_close(MANDEL.from_tensor(strain).norm(), strain.norm())
    C = MANDEL_MATRIX.from_tensor(stiffness)
    torch.testing.assert_close(C.norm(), stiffness.norm())
    stress = torch.einsum("ijkl,kl->ij", stiffness, strain)
    torch.testing.assert_close(MANDEL.from_tensor(stress), C @ MANDEL.from_tensor(strain))
    R = rand_matrix(dtype=torch.float64)
    M = bond_matrix(R, math.sqrt(2))
    torch.testing.assert_close(M @ M.T, torch.eye(6, dtype=torch.float64))
    turned = MANDEL_MATRIX.rotate(C, R)
    torch.testing.assert_close(torch.linalg.eigvalsh(turned), torch.linalg.eigvalsh(C))


def test_piezoelectric_polarisation_from_strain_and_from_stress(stiffness, strain):
    e = random_tensor(PIEZOELECTRIC_STRESS)
    polarisation = torch.einsum("ijk,jk->i", e, strain)
    eps = STRAIN.from_tensor(strain)
    torch.testing.assert_close(PIEZOELECTRIC_STRESS.from_tensor(e) @ eps, polarisation)
    # d = e S, in matrices and in tensors
    C = STIFFNESS.from_tensor(stiffness)
    d = PIEZOELECTRIC_STRESS.from_tensor(e) @ torch.linalg.inv(C)
    stress = torch.einsum("ijkl,kl->ij", stiffness, strain)
    tensor = PIEZOELECTRIC_STRAIN.to_tensor(d)
    torch.testing.assert_close(torch.einsum("ijk,jk->i", tensor, stress), polarisation)
    field = torch.randn(3, dtype=torch.float64)
    converse = torch.einsum("ijk,i->jk", tensor, field)
    torch.testing.assert_close(STRAIN.from_tensor(converse), field @ d)
    mandel = MANDEL_RANK_3.from_tensor(e)
    torch.testing.assert_close(mandel @ MANDEL.from_tensor(strain), polarisation)


def test_second_harmonic_with_products_of_fields():
    chi, E = random_tensor(SECOND_HARMONIC), torch.randn(3, dtype=torch.float64)
    x, y, z = E
    products = torch.stack([x * x, y * y, z * z, 2 * y * z, 2 * x * z, 2 * x * y])
    expected = torch.einsum("ijk,j,k->i", chi, E, E)
    torch.testing.assert_close(SECOND_HARMONIC.from_tensor(chi) @ products, expected)


def test_photoelastic_and_piezo_optic_agree(stiffness, strain):
    p = random_tensor(voigt.PHOTOELASTIC)
    expected = STRESS.from_tensor(torch.einsum("ijkl,kl->ij", p, strain))
    torch.testing.assert_close(
        voigt.PHOTOELASTIC.from_tensor(p) @ STRAIN.from_tensor(strain), expected
    )
    stress = torch.einsum("ijkl,kl->ij", stiffness, strain)
    S = COMPLIANCE.to_tensor(torch.linalg.inv(STIFFNESS.from_tensor(stiffness)))
    pi = PIEZO_OPTIC.from_tensor(torch.einsum("ijmn,mnkl->ijkl", p, S))
    torch.testing.assert_close(pi @ STRESS.from_tensor(stress), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_rotating_the_matrix_is_rotating_the_tensor(form, dtype):
    t = random_tensor(form, 5, dtype=dtype)
    R = rand_matrix(5, dtype=dtype)
    for Q in (R, -R):
        expected = form.from_tensor(cartesian(form).rotate(t, Q))
        turned = form.rotate(form.from_tensor(t), Q)
        options = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
        torch.testing.assert_close(turned, expected, **options)


def test_bond_matrix_is_the_one_in_print():
    """Auld (1973), eq. 3.32: M about z by the angle a (his rotation of axes is ours by -a)."""
    a = 0.3
    c, s, c2, s2 = math.cos(a), math.sin(a), math.cos(2 * a), math.sin(2 * a)
    R = torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=torch.float64)
    expected = torch.tensor(
        [
            [c * c, s * s, 0, 0, 0, s2],
            [s * s, c * c, 0, 0, 0, -s2],
            [0, 0, 1, 0, 0, 0],
            [0, 0, 0, c, -s, 0],
            [0, 0, 0, s, c, 0],
            [-s2 / 2, s2 / 2, 0, 0, 0, c2],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(bond_matrix(R), expected)
    torch.testing.assert_close(bond_matrix(R, 2.0), torch.linalg.inv(expected).T)


def test_unequal_components_are_averaged_and_missing_ones_stay_where_they_are():
    t = torch.arange(9.0).reshape(3, 3)
    torch.testing.assert_close(STRESS.from_tensor(t), STRESS.from_tensor((t + t.T) / 2))
    t[0, 0] = math.nan
    assert STRESS.from_tensor(t).isnan().tolist() == [True] + [False] * 5
    assert STRESS.to_tensor(STRESS.from_tensor(t)).isnan().sum() == 1


def test_gradients():
    t = random_tensor(COMPLIANCE).requires_grad_()
    assert torch.autograd.gradcheck(COMPLIANCE.from_tensor, t)
    assert torch.autograd.gradcheck(COMPLIANCE.to_tensor, COMPLIANCE.from_tensor(t))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: STRESS.from_tensor(torch.ones(6)), r"stress: the shape must be \(..., 3, 3\)"),
        (lambda: STIFFNESS.from_tensor(torch.ones(6, 6)), r"\(..., 3, 3, 3, 3\), not \(6, 6\)"),
        (lambda: STIFFNESS.to_tensor(torch.ones(4, 6)), r"stiffness.*\(..., 6, 6\), not \(4, 6\)"),
        (lambda: PIEZOELECTRIC_STRAIN.to_tensor(torch.ones(6, 3)), r"\(..., 3, 6\), not \(6, 3\)"),
        (lambda: STRAIN.to_tensor(torch.ones(6).int()), "strain: floating point"),
        (lambda: STRAIN.rotate(torch.ones(5), torch.eye(3)), r"not \(5,\)"),
    ],
)
def test_wrong_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
