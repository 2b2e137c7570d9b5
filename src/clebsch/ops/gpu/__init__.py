"""The GPU back end: Triton kernels generated from the specification, compiled at first use.

What a kernel does, and why it is laid out so, is told in ``source``. Here it is decided
how many programs share the work. The choice depends on the specification, the sizes and the
device alone and is not made by timing: another choice sums in another order, and results would
differ from run to run. ``benchmarks/gpu.py --tune`` times the alternatives.

Inputs are float64, float32, bfloat16 or float16; half precision is summed in float32. There is no
matrix product here, hence no tf32: float32 is float32 whatever torch's matmul precision says.

Triton is imported when a CUDA tensor arrives, or a CPU tensor under ``backend("triton")``, which
runs the same kernels in Triton's interpreter (slow; for tests).
"""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clebsch.ops.gpu.edges import EdgeList, edge_list
from clebsch.ops.gpu.source import Kernel, Text, elementwise, lanes, name, source, supported
from clebsch.ops.specification import Specification

_REAL = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "float32",
    torch.float16: "float32",
}
_WARP = 32
# What a thread sums for z, in 32-bit registers: of 255, the rest holds factors and addresses.
_ACCUMULATORS = 72
# Components of x in one program that opens x, y and w: it holds x, the sums of x and those of y;
# and as many in one that does so along tangents, which holds these too.
_COMPONENTS, _COMPONENTS_ALONG = 12, 7
# Edges, in tiles, that one program walks over where no row is summed.
_TILES = 4
# The same where shared weights are summed over them; each program writes one partial sum.
_TILES_SUMMED = 64


class Launch(NamedTuple):
    """How the work is shared out.

    Attributes:
        channels: channels of a tile, a power of two.
        edges: edges of a tile, a power of two.
        warps: warps of a program.
        limit: ``Kernel.limit``, components that one program sums.
    """

    channels: int
    edges: int
    warps: int
    limit: int


def available(spec: Specification, some: Tensor) -> bool:
    """Whether this back end takes the specification for tensors like ``some``."""
    return some.dtype in _REAL and _supported(spec) and _usable(some.device)


# Every specification that this back end takes, it takes with several open slots and tangents.
fused = available


@lru_cache(maxsize=1024)
def _supported(spec: Specification) -> bool:
    return supported(spec)


@cache
def _usable(device: torch.device) -> bool:
    """Whether kernels run on the device; a warning says why not."""
    reason = None
    if device.type not in ("cuda", "cpu"):
        return False
    if find_spec("triton") is None:
        reason = "triton is not installed; pip install triton"
    else:
        try:
            _probe(device)
        except Exception as error:  # whatever keeps Triton from compiling and running here
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            reason = f"Triton does not run on {device} ({first}); it needs a C compiler"
    if reason is not None:
        message = f"clebsch computes without its fast GPU kernels: {reason}."
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return reason is None


def _probe(device: torch.device) -> None:
    out = torch.zeros(1, device=device)
    code = "@jit\ndef clebsch_probe(out):\n    tl.store(out, 1.0)\n"
    with _on(device):
        _load(code, "clebsch_probe", device.type == "cpu")[(1,)](out)
    if out.item() != 1:
        raise RuntimeError("a kernel did not write its result")


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _load(code: str, function: str, interpret: bool) -> Any:
    """The kernel ``function`` of ``code``, for the device or for Triton's interpreter."""
    triton, tl = import_module("triton"), import_module("triton.language")
    if interpret:
        interpreted = import_module("triton.runtime.interpreter").InterpretedFunction

        def device(called: Callable[..., Any]) -> Callable[..., Any]:
            return interpreted(called).rewrite()

        def total(tile: Any, axis: int) -> Any:
            return tl.reduce(tile, axis, tl.standard._sum_combine)

        given = {"jit": interpreted, "device": device, "total": total}
    else:
        # Without specialising, or a kernel would be compiled anew as E divides by 16 or not.
        jit = triton.jit(do_not_specialize=["edges"])
        given = {"jit": jit, "device": triton.jit, "total": tl.sum}
    # Triton reads a function's source: linecache serves it without a file that could be damaged.
    place = f"<clebsch {function} {abs(hash(code)):x}{' interpreted' if interpret else ''}>"
    linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)
    names: dict[str, Any] = {"tl": tl, "__name__": "clebsch.ops.generated", **given}
    exec(compile(code, place, "exec"), names)
    return names[function]


@lru_cache(maxsize=4096)
def _kernel(kernel: Kernel, interpret: bool) -> tuple[Any, Text]:
    text = source(kernel)
    return _load(text.code, name(kernel), interpret), text


