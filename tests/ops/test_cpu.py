"""The CPU back end against the reference; threads, wrong edges, the cache of kernels."""

import os
import platform
import random
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from clebsch import compiler
from clebsch.o3 import Irreps
from clebsch.ops import (
    Edges,
    Specification,
    backend,
    convolve,
    cpu,
    reference,
    tensor_product,
)
from clebsch.ops.cpu import convolution, fully_connected
from clebsch.ops.cpu.kernel import Kernel, streams

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
        "from clebsch import compiler\n"
        "code = 'extern \"C\" int answer() { return 7; }'\n"
        "assert compiler.load(code).answer() == 7\n"
    )

    environment = {**os.environ, "CLEBSCH_CACHE": str(tmp_path)}
    jobs = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert len(list(tmp_path.rglob("*.so"))) == 1


@pytest.mark.parametrize("reason", ["no compiler", "no place"])
def test_without_kernels_the_reference_serves_and_says_so(reason, tmp_path, monkeypatch):
    for function in (compiler.compiler, compiler._host, compiler.warn_once, compiler.usable):
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
        for function in (compiler.compiler, compiler._host, compiler.warn_once, compiler.usable):
            function.cache_clear()
    with backend("reference"):
        assert torch.equal(got, convolve(spec, x, y, w, edges))


@needs_compiler
def test_a_cache_that_became_read_only_is_not_built_into(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    compiler.load(compiler.PROBE)  # the probe alone would be found there

    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(compiler.tempfile, "TemporaryFile", refused)
    compiler.usable.cache_clear()
    compiler.warn_once.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="Permission denied.*set CLEBSCH_CACHE"):
            assert not compiler.usable()
    finally:
        compiler.usable.cache_clear()
        compiler.warn_once.cache_clear()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_written_past_the_caches(dtype, monkeypatch):
    spec = Specification.convolution("16x0e + 32x1o", "0e + 1o + 2e", "0e + 1o + 2e")
    inputs = problem(spec, dtype, ordered=False)
    kernel = Kernel(spec, "xyw", real="float" if dtype == torch.float32 else "double")
    assert streams(kernel)
    used, made = [], cpu._convolution
    monkeypatch.setattr(cpu, "_convolution", lambda k: used.append(k) or made(k))
    expected = all_orders(spec, *inputs)
    assert not any(k.streamed for k in used)
    monkeypatch.setattr(cpu, "_CACHES", 0)
    got = all_orders(spec, *inputs)
    assert replace(kernel, streamed=True) in used
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * b.abs().max().item())


@pytest.mark.parametrize(
    ("irreps", "targets", "splined"),
    [
        ("15x0e + 16x1o", "xyw", False),  # channels that fill no vector
        ("16x0e + 16x1o", "yw", False),
        ("16x0e + 16x1o", "xyw", True),
        ("512x0e + 512x1o", "xyw", False),  # rows that no first cache holds
    ],
)
def test_weights_that_go_through_the_caches(irreps, targets, splined):
    spec = Specification.convolution(irreps, "0e + 1o + 2e", "0e + 1o + 2e")
    assert not streams(Kernel(spec, targets, splined=splined))


@needs_compiler
@pytest.mark.parametrize("machine", ["x86-64", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("irreps", ["21x0e + 5x1o", "16x0e + 32x1o"])  # streamed: the second
def test_plain_avx2_and_avx512_kernels(machine, irreps, tmp_path, monkeypatch):
    if platform.machine() != "x86_64":
        pytest.skip("instruction sets of x86-64")
    flags = tuple(f for f in compiler.FLAGS if not f.startswith("-march"))
    monkeypatch.setattr(compiler, "FLAGS", (*flags, f"-march={machine}"))
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    monkeypatch.setattr(cpu, "_CACHES", 0)
    spec = Specification.convolution(irreps, "0e + 1o", "0e + 1o")
    x, y, w, edges = problem(spec, torch.float32)
    cpu._convolution.cache_clear()
    try:
        if machine == "x86-64-v4" and "avx512f" not in compiler._host():
            for n, kernel in enumerate(
                [Kernel(spec, "z"), Kernel(spec, "xyw", streamed=streams(Kernel(spec, "xyw")))]
            ):
                compiler._build(convolution.source(kernel), tmp_path / f"k{n}")
            return  # it builds; this CPU cannot run it
        got = all_orders(spec, x, y, w, edges)
    finally:
        cpu._convolution.cache_clear()
    with backend("reference"):
        expected = all_orders(spec, x, y, w, edges)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-6 * b.abs().max().item())


@needs_compiler
@pytest.mark.parametrize("targets", ["z", "xyw", "yw", "x"])
@pytest.mark.parametrize("tangents", ["", "x", "yw", "xyw"])
def test_several_slots_and_tangents_equal_single_slots(targets, tangents):
    spec = Specification.convolution("5x0e + 9x1o", "0e + 1o", "0e + 1o + 1e")
    x, y, w, edges = problem(spec, torch.float64, ordered=False)
    slots = {"x": x.detach(), "y": y.detach(), "w": w.detach()}
    slots["z"] = torch.randn(edges.n_dst, spec.z.dim, dtype=torch.float64)
    along = {slot: torch.randn_like(slots[slot]) for slot in tangents}
    sizes = (edges.src, edges.dst, x.shape[0], edges.n_dst, y.shape[0])
    found = cpu.open_slots(spec, targets, slots, along, *sizes)
    for target in targets:
        expected = torch.zeros_like(slots[target])
        replaced = [{a: t} for a, t in along.items() if a != target] if tangents else [{}]
        for changes in replaced:
            factors = {s: f for s, f in {**slots, **changes}.items() if s != target}
            rows = slots[target].shape[0]
            expected += reference.contract(
                spec, target, factors, edges.src, edges.dst, rows, y.shape[0]
            )
        torch.testing.assert_close(found[target], expected, atol=1e-12, rtol=0)


@needs_compiler
def test_fully_connected_products_in_pieces(monkeypatch):
    spec = Specification.fully_connected("3x0e + 2x1o", "2x0e + 1x1o", "4x0e + 3x1o + 2x2e")
    x, y = torch.randn(9, spec.x.dim).double(), torch.randn(9, spec.y.dim).double()
    w, z = torch.randn(spec.weight_numel).double(), torch.randn(9, spec.z.dim).double()
    slots = {"x": x, "y": y, "w": w, "z": z}
    monkeypatch.setattr(fully_connected, "PAIRS", 200)
    for target, value in slots.items():
        factors = {s: f for s, f in slots.items() if s != target}
        arguments = (spec, target, factors, None, None, value.shape[0], 9)
        torch.testing.assert_close(
            cpu.contract(*arguments), reference.contract(*arguments), atol=1e-12, rtol=0
        )


def test_memory_is_kept_unless_the_user_forbids_it():
    program = "from clebsch.ops.cpu import memory; print(memory.keep_freed())"
    for value, answer in (("0", "False"), ("1", str(platform.libc_ver()[0] == "glibc"))):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "CLEBSCH_KEEP_MEMORY": value},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == answer
