"""Reduced tensor products: against e3nn, exactness, conventions, the cache on disk."""

import errno
import itertools
import json
import math
import os
from random import Random

import numpy as np
import pytest
import torch

from clebsch.o3 import (
    IndexFormula,
    Irrep,
    Irreps,
    basis_cache,
    rand_matrix,
    reduced_products,
    to_e3nn,
)
from clebsch.o3.reduced_products import (
    antisymmetric_power_basis,
    reduced_tensor_product,
    symmetric_power_basis,
)

CASES = [
    ("i", {"i": "1o"}, None, None),
    ("ij=ji", {"i": "1o"}, None, None),
    ("ij=-ji", {"i": "2x1o + 0e + 1o + 2e"}, None, None),
    ("ijk=jik=ikj", {"i": "0e + 1o + 2e"}, None, None),
    ("ijk=-jik=-ikj", {"i": "1o + 2x0e"}, None, None),
    ("ijk=jki", {"i": "1o + 2e"}, None, None),
    ("ijkl=jikl=ijlk=klij", {"i": "1o"}, None, None),
    ("ijkl=jikl=ijlk", {"i": "1o", "k": "0e + 1o"}, None, None),
    ("ijkl=klij", {"i": "1o", "j": "2e"}, None, None),
    ("ijk", {"i": "2x1o", "j": "0e + 1e", "k": "2e + 2x1o"}, None, None),
    ("ijk=ikj", {"i": "1o", "j": "2x1e + 0o"}, ["1o", "2e", "1e", "2o"], None),
    ("ijk=jik=ikj", {"i": "0e + 1o + 2e"}, None, ["0e", "1o"]),
    ("ijk=kji", {"i": "1o + 0e", "j": "1e"}, ["1o"], ["0e", "1o", "1e", "2o"]),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of its own for each test, on disk and in memory."""
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    reduced_products._basis.cache_clear()
    yield tmp_path / "bases"
    reduced_products._basis.cache_clear()


def turned(basis, R):
    """The change of basis with every index turned by R."""
    Q = basis.change_of_basis
    for axis, irreps in enumerate(basis.irreps_in, start=1):
        D = irreps.D_from_matrix(R)
        Q = torch.tensordot(Q, D, dims=([axis], [0])).movedim(-1, axis)
    return Q


def in_e3nn_layout(basis):
    Q = basis.change_of_basis
    for axis, irreps in enumerate((basis.irreps_out, *basis.irreps_in)):
        Q = to_e3nn(Q.movedim(axis, -1), irreps).movedim(-1, axis)
    return Q


@pytest.mark.parametrize(("formula", "irreps", "keep", "between"), CASES)
def test_is_the_basis_of_e3nn(e3nn_o3, formula, irreps, keep, between):
    basis = reduced_tensor_product(formula, keep=keep, between=between, **irreps)
    theirs = e3nn_o3.ReducedTensorProducts(
        formula, filter_ir_out=keep, filter_ir_mid=between, **irreps
    )
    assert str(basis.irreps_out) == str(theirs.irreps_out)
    assert [str(i) for i in basis.irreps_in] == [str(i) for i in theirs.irreps_in]
    torch.testing.assert_close(in_e3nn_layout(basis), theirs.change_of_basis, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("formula", "irreps", "keep", "between"), CASES)
def test_orthonormal_equivariant_and_of_the_right_symmetry(float64, formula, irreps, keep, between):
    basis = reduced_tensor_product(formula, keep=keep, between=between, **irreps)
    Q = basis.change_of_basis
    assert Q.dtype == torch.float64
    assert Q.shape == (basis.irreps_out.dim, *(i.dim for i in basis.irreps_in))
    rows = Q.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-13, rtol=0)
    for R in (rand_matrix(), -rand_matrix()):
        D = basis.irreps_out.D_from_matrix(R)
        expected = torch.tensordot(D, Q, dims=1)
        torch.testing.assert_close(turned(basis, R), expected, atol=1e-12, rtol=0)
    for p, s in basis.formula.signs.items():
        torch.testing.assert_close(Q, s * Q.permute(0, *(i + 1 for i in p)), atol=1e-13, rtol=0)


@pytest.mark.parametrize(("formula", "irreps"), [c[:2] for c in CASES if c[2:] == (None, None)])
def test_spans_every_symmetric_tensor(formula, irreps):
    basis = reduced_tensor_product(formula, **irreps)
    dims = dict(zip(basis.formula.letters, (i.dim for i in basis.irreps_in), strict=True))
    assert basis.irreps_out.dim == len(basis.formula.basis(**dims))


def random_case(random):
    """A formula with up to two random generators, and irreps that fit it."""
    letters = "ijkl"[: random.randint(2, 4)]
    while True:
        terms = ["".join(random.sample(letters, len(letters))) for _ in range(random.randint(0, 2))]
        try:
            symmetry = IndexFormula("=".join([letters, *(random.choice("- ") + t for t in terms)]))
        except ValueError:  # contradicting signs
            continue
        irreps = {}
        for a, letter in enumerate(letters):
            n = 5 - len(letters)  # small enough for the dense projector
            drawn = [(1, (random.randint(0, 1), random.choice([1, -1]))) for _ in range(n)]
            given = irreps.get(letter, Irreps(drawn))
            irreps |= {letters[p[a]]: given for p in symmetry.signs}
        return symmetry, irreps


@pytest.mark.parametrize("seed", range(30))
def test_random_symmetries_give_the_projector_on_symmetric_tensors(float64, seed):
    symmetry, irreps = random_case(Random(seed))
    basis = reduced_tensor_product(symmetry, **irreps)
    rows = basis.change_of_basis.flatten(1)
    plain = symmetry.basis(**{i: value.dim for i, value in irreps.items()})
    plain = torch.from_numpy(plain).flatten(1)
    assert rows.shape == plain.shape
    torch.testing.assert_close(rows.T @ rows, plain.T @ plain, atol=1e-12, rtol=0)
    R = -rand_matrix()
    expected = basis.irreps_out.D_from_matrix(R) @ rows
    torch.testing.assert_close(turned(basis, R).flatten(1), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("irreps", "n"), [("0e + 1o + 2e + 3o", 3), ("0e + 1o + 2e", 4), ("1o", 7)]
)
def test_powers_of_several_thousand_components(float64, irreps, n):
    basis = symmetric_power_basis(irreps, n)
    dim = Irreps(irreps).dim
    assert basis.irreps_out.dim == math.comb(dim + n - 1, n)
    rows = basis.change_of_basis.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-12, rtol=0)
    R = -rand_matrix()
    expected = basis.irreps_out.D_from_matrix(R) @ rows
    torch.testing.assert_close(turned(basis, R).flatten(1), expected, atol=1e-12, rtol=0)


def test_the_third_power_of_a_vector_is_the_octupole_and_its_trace(float64):
    x = torch.randn(3)
    basis = symmetric_power_basis("1o", 3)
    cube = torch.einsum("zijk,i,j,k->z", basis.change_of_basis, x, x, x)
    assert basis.irreps_out == Irreps("1o + 3o")
    torch.testing.assert_close(cube[:3], math.sqrt(3 / 5) * x.dot(x) * x)
    torch.testing.assert_close(cube.norm(), x.norm() ** 3)


@pytest.mark.parametrize("irreps", ["1o", "0e + 1o", "2e", "2x0e + 1e"])
def test_antisymmetric_powers_end_in_the_determinant(float64, irreps):
    irreps = Irreps(irreps)
    for n in range(1, irreps.dim + 1):
        assert antisymmetric_power_basis(irreps, n).irreps_out.dim == math.comb(irreps.dim, n)
    top = antisymmetric_power_basis(irreps, irreps.dim)
    assert top.irreps_out.dim == 1
    R = -torch.eye(3)
    determinant = torch.linalg.det(irreps.D_from_matrix(R))
    torch.testing.assert_close(top.irreps_out.D_from_matrix(R).squeeze(), determinant)
    assert antisymmetric_power_basis(irreps, irreps.dim + 1).array.shape[0] == 0


def test_kept_irreps_are_the_same_rows():
    everything = symmetric_power_basis("0e + 1o + 2e", 3)
    part = symmetric_power_basis("0e + 1o + 2e", 3, keep="0e + 1o")
    assert part.irreps_out == Irreps("5x0e + 5x1o")
    for ir in ("0e", "1o"):
        torch.testing.assert_close(part.block(ir), everything.block(ir), atol=1e-14, rtol=0)
    assert part.block("2e").shape == (0, 5, 9, 9, 9)


def test_blocks_are_the_rows_by_copy_and_component():
    basis = symmetric_power_basis("0e + 1o", 2)
    start = 0
    for mul, ir in basis.irreps_out:
        block = basis.block(ir)
        assert block.shape == (mul, ir.dim, 4, 4)
        for u, m in itertools.product(range(mul), range(ir.dim)):
            row = basis.change_of_basis[start + m * mul + u]
            torch.testing.assert_close(block[u, m], row, atol=0, rtol=0)
        start += mul * ir.dim


def test_names_of_indices_do_not_matter_and_text_is_no_part_of_the_result():
    a = reduced_tensor_product("ijk=jik=ikj", i="1o + 0e")
    b = reduced_tensor_product("xyz=yzx=yxz", z="1o + 0e")
    np.testing.assert_array_equal(a.array, b.array)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: reduced_tensor_product("ij=ji"), 'no sum of irreps is given for the index "i"'),
        (
            lambda: reduced_tensor_product("ij=ji", i="1o", j="1e"),
            "of one is 1x1o and of the other 1x1e",
        ),
        (lambda: reduced_tensor_product("ij", i="1o", j="0x1e"), 'the index "j" are empty'),
        (lambda: reduced_tensor_product("ij", i="1o", j="1e", k="1e"), 'no index "k"'),
        (lambda: reduced_tensor_product("ij", ij="1o"), '"ij" is neither an option nor'),
        (lambda: reduced_tensor_product("ij=-ij", i="1o"), "contradict"),
        (lambda: symmetric_power_basis("1o", 0), "at least 1, not 0"),
        (lambda: symmetric_power_basis("1q", 2), "not an irrep"),
    ],
)
def test_wrong_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def built_again(monkeypatch):
    """Forget what is in memory; count what is built from now on."""
    reduced_products._basis.cache_clear()
    calls = []
    build = reduced_products.symmetric_subspaces

    def counted(*args):
        calls.append(args)
        return build(*args)

    monkeypatch.setattr(reduced_products, "symmetric_subspaces", counted)
    return calls


def elastic():
    return reduced_tensor_product("ijkl=jikl=ijlk=klij", i="1o")


def test_the_second_process_reads_the_same_bits(cache, monkeypatch):
    first = elastic()
    calls = built_again(monkeypatch)
    second = elastic()
    assert not calls
    assert second.irreps_out == first.irreps_out
    np.testing.assert_array_equal(second.array, first.array)
    assert len(list(cache.iterdir())) == 1  # and no temporary file


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text", "other", "folder"])
def test_a_damaged_entry_is_built_again(cache, monkeypatch, harm):
    first = elastic()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    if harm == "folder":
        file.unlink()
        file.mkdir()
    elif harm == "other":  # intact, but of something else
        reduced_tensor_product("ij=ji", i="1o")
        (other,) = set(cache.iterdir()) - {file}
        other.replace(file)
    else:
        file.write_bytes(
            {
                "cut": whole[:-9],
                "flip": whole[:-1] + bytes([whole[-1] ^ 1]),
                "empty": b"",
                "text": b"\xff\xfe not a basis\n",
            }[harm]
        )
    calls = built_again(monkeypatch)
    np.testing.assert_array_equal(elastic().array, first.array)
    assert len(calls) == 1
    if harm != "folder":
        assert file.read_bytes() == whole


def test_a_place_that_cannot_be_written_is_tolerated(tmp_path, monkeypatch):
    expected = elastic().array
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path / "file"))
    calls = built_again(monkeypatch)
    np.testing.assert_array_equal(elastic().array, expected)
    assert len(calls) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_refuses_is_tolerated(cache, monkeypatch, number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    expected = elastic().array
    next(cache.iterdir()).unlink()
    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    calls = built_again(monkeypatch)
    np.testing.assert_array_equal(elastic().array, expected)
    assert len(calls) == 1
    assert not list(cache.iterdir())


def test_entries_are_plain_numbers(cache):
    basis = elastic()
    digest, header, numbers = (
        basis_cache.entry(json.loads(next(cache.iterdir()).read_bytes().split(b"\n", 2)[1])["key"])
        .read_bytes()
        .split(b"\n", 2)
    )
    header = json.loads(header)
    assert header["shape"] == list(basis.array.shape)
    assert [[m, *ir] for m, ir in basis.irreps_out] == header["irreps"]
    assert len(numbers) == 16 * header["nonzero"]
    assert len(digest) == 64


def test_memory_is_protected():
    with pytest.raises(ValueError, match="read-only"):
        elastic().array[0, 0, 0, 0, 0] = 1.0
    elastic().change_of_basis.zero_()
    assert elastic().array.any()


def test_irreps_of_the_result_are_sorted():
    irreps = [ir for _, ir in reduced_tensor_product("ij", i="1o + 2e", j="1e").irreps_out]
    assert irreps == sorted(set(irreps))
    assert Irrep("0o") in irreps
