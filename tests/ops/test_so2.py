"""The SO(2) form against the dense one: PyTorch and kernels, every derivative, every edge."""

import doctest
import random
import shutil

import pytest
import torch

from clebsch.o3 import Irreps
from clebsch.ops import (
    Edges,
    Path,
    Specification,
    backend,
    convolve_directions,
)
from clebsch.ops.so2 import cost, cpu, reference

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason="there is no C++ compiler"
)
KERNELS = pytest.param(cpu.convolve, marks=needs_compiler, id="kernels")
PYTORCH = pytest.param(reference.convolve, id="pytorch")
both = pytest.mark.parametrize("so2", [PYTORCH, KERNELS])

AXES = torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(1, 3)]).double()


def dense(spec, x, v, w, edges, normalization="component"):
    """The reference of everything here: harmonics, then the 3j symbols."""
    return convolve_directions(spec, x, v, w, edges, "dense", normalization)


@pytest.fixture(autouse=True)
def _dense_in_pytorch():
    """Kernels of the dense form take long to build at high degree; the SO(2) ones stay."""
    with backend("reference"):
        yield


def random_specification(seed: int) -> Specification:
    """Two or three blocks with own channel counts, either parity, degrees up to 8."""
    draw = random.Random(seed)
    lmax = draw.choice([2, 3, 5, 8])
    x = [
        (draw.choice([1, 2, 5, 17]), (l, draw.choice((1, -1))))
        for l in draw.sample(range(lmax + 1), draw.randint(2, 3))
    ]
    y = Irreps.spherical_harmonics(lmax, draw.choice((1, -1)))
    keep = {ir for _, a in Irreps(x) for _, b in y for ir in a * b if ir.l <= lmax}
    return Specification.convolution(x, y, sorted(keep), merge=draw.random() < 0.7)


def problem(spec, dtype=torch.float64, n=6, e=23):
    """Features, edge vectors (the first seven on the axes and zero), weights, edges.

    The last atom receives nothing.
    """
    v = torch.randn(e, 3, dtype=torch.float64)
    v[: min(e, 7)] = AXES[:e]
    edges = Edges(torch.randint(n, (e,)), torch.randint(n - 1, (e,)).sort().values, n)
    x, w = torch.randn(n, spec.x.dim), torch.randn(e, spec.weight_numel)
    return *(t.to(dtype).requires_grad_() for t in (x, v, w)), edges


def up_to_second(function, spec, x, v, w, edges, *rest):
    """Value, all first derivatives and all second ones, contracted with fixed vectors."""
    fixed = torch.Generator().manual_seed(5)

    def along(tensors):
        return sum((t * torch.randn(t.shape, generator=fixed).to(t)).sum() for t in tensors)

    value = function(spec, x, v, w, edges, *rest)
    first = torch.autograd.grad(along([value]) + value.square().sum(), (x, v, w), create_graph=True)
    second = torch.autograd.grad(along(first), (x, v, w), create_graph=True)
    return [value, *first, *second], along


def assert_close(got, expected, tolerance):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        if b.numel():
            scale = max(b.abs().max().item(), 1e-3)
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale)


@both
@pytest.mark.parametrize("seed", range(16))
def test_equals_the_dense_form_in_value_and_derivatives(so2, seed):
    spec = random_specification(seed)
    inputs = problem(spec)
    normalization = ("component", "norm", "integral")[seed % 3]
    got, _ = up_to_second(so2, spec, *inputs, normalization)
    expected, _ = up_to_second(dense, spec, *inputs, normalization)
    assert_close(got, expected, 1e-10)


@needs_compiler
@pytest.mark.parametrize("seed", range(4))
def test_kernels_in_single_precision(seed):
    spec = random_specification(seed)
    inputs = problem(spec, torch.float32)
    got, _ = up_to_second(cpu.convolve, spec, *inputs)
    exact = (t.detach().double().requires_grad_() for t in inputs[:3])
    expected, _ = up_to_second(dense, spec, *exact, inputs[3])
    assert all(t.dtype == torch.float32 for t in got)
    assert_close([t.double() for t in got], expected, 1e-5)


@both
def test_third_derivatives_equal_the_dense_form(so2):
    spec = Specification.convolution("2x1o + 1x2e + 1x2o", "0e + 1o + 2e", "1o + 2e", merge=True)
    inputs = problem(spec)
    thirds = []
    for function in (so2, dense):
        values, along = up_to_second(function, spec, *inputs)
        thirds.append(torch.autograd.grad(along(values[4:]), inputs[:3]))
    assert_close(*thirds, 1e-10)


