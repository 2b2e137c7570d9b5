"""The Triton back end: its kernels in Triton's interpreter, against the reference."""

import importlib.util
import random
import sys
import warnings

import pytest
import torch

from clebsch.o3 import Irreps
from clebsch.ops import Edges, Path, Specification, backend, convolve, gpu, reference
from clebsch.ops import tensor_product as product
from clebsch.ops.gpu.edges import EdgeList, edge_list
from clebsch.ops.gpu.source import Kernel, groups, lanes, source

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
TOLERANCE = {
    torch.float64: 1e-13,
    torch.float32: 2e-6,
    torch.float16: 2e-3,  # the result is rounded to 11 bits, sums are in float32
    torch.bfloat16: 1.2e-2,  # ... to 8 bits
}


def random_convolution(seed: int, channels: int) -> Specification:
    draw = random.Random(seed)

    def some(count):
        return [(channels, (l, draw.choice((1, -1)))) for l in draw.sample(range(3), count)]

    x, y = some(draw.randint(1, 2)), [(1, (l, (-1) ** l)) for l in range(draw.randint(1, 3))]
    keep = {ir for _, a in Irreps(x) for _, b in Irreps(y) for ir in a * b if ir.l <= 2}
    return Specification.convolution(x, y, [(1, ir) for ir in sorted(keep)])


SPECIFICATIONS = {
    "mixed channels": Specification.convolution("3x0e + 5x1o + 3x1e", "0e + 1o", "0e + 1o + 1e"),
    "uuu": Specification.elementwise("3x0e + 5x1o", "3x1o + 5x1o"),
    "shared weights": Specification(
        Irreps("5x1o"),
        Irreps("0e + 1o"),
        Irreps("5x1o + 5x0e"),
        (Path(0, 0, 0, "uvu", 0.7), Path(0, 1, 1, "uvuv", 1.3)),
        True,
    ),
    "two paths into one block, one block left out": Specification(
        Irreps("3x0e + 3x1o + 2x2e"),
        Irreps("0e + 1o + 2e"),
        Irreps("3x1o + 4x0e"),
        (Path(0, 1, 0), Path(1, 0, 0, coefficient=-2.0, weighted=False)),
    ),
}


def problem(spec, dtype, n_src=4, n_dst=5, e=11, seed=0):
    """Slots and edges; row 0 and the last row get no edge."""
    torch.manual_seed(seed)
    src, dst = torch.randint(1, n_src, (e,)), torch.randint(1, n_dst - 1, (e,)).sort().values
    w = (spec.weight_numel,) if spec.shared_weights else (e, spec.weight_numel)
    shapes = {"x": (n_src, spec.x.dim), "y": (e, spec.y.dim), "w": w, "z": (n_dst, spec.z.dim)}
    slots = {slot: torch.randn(shape, dtype=torch.float64) for slot, shape in shapes.items()}
    return {slot: value.to(dtype) for slot, value in slots.items()}, src, dst


def expected(spec, target, slots, src, dst):
    """The reference in float64 of the numbers that the kernel gets."""
    factors = {slot: value.double() for slot, value in slots.items() if slot != target}
    rows = slots[target].shape[0]
    edges = slots["y"].shape[0]
    return reference.contract(spec, target, factors, src, dst, rows, edges)


def opened(spec, targets, slots, src, dst, tangents=None, how=None):
    factors = {slot: v for slot, v in slots.items() if len(targets) > 1 or slot != targets}
    sizes = (slots["x"].shape[0], slots["z"].shape[0], slots["y"].shape[0])
    return gpu.open_slots(spec, targets, factors, tangents or {}, src, dst, *sizes, how)


def assert_close(got, wanted, dtype):
    assert got.dtype == dtype
    scale = max(wanted.abs().max().item(), 1e-300) if wanted.numel() else 1.0
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=TOLERANCE[dtype] * scale)


@needs_triton
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_every_slot_equals_the_reference(name, dtype):
    spec = SPECIFICATIONS[name]
    slots, src, dst = problem(spec, dtype)
    assert gpu.available(spec, slots["x"])
    for target in "xywz":
        got = opened(spec, target, slots, src, dst)[target]
        assert_close(got, expected(spec, target, slots, src, dst), dtype)


@needs_triton
@pytest.mark.parametrize(("seed", "channels"), list(enumerate([1, 5, 13, 33, 123])))
def test_random_convolutions_in_one_pass(seed, channels):
    """x, y and w together, edges in any order, a tile wider and narrower than the channels."""
    spec = random_convolution(seed, channels)
    slots, src, dst = problem(spec, torch.float64, n_src=3, n_dst=3, e=5, seed=seed)
    order = torch.randperm(len(dst))
    dst = dst[order] if seed % 2 else dst
    found = opened(spec, "xyw", slots, src, dst) | opened(spec, "z", slots, src, dst)
    for target in "xywz":
        assert_close(found[target], expected(spec, target, slots, src, dst), torch.float64)


