"""Cartesian tensors to irreps and back: against e3nn, rotations both ways, parities, sentences."""

import pytest
import torch

from clebsch.o3 import CartesianTensor, Irreps, rand_matrix, to_e3nn

FORMULAS = [
    "i",
    "ij",
    "ij=ji",
    "ij=-ji",
    "ijk",
    "ijk=ikj",
    "ijk=jik=ikj",
    "ijk=-jik=-ikj",
    "ijkl=jikl=ijlk=klij",
    "ijkl=jikl=ijlk",
    "ijkl=-jikl=-ijlk=klij",
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def tensors(x, *lead, dtype=torch.float64):
    return torch.randn(*lead, *(3,) * x.rank, dtype=dtype)


@pytest.mark.parametrize("formula", FORMULAS)
def test_agrees_with_e3nn(e3nn_o3, formula):
    io = pytest.importorskip("e3nn.io")
    ours, theirs = CartesianTensor(formula), io.CartesianTensor(formula)
    assert str(ours.irreps) == str(Irreps(str(theirs)).simplify())
    t = tensors(ours, 4)
    expected = theirs.from_cartesian(t)
    features = ours.from_cartesian(t)
    torch.testing.assert_close(to_e3nn(features, ours.irreps), expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(
        ours.to_cartesian(features), theirs.to_cartesian(expected), atol=1e-10, rtol=0
    )
    vectors = [torch.randn(4, 3) for _ in range(ours.rank)]
    torch.testing.assert_close(
        to_e3nn(ours.from_vectors(*vectors), ours.irreps),
        theirs.from_vectors(*vectors),
        atol=1e-10,
        rtol=0,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "x",
    [
        *map(CartesianTensor, FORMULAS),
        CartesianTensor("i", axial="i"),
        CartesianTensor("ij", axial="j"),
        CartesianTensor("ij=ji", axial="ij"),
        CartesianTensor("ij=ji", pseudo=True),
        CartesianTensor("ijk=-jik", axial="k"),
        CartesianTensor("ijk=ikj", axial="jk", pseudo=True),
    ],
    ids=repr,
)
def test_rotating_before_and_after_the_conversion_is_the_same(x, dtype):
    t = tensors(x, 5, dtype=dtype)
    for R in (rand_matrix(5, dtype=dtype), -rand_matrix(5, dtype=dtype)):
        D = x.irreps.D_from_matrix(R)
        features = (D @ x.from_cartesian(t)[..., None])[..., 0]
        turned = x.rotate(t, R)
        options = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
        torch.testing.assert_close(x.from_cartesian(turned), features, **options)
        torch.testing.assert_close(x.to_cartesian(features), x.symmetrize(turned), **options)


@pytest.mark.parametrize("formula", FORMULAS)
def test_there_and_back(formula):
    x = CartesianTensor(formula)
    features = torch.randn(2, 3, x.dim, dtype=torch.float64)
    t = x.to_cartesian(features)
    assert t.shape == (2, 3, *(3,) * x.rank)
    torch.testing.assert_close(x.from_cartesian(t), features)
    torch.testing.assert_close(t.flatten(2).norm(dim=-1), features.norm(dim=-1))
    for p, s in x.symmetry.signs.items():
        torch.testing.assert_close(t, s * t.permute(0, 1, *(i + 2 for i in p)))
    torch.testing.assert_close(x.symmetrize(t), t)
    assert x.from_cartesian(tensors(x)).shape == (x.dim,)
    assert x.from_cartesian(tensors(x, 0)).shape == (0, x.dim)


def test_rotating_is_the_contraction_with_each_index():
    t, R = torch.randn(3, 3, 3, dtype=torch.float64), rand_matrix(dtype=torch.float64)
    expected = torch.einsum("ai,bj,ck,ijk->abc", R, R, R, t)
    torch.testing.assert_close(CartesianTensor("ijk").rotate(t, R), expected)
    torch.testing.assert_close(CartesianTensor("ijk").rotate(t, -R), -expected)
    torch.testing.assert_close(CartesianTensor("ijk", axial="j").rotate(t, -R), expected)
    many = CartesianTensor("ijk").rotate(t.expand(4, 1, 3, 3, 3), rand_matrix(5).double())
    assert many.shape == (4, 5, 3, 3, 3)


@pytest.mark.parametrize(
    ("x", "irreps"),
    [
        (CartesianTensor("ij=ji"), "0e + 2e"),
        (CartesianTensor("ij=-ji"), "1e"),
        (CartesianTensor("ijk=-jik=-ikj"), "0o"),
        (CartesianTensor("i", axial="i"), "1e"),
        (CartesianTensor("ij", axial="j"), "0o + 1o + 2o"),
        (CartesianTensor("ij=-ji", axial="ij"), "1e"),
        (CartesianTensor("ij=ji", pseudo=True), "0o + 2o"),
        (CartesianTensor("ijk=ikj"), "2x1o + 2o + 3o"),
    ],
)
def test_irreps_and_parities(x, irreps):
    assert x.irreps == Irreps(irreps)
    t = x.to_cartesian(torch.randn(x.dim))
    torch.testing.assert_close(x.rotate(t, -torch.eye(3)), x.parity * t)


def test_the_trace_and_the_cross_product():
    x, y = torch.randn(2, 6, 3, dtype=torch.float64)
    scalar = CartesianTensor("ij=ji").from_vectors(x, y)[:, 0]
    torch.testing.assert_close(scalar, (x * y).sum(-1) / 3**0.5)
    cross = CartesianTensor("ij=-ji").from_vectors(x, y)
    torch.testing.assert_close(cross, torch.linalg.cross(x, y) / 2**0.5)


def test_gradients_and_compilation():
    x = CartesianTensor("ijk=ikj")
    t = tensors(x, 2).requires_grad_()
    assert torch.autograd.gradcheck(x.from_cartesian, t)
    assert torch.autograd.gradcheck(x.to_cartesian, x.from_cartesian(t).detach().requires_grad_())
    compiled = torch.compile(lambda t: x.to_cartesian(x.from_cartesian(t)), backend="eager")
    torch.testing.assert_close(compiled(t), x.symmetrize(t))


def test_equal_tensors_are_equal_and_the_basis_is_a_copy():
    assert CartesianTensor("ij=ji") == CartesianTensor("ij=ji")
    assert CartesianTensor("ij", axial="i") != CartesianTensor("ij")
    assert len({CartesianTensor("i"), CartesianTensor("i")}) == 1
    x = CartesianTensor("ij=ji")
    Q = x.change_of_basis()
    assert Q.dtype == torch.float64
    Q.zero_()
    assert x.change_of_basis(torch.float32).abs().sum() > 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: CartesianTensor("ij=-ij"), "signs contradict"),
        (lambda: CartesianTensor("ijkl=-jikl=-ikjl=-ijlk"), "only the zero tensor has this"),
        (lambda: CartesianTensor("ij", axial="k"), 'no index "k" that could be axial'),
        (lambda: CartesianTensor("ij=ji", axial="i"), "parity of one is axial and of the other"),
        (
            lambda: CartesianTensor("ij=ji").from_cartesian(torch.ones(2, 3)),
            r'tensor "ij=ji" must have shape \(..., 3, 3\), not \(2, 3\)',
        ),
        (lambda: CartesianTensor("ij").from_cartesian(torch.ones(3)), r"not \(3,\)"),
        (lambda: CartesianTensor("ij").from_cartesian(torch.ones(3, 3).int()), "floating point"),
        (
            lambda: CartesianTensor("ij=ji").to_cartesian(torch.ones(2, 5)),
            r"\(1x0e\+1x2e\) must have shape \(..., 6\), not \(2, 5\)",
        ),
        (lambda: CartesianTensor("ij").from_vectors(torch.ones(3)), "2 indices, but 1 vectors"),
        (lambda: CartesianTensor("i").from_vectors(torch.ones(2)), "a vector must have shape"),
        (lambda: CartesianTensor("ij").rotate(torch.ones(3, 2), torch.eye(3)), r"not \(3, 2\)"),
    ],
)
def test_wrong_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
