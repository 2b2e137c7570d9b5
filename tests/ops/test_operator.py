"""The operator: its normalisation, derivatives of every order, symmetry, types, wrong shapes."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from clebsch.o3 import Irreps, from_e3nn, rand_matrix, to_e3nn
from clebsch.ops import Edges, Path, Specification, backend, convolve, tensor_product

SPECIFICATIONS = {
    "convolution": Specification.convolution("2x0e + 1x1o + 1x1e", "0e + 1o + 2e", "0e + 1o + 1e"),
    "fully_connected": Specification.fully_connected("2x0e + 1x1o", "0e + 2x1o", "2x0e + 2x1e"),
    "elementwise": Specification.elementwise("2x1o + 1x2e", "2x1e + 1x1o"),
}


def inputs(
    spec: Specification, rows: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    lead = () if spec.shared_weights else (rows,)
    return (
        torch.randn(rows, spec.x.dim, dtype=dtype, requires_grad=True),
        torch.randn(rows, spec.y.dim, dtype=dtype, requires_grad=True),
        torch.randn(*lead, spec.weight_numel, dtype=dtype, requires_grad=True),
    )


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


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of forward mode
@pytest.mark.parametrize("shared", [True, False])
def test_derivatives_where_some_paths_have_no_weights(shared):
    """Paths without weights do not meet a tangent of the weights."""
    paths = (Path(0, 0, 0), Path(1, 1, 1, weighted=False), Path(0, 1, 2))
    spec = Specification("2x0e + 1x1o", "1x0e + 1x1o", "2x0e + 1x0e + 2x1o", paths, shared)
    edges = Edges(torch.tensor([1, 0, 0]), torch.tensor([0, 0, 1]), 2)
    x, y, w = inputs(spec, rows=3)
    factors = x[:2].detach().requires_grad_(), y, w

    def convolution(*factors):
        return convolve(spec, *factors, edges)

    assert gradcheck(convolution, factors)
    assert gradgradcheck(convolution, factors)
    assert gradcheck(convolution, factors, check_forward_ad=True)


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


def test_opcheck():
    spec = SPECIFICATIONS["convolution"]
    x, y, w = inputs(spec, rows=3, dtype=torch.float32)
    src, dst = torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2])
    torch.library.opcheck(
        torch.ops.clebsch.contract,
        (spec.key, "z", x, y, w, None, src, dst, 3),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(half):
    spec = SPECIFICATIONS["convolution"]
    x, y, w = (f.detach().to(half).requires_grad_() for f in inputs(spec, rows=50))
    edges = Edges(torch.arange(50), torch.zeros(50, dtype=torch.int64), 1)
    got = convolve(spec, x, y, w, edges)
    full = [f.detach().float().requires_grad_() for f in (x, y, w)]
    expected = convolve(spec, *full, edges)
    assert got.dtype == half
    assert torch.equal(got, expected.to(half))  # rounded once, at the end
    got.sum().backward()
    expected.sum().backward()
    assert x.grad.dtype == half
    assert torch.equal(x.grad, full[0].grad.to(half))


def test_autocast_computes_in_float32():
    spec = SPECIFICATIONS["convolution"]
    x, y, w = (f.detach().float().requires_grad_() for f in inputs(spec, rows=5))
    x16, w16 = (f.detach().bfloat16().requires_grad_() for f in (x, w))
    with torch.autocast("cpu", torch.bfloat16):
        got = tensor_product(spec, x16, y, w16)
        assert torch.equal(tensor_product(spec, x, y, w), tensor_product(spec, x, y, w).float())
    assert got.dtype == torch.float32
    assert torch.equal(got, tensor_product(spec, x16.float(), y, w16.float()))
    got.sum().backward()
    assert (x16.grad.dtype, y.grad.dtype) == (torch.bfloat16, torch.float32)
    with pytest.raises(ValueError, match="x is bfloat16, y is float32"):
        tensor_product(spec, x16, y, w16)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="y is float64"):
        tensor_product(spec, x16, y.double(), w16)


@pytest.mark.parametrize("name", SPECIFICATIONS)
@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_autocast_rounds_nothing_inside(name, engine):
    """Matrix products and einsums of a back end are not PyTorch's to cast."""
    spec = SPECIFICATIONS[name]
    x, y, w = (f.detach().float().requires_grad_() for f in inputs(spec, rows=5))
    leaves = [f for f in (x, y, w) if f.numel()]
    with backend(engine):
        expected = tensor_product(spec, x, y, w)
        gradients = torch.autograd.grad(expected.square().sum(), leaves)
        with torch.autocast("cpu", torch.bfloat16):
            got = tensor_product(spec, x, y, w)
            inside = torch.autograd.grad(got.square().sum(), leaves, retain_graph=True)
        outside = torch.autograd.grad(got.square().sum(), leaves)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close((*inside, *outside), (*gradients, *gradients))


def test_meta_tensors_tell_the_shape_of_the_result():
    spec = SPECIFICATIONS["convolution"]
    x, y, w = (f.detach().to("meta") for f in inputs(spec, rows=5))
    rows = torch.zeros(5, dtype=torch.int64, device="meta")
    assert convolve(spec, x, y, w, Edges(rows, rows, 7)).shape == (7, spec.z.dim)
    assert tensor_product(spec, x, y, w).is_meta


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
