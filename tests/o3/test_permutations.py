"""Permutations against e3nn's, and the group axioms."""

import itertools

import numpy as np
import pytest
import torch

from clebsch.o3 import permutations
from clebsch.o3.permutations import closure, compose, inverse, signed_closure

S4 = sorted(permutations.symmetric_group(4))


def test_agrees_with_e3nn(e3nn_o3):
    perm = pytest.importorskip("e3nn.math.perm")
    assert permutations.symmetric_group(4) == perm.group(4)
    assert permutations.identity(5) == perm.identity(5)
    for number, p in enumerate(perm.from_int(i, 4) for i in range(24)):
        assert permutations.from_number(number, 4) == p
        assert permutations.to_number(p) == perm.to_int(p) == number
        assert permutations.inverse(p) == perm.inverse(p)
        assert permutations.cycles(p) == perm.to_cycles(p)
        assert permutations.sign(p) == perm.sign(p)
        assert permutations.is_permutation(p)
        for ours, theirs in [
            (permutations.permutation_matrix, perm.natural_representation),
            (permutations.standard_representation, perm.standard_representation),
        ]:
            torch.testing.assert_close(torch.from_numpy(ours(p)), theirs(p), atol=1e-10, rtol=0)
    for p, q in itertools.product(S4[:6], S4):
        assert compose(p, q) == perm.compose(p, q)
    for generators in ({(1, 2, 0, 3)}, {(1, 0, 2, 3), (0, 1, 3, 2)}, {(1, 0, 2, 3), (1, 2, 3, 0)}):
        group = closure(generators)
        assert group == perm.germinate(generators)
        assert permutations.is_group(group)
        assert perm.is_group(group)
        assert not permutations.is_group(generators)


@pytest.mark.parametrize("matrix", ["permutation_matrix", "standard_representation"])
def test_matrices_are_orthogonal_representations(matrix):
    D = getattr(permutations, matrix)
    for p, q in itertools.product(S4, S4):
        np.testing.assert_allclose(D(compose(p, q)), D(p) @ D(q), atol=1e-14)
    for p in S4:
        np.testing.assert_allclose(D(inverse(p)), D(p).T, atol=1e-14)
        assert round(np.linalg.det(D(p))) == permutations.sign(p)


def test_standard_representation_is_irreducible():
    characters = [np.trace(permutations.standard_representation(p)) for p in S4]
    assert np.mean(np.square(characters)) == pytest.approx(1)


def test_signs_multiply():
    signs = signed_closure([(-1, (1, 0, 2, 3)), (-1, (1, 2, 3, 0))])
    assert signs == {p: permutations.sign(p) for p in S4}


def test_random_permutations_are_uniform_and_repeatable():
    draws = [permutations.random_permutation(3, np.random.default_rng(i)) for i in range(300)]
    assert len(set(draws)) == 6
    assert min(draws.count(p) for p in set(draws)) > 20
    assert draws[0] == permutations.random_permutation(3, np.random.default_rng(0))
    assert permutations.is_permutation(permutations.random_permutation(6))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: compose((0, 0), (0, 1)), "not a permutation"),
        (lambda: compose((0, 1), (0, 1, 2)), "equally many"),
        (lambda: permutations.from_number(6, 3), "no permutation number 6 of 3"),
        (lambda: closure([]), "at least one generator"),
        (lambda: closure([(0, 1), (0, 2)]), "not a permutation"),
        (lambda: signed_closure([(-1, (1, 2, 0))]), "sign \\+1 and the sign -1"),
    ],
)
def test_wrong_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
