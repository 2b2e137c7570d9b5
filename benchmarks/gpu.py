"""The Triton back end on one GPU: right first, then how fast, beside its peers.

    python benchmarks/gpu.py               under 8 minutes, no network
    python benchmarks/gpu.py --tune        instead times other launches of each kernel
    python benchmarks/gpu.py --interpret   without a GPU, tiny, in Triton's interpreter: shows that
                                           everything runs; its times are not timings

Correctness is judged against the reference back end in float64: value, first and second
derivatives, in float64, float32 and bfloat16. Times are medians of alternating calls, between
CUDA events, of the convolution that a potential uses (all paths up to l, weights per edge, a
simple cubic lattice as the graph). Bandwidth counts what a pass must move at least (each factor
and result once), the arithmetic rate what the specification says; both stand beside what a copy
and a float32 matrix product reach on the same device. Peers are measured where they are installed:
e3nn, cuEquivariance (with its operators), OpenEquivariance.

Writes gpu-<device name>.md and .json. Exit code 0; 1 where a result is wrong, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clebsch.o3 import from_e3nn, to_e3nn
from clebsch.ops import Edges, Specification, backend, convolve, gpu
from clebsch.ops.gpu.edges import watch
from clebsch.ops.gpu.source import Kernel, groups

PASSES = ("forward", "backward", "double backward")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}
# Evaluations of the form in each pass: z; then x, y, w; then two derivatives of each of these and
# three by z, and what follows from the last.
FORMS = {"forward": 1, "backward": 1 + 3, "double backward": 1 + 3 + 9 + 3}


@dataclass(frozen=True)
class Case:
    """One size: irreps up to l, channels, lattice cells per side and squared reach."""

    l: int
    channels: int
    cells: tuple[int, int, int]
    reach: int

    @property
    def spec(self) -> Specification:
        """All natural-parity paths up to l."""
        irreps = [(l, (-1) ** l) for l in range(self.l + 1)]
        edge = [(1, ir) for ir in irreps]
        return Specification.convolution([(self.channels, ir) for ir in irreps], edge, edge)

    def graph(self, device: str) -> Edges:
        """Neighbours within the reach on a periodic cubic lattice; a symmetric list."""
        span = [range(-2, 3) if n > 1 else (0,) for n in self.cells]
        shifts = [s for s in itertools.product(*span) if 0 < sum(c * c for c in s) <= self.reach]
        sides = torch.tensor(self.cells)
        place = torch.cartesian_prod(*(torch.arange(n) for n in self.cells))
        near = (place[:, None] + torch.tensor(shifts)) % sides
        n = len(place)
        src = (near[..., 0] * sides[1] + near[..., 1]) * sides[2] + near[..., 2]
        src = src.sort(1).values  # rows and columns ascend, as OpenEquivariance asks
        dst = torch.arange(n)[:, None].expand_as(src)
        return Edges(src.reshape(-1).to(device), dst.reshape(-1).to(device), n)


@dataclass
class Problem:
    """Tensors of a case."""

    spec: Specification
    x: Tensor
    y: Tensor
    w: Tensor
    edges: Edges

    @classmethod
    def make(cls, case: Case, device: str, dtype: torch.dtype) -> Problem:
        """Random factors."""
        spec, edges = case.spec, case.graph(device)
        torch.manual_seed(0)
        rows = {"x": (edges.n_dst, spec.x.dim), "y": (len(edges.src), spec.y.dim)}
        rows["w"] = (len(edges.src), spec.weight_numel)
        made = {
            slot: torch.randn(shape, dtype=dtype, device=device).requires_grad_()
            for slot, shape in rows.items()
        }
        return cls(spec, made["x"], made["y"], made["w"], edges)


Function = Callable[..., Tensor]


def passes(function: Function, inputs: tuple[Tensor, ...], name: str = "auto") -> dict[str, Any]:
    """What is timed: each pass with all that comes before it, on the back end ``name``."""

    def forward() -> Tensor:
        with torch.no_grad(), backend(name):
            return function(*inputs)

    def backward() -> tuple[Tensor, ...]:
        with backend(name):
            return torch.autograd.grad(function(*inputs).square().sum(), inputs)

    def double_backward() -> tuple[Tensor, ...]:
        with backend(name):
            value = function(*inputs)
            first = torch.autograd.grad(value.square().sum(), inputs, create_graph=True)
            return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    return dict(zip(PASSES, (forward, backward, double_backward), strict=True))


# The sides: each returns its function of (x, y, w) and those inputs in its own layout.


def ours(problem: Problem) -> tuple[Function, tuple[Tensor, ...]]:
    """The convolution on the back end that is chosen when it is called."""

    def function(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return convolve(problem.spec, x, y, w, problem.edges)

    return function, (problem.x, problem.y, problem.w)


def e3nn(problem: Problem, device: str) -> tuple[Function, tuple[Tensor, ...]]:
    """Gather, TensorProduct, index_add."""
    from e3nn import o3

    spec, edges = problem.spec, problem.edges
    product = o3.TensorProduct(
        o3.Irreps(str(spec.x)),
        o3.Irreps(str(spec.y)),
        o3.Irreps(str(spec.z)),
        [(p.x, p.y, p.z, "uvu", True) for p in spec.paths],
        shared_weights=False,
        internal_weights=False,
    ).to(device=device, dtype=problem.x.dtype)

    def function(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        messages = product(x.index_select(0, edges.src), y, w)
        out = messages.new_zeros((edges.n_dst, messages.shape[1]))
        return out.index_add(0, edges.dst, messages)

    x = to_e3nn(problem.x.detach(), spec.x).requires_grad_()
    return function, (x, problem.y, problem.w)


def cuequivariance(problem: Problem, device: str) -> tuple[Function, tuple[Tensor, ...]]:
    """Channelwise tensor product with gather and scatter inside (layout ir_mul, as here)."""
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    spec, edges = problem.spec, problem.edges
    kept = cue.Irreps("O3", "+".join(sorted({f"1x{ir}" for _, ir in spec.z})))
    polynomial = (
        cue.descriptors.channelwise_tensor_product(
            cue.Irreps("O3", str(spec.x)), cue.Irreps("O3", str(spec.y)), kept
        )
        .flatten_coefficient_modes()
        .squeeze_modes()
        .polynomial
    )
    method = "naive" if device == "cpu" else "uniform_1d"
    module = cuet.SegmentedPolynomial(polynomial, method=method, math_dtype=problem.x.dtype)
    module = module.to(device)
    like = problem.x.new_empty((edges.n_dst, spec.z.dim))

    def function(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return module([w, x, y], {1: edges.src}, {0: like}, {0: edges.dst})[0]

    return function, (problem.x, problem.y, problem.w)


def openequivariance(problem: Problem, device: str) -> tuple[Function, tuple[Tensor, ...]]:
    """Its fused convolution, deterministic: sorted edges and the transposing permutation."""
    import openequivariance as oeq

    spec, edges = problem.spec, problem.edges
    config = oeq.TPProblem(
        oeq.Irreps(str(spec.x)),
        oeq.Irreps(str(spec.y)),
        oeq.Irreps(str(spec.z)),
        [(p.x, p.y, p.z, "uvu", True) for p in spec.paths],
        shared_weights=False,
        internal_weights=False,
    )
    module = oeq.TensorProductConv(config, deterministic=True)
    transposing = torch.argsort(edges.src, stable=True)

    def function(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return module(x, y, w, edges.dst, edges.src, transposing)

    x = to_e3nn(problem.x.detach(), spec.x).requires_grad_()
    return function, (x, problem.y, problem.w)


PEERS = {
    "e3nn": (e3nn, ("e3nn",), "mul_ir"),
    "cuEquivariance": (cuequivariance, ("cuequivariance_torch", "cuequivariance_ops_torch"), None),
    "OpenEquivariance": (openequivariance, ("openequivariance",), "mul_ir"),
}


def missing(peer: str, interpret: bool) -> str | None:
    """Why a peer is left out."""
    _, packages, _ = PEERS[peer]
    if interpret:
        packages = packages[:1]
        if peer == "OpenEquivariance":
            return "needs a GPU"
    absent = [package for package in packages if find_spec(package) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def reason_of(failure: Exception) -> str:
    """A failure in a few words."""
    if isinstance(failure, torch.OutOfMemoryError):
        return "out of memory"
    return f"{type(failure).__name__}: {[*str(failure).splitlines(), ''][0][:80]}"


# What is measured.


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest deviation by the largest value."""
    return ((got.double() - wanted).abs().max() / wanted.abs().max()).item()


