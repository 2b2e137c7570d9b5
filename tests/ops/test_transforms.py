"""The operator under torch.func: vmap, grad, jacobians, forward mode, and their combinations."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck
from torch.autograd.functional import hessian, jacobian
from torch.fx.experimental.proxy_tensor import make_fx

from clebsch.ops import Edges, Specification, backend, convolve, tensor_product, transforms

# torch.func's forward mode compiles its own decompositions with torch.jit.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

SPEC = Specification.convolution("2x0e + 2x1o", "0e + 1o", "0e + 1o")
N_SRC, N_DST, E = 5, 4, 9


@pytest.fixture(params=["reference", "auto"])
def either_backend(request):
    with backend(request.param):
        yield


@pytest.fixture
def problem():
    edges = Edges(torch.randint(N_SRC, (E,)), torch.randint(N_DST, (E,)).sort().values, N_DST)
    x = torch.randn(N_SRC, SPEC.x.dim, dtype=torch.float64)
    y = torch.randn(E, SPEC.y.dim, dtype=torch.float64)
    w = torch.randn(E, SPEC.weight_numel, dtype=torch.float64)
    return x, y, w, edges


def pick(factor, dim, b):
    return factor if dim is None else factor.select(dim, b)


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(
    "dims", [d for d in itertools.product((None, 0, 1), repeat=3) if any(n is not None for n in d)]
)
def test_vmap_is_a_loop(dims, folded, problem, monkeypatch):
    monkeypatch.setattr(transforms, "_FOLDED_BELOW", 1000 if folded else 0)
    x, y, w, edges = problem
    many = [
        factor if dim is None else torch.randn(3, *factor.shape, dtype=x.dtype).movedim(0, dim)
        for factor, dim in zip((x, y, w), dims, strict=True)
    ]
    got = torch.func.vmap(lambda *f: convolve(SPEC, *f, edges), in_dims=dims)(*many)
    for b in range(3):
        one = convolve(SPEC, *(pick(f, d, b) for f, d in zip(many, dims, strict=True)), edges)
        torch.testing.assert_close(got[b], one, atol=1e-14, rtol=0)


def test_vmap_over_edges_is_a_loop(problem):
    """Graphs of equal size side by side; a wrong row of one graph is not one of the next."""
    x, y, w, edges = problem
    src = torch.randint(N_SRC, (3, E))
    got = torch.func.vmap(lambda s: convolve(SPEC, x, y, w, edges._replace(src=s)))(src)
    for b in range(3):
        assert torch.equal(got[b], convolve(SPEC, x, y, w, edges._replace(src=src[b])))
    src[0, 0] = N_SRC
    xs = torch.stack([x, x, x])
    with pytest.raises(IndexError, match="not there"):
        torch.func.vmap(lambda x, s: convolve(SPEC, x, y, w, edges._replace(src=s)))(xs, src)
    with pytest.raises(IndexError, match="not there"):
        torch.func.vmap(lambda x: convolve(SPEC, x, y, w, edges._replace(src=src[0])))(xs)


@pytest.mark.parametrize(
    "dims", [d for d in itertools.product((None, 0), repeat=3) if any(n is not None for n in d)]
)
@pytest.mark.parametrize("shared", [True, False])
def test_vmap_of_the_edge_free_product(dims, shared):
    spec = Specification.fully_connected("2x0e + 1x1o", "0e + 2x1o", "2x0e + 2x1e", shared)
    shapes = [(4, spec.x.dim), (4, spec.y.dim), (spec.weight_numel,)]
    if not shared:
        shapes[2] = (4, spec.weight_numel)
    many = [
        torch.randn(*(() if dim is None else (3,)), *shape, dtype=torch.float64)
        for shape, dim in zip(shapes, dims, strict=True)
    ]
    got = torch.func.vmap(lambda *f: tensor_product(spec, *f), in_dims=dims)(*many)
    for b in range(3):
        one = tensor_product(spec, *(pick(f, d, b) for f, d in zip(many, dims, strict=True)))
        torch.testing.assert_close(got[b], one, atol=1e-14, rtol=0)


def test_gradients_of_an_ensemble(problem):
    """Per-member derivatives, of weights that rows share too."""
    x, y, _, edges = problem
    spec = Specification.fully_connected("2x0e + 2x1o", "0e + 1o", "3x0e + 1x1o")
    w = torch.randn(4, spec.weight_numel, dtype=torch.float64)

    def loss(w, x):
        return convolve(spec, x, y, w, edges).square().sum()

    by_w, by_x = torch.func.vmap(torch.func.grad(loss, (0, 1)), (0, None))(w, x)
    for b in range(4):
        one = w[b].clone().requires_grad_(), x.clone().requires_grad_()
        expected = torch.autograd.grad(loss(*one), one)
        torch.testing.assert_close((by_w[b], by_x[b]), expected, atol=1e-12, rtol=1e-12)


def test_jacobians_by_either_mode(either_backend, problem):
    x, y, w, edges = problem

    def convolution(x, y, w):
        return convolve(SPEC, x, y, w, edges)

    expected = jacobian(convolution, (x, y, w))
    for mode in (torch.func.jacrev, torch.func.jacfwd):
        got = mode(convolution, (0, 1, 2))(x, y, w)
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


def test_hessians_by_every_composition(either_backend, problem):
    x, y, w, edges = problem

    def energy(x):
        return convolve(SPEC, x, y, w, edges).tanh().square().sum()

    expected = hessian(energy, x)
    rev, fwd = torch.func.jacrev, torch.func.jacfwd
    for outer, inner in itertools.product((rev, fwd), repeat=2):
        torch.testing.assert_close(outer(inner(energy))(x), expected, atol=1e-11, rtol=0)


def test_forward_mode_derivatives(either_backend, problem):
    x, y, w, edges = problem
    factors = [f.clone().requires_grad_() for f in (x, y, w)]

    def convolution(x, y, w):
        return convolve(SPEC, x, y, w, edges)

    assert gradcheck(convolution, factors, check_forward_ad=True, fast_mode=True)

    def energy(x, y):
        return convolve(SPEC, x, y, w, edges).tanh().square().sum()

    step = 1e-6 * torch.randn_like(x)

    def slope(x):
        return torch.func.jvp(energy, (x, y), (y[:N_SRC, :1] * x, y))[1]

    expected = (slope(x + step) - slope(x - step)) / 2
    torch.testing.assert_close(
        (torch.func.grad(slope)(x) * step).sum(), expected, atol=1e-12, rtol=1e-5
    )


def test_batched_cotangents(either_backend, problem):
    """``is_grads_batched``, which ``jacobian(vectorize=True)`` uses."""
    x, y, w, edges = problem

    def convolution(x, y, w):
        return convolve(SPEC, x, y, w, edges)

    def slope(x, y, w):
        value = convolution(x, y, w).square().sum()
        return torch.autograd.grad(value, (x, y, w), create_graph=True)

    for function in (convolution, slope):
        expected = jacobian(function, (x, y, w))
        got = jacobian(function, (x, y, w), vectorize=True)
        torch.testing.assert_close(got, expected, atol=1e-11, rtol=0)


def test_transforms_are_traced_as_the_operator(problem):
    """make_fx of transformed functions holds the operator, not what it is made of."""
    x, y, w, edges = problem

    def energy(x):
        return convolve(SPEC, x, y, w, edges).square().sum()

    for function, some in ((torch.func.grad(energy), x), (torch.func.vmap(energy), x[None])):
        traced = make_fx(function)(some)
        assert "clebsch.contract" in traced.code
        assert "einsum" not in traced.code
        torch.testing.assert_close(traced(2 * some), function(2 * some))
