"""Wrong and odd input: the right result or one sentence that names the argument, never a crash."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from clebsch.ops import Edges, Specification, backend, convolve, tensor_product

SPECS = {
    "convolution": Specification.convolution("3x0e + 3x1o", "0e + 1o", "0e + 1o"),
    "fully_connected": Specification.fully_connected("2x0e + 1x1o", "0e + 2x1o", "2x0e + 2x1e"),
    "elementwise": Specification.elementwise("2x1o + 1x2e", "2x1e + 1x1o"),
}
N_SRC, N_DST, E = 7, 5, 23


@pytest.fixture(params=["auto", "reference"], autouse=True)
def either_backend(request):
    with backend(request.param):
        yield request.param


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]


def problem(spec, n_src=N_SRC, n_dst=N_DST, e=E, dtype=torch.float64):
    lead = () if spec.shared_weights else (e,)
    return {
        "x": torch.randn(n_src, spec.x.dim, dtype=dtype),
        "y": torch.randn(e, spec.y.dim, dtype=dtype),
        "w": torch.randn(*lead, spec.weight_numel, dtype=dtype),
        "src": torch.randint(n_src, (e,)) if n_src else torch.zeros(0, dtype=torch.int64),
        "dst": (torch.randint(n_dst, (e,)) if n_dst else torch.zeros(0, dtype=torch.int64))
        .sort()
        .values,
        "n_dst": n_dst,
    }


def run(spec, a):
    return convolve(spec, a["x"], a["y"], a["w"], Edges(a["src"], a["dst"], a["n_dst"]))


def by_hand(spec, a):
    """Gather, product, scatter with plain indexing, through the edge-free reference."""
    with backend("reference"):
        product = tensor_product(spec, a["x"][a["src"]].contiguous(), a["y"], a["w"])
    return product.new_zeros(a["n_dst"], spec.z.dim).index_add(0, a["dst"], product)


# Odd, but right: what changes is how the arguments are stored.
ODD = {
    "unsorted": lambda a: a | {"dst": a["dst"][torch.randperm(len(a["dst"]))]},
    "int32 edges": lambda a: a | {"src": a["src"].int(), "dst": a["dst"].int()},
    "strided edges": lambda a: (
        a | dict(zip(("src", "dst"), torch.stack([a["src"], a["dst"]], 1).T, strict=True))
    ),
    "transposed": lambda a: a | {s: a[s].T.contiguous().T for s in "xy"},
    "every second": lambda a: a | {s: a[s].repeat_interleave(2, 0)[::2] for s in "xy"},
    "expanded": lambda a: a | {"x": a["x"][:1].expand(N_SRC, -1), "y": a["y"][:1].expand(E, -1)},
    "offset": lambda a: a | {s: torch.cat([a[s][:1], a[s]])[1:] for s in ("x", "y", "src", "dst")},
    "no neighbours": lambda a: a | {"n_dst": N_DST + 40},
    "numpy integer": lambda a: a | {"n_dst": np.int64(N_DST)},
    "parameter": lambda a: a | {"x": torch.nn.Parameter(a["x"])},
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_storage_gives_the_right_result(spec, kind):
    a = ODD[kind](problem(spec))
    expected = by_hand(spec, a | {"n_dst": int(a["n_dst"])})
    torch.testing.assert_close(run(spec, a), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sizes", [(0, 0, 0), (0, 3, 0), (4, 0, 0), (4, 3, 0), (1, 1, 1)])
def test_nothing_to_do(spec, sizes):
    a = problem(spec, *sizes)
    for slot in "xyw":
        a[slot].requires_grad_()
    out = run(spec, a)
    assert out.shape == (sizes[1], spec.z.dim)
    torch.testing.assert_close(out, by_hand(spec, a))
    by = torch.autograd.grad(out.sum(), [a[s] for s in "xyw"], allow_unused=True)
    for slot, slope in zip("xyw", by, strict=True):
        assert slope is None or slope.shape == a[slot].shape
        assert slope is None or sizes[2] or not slope.any()


@pytest.mark.parametrize("sizes", [(3, 9, 20), (9, 3, 20), (1, 30, 5), (30, 1, 5)])
def test_sources_and_destinations_of_different_number(spec, sizes):
    a = problem(spec, *sizes)
    torch.testing.assert_close(run(spec, a), by_hand(spec, a), atol=1e-12, rtol=0)


# Wrong: what is changed, the error, words that name it.
WRONG = {
    "x too wide": (lambda a: {"x": a["x"].repeat(1, 2)}, ValueError, "x is"),
    "x flat": (lambda a: {"x": a["x"][0]}, ValueError, "x is"),
    "x array": (lambda a: {"x": a["x"].numpy()}, TypeError, "x is a ndarray"),
    "y too narrow": (lambda a: {"y": a["y"][:, 1:]}, ValueError, "y is"),
    "y too short": (lambda a: {"y": a["y"][1:]}, ValueError, "y is"),
    "y none": (lambda a: {"y": None}, TypeError, "y is a NoneType"),
    "w too wide": (lambda a: {"w": torch.cat([a["w"], a["w"][..., :1] + 1], -1)}, ValueError, "w"),
    "w batched": (lambda a: {"w": a["w"][None]}, ValueError, "w is"),
    "integers": (lambda a: {s: a[s].long() for s in "xyw"}, ValueError, "x is int64"),
    "complex": (lambda a: {s: a[s].cfloat() for s in "xyw"}, ValueError, "x is complex64"),
    "mixed": (lambda a: {"y": a["y"].float()}, ValueError, "y is float32"),
    "y on meta": (lambda a: {"y": a["y"].to("meta")}, ValueError, "y is on meta"),
    "w on meta": (lambda a: {"w": a["w"].to("meta")}, ValueError, "w is on meta"),
    "src on meta": (lambda a: {"src": a["src"].to("meta")}, ValueError, r"edges.dst is on cpu"),
    "x on meta": (lambda a: {"x": a["x"].to("meta")}, ValueError, "x on meta"),
    "src of floats": (lambda a: {"src": a["src"].float()}, TypeError, "edges.src is float32"),
    "dst of bools": (lambda a: {"dst": a["dst"] > 0}, TypeError, "edges.dst is bool"),
    "src list": (lambda a: {"src": a["src"].tolist()}, TypeError, "edges.src is a list"),
    "dst square": (lambda a: {"dst": a["dst"][None]}, ValueError, "edges.dst is"),
    "src too long": (lambda a: {"src": a["src"].repeat(2)}, ValueError, "edges.src has"),
    "src too large": (lambda a: {"src": a["src"] + N_SRC}, IndexError, "not there"),
    "src negative": (lambda a: {"src": a["src"] - N_SRC}, IndexError, "not there"),
    "dst too large": (lambda a: {"dst": a["dst"] + N_DST}, IndexError, "not there"),
    "dst negative": (lambda a: {"dst": a["dst"] - N_DST}, IndexError, "not there"),
    "dst wraps": (lambda a: {"dst": a["dst"] + 2**62}, IndexError, "not there"),
    "no sources": (lambda a: {"x": a["x"][:0]}, IndexError, "not there"),
    "no destinations": (lambda a: {"n_dst": 0}, IndexError, "not there"),
    "n_dst fraction": (lambda a: {"n_dst": 2.5}, TypeError, "edges.n_dst is 2.5"),
    "n_dst none": (lambda a: {"n_dst": None}, TypeError, "edges.n_dst is None"),
    "n_dst negative": (lambda a: {"n_dst": -1}, ValueError, "edges.n_dst is -1"),
    "n_dst huge": (lambda a: {"n_dst": 2**62}, ValueError, "fit in no memory"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arguments_are_named(spec, kind):
    change, error, words = WRONG[kind]
    a = problem(spec)
    if kind == "w too wide" and not spec.weight_numel:
        a["w"] = torch.randn(E, 1, dtype=torch.float64)
        change = dict
    with pytest.raises(error, match=words) as caught:
        run(spec, a | change(a))
    assert "\n" not in str(caught.value)


def test_missing_weights(spec):
    a = problem(spec) | {"w": None}
    if spec.weight_numel:
        with pytest.raises(ValueError, match="takes weights w of shape"):
            run(spec, a)
    else:
        torch.testing.assert_close(run(spec, a), by_hand(spec, a))


def test_more_rows_than_memory_is_an_error_of_torch(spec):
    with pytest.raises(RuntimeError, match="memory"):
        run(spec, problem(spec) | {"n_dst": 2**39})


@pytest.mark.parametrize("slot", ["x", "y", "w"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_seen_in_its_rows_only(spec, slot, bad):
    a = problem(spec)
    a["src"], a["dst"] = torch.arange(E) % N_SRC, torch.arange(E) % N_DST
    if not a[slot].numel():
        pytest.skip("no weights")
    a[slot][0] = bad
    out = run(spec, a)
    rows = ~out.isfinite().all(1)
    if slot == "w" and spec.shared_weights:
        assert rows.all()
    else:
        reached = a["dst"][a["src"] == 0] if slot == "x" else a["dst"][:1]
        assert set(rows.nonzero().flatten().tolist()) == set(reached.tolist())


@pytest.mark.parametrize("seed", range(40))
def test_random_mixtures(seed):
    """Any mixture of sizes, storage, types and wanted gradients is right, or one error."""
    draw = random.Random(seed)
    spec = SPECS[draw.choice(list(SPECS))]
    sizes = [draw.choice((0, 1, 2, 7, 30)) for _ in range(3)]
    if 0 in sizes[:2]:
        sizes[2] = 0
    a = problem(spec, *sizes)
    for kind in draw.sample(["unsorted", "int32 edges", "strided edges", "offset"], 2):
        a = ODD[kind](a)
    for slot in "xyw":
        a[slot] = a[slot].clone().requires_grad_(draw.random() < 0.5)
    wrong = draw.choice([None, "src", "dst"]) if sizes[2] else None
    if wrong:
        limit = sizes[0] if wrong == "src" else sizes[1]
        a[wrong] = a[wrong].clone()
        a[wrong][draw.randrange(sizes[2])] = draw.choice([-1, limit, limit + 5, -(2**31)])
        with pytest.raises(IndexError, match="an edge names a source or destination row"):
            run(spec, a)
        return
    out = run(spec, a)
    long = a | {"src": a["src"].long(), "dst": a["dst"].long()}
    expected = by_hand(spec, long)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    wanted = [a[s] for s in "xyw" if a[s].requires_grad]
    assert out.requires_grad == bool(wanted)
    if wanted:
        got, right = (
            torch.autograd.grad(
                value.square().sum(), wanted, allow_unused=True, materialize_grads=True
            )
            for value in (out, expected)
        )
        torch.testing.assert_close(got, right, atol=1e-10, rtol=0)


_NASTY = """
import sys
import torch
from clebsch.ops import Edges, Specification, backend, convolve
spec = Specification.convolution("3x0e + 3x1o", "0e + 1o", "0e + 1o")
x, y, w = torch.randn(4, 12), torch.randn(6, 4), torch.randn(6, spec.weight_numel)
good = torch.arange(6) % 4
far = torch.tensor([0, 1, 2, 3, 2**40, -(2**40)])
errors = 0
for src, dst, n in [
    (far, good, 4), (good, far, 4), (far, far, 4), (good, good, 2**39), (good, good, 2**63),
    (good, good, 0), (good[:5], good, 4), (good.double(), good, 4), (good - 2**62, good, 4),
]:
    for inputs in ((x, y, w), (x[:0], y, w), (x, y[:5], w), (x.expand(2, 4, 12), y, w)):
        try:
            with backend(sys.argv[1]):
                convolve(spec, *inputs, Edges(src, dst, n))
        except (ValueError, IndexError, TypeError, RuntimeError):
            errors += 1
assert errors == 36, errors
print("alive")
"""


def test_the_process_survives(either_backend):
    run = subprocess.run(
        [sys.executable, "-c", _NASTY, either_backend], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "alive", run.stderr