def correctness(cases: list[Case], device: str, name: str) -> list[dict[str, Any]]:
    """Largest relative errors of every pass against the reference in float64.

    Every dtype for the first case, float32 for the others: each takes kernels of its own.
    """
    found = []
    first, *others = cases
    for case, dtype in [(first, d) for d in TOLERANCE] + [(c, torch.float32) for c in others]:
        problem = Problem.make(case, device, dtype)
        exact = Problem(
            problem.spec,
            *(t.detach().double().requires_grad_() for t in (problem.x, problem.y, problem.w)),
            problem.edges,
        )
        wanted = passes(*ours(exact), "reference")
        row: dict[str, Any] = {"l": case.l, "channels": case.channels, "dtype": str(dtype)[6:]}
        for label, run in passes(*ours(problem), name).items():
            if dtype == torch.bfloat16 and label == "double backward":
                continue  # its input, the first derivative, is rounded to 8 bits already
            value = run()
            pairs = [(value, wanted[label]())] if label == "forward" else None
            pairs = pairs or list(zip(value, wanted[label](), strict=True))
            row[label] = max(error(a, b) for a, b in pairs)
            again = run()
            both = ([value], [again]) if label == "forward" else (value, again)
            row["same bits"] = row.get("same bits", True) and all(map(torch.equal, *both))
        worst = max(row[label] for label in PASSES if label in row)
        row["right"] = worst < TOLERANCE[dtype] and row["same bits"]
        found.append(row)
    return found


