"""The CPU back end against the reference; threads, wrong edges, the cache of kernels."""

import os
import random
import shutil
import subprocess
import sys

import pytest
import torch

from clebsch.o3 import Irreps
from clebsch.ops import Edges, Specification, backend, compiler, convolve, cpu, tensor_product

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason="there is no C++ compiler"
)


def random_convolution(seed: int, channels: int) -> Specification:
    draw = random.Random(seed)

    def some(count):
        return [(channels, (l, draw.choice((1, -1)))) for l in draw.sample(range(4), count)]

    x, y = some(draw.randint(1, 3)), [(1, (l, (-1) ** l)) for l in range(draw.randint(1, 4))]
    keep = {ir for _, a in Irreps(x) for _, b in Irreps(y) for ir in a * b if ir.l <= 3}
    return Specification.convolution(x, y, [(1, ir) for ir in sorted(keep)])


def problem(spec, dtype, n=11, e=70, ordered=True):
    dst = torch.randint(n, (e,))
    edges = Edges(torch.randint(n, (e,)), dst.sort().values if ordered else dst, n)
    x = torch.randn(n, spec.x.dim, dtype=dtype, requires_grad=True)
    y = torch.randn(e, spec.y.dim, dtype=dtype, requires_grad=True)
    w = torch.randn(e, spec.weight_numel, dtype=dtype, requires_grad=True)
    return x, y, w, edges


def all_orders(spec, x, y, w, edges):
    """Value, first and second derivatives of a scalar that uses every kernel."""
    value = convolve(spec, x, y, w, edges)
    first = torch.autograd.grad(value.square().sum(), (x, y, w), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, y, w))
    return [value, *first, *second]


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("seed", "channels"), list(enumerate([1, 5, 13, 33, 64, 123])))
def test_equals_the_reference(seed, channels, dtype):
    spec = random_convolution(seed, channels)
    x, y, w, edges = problem(spec, dtype, ordered=seed % 2 == 0)
    assert cpu.available(spec, x)
    got = all_orders(spec, x, y, w, edges)
    with backend("reference"):
        expected = all_orders(spec, x, y, w, edges)
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * b.abs().max().item())


@needs_compiler
def test_edge_free_product_equals_the_reference():
    spec = Specification.convolution("5x0e + 5x1o", "0e + 1o", "0e + 1o")
    x, y, w, _ = problem(spec, torch.float64, n=9, e=9)
    with backend("reference"):
        expected = tensor_product(spec, x, y, w)
    torch.testing.assert_close(tensor_product(spec, x, y, w), expected, atol=1e-12, rtol=0)


@needs_compiler
def test_same_bits_for_any_number_of_threads():
    spec = Specification.convolution("16x0e + 16x1o", "0e + 1o + 2e", "0e + 1o + 2e")
    inputs = problem(spec, torch.float32, n=40, e=900)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = all_orders(spec, *inputs)
        torch.set_num_threads(3)
        for _ in range(3):
            assert all(map(torch.equal, all_orders(spec, *inputs), one))
    finally:
        torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("bad", [-1, 11])
@pytest.mark.parametrize("end", ["src", "dst"])
def test_edges_out_of_range_are_refused(bad, end):
    spec = Specification.convolution("3x0e", "0e + 1o", "0e + 1o")
    x, y, w, edges = problem(spec, torch.float32)
    rows = getattr(edges, end).clone()
    rows[5] = bad
    with pytest.raises(IndexError, match="not there"):
        convolve(spec, x, y, w, edges._replace(**{end: rows}))


@needs_compiler
def test_non_contiguous_inputs():
    spec = Specification.convolution("4x0e + 4x1o", "0e + 1o", "0e + 1o")
    x, y, w, edges = problem(spec, torch.float64)
    expected = convolve(spec, x, y, w, edges)
    y2 = y.detach().T.contiguous().T
    w2 = torch.cat([w, w], dim=1).detach()[:, : spec.weight_numel]
    assert not y2.is_contiguous()
    torch.testing.assert_close(convolve(spec, x, y2, w2, edges), expected)


@needs_compiler
def test_a_damaged_kernel_is_built_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    code = 'extern "C" int answer() { return 42; }'
    assert compiler.load(code).answer() == 42
    (library,) = tmp_path.rglob("*.so")
    whole = library.read_bytes()
    library.unlink()
    library.write_bytes(whole[: len(whole) // 2])
    assert not compiler._intact(library)
    compiler.load(code)
    assert compiler._intact(library)


@needs_compiler
def test_processes_that_build_at_once(tmp_path):
    program = (
        "from clebsch.ops import compiler\n"
        "code = 'extern \"C\" int answer() { return 7; }'\n"
        "assert compiler.load(code).answer() == 7\n"
    )

    environment = {**os.environ, "CLEBSCH_CACHE": str(tmp_path)}
    jobs = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert len(list(tmp_path.rglob("*.so"))) == 1


@pytest.mark.parametrize("reason", ["no compiler", "no place"])
def test_without_kernels_the_reference_serves_and_says_so(reason, tmp_path, monkeypatch):
    for function in (compiler.compiler, compiler._host, compiler.warn_once, cpu._usable):
        function.cache_clear()
    if reason == "no compiler":
        monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
        words = "install g[+][+]"
    else:
        blocked = tmp_path / "file"
        blocked.write_text("")
        monkeypatch.setenv("CLEBSCH_CACHE", str(blocked))
        words = "set CLEBSCH_CACHE"
    spec = Specification.convolution("3x0e", "0e + 1o", "0e + 1o")
    x, y, w, edges = problem(spec, torch.float32)
    try:
        with pytest.warns(RuntimeWarning, match=words) as caught:  # noqa: PT031
            got = convolve(spec, x, y, w, edges)
            convolve(spec, x, y, w, edges)
        assert len(caught) == 1
    finally:
        for function in (compiler.compiler, compiler._host, compiler.warn_once, cpu._usable):
            function.cache_clear()
    with backend("reference"):
        assert torch.equal(got, convolve(spec, x, y, w, edges))
