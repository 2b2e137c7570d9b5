"""Shares of edges and the operator with its weights open: against plain sums, and extremes."""

import doctest

import pytest
import torch

from clebsch.ops import (
    Edges,
    Specification,
    backend,
    convolve,
    correlate,
    operator,
    segment_softmax,
    segments,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")
SPEC = Specification.convolution("4x0e + 4x1o + 2x1e", "0e + 1o + 2e", "0e + 1o + 1e")


@pytest.mark.parametrize("module", [segments, operator])
def test_examples_run(module):
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


def problem(dtype=torch.float64, e=23, n=6):
    src, dst = torch.randint(7, (e,)), torch.randint(n - 1, (e,)).sort().values
    x = torch.randn(7, SPEC.x.dim, dtype=dtype, requires_grad=True)
    y = torch.randn(e, SPEC.y.dim, dtype=dtype, requires_grad=True)
    z = torch.randn(n, SPEC.z.dim, dtype=dtype, requires_grad=True)
    return x, y, z, Edges(src, dst, n)


@pytest.mark.parametrize("name", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_correlate_is_the_derivative_by_the_weights(name, dtype):
    x, y, z, edges = problem(dtype)
    w = torch.randn(23, SPEC.weight_numel, dtype=dtype, requires_grad=True)
    with backend(name):
        found = correlate(SPEC, x, y, z, edges)
        (expected,) = torch.autograd.grad((convolve(SPEC, x, y, w, edges) * z).sum(), w)
    torch.testing.assert_close(found, expected)


def test_correlate_is_differentiable_twice():
    x, y, z, edges = problem(e=3)
    assert torch.autograd.gradcheck(lambda x, y, z: correlate(SPEC, x, y, z, edges), (x, y, z))
    assert torch.autograd.gradgradcheck(lambda x, y, z: correlate(SPEC, x, y, z, edges), (x, y, z))


def test_correlate_refuses_what_does_not_fit():
    x, y, z, edges = problem()
    with pytest.raises(ValueError, match=r"z is \(5, 74\); it must be \(6, 74\)"):
        correlate(SPEC, x, y, z[:5], edges)
    with pytest.raises(ValueError, match="one floating-point type"):
        correlate(SPEC, x, y.float(), z, edges)
    with pytest.raises(TypeError, match="must be a tensor"):
        correlate(SPEC, x, y, None, edges)
    shared = Specification.fully_connected("2x0e", "2x0e", "2x0e")
    with pytest.raises(ValueError, match="shares its weights"):
        correlate(shared, torch.ones(1, 2), y, z, edges)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_is_the_plain_one_for_each_node(dtype, sink, weighted):
    n, heads = 5, 3
    index = torch.tensor([0, 0, 3, 1, 3, 3, 1])
    logits = 3 * torch.randn(7, heads, dtype=dtype)
    weight = torch.rand(7, dtype=dtype) if weighted else None
    nobody = torch.randn(heads, dtype=dtype) if sink else None
    shares = segment_softmax(logits, index, n, weight, nobody)
    for node in range(n):
        mine = index == node
        part = logits[mine].double().exp()
        if weight is not None:
            part = part * weight[mine, None]
        total = part.sum(0) + (nobody.double().exp() if nobody is not None else 0)
        if mine.any():
            torch.testing.assert_close(shares[mine], (part / total).to(dtype))


@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_of_extremes_is_finite_with_its_gradients(sink, dtype):
    logits = torch.tensor([[1e4], [-1e4], [1e4], [3e3], [1e4], [0.0]], dtype=dtype)
    index = torch.tensor([0, 0, 1, 1, 2, 4])
    # the strongest edge of node 1 is outside, and all of node 2; node 3 has none
    weight = torch.tensor([1.0, 1.0, 0.0, 1e-30, 0.0, 1e-44], dtype=dtype)
    logits, weight = logits.requires_grad_(), weight.requires_grad_()
    nobody = torch.zeros(1, dtype=dtype, requires_grad=True) if sink else None
    shares = segment_softmax(logits, index, 5, weight, nobody)
    expected = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    if dtype == torch.float64:
        expected[5] = 1e-44 if sink else 1.0
    torch.testing.assert_close(shares[:, 0], torch.tensor(expected, dtype=dtype))
    inputs = [t for t in (logits, weight, nobody) if t is not None]
    gradients = torch.autograd.grad(shares.square().sum(), inputs, create_graph=True)
    assert all(torch.isfinite(g).all() for g in gradients)
    if dtype == torch.float64:
        second = torch.autograd.grad(sum(g.tanh().sum() for g in gradients), inputs)
        assert all(torch.isfinite(g).all() for g in second)


def test_softmax_is_differentiable_twice():
    index = torch.tensor([0, 0, 3, 1, 3, 3, 1])
    logits = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(7, dtype=torch.float64, requires_grad=True)
    sink = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def function(logits, weight, sink):
        return segment_softmax(logits, index, 4, weight, sink)

    assert torch.autograd.gradcheck(function, (logits, weight, sink))
    assert torch.autograd.gradgradcheck(function, (logits, weight, sink))


@pytest.mark.parametrize("sink", [None, torch.zeros(2)])
def test_softmax_of_nothing(sink):
    nothing = torch.zeros(0, dtype=torch.int64)
    for n in (0, 3):
        assert segment_softmax(torch.zeros(0, 2), nothing, n, torch.zeros(0), sink).shape == (0, 2)


def test_half_precision_and_autocast():
    logits, index = torch.randn(9, 2) * 5, torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
    weight, sink = torch.rand(9), torch.randn(2)
    low = logits.bfloat16()
    expected = segment_softmax(low.float(), index, 4, weight, sink)
    with torch.autocast("cpu", torch.bfloat16):
        found = segment_softmax(low, index, 4, weight, sink)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    half = segment_softmax(low, index, 4, weight.bfloat16(), sink.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0, rtol=0.02)
