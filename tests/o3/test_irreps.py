import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clebsch.errors import UserError
from clebsch.o3 import (
    Irrep,
    Irreps,
    MulIr,
    rand_matrix,
    rotations,
    spherical_harmonics,
    to_e3nn,
)
from clebsch.o3 import irrep as irrep_names

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


# ---- D of every description, and features turned


MIXED = "2x0o + 3x1o + 2x2o + 1e + 0x3e + 0e"


@pytest.mark.parametrize("text", ["0o", "1o", "1e", "3e", "6o"])
def test_D_of_one_irrep_agrees_with_e3nn(text, generator, e3nn_o3):
    ours, theirs = Irrep(text), e3nn_o3.Irrep(text)
    close = {"atol": 1e-10, "rtol": 0}
    angles = rotations.rand_angles(5, generator=generator)
    k = torch.arange(5)
    q, axis_angle = rotations.angles_to_quaternion(*angles), rotations.angles_to_axis_angle(*angles)
    expected = theirs.D_from_angles(*angles, k)
    torch.testing.assert_close(ours.D_from_angles(*angles, k), expected, **close)
    torch.testing.assert_close(ours.D_from_quaternion(q, k), expected, **close)
    torch.testing.assert_close(ours.D_from_quaternion(-2 * q, k), expected, **close)
    expected = theirs.D_from_angles(*angles)
    torch.testing.assert_close(ours.D_from_angles(*angles), expected, **close)
    torch.testing.assert_close(ours.D_from_axis_angle(*axis_angle), expected, **close)
    torch.testing.assert_close(
        ours.D_from_matrix(rotations.angles_to_matrix(*angles)), expected, **close
    )


def test_D_of_a_whole_sum_agrees_with_e3nn(generator, e3nn_o3):
    ours, theirs = Irreps(MIXED), e3nn_o3.Irreps(MIXED)
    close = {"atol": 1e-10, "rtol": 0}
    angles = rotations.rand_angles(2, 3, generator=generator)
    k = torch.tensor([0, 1, 1])
    q, axis_angle = rotations.angles_to_quaternion(*angles), rotations.angles_to_axis_angle(*angles)
    expected = theirs.D_from_angles(*angles, k)
    torch.testing.assert_close(ours.D_from_angles(*angles, k, "mul_ir"), expected, **close)
    torch.testing.assert_close(ours.D_from_quaternion(q, k, "mul_ir"), expected, **close)
    expected = theirs.D_from_axis_angle(*axis_angle)
    torch.testing.assert_close(ours.D_from_axis_angle(*axis_angle, "mul_ir"), expected, **close)
    single = ours.D_from_quaternion(q.float())
    assert single.dtype == torch.float32
    assert (single - ours.D_from_quaternion(q)).abs().max() < 2e-6


