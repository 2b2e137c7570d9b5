"""The auxiliary basis: layout, JSON, refusals, PySCF's bases; and the map between orders."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from clebsch.density import AuxiliaryBasis, from_quantum_chemistry, to_quantum_chemistry_order
from clebsch.errors import UserError

TINY = AuxiliaryBasis("tiny", {1: ((2.0, 0.5), (1.0,)), 8: ((9.0, 3.0, 0.4), (1.5, 0.5), (0.7,))})


def test_layout() -> None:
    assert str(TINY.irreps(8)) == "3x0e+2x1o+1x2e"
    assert str(TINY.common_irreps()) == "3x0e+2x1o+1x2e"
    assert TINY.dim(1) == 5
    assert TINY.lmax == 2
    index = TINY.index([1, 8, 1])
    assert index[1].atoms.tolist() == [0, 2]
    assert index[1].coefficients.tolist() == [list(range(5)), list(range(19, 24))]
    assert index[8].coefficients.tolist() == [list(range(5, 19))]
    assert [b.inside for b in TINY.blocks(8)] == [slice(0, 3), slice(3, 9), slice(9, 14)]


def test_a_degree_may_be_absent() -> None:
    basis = AuxiliaryBasis("no p", {6: ((1.0,), (), (2.0, 1.0))})
    assert str(basis.irreps(6)) == "1x0e+2x2e"
    c = torch.arange(11.0, dtype=torch.float64)
    back = from_quantum_chemistry(to_quantum_chemistry_order(c, basis, [6]), basis, [6])
    torch.testing.assert_close(back, c, rtol=0, atol=1e-14)


def test_json_keeps_every_digit() -> None:
    basis = AuxiliaryBasis("thirds", {1: ((1 / 3, 0.1),), 92: ((1e7 / 3,), (np.pi,))})
    again = AuxiliaryBasis.from_json(basis.to_json())
    assert again == basis
    assert again.fingerprint() == basis.fingerprint()
    assert basis.fingerprint() != TINY.fingerprint()
    assert dataclasses.replace(TINY, name="other").fingerprint() == TINY.fingerprint()
    with pytest.raises(UserError, match="describes no auxiliary basis"):
        AuxiliaryBasis.from_json('{"name": "x"}')


@pytest.mark.parametrize(
    ("exponents", "message"),
    [
        ({}, "no element"),
        ({1: ((), (1.0,))}, "no s functions on H"),
        ({1: ((1.0, 2.0),)}, "falling"),
        ({1: ((1.0, 1.0),)}, "falling"),
        ({8: ((1.0,), (-1.0,))}, "l = 1 on O"),
        ({0: ((1.0,),)}, "no element 0"),
    ],
)
def test_wrong_bases_are_refused(exponents, message) -> None:
    with pytest.raises(UserError, match=message):
        AuxiliaryBasis("wrong", exponents)


def test_another_basis_is_refused() -> None:
    other = AuxiliaryBasis("other", {1: ((2.0, 0.6), (1.0,))})
    with pytest.raises(UserError, match=r"data\.h5: the coefficients on H are of .* other"):
        TINY.check_same(other, "data.h5")
    TINY.check_same(TINY.restricted([1]), "data.h5")
    with pytest.raises(UserError, match="C has no functions"):
        TINY.offsets([6])
    with pytest.raises(UserError, match=r"have 5 coefficients .* 4 are given"):
        from_quantum_chemistry(torch.zeros(4), TINY, [1])


@pytest.mark.parametrize("order", ["m", "pyscf"])
def test_orders_there_and_back(order) -> None:
    c = torch.randn(2, 19, dtype=torch.float64)
    there = to_quantum_chemistry_order(c, TINY, [8, 1], order)
    back = from_quantum_chemistry(there, TINY, [8, 1], order)
    torch.testing.assert_close(back, c, rtol=0, atol=1e-14)
    assert not torch.allclose(there, c)


def test_pyscf_bases() -> None:
    pytest.importorskip("pyscf")
    basis = AuxiliaryBasis.from_pyscf(["H", 8])
    assert str(basis.irreps(1)) == "5x0e+2x1o+1x2e"
    assert str(basis.irreps(8)) == "12x0e+5x1o+4x2e+2x3o+1x4e"
    # contracted there: each exponent counts once
    weigend = AuxiliaryBasis.from_pyscf([17], "weigend")
    assert all(len(set(row)) == len(row) for row in weigend.exponents[17])
    with pytest.raises(UserError, match="no auxiliary basis 'nonsense' for H"):
        AuxiliaryBasis.from_pyscf([1], "nonsense")
    with pytest.raises(UserError, match="no auxiliary basis 'def2-universal-jfit' for U"):
        AuxiliaryBasis.from_pyscf([92])