@cache
def _units(device: torch.device) -> int:
    """Multiprocessors of the device."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@lru_cache(maxsize=4096)
def launch(kernel: Kernel, words: int, rows: int, edges: int, units: int) -> Launch:
    """How the kernel is launched.

    Args:
        kernel: its ``limit`` is not looked at.
        words: 32-bit registers of a number, 1 or 2.
        rows: rows that programs sum, or edges where they sum none.
        edges: number of edges.
        units: multiprocessors of the device.
    """
    spec = kernel.spec
    widest = max(spec.x[path.x].mul for path in spec.paths)
    # Two channels in a thread halve the cost of M; small problems need the threads more, and
    # kernels along tangents the registers.
    large = widest > _WARP and rows * widest >= 64 * _WARP * units
    per_thread = 2 if large and words == 1 and (kernel.targets == "z" or not kernel.tangents) else 1
    channels = min(_power_of_two(widest), _WARP * per_thread)
    if "y" in kernel.targets and not elementwise(spec):
        channels = max(channels, _power_of_two(spec.y.dim))
    limit = _COMPONENTS_ALONG if kernel.tangents else _COMPONENTS
    if kernel.targets == "z":
        limit = _ACCUMULATORS // per_thread
    limit //= words
    per_warp = max(1, _WARP // channels)
    warps, programs = 1, rows * lanes(Kernel(spec, kernel.targets, limit=limit), channels)
    if kernel.walk == "chunk":
        warps = 4
    else:  # more warps on a row: where there are few rows, and only as its edges suffice
        degree = edges // max(rows, 1)
        while warps < 8 and programs * warps < 16 * units and 4 * warps * per_warp <= degree:
            warps *= 2
    return Launch(channels, per_warp * warps, warps, limit)


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


@lru_cache(maxsize=4096)
def _width(spec: Specification, slot: str) -> int:
    return spec.weight_numel if slot == "w" else int(getattr(spec, slot).dim)


def contract(
    spec: Specification,
    target: str,
    factors: dict[str, Tensor],
    src: Tensor | None,
    dst: Tensor | None,
    rows: int,
    edges: int,
) -> Tensor:
    """Open ``target``; arguments as for the operator, factors without the open slot.

    Raises:
        IndexError: an edge names a row that is not there; on a GPU at a later call.
    """
    n_src = factors["x"].shape[0] if "x" in factors else rows
    n_dst = factors["z"].shape[0] if "z" in factors else rows
    return open_slots(spec, target, factors, {}, src, dst, n_src, n_dst, edges)[target]


def open_slots(
    spec: Specification,
    targets: str,
    factors: dict[str, Tensor],
    tangents: dict[str, Tensor],
    src: Tensor | None,
    dst: Tensor | None,
    n_src: int,
    n_dst: int,
    edges: int,
    how: Launch | None = None,
) -> dict[str, Tensor]:
    """Open several slots in one pass; see ``source.Kernel``.

    Args:
        spec: one that is ``available``.
        targets: ``"z"``, or some of ``"xyw"`` in this order.
        factors: what the targets need of x, y, w, z.
        tangents: tangents of x, y, w, as their factors; or none.
        src, dst: (edges,) int64, or None for row by row.
        n_src, n_dst, edges: rows of x and z, number of edges.
        how: instead of the launch that is chosen otherwise.

    Returns:
        The open slots by name.

    Raises:
        IndexError: an edge names a row that is not there; on a GPU at a later call.
    """
    if spec.shared_weights and "w" in targets and targets != "w":
        # Shared weights are summed over all edges, x over those of its row: two passes.
        rest = targets.replace("w", "")
        sizes = (src, dst, n_src, n_dst, edges)
        found = open_slots(spec, rest, factors, tangents, *sizes, how)
        return found | open_slots(spec, "w", factors, tangents, *sizes, how)
    some = next(iter(factors.values()))
    ends = None
    if src is not None and dst is not None:
        ends = edge_list(src, dst, n_src, n_dst)
    kernel = Kernel(spec, targets, "".join(s for s in "xyw" if s in tangents), ends is not None)
    rows = {"dst": n_dst, "src": n_src, "chunk": edges}[kernel.walk]
    if how is None:
        words = 2 if some.dtype == torch.float64 else 1
        # Rounded, so that batches of nearly equal size share a choice (and the cache below it).
        how = launch(kernel, words, _power_of_two(rows), _power_of_two(edges), _units(some.device))
    kernel = Kernel(spec, targets, kernel.tangents, kernel.gather, how.limit)
    chunk = how.edges * (_TILES_SUMMED if spec.shared_weights and targets == "w" else _TILES)
    programs = -(-edges // chunk) if kernel.walk == "chunk" else rows
    parts = lanes(kernel, how.channels)
    leading: dict[str, tuple[int, ...]] = {
        "x": (n_src,),
        "y": (parts, edges),
        "w": (programs if spec.shared_weights else edges,),
        "z": (n_dst,),
    }
    shapes = {slot: (*leading[slot], _width(spec, slot)) for slot in targets}
    function, text = _kernel(kernel, some.device.type == "cpu")
    work = programs * parts * edges > 0
    out = {
        slot: (some.new_empty if work and slot in text.complete else some.new_zeros)(shapes[slot])
        for slot in targets
    }
    if work:
        held = {slot: factor.contiguous() for slot, factor in factors.items()}
        held |= {f"a{slot}": tangent.contiguous() for slot, tangent in tangents.items()}
        held |= {f"g{slot}": value for slot, value in out.items()}
        if ends is not None:
            held |= _index(kernel, ends)
        arguments = [edges if n == "edges" else held[n] for n in text.arguments]
        blocks: dict[str, Any] = {"EDGES": how.edges, "CHANNELS": how.channels}
        if kernel.walk == "chunk":
            blocks["CHUNK"] = chunk
        with _on(some.device):
            function[(programs, parts)](
                *arguments,
                **blocks,
                REAL=getattr(import_module("triton.language"), _REAL[some.dtype]),
                num_warps=how.warps,
                enable_fp_fusion=True,
            )
    if "y" in out:
        out["y"] = out["y"][0] if parts == 1 else out["y"].sum(0)
    if "w" in out and spec.shared_weights:
        out["w"] = out["w"].sum(0)
    return out


def _index(kernel: Kernel, ends: EdgeList) -> dict[str, Tensor]:
    """The index arrays that the kernel walks over."""
    if kernel.walk == "chunk":
        return {"src": ends.src, "dst": ends.dst, "poison": ends.poison}
    rows, other = (ends.by_dst, "src") if kernel.walk == "dst" else (ends.by_src, "dst")
    found = {"start": rows.start, "order": rows.order, other: rows.other}
    return {**found, "poison": ends.poison}