def edges_outside_are_refused(case: Case, device: str, name: str) -> bool:
    """Whether an edge that names no row ends in NaN and an IndexError, at the latest call."""
    problem = Problem.make(case, device, torch.float32)
    src = problem.edges.src.clone()
    src[1] = problem.edges.n_dst + 7
    problem.edges = problem.edges._replace(src=src)
    try:
        value = passes(*ours(problem), name)["forward"]()
        poisoned = bool(value.isnan().all())  # this waits for the device
        watch()
    except IndexError:
        return device == "cpu" or poisoned
    return False


def clock(runs: dict[str, Callable[[], Any]], device: str, seconds: float) -> dict[str, float]:
    """Median milliseconds of each run, in turn, for about ``seconds`` in all."""
    times: dict[str, list[float]] = {label: [] for label in runs}
    for run in runs.values():  # compiles, and fills caches
        run()
        run()
    start = time.perf_counter()
    while len(times[next(iter(runs))]) < 3 or time.perf_counter() - start < seconds:
        for label, run in runs.items():
            if device == "cpu":
                before = time.perf_counter()
                run()
                times[label].append(1e3 * (time.perf_counter() - before))
                continue
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            run()
            last.record()
            last.synchronize()
            times[label].append(first.elapsed_time(last))
    return {label: statistics.median(values) for label, values in times.items()}


def ceilings(device: str, tiny: bool) -> dict[str, float]:
    """GB/s of a copy and TFLOP/s of a float32 matrix product on this device."""
    size, side = (2**16, 64) if tiny else (2**28, 8192)
    a = torch.zeros(size, device=device)
    b, m = torch.empty_like(a), torch.randn(side, side, device=device)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        times = clock({"copy": lambda: b.copy_(a), "matmul": lambda: m @ m}, device, 0.3)
    finally:
        torch.set_float32_matmul_precision(precision)
    return {
        "copy_GB_s": 2 * a.nbytes / times["copy"] / 1e6,
        "matmul_TFLOP_s": 2 * side**3 / times["matmul"] / 1e9,
    }