@needs_triton
@pytest.mark.parametrize("how", [gpu.Launch(16, 4, 1, 1), gpu.Launch(16, 2, 1, 9)])
def test_any_sharing_out_of_the_work_gives_the_same_sums(how):
    spec = Specification.convolution("21x0e + 21x1o + 3x2e", "0e + 1o", "0e + 1o + 2e")
    slots, src, dst = problem(spec, torch.float64)
    kernel = Kernel(spec, "z", limit=how.limit)
    assert lanes(kernel, how.channels) > len(groups(kernel)) > 1
    for targets in ("z", "xyw", "yw"):
        for target, got in opened(spec, targets, slots, src, dst, how=how).items():
            assert_close(got, expected(spec, target, slots, src, dst), torch.float64)


@needs_triton
@pytest.mark.parametrize("tangents", ["x", "y", "w", "xyw"])
@pytest.mark.parametrize("name", ["mixed channels", "two paths into one block, one block left out"])
def test_derivatives_along_tangents(name, tangents):
    spec = SPECIFICATIONS[name]
    slots, src, dst = problem(spec, torch.float64)
    other, _, _ = problem(spec, torch.float64, seed=1)
    along = {slot: other[slot] for slot in tangents}
    for targets in ("xyw", "z"):
        for target, got in opened(spec, targets, slots, src, dst, along).items():
            wanted = torch.zeros_like(slots[target])
            for slot, tangent in along.items():
                if slot != target:
                    wanted += expected(spec, target, {**slots, slot: tangent}, src, dst)
                    none = {**slots, slot: torch.zeros_like(tangent)}  # paths without weights
                    wanted -= expected(spec, target, none, src, dst)
            assert_close(got, wanted, torch.float64)


def all_orders(spec, x, y, w, edges):
    """Value, first and second derivatives of a scalar that uses every kernel."""
    value = convolve(spec, x, y, w, edges)
    first = torch.autograd.grad(value.square().sum(), (x, y, w), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, y, w))
    return [value, *first, *second]


@needs_triton
@pytest.mark.parametrize("name", ["mixed channels", "shared weights"])
def test_derivatives_of_a_convolution(name):
    spec = SPECIFICATIONS[name]
    slots, src, dst = problem(spec, torch.float64)
    inputs = [slots[slot].requires_grad_() for slot in "xyw"]
    edges = Edges(src, dst, slots["z"].shape[0])
    with backend("reference"):
        wanted = all_orders(spec, *inputs, edges)
    with backend("triton"):
        found = all_orders(spec, *inputs, edges)
        again = all_orders(spec, *inputs, edges)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13 * b.abs().max().item())
    assert all(map(torch.equal, found, again))


@needs_triton
def test_derivatives_take_three_kinds_of_kernels(monkeypatch):
    """Value; x, y and w in one pass; their derivatives in one pass and one for z."""
    ran = []
    first = gpu.open_slots

    def counted(spec, targets, factors, tangents, *others):
        ran.append((targets, "".join(tangents)))
        return first(spec, targets, factors, tangents, *others)

    monkeypatch.setattr(gpu, "open_slots", counted)
    spec = Specification.convolution("2x0e", "0e + 1o", "0e + 1o")
    slots, src, dst = problem(spec, torch.float64)
    with backend("triton"):
        edges = Edges(src, dst, slots["z"].shape[0])
        all_orders(spec, *(slots[slot].requires_grad_() for slot in "xyw"), edges)
    assert ran == [("z", ""), ("xyw", ""), ("xyw", "xyw"), ("z", "xyw"), ("xyw", "")]


@needs_triton
def test_a_derivative_taken_after_the_choice_has_changed():
    spec = Specification.convolution("2x0e", "0e + 1o", "0e + 1o")
    slots, src, dst = problem(spec, torch.bfloat16)  # which the CPU kernels do not take
    inputs = [slots[slot].requires_grad_() for slot in "xyw"]
    with backend("triton"):
        value = convolve(spec, *inputs, Edges(src, dst, slots["z"].shape[0]))
    for slot, got in zip("xyw", torch.autograd.grad(value.sum(), inputs), strict=True):
        ones = {**slots, "z": torch.ones_like(slots["z"])}
        assert_close(got, expected(spec, slot, ones, src, dst), torch.bfloat16)


