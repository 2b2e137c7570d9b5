"""The operator: against e3nn, derivatives of every order, symmetry, compilers, wrong input."""

import random

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from clebsch.o3 import Irreps, from_e3nn, rand_matrix, to_e3nn
from clebsch.ops import Edges, Path, Specification, convolve, tensor_product
from clebsch.ops.specification import CHANNELS

SPECIFICATIONS = {
    "convolution": Specification.convolution("2x0e + 1x1o + 1x1e", "0e + 1o + 2e", "0e + 1o + 1e"),
    "fully_connected": Specification.fully_connected("2x0e + 1x1o", "0e + 2x1o", "2x0e + 2x1e"),
    "elementwise": Specification.elementwise("2x1o + 1x2e", "2x1e + 1x1o"),
}


def random_specification(seed: int) -> Specification:
    """A few paths of random irreps, channels and modes."""
    draw = random.Random(seed)
    paths, blocks = [], {"x": [], "y": [], "z": []}
    for _ in range(draw.randint(1, 4)):
        mode = draw.choice(list(CHANNELS))
        a, b = ((draw.randint(0, 3), draw.choice((1, -1))) for _ in range(2))
        l = draw.randint(abs(a[0] - b[0]), a[0] + b[0])
        muls = {c: draw.choice((1, 2, 3, 5)) for c in "uvw"}
        x, y, _, z = CHANNELS[mode]
        mul_z = muls[z[0]] * (muls[z[1]] if len(z) == 2 else 1)
        blocks["x"].append((muls[x], a))
        blocks["y"].append((muls[y], b))
        blocks["z"].append((mul_z, (l, a[1] * b[1])))
        index = len(paths)
        weighted = mode in ("uvw", "uuw") or draw.random() < 0.7  # e3nn has those with weights only
        paths.append(Path(index, index, index, mode, draw.uniform(0.5, 2), weighted))
    return Specification(*(Irreps(blocks[s]) for s in "xyz"), tuple(paths), draw.random() < 0.5)