def measure(case: Case, device: str, name: str, interpret: bool) -> list[dict[str, Any]]:
    """Times of one case, ours and each peer's."""
    problem = Problem.make(case, device, torch.float32)
    sides: dict[str, dict[str, Callable[[], Any]]] = {"clebsch": passes(*ours(problem), name)}
    notes: dict[str, str] = {}
    wanted = sides["clebsch"]["forward"]()
    for peer, (build, _, layout) in PEERS.items():
        reason = missing(peer, interpret)
        if reason is None:
            try:
                function, inputs = build(problem, device)
                with torch.no_grad():
                    value = function(*inputs)
                value = from_e3nn(value, problem.spec.z) if layout else value
                # Signs of the 3j symbols and the order of paths are a peer's own affair.
                same = error(
                    value.double().abs().sort(1).values, wanted.double().abs().sort(1).values
                )
                notes[peer] = f"{'same' if same < 1e-4 else 'other'} numbers up to sign and order"
                sides[peer] = passes(function, inputs)
                del value
            except Exception as failure:  # a peer that does not run must not end the others
                notes[peer] = reason_of(failure)
        else:
            notes[peer] = reason
    del wanted
    costs = problem.spec.costs
    e, n = len(problem.edges.src), problem.edges.n_dst
    xz = 4 * n * (problem.spec.x.dim + problem.spec.z.dim)
    moved = xz + 4 * e * (problem.spec.y.dim + problem.spec.weight_numel) + 16 * e
    # Backward reads all of it once more and writes the gradients of x, y and w.
    moves = {"forward": moved, "backward": 3 * moved}
    rows = []
    for label in PASSES:
        runs = {}
        for side in list(sides):
            try:
                sides[side][label]()
                runs[side] = sides[side][label]
            except Exception as failure:
                if side == "clebsch":
                    raise
                notes[side] = f"{label}: {reason_of(failure)}"
                del sides[side]
        if device != "cpu":
            torch.cuda.empty_cache()
        times = clock(runs, device, 0.0 if interpret else 0.15 * len(runs))
        row: dict[str, Any] = {
            "l": case.l,
            "channels": case.channels,
            "edges": e,
            "atoms": n,
            "pass": label,
            "ms": times,
            "notes": dict(notes),
            "TFLOP_s": FORMS[label] * 2 * costs.multiply_adds * e / times["clebsch"] / 1e9,
        }
        if label in moves:
            row["GB_s"] = moves[label] / times["clebsch"] / 1e6
        rows.append(row)
    return rows


def tune(case: Case, device: str, interpret: bool) -> list[dict[str, Any]]:
    """Times of other launches of each kernel, the chosen one first."""
    problem = Problem.make(case, device, torch.float32)
    spec, edges = problem.spec, problem.edges
    slots = {slot: getattr(problem, slot).detach() for slot in "xyw"}
    slots["z"] = torch.randn((edges.n_dst, spec.z.dim), device=device)
    sizes = (edges.src, edges.dst, edges.n_dst, edges.n_dst, len(edges.src))
    units = 1 if device == "cpu" else torch.cuda.get_device_properties(0).multi_processor_count
    found = []
    for targets, along in (("z", ""), ("xyw", ""), ("yw", ""), ("z", "xyw"), ("xyw", "xyw")):
        tangents = {slot: slots[slot] for slot in along}
        kernel = Kernel(spec, targets, along)
        walked = {"dst": edges.n_dst, "src": edges.n_dst, "chunk": len(edges.src)}[kernel.walk]
        chosen = gpu.launch(kernel, 1, walked, len(edges.src), units)
        others = []
        for lanes, warps, limit in itertools.product((1, 2), (1, 4), (9, 18, 36, 72)):
            channels = max(32 * lanes, 1 << (spec.y.dim - 1).bit_length())
            if channels > 2 * case.channels or limit < 2 * case.l + 1 or lanes * limit > 144:
                continue
            others.append(gpu.Launch(channels, warps, warps, limit))
        seen, tried = set(), [chosen, *others]
        tried = tried[:3] if interpret else tried
        for how in tried:
            shared = tuple(groups(Kernel(spec, targets, along, limit=how.limit)))
            if (how[:3], shared) in seen:
                continue  # another limit, the same groups
            seen.add((how[:3], shared))

            def run(how: gpu.Launch = how) -> Any:
                return gpu.open_slots(spec, targets, slots, tangents, *sizes, how)  # noqa: B023

            ms = clock({"run": run}, device, 0.0 if interpret else 0.05)["run"]
            kind = targets + (f" along {along}" if along else "")
            found.append(
                {"kernel": kind, "launch": how._asdict(), "ms": ms, "chosen": how == chosen}
            )
    return found


