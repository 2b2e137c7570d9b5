"""Small names of e3nn that no other test compares: the same arguments, the same results."""

from __future__ import annotations

import itertools

import pytest
import torch

from clebsch.o3 import Irrep, Irreps, generators, rotations, to_e3nn, wigner_D
from clebsch.o3 import irrep as named
from clebsch.o3.legendre import (
    legendre,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)
from clebsch.o3.spherical_harmonics import SphericalHarmonics

o3 = pytest.importorskip("e3nn.o3")

CLOSE = {"atol": 1e-10, "rtol": 0.0}
FORMS = ("angles", "axis_angle", "matrix", "quaternion")
IRREPS = "3x0e + 2x0o + 2x1o + 1x1e + 2x2e + 1x3o"


def parts(value):
    return value if isinstance(value, tuple) else (value,)


def drawn(form, seed=0):
    """Ten rotations in this form, float64."""
    generator = torch.Generator().manual_seed(seed)
    R = rotations.rand_matrix(10, generator=generator, dtype=torch.float64)
    return parts(R if form == "matrix" else getattr(rotations, f"matrix_to_{form}")(R))


def as_matrices(form, value):
    """Descriptions of a rotation are many (q and -q): what they do is one."""
    return value if form == "matrix" else getattr(rotations, f"{form}_to_matrix")(*parts(value))


@pytest.mark.parametrize(("a", "b"), list(itertools.permutations(FORMS, 2)))
def test_conversions_of_rotations(a, b):
    name = f"{a}_to_{b}"
    theirs = getattr(o3, name)(*drawn(a))
    found = getattr(rotations, name)(*drawn(a))
    torch.testing.assert_close(as_matrices(b, found), as_matrices(b, theirs), **CLOSE)


@pytest.mark.parametrize("form", ["angles", "axis_angle", "quaternion"])
def test_composition_inverse_and_identity(form):
    first, second = drawn(form), drawn(form, seed=1)
    for ours, theirs, arguments in [
        (f"compose_{form}", f"compose_{form}", (*first, *second)),
        (f"inverse_{form}", f"inverse_{form}", first),
    ]:
        if not hasattr(o3, theirs):
            assert (form, theirs) == ("axis_angle", "inverse_axis_angle")
            continue
        expected = getattr(o3, theirs)(*arguments)
        given = (first, second) if ours.startswith("compose") else (first,)
        flat = [p for some in given for p in some]
        found = getattr(rotations, ours)(*flat)
        torch.testing.assert_close(as_matrices(form, found), as_matrices(form, expected), **CLOSE)
    if hasattr(o3, f"identity_{form}"):
        one = getattr(rotations, f"identity_{form}")()
        theirs = getattr(o3, f"identity_{form}")()
        torch.testing.assert_close(as_matrices(form, one), as_matrices(form, theirs), **CLOSE)


@pytest.mark.parametrize("form", FORMS)
def test_random_rotations_have_e3nns_shapes_and_are_uniform(form):
    ours = getattr(rotations, f"rand_{form}")(2, 3)
    theirs = getattr(o3, f"rand_{form}")(2, 3)
    assert [p.shape for p in parts(ours)] == [p.shape for p in parts(theirs)]
    many = as_matrices(form, getattr(rotations, f"rand_{form}")(20_000, dtype=torch.float64))
    # the mean of a matrix of l = 1 or 2 is zero: its error is 1/sqrt(20,000 (2l+1)), here 5 of it
    for l in (1, 2):
        assert wigner_D(l, many).mean(0).abs().max() < 5 * (20_000 * (2 * l + 1)) ** -0.5


@pytest.mark.parametrize("axis", "xyz")
def test_turns_about_axes(axis):
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)
    name = f"matrix_{axis}"
    torch.testing.assert_close(getattr(rotations, name)(angle), getattr(o3, name)(angle), **CLOSE)