@needs_triton
@pytest.mark.parametrize("name", ["mixed channels", "uuu", "shared weights"])
def test_row_by_row_product(name):
    spec = SPECIFICATIONS[name]
    slots, _, _ = problem(spec, torch.float64, n_src=9, n_dst=9, e=9)
    given = [slots[s].requires_grad_() for s in ("xyw" if spec.weight_numel else "xy")]

    def run():
        value = product(spec, *given)
        return value, *torch.autograd.grad(value.square().sum(), given)

    with backend("reference"):
        wanted = run()
    with backend("triton"):
        found = run()
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@needs_triton
@pytest.mark.parametrize("sizes", [(4, 5, 0), (0, 0, 0), (0, 3, 0)])
def test_without_edges_everything_is_zero_or_empty(sizes):
    spec = SPECIFICATIONS["mixed channels"]
    n_src, n_dst, e = sizes
    none = torch.zeros(0, dtype=torch.int64)
    shapes = {
        "x": (n_src, spec.x.dim),
        "y": (e, spec.y.dim),
        "w": (e, spec.weight_numel),
        "z": (n_dst, spec.z.dim),
    }
    slots = {slot: torch.ones(shape) for slot, shape in shapes.items()}
    found = opened(spec, "xyw", slots, none, none) | opened(spec, "z", slots, none, none)
    for slot, value in found.items():
        assert value.shape == shapes[slot]
        assert not value.any()


@needs_triton
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of NumPy, the interpreter
def test_what_is_not_finite_stays_in_its_row():
    """Padding of a tile reads nothing: an infinity in row 0 would otherwise reach the others."""
    spec = Specification.convolution("5x0e + 5x1o", "0e + 1o", "0e + 1o")
    slots, src, dst = problem(spec, torch.float64)
    slots["x"][1], slots["w"][0] = torch.inf, torch.nan
    touched = torch.zeros(slots["z"].shape[0], dtype=torch.bool)
    touched[dst[(src == 1) | (torch.arange(len(dst)) == 0)]] = True
    assert touched.any()
    assert not touched.all()
    finite = opened(spec, "z", slots, src, dst)["z"].isfinite().all(1)
    assert torch.equal(finite, ~touched)


@needs_triton
@pytest.mark.parametrize("bad", [-1, 7, 2**40])
@pytest.mark.parametrize("end", ["src", "dst"])
def test_edges_out_of_range_are_refused(bad, end):
    spec = SPECIFICATIONS["mixed channels"]
    slots, src, dst = problem(spec, torch.float32)
    (src if end == "src" else dst)[3] = bad
    with backend("triton"), pytest.raises(IndexError, match="not there"):
        convolve(spec, slots["x"], slots["y"], slots["w"], Edges(src, dst, 5))


@pytest.mark.parametrize("bad", [-1, 7, 2**40])
def test_edges_out_of_range_poison_and_stay_inside(bad, monkeypatch):
    """Where raising has to wait for the device: results are NaN, no index leaves its array."""
    reports = []
    monkeypatch.setattr("clebsch.ops.gpu.edges._report", reports.append)
    src, dst = torch.tensor([0, bad, 2]), torch.tensor([0, 1, 3])
    edges = EdgeList(src, dst, 3, 4)
    assert [bool(report) for report in reports] == [True]
    assert edges.poison.isnan()
    for rows, others in ((edges.by_dst, 3), (edges.by_src, 4)):
        assert rows.start[-1] == 3
        assert sorted(rows.order.tolist()) == [0, 1, 2]
        assert rows.other.min() >= 0
        assert rows.other.max() < others
    assert EdgeList(src.clamp(0, 2), dst, 3, 4).poison == 0


@needs_triton
def test_poison_reaches_every_result(monkeypatch):
    monkeypatch.setattr("clebsch.ops.gpu.edges._report", lambda outside: None)
    spec = SPECIFICATIONS["mixed channels"]
    slots, src, dst = problem(spec, torch.float32)
    src[4] = 99
    found = opened(spec, "xyw", slots, src, dst) | opened(spec, "z", slots, src, dst)
    assert all(value.isnan().all() for value in found.values())


def test_an_edge_list_is_kept_while_its_tensors_are_unchanged():
    src, dst = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 3])
    first = edge_list(src, dst, 3, 4)
    assert edge_list(src, dst, 3, 4) is first
    assert edge_list(src, dst, 4, 4) is not first
    assert edge_list(src.clone(), dst, 3, 4) is not first
    src[0] = 2
    assert edge_list(src, dst, 3, 4).src[0] == 2
    with torch.inference_mode():
        src = torch.tensor([0, 1, 2])
        assert edge_list(src, dst, 3, 4) is not edge_list(src, dst, 3, 4)