# What is written.


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def times_of(result: dict[str, Any]) -> list[str]:
    """The section of times."""
    top = result["ceilings"]
    parts = [
        "## Times\n\nMilliseconds, float32; each pass includes those before it. In brackets the "
        "peer's time by ours. GB/s and TFLOP/s are ours, in brackets the share of the ceiling.\n"
    ]
    rows = []
    for row in result["times"]:
        mine = row["ms"]["clebsch"]
        cells = [str(row[key]) for key in ("l", "channels", "edges", "pass")] + [f"{mine:.3f}"]
        for peer in PEERS:
            cells.append(
                f"{row['ms'][peer]:.3f} ({row['ms'][peer] / mine:.1f}x)"
                if peer in row["ms"]
                else row["notes"].get(peer, "")
            )
        share = 100 * row.get("GB_s", 0) / top["copy_GB_s"]
        cells.append(f"{row['GB_s']:.0f} ({share:.0f}%)" if "GB_s" in row else "")
        cells.append(f"{row['TFLOP_s']:.2f} ({100 * row['TFLOP_s'] / top['matmul_TFLOP_s']:.0f}%)")
        rows.append(cells)
    head = ["l", "channels", "edges", "pass", "clebsch", *PEERS, "GB/s", "TFLOP/s"]
    parts.append(table(head, rows))
    if result["left out"]:
        parts.append(f"Left out when the time was up: {', '.join(result['left out'])}.\n")
    checks = sorted({f"{p}: {note}" for row in result["times"] for p, note in row["notes"].items()})
    parts.append("Peers: " + "; ".join(checks) + ".\n")
    return parts


def report(result: dict[str, Any]) -> str:
    """The result as a page."""
    top = result["ceilings"]
    parts = [f"# Triton back end on {result['device']}\n"]
    if result["interpreter"]:
        parts.append("**Triton's interpreter on a CPU: the times below are not timings.**\n")
    parts.append(
        f"{result['date']}, {', '.join(f'{k} {v}' for k, v in result['versions'].items())}. "
        f"Measured ceilings: copy {top['copy_GB_s']:.0f} GB/s, float32 matrix product "
        f"{top['matmul_TFLOP_s']:.1f} TFLOP/s. {result['seconds']:.0f} s in all.\n"
    )
    parts.append("## Correctness\n\nLargest relative error against the reference in float64.\n")
    parts.append(
        table(
            ["l", "channels", "dtype", *PASSES, "same bits twice", "right"],
            [
                [str(row["l"]), str(row["channels"]), row["dtype"]]
                + [f"{row[label]:.1e}" if label in row else "" for label in PASSES]
                + ["yes" if row[key] else "**no**" for key in ("same bits", "right")]
                for row in result["correctness"]
            ],
        )
    )
    refused = "yes" if result["edges outside are refused"] else "**no**"
    parts.append(f"Edges that name no row end in NaN and an IndexError: {refused}.\n")
    if result["times"]:
        parts += times_of(result)
    if result["tuning"]:
        parts.append("## Launches\n")
        ordered = sorted(result["tuning"], key=lambda row: (row["case"], row["kernel"], row["ms"]))
        parts.append(
            table(
                ["case", "kernel", "channels", "edges", "warps", "limit", "ms", "chosen"],
                [
                    [
                        *(row["case"], row["kernel"], *map(str, row["launch"].values())),
                        *(f"{row['ms']:.3f}", "chosen" if row["chosen"] else ""),
                    ]
                    for row in ordered
                ],
            )
        )
    return "\n".join(parts)