@both
def test_finite_differences_on_the_axes(so2):
    """v = +-x, +-y, +-z exactly; finite differences know nothing of the dense form."""
    spec = Specification.convolution("1o + 4e", "0e + 1o + 2e + 4e", "1o + 4e", merge=True)
    x, _, w, edges = problem(spec, n=3, e=6)
    lengths = torch.tensor([1.0, 0.3, 2.0, 1.0, 1.7, 0.5])[:, None]
    v = (AXES[:6] * lengths).requires_grad_()

    def of(x, v, w):
        return so2(spec, x, v, w, edges)

    assert torch.autograd.gradcheck(of, (x, v, w))
    assert torch.autograd.gradgradcheck(of, (x.detach(), v, w.detach()))


@both
def test_edges_of_length_zero(so2):
    """Only harmonics of degree 0 are left, and nothing depends on the direction."""
    spec = Specification.convolution("2x0e + 2x1o", "0e + 1o + 2e", "0e + 1o", merge=True)
    x, _, w, edges = problem(spec, e=4)
    v = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    got, _ = up_to_second(so2, spec, x, v, w, edges)
    expected, _ = up_to_second(dense, spec, x, v, w, edges)
    assert_close(got, expected, 1e-12)
    assert got[0].abs().max() > 0.1
    assert torch.equal(got[2], torch.zeros_like(v))


@both
def test_no_edges_and_no_atoms(so2):
    spec = Specification.convolution("3x0e + 3x1o", "0e + 1o", "0e + 1o", merge=True)
    for n, e in ((4, 0), (0, 0)):
        x = torch.randn(n, spec.x.dim, dtype=torch.float64, requires_grad=True)
        v = torch.zeros(e, 3, dtype=torch.float64, requires_grad=True)
        w = torch.zeros(e, spec.weight_numel, dtype=torch.float64, requires_grad=True)
        none = torch.zeros(0, dtype=torch.int64)
        got, _ = up_to_second(so2, spec, x, v, w, Edges(none, none, n))
        assert torch.equal(got[0], torch.zeros(n, spec.z.dim, dtype=torch.float64))
        assert torch.equal(got[1], torch.zeros_like(x))
        assert got[2].shape == v.shape
        assert got[3].shape == w.shape


@both
def test_paths_without_weights(so2):
    ways = [
        Path(0, j, k, "uvu", 0.7, weighted=(j, k) == (1, 1)) for j, k in ((1, 0), (0, 1), (1, 1))
    ]
    spec = Specification(Irreps("3x2e"), Irreps("0e + 2e"), Irreps("3x1e + 3x2e"), tuple(ways))
    x, v, w, edges = problem(spec)
    assert spec.weight_numel == 3
    got, _ = up_to_second(so2, spec, x, v, w, edges)
    expected, _ = up_to_second(dense, spec, x, v, w, edges)
    assert_close(got, expected, 1e-10)
    bare = Specification(spec.x, spec.y, spec.z, (Path(0, 1, 0, weighted=False),))
    assert_close([so2(bare, x, v, None, edges)], [dense(bare, x, v, None, edges)], 1e-10)


def test_chunks_give_the_same_result_and_derivatives(monkeypatch):
    spec = Specification.convolution("2x1o + 2x3o", "0e + 1o + 2e + 3o", "1o + 3o", merge=True)
    inputs = problem(spec)
    whole, _ = up_to_second(reference.convolve, spec, *inputs)
    monkeypatch.setattr(reference, "_CHUNK", 5 * (spec.x.dim + spec.z.dim + spec.weight_numel))
    parts, _ = up_to_second(reference.convolve, spec, *inputs)
    assert_close(parts, whole, 1e-12)


@needs_compiler
def test_same_bits_for_any_number_of_threads():
    spec = Specification.convolution("16x0e + 16x1o", "0e + 1o + 2e", "0e + 1o", merge=True)
    inputs = problem(spec, torch.float32, n=40, e=600)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, _ = up_to_second(cpu.convolve, spec, *inputs)
        torch.set_num_threads(3)
        three, _ = up_to_second(cpu.convolve, spec, *inputs)
        assert all(map(torch.equal, one, three))
    finally:
        torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 33])
