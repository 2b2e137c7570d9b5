"""Two hundred random specifications: every back end, the reference and e3nn compute the same.

Kernels are built once per specification, so that fast back ends get many joined into one, whose
parts are compared with the reference's results for each specification alone.
"""

import shutil

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from clebsch.o3 import from_e3nn, to_e3nn
from clebsch.ops import Edges, backend, convolve, cpu, tensor_product
from random_specifications import join, random_specification, split

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}  # of the largest value

# 100 of every mode, 100 convolutions; half of each with shared weights.
KINDS = [(convolution, shared) for convolution in (False, True) for shared in (False, True)]
FAST = [
    pytest.param(
        "cpu",
        "cpu",
        marks=pytest.mark.skipif(
            shutil.which("g++") is None and shutil.which("c++") is None, reason="no C++ compiler"
        ),
    ),
    pytest.param(
        "triton",
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    ),
]


def assert_close(got, expected, dtype):
    largest = max(expected.abs().max().item(), 1e-300) if expected.numel() else 0
    atol = TOLERANCE[dtype] * largest
    torch.testing.assert_close(got.double().cpu(), expected, atol=atol, rtol=0)


def factors_of(spec, rows, edges, dtype=torch.float64):
    lead = () if spec.shared_weights else (edges,)
    shapes = (rows, spec.x.dim), (edges, spec.y.dim), (*lead, spec.weight_numel)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def value_and_gradients(value, factors, cotangent):
    """Value and first derivatives; zeros for weights that are none."""
    by = grad(value, factors, cotangent, allow_unused=True, materialize_grads=True)
    return [value.detach(), *by]


@pytest.mark.parametrize("chunk", range(5))
@pytest.mark.parametrize(("convolution", "shared"), KINDS)
def test_reference_is_e3nns_tensor_product(convolution, shared, chunk, float64):
    e3nn = pytest.importorskip("e3nn")
    before = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(jit_script_fx=False)  # TorchScript takes most of the time
    try:
        for seed in range(10 * chunk, 10 * chunk + 10):
            _agrees_with_e3nn(random_specification(seed, shared, convolution))
    finally:
        e3nn.set_optimization_defaults(**before)


def _agrees_with_e3nn(spec):
    from e3nn.o3 import TensorProduct

    oracle = TensorProduct(
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
    x, y, w = factors = factors_of(spec, 4, 4)
    cotangent = torch.randn(4, spec.z.dim)
    with backend("reference"):
        got = value_and_gradients(tensor_product(spec, *factors), factors, cotangent)
    theirs = oracle(to_e3nn(x, spec.x), to_e3nn(y, spec.y), w if spec.weight_numel else None)
    expected = value_and_gradients(from_e3nn(theirs, spec.z), factors, cotangent)
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, torch.float64)


def agrees_with_reference(name, device, dtype, specs):
    """The joined specification on a back end, each alone on the reference in float64."""
    joined = join(specs)
    src, dst = torch.randint(5, (16,)), torch.randint(6, (16,)).sort().values
    factors = factors_of(joined, 5, 16)
    cotangent = torch.randn(6, joined.z.dim, dtype=torch.float64)
    cast = [f.detach().to(device, dtype).requires_grad_() for f in factors]
    with backend(name):
        value = convolve(joined, *cast, Edges(src.to(device), dst.to(device), 6))
        got = value_and_gradients(value, cast, cotangent.to(device, dtype))
        again = convolve(joined, *cast, Edges(src.to(device), dst.to(device), 6))
        assert torch.equal(value, again)
    # What was rounded is rounded for both.
    exact = [f.detach().double().cpu() for f in cast]
    parts = zip(
        specs,
        *(split(f, specs, slot) for f, slot in zip(exact, "xyw", strict=True)),
        split(cotangent.to(dtype).double(), specs, "z"),
        *(split(g, specs, slot) for g, slot in zip(got, "zxyw", strict=True)),
        strict=True,
    )
    for spec, x, y, w, z, *found in parts:
        alone = [f.clone().requires_grad_() for f in (x, y, w)]
        with backend("reference"):
            out = convolve(spec, *alone, Edges(src, dst, 6))
            expected = value_and_gradients(out, alone, z)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("convolution", "shared"), KINDS)
@pytest.mark.parametrize(("name", "device"), FAST)
def test_some_random_specifications(name, device, convolution, shared, dtype):
    specs = [random_specification(seed, shared, convolution) for seed in range(100, 106)]
    agrees_with_reference(name, device, dtype, specs)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("convolution", "shared"), KINDS)
@pytest.mark.parametrize(("name", "device"), FAST)
def test_two_hundred_random_specifications(name, device, convolution, shared, dtype):
    for start in range(0, 50, 25):
        seeds = range(start, start + 25)
        specs = [random_specification(seed, shared, convolution) for seed in seeds]
        agrees_with_reference(name, device, dtype, specs)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize(("convolution", "shared"), KINDS)
def test_derivatives_by_differences(convolution, shared, name):
    """First and second derivatives of a few specifications joined, in random directions."""
    spec = join([random_specification(seed, shared, convolution) for seed in range(100, 103)])
    edges = Edges(torch.randint(2, (4,)), torch.tensor([0, 0, 1, 2]), 3)
    factors = [f for f in factors_of(spec, 2, 4) if f.numel()]

    def convolution(x, y, w=None):
        return convolve(spec, x, y, w, edges)

    with backend(name):
        assert gradcheck(convolution, factors, fast_mode=True)
        assert gradgradcheck(convolution, factors, fast_mode=True)


@pytest.mark.parametrize(("convolution", "shared"), KINDS)
def test_same_bits_for_any_number_of_threads(convolution, shared):
    spec = join([random_specification(seed, shared, convolution) for seed in range(100, 103)])
    n, e = 30, 700
    edges = Edges(torch.randint(n, (e,)), torch.randint(n, (e,)).sort().values, n)
    factors = factors_of(spec, n, e, torch.float32)
    if shutil.which("g++"):
        assert cpu.available(spec, factors[0])
    cotangent = torch.randn(n, spec.z.dim)

    def results():
        value = convolve(spec, *factors, edges)
        first = grad(
            value, factors, cotangent, create_graph=True, allow_unused=True, materialize_grads=True
        )
        loss = sum(g.square().sum() for g in first)
        return [value, *first, *grad(loss, factors, allow_unused=True, materialize_grads=True)]

    before, all_results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            all_results.append(results())
    finally:
        torch.set_num_threads(before)
    for other in all_results[1:]:
        assert all(map(torch.equal, other, all_results[0]))