def test_points_of_the_sphere():
    xyz = torch.randn(20, 3, dtype=torch.float64)
    for ours, theirs in zip(rotations.xyz_to_angles(xyz), o3.xyz_to_angles(xyz), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    alpha, beta = o3.xyz_to_angles(xyz)
    torch.testing.assert_close(
        rotations.angles_to_xyz(alpha, beta), o3.angles_to_xyz(alpha, beta), **CLOSE
    )


@pytest.mark.parametrize("l", range(6))
def test_generators_and_the_complex_basis(l, float64):
    for name in ("so3_generators", "su2_generators", "change_basis_real_to_complex"):
        torch.testing.assert_close(getattr(generators, name)(l), getattr(o3, name)(l), **CLOSE)


def test_irrep_members():
    for ir in Irrep.iterator(3):
        theirs = o3.Irrep(str(ir))
        assert (ir.l, ir.p, ir.dim, ir.is_scalar()) == (
            theirs.l,
            theirs.p,
            theirs.dim,
            theirs.is_scalar(),
        )
        assert [str(x) for x in ir * Irrep("2e")] == [str(x) for x in theirs * o3.Irrep("2e")]
        assert getattr(named, f"l{ir}") == ir
    assert [str(ir) for ir in Irrep.iterator(3)] == [str(ir) for ir in o3.Irrep.iterator(3)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["1o", "2e", "3o", IRREPS])
def test_matrices_of_irreps_in_every_form(form, text, float64):
    given = [p[0] for p in drawn(form)]
    name = f"D_from_{form}"
    theirs = getattr(o3.Irreps(text), name)(*given)
    found = getattr(Irreps(text), name)(*given, layout="mul_ir")
    torch.testing.assert_close(found, theirs, **CLOSE)
    if "x" not in text:
        single = getattr(Irrep(text), name)(*given)
        torch.testing.assert_close(single, getattr(o3.Irrep(text), name)(*given), **CLOSE)


def test_irreps_members(float64):
    ours, theirs = Irreps(IRREPS + " + 0x4e + 1x0e"), o3.Irreps(IRREPS + " + 0x4e + 1x0e")
    assert (ours.dim, ours.num_irreps, ours.lmax, ours.ls) == (
        theirs.dim,
        theirs.num_irreps,
        theirs.lmax,
        theirs.ls,
    )
    assert ours.slices() == theirs.slices()
    for method in ("simplify", "regroup", "remove_zero_multiplicities"):
        assert str(getattr(ours, method)()) == str(getattr(theirs, method)())
    assert str(ours.sort().irreps) == str(theirs.sort().irreps)
    assert (ours.sort().p, ours.sort().inv) == (theirs.sort().p, theirs.sort().inv)
    assert str(ours.slice_by_mul[2:7]) == str(theirs.slice_by_mul[2:7])
    assert str(Irreps.spherical_harmonics(4)) == str(o3.Irreps.spherical_harmonics(4))
    assert str(Irreps.spherical_harmonics(4, 1)) == str(o3.Irreps.spherical_harmonics(4, 1))
    for ours_kept, theirs_kept in [
        (ours.filter(keep=["0e", "1o"]), theirs.filter(keep=["0e", "1o"])),
        (ours.filter(drop=["0e"]), theirs.filter(drop=["0e"])),
        (ours.filter(lmax=1), theirs.filter(lmax=1)),
    ]:
        assert str(ours_kept) == str(theirs_kept)
    x = ours.randn(4, -1, normalization="norm")
    for part, (mul, ir) in zip(theirs.slices(), theirs, strict=True):
        lengths = to_e3nn(x, ours)[:, part].reshape(4, mul, ir.dim).norm(dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize("normalization", ["component", "norm", "integral"])
def test_angular_forms_of_the_harmonics(normalization, float64):
    alpha, beta = 6 * torch.rand(10) - 3, 3 * torch.rand(10)
    ls = [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(
        legendre(ls, beta.cos(), beta.sin()), o3.Legendre(ls)(beta.cos(), beta.sin()), **CLOSE
    )
    for l in ls:
        torch.testing.assert_close(
            spherical_harmonics_alpha(l, alpha), o3.spherical_harmonics_alpha(l, alpha), **CLOSE
        )
    found = spherical_harmonics_alpha_beta(ls, alpha, beta, normalization)
    theirs = o3.spherical_harmonics_alpha_beta(ls, alpha, beta, normalization=normalization)
    torch.testing.assert_close(found, theirs, **CLOSE)
    module = o3.SphericalHarmonicsAlphaBeta(ls, normalization=normalization)
    torch.testing.assert_close(found, module(alpha, beta), **CLOSE)
    xyz = torch.randn(10, 3)
    for normalize in (True, False):
        ours = SphericalHarmonics("0e + 1o + 3o", normalize, normalization)
        theirs = o3.SphericalHarmonics("0e + 1o + 3o", normalize, normalization)
        assert str(ours.irreps_out) == str(theirs.irreps_out)
        torch.testing.assert_close(ours(xyz), theirs(xyz), **CLOSE)