@pytest.mark.parametrize("layout", ["ir_mul", "mul_ir"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_rotate_is_D_times_features(layout, dtype, tolerance, generator):
    irreps = Irreps(MIXED)
    R = rand_matrix(2, 1, generator=generator, dtype=dtype)
    R[1] *= -1
    x = irreps.randn(4, -1, generator=generator, dtype=dtype)
    expected = (irreps.D_from_matrix(R, layout) @ x[..., None])[..., 0]
    turned = irreps.rotate(x, R, layout)
    assert turned.shape == (2, 4, irreps.dim)
    torch.testing.assert_close(turned, expected, atol=tolerance, rtol=0)
    torch.testing.assert_close(irreps.rotate(x[0], R[1, 0], layout), expected[1, 0])
    assert irreps.rotate(x[:0], R[0, 0]).shape == (0, irreps.dim)
    assert Irreps().rotate(x[:, :0], R[0, 0]).shape == (4, 0)


def test_rotate_has_the_gradients_of_D(generator):
    irreps = Irreps("2x0o + 2x1o + 2e")
    x = irreps.randn(3, -1, generator=generator, dtype=torch.float64).requires_grad_()
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)  # the identity

    def f(x, vector):
        return irreps.rotate(x, rotations.rotation_vector_to_matrix(vector))

    def dense(vector):
        return irreps.D_from_matrix(rotations.rotation_vector_to_matrix(vector))

    assert torch.autograd.gradcheck(f, (x, vector))
    assert torch.autograd.gradcheck(dense, vector)
    assert torch.autograd.gradgradcheck(dense, vector, fast_mode=True)


def test_rotate_refuses_a_wrong_width_and_layout():
    with pytest.raises(UserError, match="3x1o must be 9 long"):
        Irreps("3x1o").rotate(torch.zeros(8), torch.eye(3))
    with pytest.raises(UserError, match="layout"):
        Irreps("1o").rotate(torch.zeros(3), torch.eye(3), "xyz")
    with pytest.raises(UserError, match="layout"):
        Irreps("1o").D_from_matrix(torch.eye(3), "xyz")


# ---- products and powers


small = st.lists(
    st.tuples(st.integers(0, 3), st.builds(Irrep, st.integers(0, 3), st.sampled_from([-1, 1]))),
    max_size=3,
).map(Irreps)


@given(small, small)
def test_product_is_the_product_term_by_term(a, b):
    terms = [(m * n, ir) for m, i in a for n, j in b for ir in i * j]
    assert a.tensor_product(b) == Irreps(terms).regroup()
    assert a.tensor_product(b).dim == a.dim * b.dim


@given(small, st.integers(0, 3))
def test_powers_have_their_dimension_and_sum_to_the_square(a, n):
    assert a.symmetric_power(n).dim == math.comb(max(a.dim + n - 1, 0), n)
    assert a.antisymmetric_power(n).dim == math.comb(a.dim, n)
    assert a.tensor_power(n).dim == a.dim**n
    both = a.symmetric_power(2) + a.antisymmetric_power(2)
    assert both.regroup() == a.tensor_power(2) == a.tensor_product(a)


def test_characters_of_powers(generator):
    """chi(S^3) and chi(Lambda^3) of g from chi of g, g^2 and g^3, at turns and rotoinversions."""
    irreps = Irreps("2x0o + 1o + 2e")
    R = rand_matrix(6, generator=generator, dtype=torch.float64)
    R[3:] *= -1

    def chi(irreps, R):
        return irreps.D_from_matrix(R).diagonal(dim1=-2, dim2=-1).sum(-1)

    a, b, c = (chi(irreps, torch.linalg.matrix_power(R, n)) for n in (1, 2, 3))
    torch.testing.assert_close(chi(irreps.symmetric_power(3), R), (a**3 + 3 * a * b + 2 * c) / 6)
    expected = (a**3 - 3 * a * b + 2 * c) / 6
    torch.testing.assert_close(chi(irreps.antisymmetric_power(3), R), expected)


@pytest.mark.parametrize("formula", ["ij=ji", "ij=-ji"])
def test_powers_agree_with_e3nn(formula, e3nn_o3):
    theirs = e3nn_o3.ReducedTensorProducts(formula, i="0o + 1o + 2e").irreps_out
    irreps = Irreps("0o + 1o + 2e")
    ours = irreps.symmetric_power(2) if formula == "ij=ji" else irreps.antisymmetric_power(2)
    assert str(ours) == str(theirs.regroup())


def test_large_powers_are_quick_and_exact():
    irreps = Irreps("8x0e + 8x1o + 8x2e + 8x3o")
    assert irreps.symmetric_power(6).dim == math.comb(irreps.dim + 5, 6)


def test_bad_powers_and_products():
    for name in ("tensor_power", "symmetric_power", "antisymmetric_power"):
        with pytest.raises(UserError, match="negative"):
            getattr(Irreps("1o"), name)(-1)
    with pytest.raises(UserError, match="tensor_product"):
        Irreps("1o") * Irreps("1o")


# ---- sums, slices, names


def test_sum_of_a_list():
    parts = [Irreps("2x0e"), Irreps("1o"), Irreps("2x0e")]
    assert sum(parts) == Irreps("2x0e + 1o + 2x0e")
    assert sum(parts, Irreps()) == sum(parts)
    assert "1o" + Irreps("0e") == Irreps("1o + 0e")


@given(sums, st.integers(0, 12), st.integers(0, 12))
def test_slice_by_mul_agrees_with_e3nn(irreps, start, stop):
    start, stop = sorted((start, stop))  # otherwise e3nn raises
    o3 = pytest.importorskip("e3nn.o3")
    theirs = Irreps(str(o3.Irreps(str(irreps)).slice_by_mul[start:stop]))
    # where nothing is left e3nn keeps the block with multiplicity zero
    ours = irreps.slice_by_mul[start:stop]
    assert theirs.remove_zero_multiplicities() == ours.remove_zero_multiplicities()


def test_slice_by_mul_from_the_end():
    irreps = Irreps("4x0e + 3x1o")
    assert irreps.slice_by_mul[-2:] == Irreps("2x1o")
    assert irreps.slice_by_mul[:-3] == Irreps("4x0e")
    assert irreps.slice_by_mul[5:2] == Irreps()


@pytest.mark.parametrize("which", [3, slice(0, 4, 2)])
def test_slice_by_mul_takes_slices(which):
    with pytest.raises(UserError, match="slice"):
        _ = Irreps("5x0e").slice_by_mul[which]


def test_irreps_by_name_and_in_order():

    assert irrep_names.l1o == Irrep("1o")
    assert irrep_names.l12e == Irrep("12e")
    for name in ("l1", "x1o", "l1i", "l"):
        with pytest.raises(AttributeError):
            getattr(irrep_names, name)
    o3 = pytest.importorskip("e3nn.o3")
    first = list(itertools.islice(Irrep.iterator(), 12))
    assert [str(ir) for ir in first] == [
        str(ir) for ir in itertools.islice(o3.Irrep.iterator(), 12)
    ]
    assert list(Irrep.iterator(5)) == first
    assert str(list(Irrep("2o") * "3e")) == str(list(o3.Irrep("2o") * o3.Irrep("3e")))


@given(sums, sums)
def test_filter_agrees_with_e3nn(irreps, chosen):
    o3 = pytest.importorskip("e3nn.o3")
    theirs = o3.Irreps(str(irreps))
    names = [str(ir) for _, ir in chosen]  # e3nn keeps nothing that a string names
    assert str(irreps.filter(keep=chosen)) == str(theirs.filter(keep=names))
    assert str(irreps.filter(drop=chosen)) == str(theirs.filter(drop=names))
    assert str(irreps.filter(lmax=2)) == str(theirs.filter(lmax=2))
    assert str(irreps.remove_zero_multiplicities()) == str(theirs.remove_zero_multiplicities())
    assert str(Irreps.spherical_harmonics(4, 1)) == str(o3.Irreps.spherical_harmonics(4, 1))