def versions() -> dict[str, str]:
    """Of what takes part."""
    found = {"python": platform.python_version()}
    for package in (
        "clebsch",
        "torch",
        "triton",
        "e3nn",
        "cuequivariance-torch",
        "openequivariance",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run, write, and say where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interpret", action="store_true", help="no GPU: tiny, no timings")
    parser.add_argument("--tune", action="store_true", help="time other launches, too")
    parser.add_argument("--seconds", type=float, default=400.0, help="no new case after these")
    results = Path(__file__).resolve().parent / "results"
    parser.add_argument("--out", type=Path, default=results, help="folder of the two files")
    given = parser.parse_args(arguments)
    if not given.interpret and not torch.cuda.is_available():
        print(
            "error: torch sees no GPU here; --interpret tries everything but speed", file=sys.stderr
        )
        return 2
    if find_spec("triton") is None:
        print("error: triton is not installed; pip install triton", file=sys.stderr)
        return 2
    start = time.perf_counter()
    interpret = given.interpret
    device, name = ("cpu", "triton") if interpret else ("cuda", "auto")
    if interpret:
        small = [Case(l, 3, (3, 1, 1), 1) for l in (1, 2)]
        cases = tuned = small[:1]
    else:
        small = [Case(l, 32, (6, 6, 6), 5) for l in (2, 1, 3)]
        sizes = [(7, 7, 7), (14, 14, 14), (26, 26, 26)]  # 19 thousand, 154 thousand, 984 thousand
        cases = [Case(l, c, s, 5) for c in (64, 32, 128) for l in (2, 1, 3) for s in sizes]
        tuned = [Case(l, 64, sizes[-1], 5) for l in (2, 3)]
    title = "interpreter" if interpret else torch.cuda.get_device_name(0)
    result: dict[str, Any] = {
        "device": title,
        "interpreter": interpret,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "correctness": correctness(small[:1] if given.tune else small, device, name),
        "edges outside are refused": edges_outside_are_refused(small[0], device, name),
        "ceilings": ceilings(device, interpret),
        "times": [],
        "left out": [],
        "tuning": [],
    }
    if given.tune:
        cases = []
    right = all(row["right"] for row in result["correctness"])
    right = right and result["edges outside are refused"]
    for case in cases:
        label = f"l={case.l}, {case.channels} channels, {'x'.join(map(str, case.cells))} cells"
        if time.perf_counter() - start > given.seconds:
            result["left out"].append(label)
            continue
        print(f"{time.perf_counter() - start:5.0f} s  {label}", flush=True)
        with nullcontext() if interpret else torch.cuda.device(0):
            try:
                result["times"] += measure(case, device, name, interpret)
            except torch.OutOfMemoryError:
                result["left out"].append(f"{label} (out of memory)")
        if not interpret:
            torch.cuda.empty_cache()
    for case in tuned if given.tune else []:
        label = f"l={case.l}, {case.channels} channels, {'x'.join(map(str, case.cells))} cells"
        print(f"{time.perf_counter() - start:5.0f} s  launches of {label}", flush=True)
        result["tuning"] += [{"case": label, **row} for row in tune(case, device, interpret)]
    result["seconds"] = time.perf_counter() - start
    given.out.mkdir(parents=True, exist_ok=True)
    words = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    base = given.out / f"gpu-{words}{'-launches' if given.tune else ''}"
    base.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    base.with_suffix(".md").write_text(report(result), encoding="utf-8")
    print(f"wrote {base}.md and .json" + ("" if right else "; A RESULT IS WRONG"))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
