"""Index formulas: parsing, groups, independent components, sentences."""

import numpy as np
import pytest

from clebsch.o3.index_formula import IndexFormula

FORMULAS = [
    "i",
    "ij",
    "ij=ji",
    "ij=-ji",
    "ijk=jki",
    "ijk=-jik=-ikj",
    "ijkl=jikl=ijlk=klij",
    "ijkl=-jikl=-ijlk=klij",
    "ijkl=jkli",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_group_and_basis_agree_with_e3nn(e3nn_o3, formula):
    math = pytest.importorskip("e3nn.math")
    letters, theirs = math.germinate_formulas(formula)
    ours = IndexFormula(formula)
    assert ours.letters == letters
    assert {(s, p) for p, s in ours.signs.items()} == theirs
    dims = dict.fromkeys(letters, 3)
    Q = ours.basis(**dims).reshape(-1, 3 ** len(letters))
    expected = math.reduce_permutation(letters, theirs, **dims)[0].flatten(1).numpy()
    assert Q.shape == expected.shape
    np.testing.assert_allclose(Q @ Q.T, np.eye(len(Q)), atol=1e-14)
    np.testing.assert_allclose(Q.T @ Q, expected.T @ expected, atol=1e-10)


@pytest.mark.parametrize(
    ("formula", "components"),
    [
        ("ij=ji", 6),
        ("ij=-ji", 3),
        ("ijk=ikj", 18),
        ("ijk=jik=ikj", 10),
        ("ijkl=jikl=ijlk=klij", 21),
        ("ijkl=jikl=ijlk", 36),
        ("ijkl=-jikl=-ijlk=klij", 6),  # the curvature tensor, without Bianchi's identity
        ("ijklmn=jiklmn=ijlkmn=ijklnm=klijmn=ijmnkl", 56),  # third-order elastic constants
    ],
)
def test_numbers_of_independent_components_are_the_textbook_ones(formula, components):
    symmetry = IndexFormula(formula)
    assert len(symmetry.basis(**dict.fromkeys(symmetry.letters, 3))) == components


def test_axes_of_different_lengths():
    Q = IndexFormula("ijk=ikj").basis(i=2, j=3)
    assert Q.shape == (12, 2, 3, 3)
    np.testing.assert_array_equal(Q, Q.swapaxes(2, 3))


def test_a_sign_before_the_first_term_is_relative():
    assert IndexFormula("-ij=ji").signs == IndexFormula("ij=-ji").signs


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("", "not a row of index letters"),
        ("ij=j1", '"j1" is not a row of index letters'),
        ("ij=", '"" is not a row'),
        ("ij=--ji", "not a row"),
        ("iij=jii", 'an index is repeated in "iij"'),
        ("ij=jk", '"jk" is not a permutation of "ij"'),
        ("ij=jik", '"jik" is not a permutation of "ij"'),
        ("ij=-ij", "signs contradict each other"),
        ("ijk=-jki", "signs contradict each other"),
        ("ijk=jik=-ikj", "only the zero tensor is left"),
    ],
)
def test_a_wrong_formula_is_named(formula, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        IndexFormula(formula)
    assert f'"{formula}"' in str(caught.value)


@pytest.mark.parametrize(
    ("dims", "sentence"),
    [
        ({"i": 3, "k": 3, "z": 2}, 'no index "z"'),
        ({"i": 3}, 'no dimension is given for the index "j"'),
        (
            {"i": 3, "j": 3, "k": 2},
            "exchanges j and k, but the dimension of one is 3 and of the other 2",
        ),
    ],
)
def test_wrong_dimensions_are_named(dims, sentence):
    with pytest.raises(ValueError, match=sentence):
        IndexFormula("ijk=ikj").basis(**dims)
