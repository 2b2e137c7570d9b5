import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clebsch.errors import UserError
from clebsch.o3 import Irrep, Irreps, MulIr, rand_matrix, spherical_harmonics, to_e3nn

irrep = st.builds(Irrep, st.integers(0, 6), st.sampled_from([-1, 1]))
sums = st.lists(st.tuples(st.integers(0, 5), irrep), max_size=6).map(Irreps)


@given(sums)
def test_string_round_trip_hash_pickle(irreps):
    assert Irreps(str(irreps)) == irreps
    assert hash(Irreps(str(irreps))) == hash(irreps)
    for copied in (pickle.loads(pickle.dumps(irreps)), copy.deepcopy(irreps)):
        assert copied == irreps
        assert type(copied) is Irreps
        assert all(type(m) is MulIr and type(m.ir) is Irrep for m in copied)


@given(sums, sums)
def test_algebra(a, b):
    assert (a + b).dim == a.dim + b.dim
    assert (a * 3).dim == (3 * a).dim == 3 * a.dim
    assert ((a + a).regroup() // 2) == a.regroup()
    assert a.regroup().dim == a.dim
    assert [s.stop - s.start for s in a.slices()] == [m.dim for m in a]
    assert len(a.ls) == a.num_irreps
    assert a.filter(keep=b) + a.filter(drop=b) == Irreps(
        [m for m in a if m.ir in {ir for _, ir in b}]
        + [m for m in a if m.ir not in {ir for _, ir in b}]
    )


@given(sums)
def test_agrees_with_e3nn(irreps):
    o3 = pytest.importorskip("e3nn.o3")
    theirs = o3.Irreps(str(irreps))
    assert str(theirs) == str(irreps)
    assert (theirs.dim, theirs.num_irreps, theirs.ls) == (irreps.dim, irreps.num_irreps, irreps.ls)
    assert theirs.slices() == irreps.slices()
    ours_sorted, theirs_sorted = irreps.sort(), theirs.sort()
    assert str(theirs_sorted.irreps) == str(ours_sorted.irreps)
    assert (theirs_sorted.p, theirs_sorted.inv) == (ours_sorted.p, ours_sorted.inv)
    assert str(theirs.simplify()) == str(irreps.simplify())
    assert str(theirs.regroup()) == str(irreps.regroup())
    assert str(theirs * 2) == str(irreps * 2)
    for ir in ("0e", "1o", "2e"):
        assert theirs.count(ir) == irreps.count(ir)


def test_selection_rule_and_construction():
    assert list(Irrep("1o") * "2e") == [Irrep(1, -1), Irrep(2, -1), Irrep(3, -1)]
    assert Irreps("2e") == Irreps(Irrep("2e")) == Irreps(["2e"]) == Irreps([(1, (2, 1))])
    assert Irreps(MulIr(2, Irrep("1o"))) == Irreps("2x1o") == 2 * Irrep("1o")
    assert Irrep("1o") + Irrep("0e") == Irreps("1o + 0e")
    assert Irreps() == Irreps("") == Irreps([])
    assert Irreps.spherical_harmonics(2, p=1) == Irreps("0e + 1e + 2e")
    assert Irreps("2x0e + 1o")[1:] == Irreps("1o")
    assert isinstance(Irreps("2x0e + 1o")[1:], Irreps)
    assert "2e" not in Irreps("0x2e + 0e")
    assert Irreps("3x1e + 2x2e").filter(lmax=1) == Irreps("3x1e")
    assert Irreps("3x1e + 2x2e").filter(keep=lambda m: m.mul == 2) == Irreps("2x2e")
    assert not Irrep("0o").is_scalar()
    with pytest.raises(AttributeError):
        Irrep("0e").l = 2


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("64x0e + 32y1o", '"32y1o"'),
        ("64x0", '"64x0"'),
        ("-1x0e", '"-1x0e"'),
        ("2x", '"2x"'),
        ("0e + + 1o", '""'),
        ("1.5x0e", '"1.5x0e"'),
        ("two x 0e", '"two x 0e"'),
    ],
)
def test_malformed_string_is_named(text, names):
    with pytest.raises(UserError, match="can not be read as irreps") as caught:
        Irreps(text)
    message = str(caught.value)
    assert text in message
    assert names in message
    assert "\n" not in message


@pytest.mark.parametrize("bad", [3, [3], [(1, 2, 3)], [(-1, "0e")], [(1.0, "0e")]])
def test_malformed_list(bad):
    with pytest.raises(UserError):
        Irreps(bad)


@pytest.mark.parametrize("bad", ["1", "o", "1i", "-1o", (1, 2), (-1, 1), (1.0, 1), None])
def test_malformed_irrep(bad):
    with pytest.raises(UserError):
        Irrep(bad)


def test_empty_has_no_lmax():
    with pytest.raises(UserError, match="no largest l"):
        _ = Irreps("0x1o").lmax


def test_randn(generator):
    irreps = Irreps("3x0e + 2x1o")
    x = irreps.randn(20000, -1, generator=generator, dtype=torch.float64)
    assert x.shape == (20000, 9)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x.var(0), torch.ones(9).double(), atol=0.05, rtol=0)
    x = irreps.randn(5, -1, 4, normalization="norm", generator=generator)
    torch.testing.assert_close(x[:, :3].abs(), torch.ones(5, 3, 4))
    torch.testing.assert_close(x[:, 3:].reshape(5, 3, 2, 4).norm(dim=1), torch.ones(5, 2, 4))
    with pytest.raises(UserError, match="exactly one -1"):
        irreps.randn(5, 9)


def test_D_in_both_layouts(generator, e3nn_o3):
    irreps = Irreps("2x0o + 3x1o + 2x2o + 1e + 0x3e")
    R = -rand_matrix(4, generator=generator, dtype=torch.float64)
    R[:2] *= -1
    theirs = e3nn_o3.Irreps(str(irreps)).D_from_matrix(R)
    torch.testing.assert_close(irreps.D_from_matrix(R, "mul_ir"), theirs, atol=1e-12, rtol=0)
    x = irreps.randn(4, -1, generator=generator, dtype=torch.float64)
    turned = torch.einsum("nij,nj->ni", irreps.D_from_matrix(R), x)
    expected = torch.einsum("nij,nj->ni", theirs, to_e3nn(x, irreps))
    torch.testing.assert_close(to_e3nn(turned, irreps), expected, atol=1e-12, rtol=0)


def test_D_of_improper_turns_harmonics(generator):
    irreps = Irreps.spherical_harmonics(5)
    R = -rand_matrix(generator=generator, dtype=torch.float64)
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    turned = spherical_harmonics(irreps, x) @ irreps.D_from_matrix(R).mT
    torch.testing.assert_close(spherical_harmonics(irreps, x @ R.mT), turned, atol=1e-12, rtol=0)
