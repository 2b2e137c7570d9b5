"""Reduced tensor products and powers as modules."""

import itertools
import math

import pytest
import torch

from clebsch.nn import AntisymmetricPower, ReducedTensorProduct, SymmetricPower
from clebsch.o3 import Irreps, rand_matrix, to_e3nn

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}

MODULES = {
    "bilinear": lambda: ReducedTensorProduct("ij", i="2x0e + 1o", j="1o + 2e"),
    "exchange": lambda: ReducedTensorProduct("ijk=-kji", i="0e + 1o", j="1e", keep=["1o", "2e"]),
    "square": lambda: SymmetricPower("2x0e + 1o + 2e", 2),
    "cube": lambda: SymmetricPower("0e + 1o + 2e", 3),
    "first": lambda: SymmetricPower("2x1o + 0e", 1),
    "scalars": lambda: SymmetricPower("1o + 2e", 3, keep=["0e"]),
    "wedge": lambda: AntisymmetricPower("0e + 1o", 2),
    "wedge3": lambda: AntisymmetricPower("2x1o", 3),
}


def arguments(module, *lead, dtype=torch.float64):
    irreps = module.irreps_in[:1] if isinstance(module, SymmetricPower) else module.irreps_in
    return [torch.randn(*lead, i.dim, dtype=dtype) for i in irreps]


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]()


def test_is_the_contraction_with_the_basis(module):
    xs = arguments(module, 7)
    Q = module.basis.change_of_basis
    factors = xs * module.n if isinstance(module, SymmetricPower) else xs
    letters = "abcdef"[: len(factors)]
    expected = torch.einsum(f"z{letters},{','.join('n' + i for i in letters)}->nz", Q, *factors)
    torch.testing.assert_close(module(*xs), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equivariant_after_a_cast(module, dtype):
    module = module.to(torch.float32).to(dtype)  # constants are not rounded on the way
    xs = arguments(module, 5, dtype=dtype)
    for R in (rand_matrix(dtype=torch.float64), -torch.eye(3, dtype=torch.float64)):
        turned = [
            x @ irreps.D_from_matrix(R).to(dtype).T
            for x, irreps in zip(xs, module.irreps_in, strict=False)
        ]
        expected = module(*xs) @ module.irreps_out.D_from_matrix(R).to(dtype).T
        torch.testing.assert_close(
            module(*turned), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
        )


def test_agrees_with_e3nn(float64):
    o3 = pytest.importorskip("e3nn.o3")
    for formula, irreps in [
        ("ij=-ji", {"i": "1o + 2x0e"}),
        ("ijk=jik=ikj", {"i": "0e + 1o"}),
        ("ijk=ikj", {"i": "1o", "j": "0o + 1e"}),
    ]:
        ours, theirs = (
            ReducedTensorProduct(formula, **irreps),
            o3.ReducedTensorProducts(formula, **irreps),
        )
        assert str(ours.irreps_out) == str(theirs.irreps_out)
        xs = arguments(ours, 6)
        expected = theirs(*[to_e3nn(x, i) for x, i in zip(xs, ours.irreps_in, strict=True)])
        torch.testing.assert_close(
            to_e3nn(ours(*xs), ours.irreps_out), expected, atol=1e-10, rtol=0
        )


def test_gradients(module):
    module.double()
    xs = [x.requires_grad_() for x in arguments(module, 2)]
    assert torch.autograd.gradcheck(module, xs)
    assert torch.autograd.gradgradcheck(module, xs)
    zeros = [torch.zeros_like(x).requires_grad_() for x in xs]
    for gradient in torch.autograd.grad(module(*zeros).sum(), zeros):
        assert gradient.isfinite().all()


def test_leading_dimensions_and_empty_batches(module):
    xs = arguments(module, 2, 3)
    flat = module(*[x.flatten(0, 1) for x in xs])
    torch.testing.assert_close(module(*xs).flatten(0, 1), flat)
    assert module(*arguments(module, 0)).shape == (0, module.irreps_out.dim)
    assert module(*arguments(module)).shape == (module.irreps_out.dim,)


def test_factors_broadcast():
    module = ReducedTensorProduct("ij", i="1o", j="1o")
    x, y = torch.randn(4, 1, 3), torch.randn(5, 3)
    torch.testing.assert_close(module(x, y)[2, 3], module(x[2, 0], y[3]))


def test_symmetries_of_the_factors():
    x, y, z = torch.randn(3, 4, 6, dtype=torch.float64)
    wedge = AntisymmetricPower("2x1o", 3)
    torch.testing.assert_close(wedge(x, y, z), -wedge(y, x, z))
    torch.testing.assert_close(wedge(x, y, 2 * x - y), 0 * wedge(x, y, z), atol=1e-13, rtol=0)
    symmetric = ReducedTensorProduct("ijk=jik=ikj", i="2x1o")
    for factors in itertools.permutations([x, y, z]):
        torch.testing.assert_close(symmetric(*factors), symmetric(x, y, z))
    torch.testing.assert_close(symmetric(x, x, x), SymmetricPower("2x1o", 3)(x))


def test_norms():
    x = torch.randn(10, 9, dtype=torch.float64)
    norm = SymmetricPower("0e + 1o + 2e", 3)(x).norm(dim=-1)
    torch.testing.assert_close(norm, x.norm(dim=-1) ** 3)
    y = torch.randn(10, 2, 4, dtype=torch.float64)
    wedge = AntisymmetricPower("0e + 1o", 2)(y[:, 0], y[:, 1])
    gram = torch.linalg.det(y @ y.mT)  # the parallelogram's area squared
    torch.testing.assert_close(wedge.norm(dim=-1) ** 2, gram / math.factorial(2))


def test_compiles_and_exports(module):
    xs = tuple(arguments(module, 3))
    expected = module(*xs)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*xs), expected)
    exported = torch.export.export(module, xs)
    torch.testing.assert_close(exported.module()(*xs), expected)


def test_nothing_to_learn_or_to_save(module):
    assert not module.state_dict()
    assert not list(module.parameters())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: ReducedTensorProduct("ij=-ji", i="1o")(torch.ones(2, 3)),
            "ReducedTensorProduct: 1 factors are given, but 2",
        ),
        (
            lambda: ReducedTensorProduct("ij", i="1o", j="0e")(torch.ones(3), torch.ones(2)),
            "ReducedTensorProduct: factor 2 has 2 in its last dimension",
        ),
        (lambda: SymmetricPower("1o", 2)(torch.ones(4)), "SymmetricPower: x has 4"),
        (lambda: AntisymmetricPower("1o", 4), "4 factors of 1x1o always depend on each other"),
        (lambda: AntisymmetricPower("1o", 2)(torch.ones(3)), "1 factors are given, but 2"),
        (lambda: SymmetricPower("1o", 0), "at least 1, not 0"),
    ],
)
def test_wrong_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_prints_as_a_formula():
    assert "(1x0e+1x1o)^2 -> 2x0e+1x1o+1x2e" in repr(SymmetricPower("0e + 1o", 2))
    assert "ij=-ji: 1x1o x 1x1o -> 1x1e" in repr(ReducedTensorProduct("ij=-ji", i=Irreps("1o")))
