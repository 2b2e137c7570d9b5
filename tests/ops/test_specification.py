"""The specification: printing, keys, errors."""

import doctest

import pytest

from clebsch.o3 import Irreps
from clebsch.ops import Path, Specification, specification


def test_examples_run():
    assert doctest.testmod(specification).failed == 0


def test_key_round_trip_and_hash():
    spec = Specification.convolution("8x0e + 4x1o + 2x2e", "0e + 1o + 2e", "0e + 1o + 2e")
    again = Specification.from_key(spec.key)
    assert again == spec
    assert hash(again) == hash(spec)
    assert Specification.from_key(spec.key) is again


def test_natural_parity_path_counts():
    """11 paths at l <= 2 and 23 at l <= 3, the counts of the published NequIP settings."""
    for lmax, count in ((2, 11), (3, 23)):
        x = Irreps([(4, (l, (-1) ** l)) for l in range(lmax + 1)])
        assert len(Specification.convolution(x, Irreps.spherical_harmonics(lmax), x).paths) == count


def test_terms_are_the_symbol():
    spec = Specification.convolution("1o", "1o", "2e")
    (path,) = spec.paths
    symbol = spec.symbol(path)
    for term in spec.terms(path):
        assert symbol[term.i, term.j, term.k].item() == term.value
    assert sum(t.value**2 for t in spec.terms(path)) == pytest.approx(5.0)  # |3j| = 1, sqrt(2l+1)


@pytest.mark.parametrize(
    ("irreps", "path", "words"),
    [
        (("1o", "1o", "3e"), Path(0, 0, 0), "does not contain"),
        (("2x1o", "1o", "3x0e"), Path(0, 0, 0, "uvu"), "does not fit"),
        (("2x1o", "3x1o", "2x0e"), Path(0, 0, 0, "uuu"), "does not fit"),
    ],
)
def test_wrong_paths_are_refused(irreps, path, words):
    with pytest.raises(ValueError, match=words):
        Specification(*map(Irreps, irreps), (path,))


def test_elementwise_needs_equal_channels():
    with pytest.raises(ValueError, match="differ in their channels"):
        Specification.elementwise("2x0e", "3x0e")