@needs_triton
def test_one_edge_list_for_a_convolution_and_its_derivatives(monkeypatch):
    made = []
    first = EdgeList.__init__

    def counted(self, *arguments):
        made.append(arguments)
        first(self, *arguments)

    monkeypatch.setattr(EdgeList, "__init__", counted)
    spec = Specification.convolution("2x0e", "0e + 1o", "0e + 1o")
    slots, src, dst = problem(spec, torch.float64)
    inputs = [slots[slot].requires_grad_() for slot in "xyw"]
    with backend("triton"):
        all_orders(spec, *inputs, Edges(src, dst, slots["z"].shape[0]))
    assert len(made) == 1


@needs_triton
@pytest.mark.parametrize("real", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "targets", ["z", "xyw", *(pytest.param(t, marks=pytest.mark.slow) for t in ("yw", "w"))]
)
@pytest.mark.parametrize("gather", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_kernels_compile_for_a_gpu(targets, real, gather, tmp_path, monkeypatch):
    """The compiler refuses what the interpreter takes; it runs without a GPU, down to a cubin."""
    triton = pytest.importorskip("triton", minversion="3.4")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    spec = Specification.convolution("8x0e + 5x1o", "0e + 1o", "0e")
    tangents = "" if targets == "w" else "xyw"
    function, text = gpu._kernel(Kernel(spec, targets, tangents, gather, limit=4), False)
    index = {"start": "*i64", "order": "*i64", "src": "*i64", "dst": "*i64"}
    kinds = {**index, "poison": "*fp32", "edges": "i64"}
    signature = {name: kinds.get(name, f"*{real}") for name in text.arguments}
    given = {"EDGES": 4, "CHANNELS": 8, "REAL": triton.language.float32, "CHUNK": 16}
    given = {name: value for name, value in given.items() if name in function.arg_names}
    built = triton.compile(
        ASTSource(function, {**signature, **dict.fromkeys(given, "constexpr")}, given),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 1, "enable_fp_fusion": True},
    )
    assert len(built.asm["cubin"]) > 1000
    assert "fma.rn.f32" in built.asm["ptx"]
    # A row times its width: 32 bits would wrap.
    lines = built.asm["ttir"].splitlines()
    products = [line for line in lines if "arith.muli" in line and "tensor<4x1x" in line]
    assert products
    assert all("xi64>" in line for line in products)


def test_generated_text_is_readable():
    spec = Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o")
    text = source(Kernel(spec, "z"))
    compile(text.code, "generated", "exec")
    assert text.arguments == ("start", "order", "src", "poison", "x", "y", "w", "gz")
    assert text.complete == {"z"}
    assert "# 8x1o (x) 1x1o -> 8x0e" in text.code
    assert "gz3_1 += m3_1_1 * q3_1" in text.code


@pytest.mark.parametrize(
    "spec",
    [
        Specification.fully_connected("2x0e", "2x0e", "2x0e"),
        Specification.convolution("2x0e + 2x1o", "3x0e", "0e + 1o"),
    ],
    ids=["uvw", "uvu with channels of y"],
)
def test_other_modes_are_left_to_the_reference(spec):
    x, y, w = torch.ones(3, spec.x.dim), torch.ones(3, spec.y.dim), None
    w = torch.ones(spec.weight_numel if spec.shared_weights else (3, spec.weight_numel))
    assert not gpu.available(spec, x)
    with backend("reference"):
        wanted = product(spec, x, y, w)
    with backend("triton"):
        assert torch.equal(product(spec, x, y, w), wanted)


def test_no_such_back_end():
    with pytest.raises(ValueError, match="no back end 'cuda'"), backend("cuda"):
        pass


@pytest.mark.parametrize("reason", ["not installed", "does not run"])
def test_without_triton_the_reference_serves_and_says_so_once(reason, monkeypatch):
    spec = Specification.convolution("3x0e", "0e + 1o", "0e + 1o")
    slots, src, dst = problem(spec, torch.float32)
    edges = Edges(src, dst, slots["z"].shape[0])
    if reason == "not installed":
        monkeypatch.setitem(sys.modules, "triton", None)
        monkeypatch.setattr(gpu, "find_spec", lambda name: None)
        words = "pip install triton"
    else:

        def broken(device):
            raise RuntimeError("Failed to find C compiler.\nSee the manual.")

        monkeypatch.setattr(gpu, "find_spec", lambda name: object())
        monkeypatch.setattr(gpu, "_probe", broken)
        words = "Failed to find C compiler"
    gpu._usable.cache_clear()
    try:
        with backend("triton"):
            with pytest.warns(RuntimeWarning, match=words):
                got = convolve(spec, slots["x"], slots["y"], slots["w"], edges)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                convolve(spec, slots["x"], slots["y"], slots["w"], edges)
    finally:
        gpu._usable.cache_clear()
    with backend("reference"):
        assert torch.equal(got, convolve(spec, slots["x"], slots["y"], slots["w"], edges))