def inputs(
    spec: Specification, rows: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    lead = () if spec.shared_weights else (rows,)
    return (
        torch.randn(rows, spec.x.dim, dtype=dtype, requires_grad=True),
        torch.randn(rows, spec.y.dim, dtype=dtype, requires_grad=True),
        torch.randn(*lead, spec.weight_numel, dtype=dtype, requires_grad=True),
    )


@pytest.mark.parametrize("seed", range(60))
def test_random_specifications_equal_e3nn(seed, float64):
    e3nn = pytest.importorskip("e3nn.o3")
    spec = random_specification(seed)
    oracle = e3nn.TensorProduct(
        str(spec.x),
        str(spec.y),
        str(spec.z),
        [(p.x, p.y, p.z, p.mode, p.weighted, p.coefficient**2) for p in spec.paths],
        irrep_normalization="none",
        path_normalization="none",
        shared_weights=spec.shared_weights,
        internal_weights=False,
    )
    assert oracle.weight_numel == spec.weight_numel
    x, y, w = inputs(spec)
    expected = oracle(to_e3nn(x, spec.x), to_e3nn(y, spec.y), w if spec.weight_numel else None)
    got = tensor_product(spec, x, y, w)
    torch.testing.assert_close(got, from_e3nn(expected, spec.z), atol=1e-12, rtol=1e-12)


def test_convolution_has_e3nns_normalisation(float64):
    e3nn = pytest.importorskip("e3nn.o3")
    spec = SPECIFICATIONS["convolution"]
    oracle = e3nn.TensorProduct(
        str(spec.x),
        str(spec.y),
        str(spec.z),
        [(p.x, p.y, p.z, "uvu", True) for p in spec.paths],
        shared_weights=False,
        internal_weights=False,
    )
    x, y, w = inputs(spec)
    expected = oracle(to_e3nn(x, spec.x), y, w)
    torch.testing.assert_close(tensor_product(spec, x, y, w), from_e3nn(expected, spec.z))


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_derivatives_of_first_and_second_order(name):
    spec = SPECIFICATIONS[name]
    factors = [f for f in inputs(spec, rows=2) if f.numel()]
    assert gradcheck(lambda *a: tensor_product(spec, *a), factors)
    assert gradgradcheck(lambda *a: tensor_product(spec, *a), factors)


def test_convolution_derivatives_of_third_order():
    spec = Specification.convolution("1x0e + 1x1o", "0e + 1o", "0e + 1o")
    edges = Edges(torch.tensor([1, 2, 0, 0]), torch.tensor([0, 0, 1, 3]), 4)
    x = torch.randn(3, spec.x.dim, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, spec.y.dim, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, spec.weight_numel, dtype=torch.float64, requires_grad=True)

    def convolution(*factors):
        return convolve(spec, *factors, edges)

    def slope(*factors):
        value = convolution(*factors).square().sum()
        return torch.autograd.grad(value, factors, create_graph=True)

    assert gradcheck(convolution, (x, y, w))
    assert gradgradcheck(convolution, (x, y, w))
    assert gradgradcheck(slope, (x, y, w))  # of a first derivative: the third


def test_convolution_is_gather_product_scatter():
    spec = SPECIFICATIONS["convolution"]
    edges = Edges(torch.tensor([1, 2, 0, 0, 1]), torch.tensor([0, 0, 1, 3, 3]), 5)
    x = torch.randn(3, spec.x.dim, dtype=torch.float64)
    y = torch.randn(5, spec.y.dim, dtype=torch.float64)
    w = torch.randn(5, spec.weight_numel, dtype=torch.float64)
    product = tensor_product(spec, x[edges.src], y, w)
    expected = product.new_zeros(5, spec.z.dim).index_add(0, edges.dst, product)
    torch.testing.assert_close(convolve(spec, x, y, w, edges), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_equivariance(name, improper, dtype):
    spec = SPECIFICATIONS[name]
    x, y, w = inputs(spec, dtype=dtype)
    rotation = rand_matrix(dtype=torch.float64).to(dtype) * (-1 if improper else 1)
    D = {s: getattr(spec, s).D_from_matrix(rotation).to(dtype) for s in "xyz"}
    turned = tensor_product(spec, x @ D["x"].T, y @ D["y"].T, w)
    expected = tensor_product(spec, x, y, w) @ D["z"].T
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(turned, expected, atol=tolerance, rtol=0)


def test_empty_inputs():
    spec = SPECIFICATIONS["convolution"]
    none = torch.zeros(0, dtype=torch.int64)
    x, y, w = inputs(spec, rows=0, dtype=torch.float32)
    assert tensor_product(spec, x, y, w).shape == (0, spec.z.dim)
    out = convolve(spec, torch.randn(3, spec.x.dim), y, w, Edges(none, none, 3))
    assert torch.equal(out, torch.zeros(3, spec.z.dim))
    out.sum().backward()
    nothing = Specification(Irreps("0e"), Irreps("0e"), Irreps(""), ())
    assert tensor_product(nothing, torch.randn(2, 1), torch.randn(2, 1)).shape == (2, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # inductor's own
def test_compiles_and_exports_with_second_derivatives():
    spec = Specification.convolution("4x0e + 4x1o", "0e + 1o", "0e + 1o")
    edges = Edges(torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2]), 3)
    x, y, w = inputs(spec, rows=3)

    def square(x, y, w):
        return convolve(spec, x, y, w, edges).square().sum()

    expected = torch.autograd.grad(square(x, y, w), (x, y, w))
    compiled = torch.compile(square, fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(x, y, w), (x, y, w)), expected)

    class Module(torch.nn.Module):
        def forward(self, x, y, w, src, dst):
            return convolve(spec, x, y, w, Edges(src, dst, x.shape[0]))

    n, e = torch.export.Dim("atoms", min=2), torch.export.Dim("edges", min=2)
    program = torch.export.export(
        Module(),
        (x, y, w, edges.src, edges.dst),
        dynamic_shapes=({0: n}, {0: e}, {0: e}, {0: e}, {0: e}),
    )
    x, y, w = inputs(spec, rows=7)
    src, dst = torch.arange(7), torch.arange(7)
    torch.testing.assert_close(
        program.module()(x, y, w, src, dst), convolve(spec, x, y, w, Edges(src, dst, 7))
    )


def test_opcheck():
    spec = SPECIFICATIONS["convolution"]
    x, y, w = inputs(spec, rows=3, dtype=torch.float32)
    src, dst = torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2])
    torch.library.opcheck(
        torch.ops.clebsch.contract,
        (spec.key, "z", x, y, w, None, src, dst, 3),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, w: (x[:, 1:], y, w), "x is"),
        (lambda x, y, w: (x, y[:, 1:], w), "y is"),
        (lambda x, y, w: (x, y, w[:, 1:]), "w is"),
        (lambda x, y, w: (x, y, None), "takes weights"),
        (lambda x, y, w: (x, y[1:], w), "y is"),
    ],
)
def test_wrong_shapes_are_named(change, words):
    spec = SPECIFICATIONS["convolution"]
    with pytest.raises(ValueError, match=words):
        tensor_product(spec, *change(*inputs(spec)))
