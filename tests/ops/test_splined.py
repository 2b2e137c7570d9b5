"""The convolution with splines of the distance: against weights given per edge, derivatives."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from clebsch.ops import Edges, Specification, backend, convolve, convolve_splined
from clebsch.ops.splined import spline_table, spline_weights

SPEC = Specification.convolution("3x0e + 2x1o", "0e + 1o + 2e", "0e + 1o + 2e")


def smooth(u):
    """Two functions of u with value, slope and curvature zero at u = 1, and slope zero at 0."""
    cut = (1 - u**2) ** 4
    return np.stack([np.cos(5 * u**2) * cut, np.exp(-3 * u**2) * np.cos(9 * u**2) * cut], -1)


SMALL = Specification.convolution("1x0e + 1x1o", "0e + 1o", "0e + 1o")


def inputs(edges=7, nodes=4, intervals=8, dtype=torch.float64, seed=0, spec=SPEC):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, spec.x.dim, dtype=dtype, generator=draw)
    y = torch.randn(edges, spec.y.dim, dtype=dtype, generator=draw)
    u = 1.1 * torch.rand(edges, dtype=dtype, generator=draw)
    table = torch.randn(intervals + 3, spec.weight_numel, dtype=dtype, generator=draw)
    table[-3:] = 0
    src = torch.randint(nodes, (edges,), generator=draw)
    dst = torch.randint(nodes, (edges,), generator=draw).sort().values
    return x, y, u, table, Edges(src, dst, nodes)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_splines_equal_scipys(order, rng):
    interpolate = pytest.importorskip("scipy.interpolate")
    n = 12
    table = rng.normal(size=(n + 3, 2))
    oracle = interpolate.BSpline(np.arange(-3, n + 4) / n, table, 3)
    u = rng.uniform(0, 1, 50)
    got = spline_weights(torch.from_numpy(u), torch.from_numpy(table), order)
    expected = oracle.derivative(order)(u) if order else oracle(u)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10, atol=1e-10 * n**order)


def test_table_converges_with_the_fourth_power_and_is_smooth_at_the_end():
    u = torch.linspace(0, 1, 5001, dtype=torch.float64)
    errors = []
    for n in (32, 64, 128):
        table = torch.from_numpy(spline_table(smooth(np.arange(n + 1) / n), np.zeros(2)))
        assert not table[-3:].any()
        errors.append((spline_weights(u, table) - torch.from_numpy(smooth(u.numpy()))).abs().max())
        points = torch.arange(n - 1, dtype=torch.float64) / n
        exact = torch.from_numpy(smooth(points.numpy()))
        torch.testing.assert_close(spline_weights(points, table), exact, atol=1e-12, rtol=0)
        end = torch.tensor([1 - 1e-15], dtype=torch.float64)
        for order in (0, 1, 2):
            assert spline_weights(end, table, order).abs().max() < 1e-8
        start = torch.zeros(1, dtype=torch.float64)
        assert spline_weights(start, table, 1).abs().max() < 1e-9
    assert errors[0] > 12 * errors[1]
    assert errors[1] > 12 * errors[2]
    assert errors[2] < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("edges", [0, 1, 7, 5000])
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_equals_the_convolution_with_the_same_weights(name, edges, dtype):
    x, y, u, table, where = inputs(edges, dtype=dtype)
    leaves = [f.clone().requires_grad_() for f in (x, y, u)]
    expected = convolve(SPEC, leaves[0], leaves[1], spline_weights(leaves[2], table), where)
    z = torch.randn_like(expected)
    slopes = torch.autograd.grad(expected, leaves, z, materialize_grads=True)
    with backend(name):
        got = convolve_splined(SPEC, *leaves, table, where)
        got_slopes = torch.autograd.grad(got, leaves, z)
    for a, b in zip((got, *got_slopes), (expected, *slopes), strict=True):
        size = float(b.detach().abs().max()) if b.numel() else 0.0
        tolerance = (1e-12 if dtype == torch.float64 else 3e-6) * max(size, 1.0)
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_derivatives_of_every_order(name):
    x, y, _, table, where = inputs(3, 2, spec=SMALL)
    u = torch.tensor([0.03, 0.4, 0.99], dtype=torch.float64)
    leaves = [f.requires_grad_() for f in (x, y, u)]

    def value(x, y, u):
        return convolve_splined(SMALL, x, y, u, table, where)

    def slopes(x, y, u):
        out = value(x, y, u)
        return torch.autograd.grad(out.square().sum(), (x, y, u), create_graph=True)

    with backend(name):
        assert gradcheck(value, leaves)
        assert gradgradcheck(value, leaves)
        assert gradgradcheck(slopes, leaves)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_at_and_around_the_cutoff(name, dtype):
    """u = 1 and beyond give exactly zero; just below and at the joints it is continuous."""
    one = torch.ones((), dtype=dtype)
    below = torch.nextafter(one, torch.zeros((), dtype=dtype))
    above = torch.nextafter(one, 2 * one)
    for n in (8, 12, 100):
        x, y, _, table, _ = inputs(5, 5, n, dtype)
        u = torch.stack([one, above, 1e30 * one, torch.inf * one, below]).requires_grad_()
        rows = torch.arange(5)
        with backend(name):
            out = convolve_splined(SPEC, x, y, u, table, Edges(rows, rows, 5))
            (slope,) = torch.autograd.grad(out.sum(), u)
        assert not out[:4].any()
        assert not slope[:4].any()
        assert out[4].abs().max() < 1e-12
        assert slope[4].abs() < 1e-3


def test_not_a_number_is_not_hidden():
    x, y, u, table, where = inputs(3, 3)
    u[1] = torch.nan
    with backend("reference"):
        out = convolve_splined(SPEC, x, y, u, table, where)
    assert out[where.dst[1]].isnan().any()


def test_energy_of_a_far_edge_does_not_depend_on_it():
    x, y, u, table, where = inputs(6)
    u[2:4] = 1.05
    near = u < 1
    kept = Edges(where.src[near], where.dst[near], where.n_dst)
    torch.testing.assert_close(
        convolve_splined(SPEC, x, y, u, table, where),
        convolve_splined(SPEC, x, y[near], u[near], table, kept),
    )


@pytest.mark.parametrize("name", ["convolve_splined", "convolve_splined_gradients"])
def test_opcheck(name):
    x, y, u, table, where = inputs(5, 3, dtype=torch.float32)
    if name == "convolve_splined":
        arguments = (SPEC.key, x, y, u, table, where.src, where.dst, 3)
    else:
        z = torch.randn(3, SPEC.z.dim)
        arguments = (SPEC.key, x, y, u, table, z, where.src, where.dst)
    torch.library.opcheck(
        getattr(torch.ops.clebsch, name),
        arguments,
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


def test_custom_operator_has_the_same_derivatives():
    x, y, u, table, where = inputs(5, 3)
    leaves = [f.requires_grad_() for f in (x, y, u)]

    def both(function):
        first = torch.autograd.grad(function().square().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        return (*first, *second)

    plain = both(lambda: convolve_splined(SPEC, *leaves, table, where))
    operator = both(
        lambda: torch.ops.clebsch.convolve_splined(
            SPEC.key, *leaves, table, where.src, where.dst, where.n_dst
        )
    )
    for a, b in zip(plain, operator, strict=True):
        torch.testing.assert_close(a, b)


def test_batches_of_cotangents():
    """A Jacobian in one pass, of the convolution and of its derivatives."""
    x, y, u, table, where = inputs(5, 3, spec=SMALL)
    leaves = [f.requires_grad_() for f in (x, y, u)]
    out = convolve_splined(SMALL, *leaves, table, where)
    slopes = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
    for value in (out, *slopes):
        basis = torch.eye(value.numel(), dtype=value.dtype).reshape(-1, *value.shape)
        one_by_one = [torch.autograd.grad(value, leaves, b, retain_graph=True) for b in basis]
        together = torch.autograd.grad(
            value, leaves, basis, retain_graph=True, is_grads_batched=True
        )
        for number, found in enumerate(together):
            torch.testing.assert_close(found, torch.stack([row[number] for row in one_by_one]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # inductor's own
def test_compiles():
    x, y, u, table, where = inputs(5, 3, dtype=torch.float32)
    leaves = [f.requires_grad_() for f in (x, y, u)]

    def square(x, y, u):
        return convolve_splined(SPEC, x, y, u, table, where).square().sum()

    expected = torch.autograd.grad(square(*leaves), leaves)
    compiled = torch.compile(square, fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(*leaves), leaves), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, u, t: (x[:, 1:], y, u, t), "x is"),
        (lambda x, y, u, t: (x, y[1:], u, t), "y is"),
        (lambda x, y, u, t: (x, y, u[:, None], t), "u is"),
        (lambda x, y, u, t: (x, y, u, t[:, 1:]), "the table is"),
        (lambda x, y, u, t: (x, y, u, t[:3]), "at least one interval"),
        (lambda x, y, u, t: (x, y.float(), u, t), "must agree"),
        (lambda x, y, u, t: (x, y, u, t.requires_grad_()), "detach"),
    ],
)
def test_wrong_input_is_named(change, words):
    x, y, u, table, where = inputs()
    with pytest.raises(ValueError, match=words):
        convolve_splined(SPEC, *change(x, y, u, table), where)


def test_edges_in_pieces_of_other_tensors():
    """Strided and 32-bit indices, as neighbour lists give them."""
    x, y, u, table, where = inputs(6)
    pairs = torch.stack([where.dst, where.src], 1)
    strided = Edges(pairs[:, 1], pairs[:, 0], where.n_dst)
    short = Edges(where.src.int(), where.dst.int(), where.n_dst)
    expected = convolve_splined(SPEC, x, y, u, table, where)
    for other in (strided, short):
        assert torch.equal(convolve_splined(SPEC, x, y, u, table, other), expected)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("slot", ["src", "dst"])
def test_edges_out_of_range(name, slot):
    x, y, u, table, where = inputs(5, 3)
    wrong = where._replace(**{slot: torch.tensor([0, 0, 1, 2, 3])})
    with backend(name), pytest.raises((IndexError, RuntimeError)):
        convolve_splined(SPEC, x, y, u, table, wrong)