def test_channel_counts_around_the_width_of_the_kernels(channels):
    irreps = f"{channels}x1o + {channels}x2e"
    spec = Specification.convolution(irreps, "0e + 1o + 2e", "1o + 2e", merge=True)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        inputs = problem(spec, dtype)
        got, _ = up_to_second(cpu.convolve, spec, *inputs)
        expected, _ = up_to_second(dense, spec, *inputs)
        assert_close(got, expected, tolerance)


def test_merged_blocks_have_unit_variance():
    x = Irreps("16x0e + 16x1o + 16x2e")
    spec = Specification.convolution(x, "0e + 1o + 2e", x, merge=True)
    assert spec.z == x
    features, v, w, _ = problem(spec, torch.float32, n=400, e=400)
    itself = torch.arange(400)
    out = reference.convolve(spec, features, v, w, Edges(itself, itself, 400))[7:]
    for part in spec.z.slices():
        assert out[:, part].square().mean().item() == pytest.approx(1, abs=0.1)


def test_compiles_in_one_graph():
    spec = Specification.convolution("2x1o + 2x2e", "0e + 1o + 2e", "1o + 2e", merge=True)
    x, v, w, edges = (t.detach() if isinstance(t, torch.Tensor) else t for t in problem(spec))
    compiled = torch.compile(convolve_directions, fullgraph=True, backend="eager")
    got = compiled(spec, x, v, w, edges, "so2")
    torch.testing.assert_close(got, dense(spec, x, v, w, edges), atol=1e-11, rtol=0)


def natural(lmax: int, channels: int, merge: bool = True) -> Specification:
    x = Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])
    return Specification.convolution(x, Irreps.spherical_harmonics(lmax), x, merge)


def test_costs_are_counted():
    assert doctest.testmod(cost).failed == 0
    dense_bound = cost.costs(natural(6, 32))
    assert dense_bound.dense_channels == 32 * 5144  # non-zero (i, k) of 106 paths
    assert dense_bound.so2_channels == 32 * 1231


def test_auto_takes_the_dense_form_below_degree_four_and_for_unmerged_blocks():
    assert cost.cheaper(natural(3, 64)) == "dense"
    assert cost.cheaper(natural(6, 64)) == "so2"
    assert cost.cheaper(natural(8, 16)) == "so2"
    assert cost.cheaper(natural(6, 64, merge=False)) == "dense"
    assert cost.cheaper(Specification.fully_connected("4e", "4e", "4e")) == "dense"


def test_auto_computes_what_it_chose(monkeypatch):
    spec = natural(4, 2)
    x, v, w, edges = problem(spec)
    for chosen, other in (("so2", "dense"), ("dense", "so2")):
        monkeypatch.setattr(cost, "cheaper", lambda spec, chosen=chosen: chosen)
        auto = convolve_directions(spec, x, v, w, edges)
        assert torch.equal(auto, convolve_directions(spec, x, v, w, edges, chosen))
        torch.testing.assert_close(auto, convolve_directions(spec, x, v, w, edges, other))


@pytest.mark.parametrize("form", ["auto", "dense", "so2"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(6, 3)}, "x is"),
        ({"vectors": torch.zeros(22, 3)}, "vectors are"),
        ({"w": torch.zeros(23, 1)}, "w is"),
        ({"w": None}, "none given"),
        ({"vectors": torch.zeros(23, 3, dtype=torch.float32)}, "type"),
    ],
)
def test_wrong_arguments_get_one_sentence(form, change, words):
    spec = natural(1, 2)
    x, v, w, edges = problem(spec)
    arguments = {"x": x, "vectors": v, "w": w, **change}
    with pytest.raises(ValueError, match=words):
        convolve_directions(spec, **arguments, edges=edges, form=form)


def test_forms_that_do_not_exist():
    spec = natural(1, 2)
    x, v, w, edges = problem(spec)
    with pytest.raises(ValueError, match="the form must be"):
        convolve_directions(spec, x, v, w, edges, "fast")
    connected = Specification.fully_connected("2x1o", "1o", "2x2e")
    with pytest.raises(ValueError, match="has no SO"):
        convolve_directions(connected, x, v, w, edges, "so2")


@both
def test_edges_out_of_range_are_refused(so2):
    spec = natural(1, 2)
    x, v, w, edges = problem(spec)
    for end in ("src", "dst"):
        rows = getattr(edges, end).clone()
        rows[3] = 6
        with pytest.raises((IndexError, RuntimeError)):
            so2(spec, x, v, w, edges._replace(**{end: rows}))
