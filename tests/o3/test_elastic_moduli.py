"""Elastic averages: isotropic and cubic crystals in closed form, rotations, bounds, sentences."""

import math

import pytest
import torch

from clebsch.o3 import elastic_averages, rand_matrix
from clebsch.o3.voigt import COMPLIANCE, STIFFNESS


def cubic(c11, c12, c44):
    C = torch.zeros(6, 6, dtype=torch.float64)
    C[:3, :3] = c12
    C.diagonal()[:3], C.diagonal()[3:] = c11, c44
    return C


def random_stiffness(*lead):
    A = torch.randn(*lead, 6, 6, dtype=torch.float64)
    return A @ A.mT + torch.eye(6, dtype=torch.float64)


def test_isotropic_solids_have_one_answer():
    bulk, shear = 70.0, 26.0
    averages = elastic_averages(cubic(bulk + 4 / 3 * shear, bulk - 2 / 3 * shear, shear))
    for moduli in averages:
        assert [float(m) for m in moduli] == pytest.approx([bulk, shear])
        assert float(moduli.young) == pytest.approx(9 * bulk * shear / (3 * bulk + shear))
        assert float(moduli.poisson) == pytest.approx(float(moduli.young) / (2 * shear) - 1)
    assert float(averages.anisotropy) == pytest.approx(0, abs=1e-12)


def test_cubic_crystals_in_closed_form():
    c11, c12, c44 = 168.3, 122.1, 75.7  # copper, GPa
    voigt, reuss, hill = elastic_averages(cubic(c11, c12, c44))
    bulk = (c11 + 2 * c12) / 3
    assert [float(m.bulk) for m in (voigt, reuss, hill)] == pytest.approx([bulk] * 3)
    upper = (c11 - c12 + 3 * c44) / 5
    lower = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    expected = [upper, lower, (upper + lower) / 2]
    assert [float(m.shear) for m in (voigt, reuss, hill)] == pytest.approx(expected)


def test_invariants_of_the_tensors():
    C = random_stiffness(4)
    voigt, reuss, _ = elastic_averages(C)
    c, s = STIFFNESS.to_tensor(C), COMPLIANCE.to_tensor(torch.linalg.inv(C))
    iijj, ijij = (torch.einsum(f"n{i}->n", c) for i in ("iijj", "ijij"))
    torch.testing.assert_close(voigt.bulk, iijj / 9)
    torch.testing.assert_close(voigt.shear, (3 * ijij - iijj) / 30)
    iijj, ijij = (torch.einsum(f"n{i}->n", s) for i in ("iijj", "ijij"))
    torch.testing.assert_close(reuss.bulk, 1 / iijj)
    torch.testing.assert_close(reuss.shear, 15 / (6 * ijij - 2 * iijj))


def test_rotations_do_not_matter_and_reuss_is_below_voigt():
    C = random_stiffness(20)
    averages = elastic_averages(C)
    turned = elastic_averages(STIFFNESS.rotate(C, rand_matrix(20, dtype=torch.float64)))
    for before, after in zip(averages, turned, strict=True):
        torch.testing.assert_close(before.bulk, after.bulk)
        torch.testing.assert_close(before.shear, after.shear)
    assert (averages.reuss.bulk <= averages.voigt.bulk).all()
    assert (averages.reuss.shear <= averages.voigt.shear).all()
    assert (averages.anisotropy >= 0).all()


def test_single_precision_and_gradients():
    C = cubic(168.3, 122.1, 75.7)
    assert float(elastic_averages(C.float()).hill.shear) == pytest.approx(
        float(elastic_averages(C).hill.shear), rel=1e-5
    )
    assert torch.autograd.gradcheck(
        lambda C: elastic_averages(C).hill, random_stiffness().requires_grad_()
    )


@pytest.mark.parametrize(
    ("C", "sentence"),
    [
        (torch.ones(3, 3), r"stiffness: the shape must be \(..., 6, 6\), not \(3, 3\)"),
        (torch.ones(6, 6), "singular or not finite"),
        (torch.full((6, 6), math.nan), "singular or not finite"),
        (torch.eye(6).int(), "floating point"),
    ],
)
def test_wrong_input_is_named(C, sentence):
    with pytest.raises(ValueError, match=sentence):
        elastic_averages(C)
