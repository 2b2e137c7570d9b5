"""The CPU back end: kernels generated from the specification, built at first use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from clebsch import compiler
from clebsch.ops.cpu import convolution, fully_connected, generic, memory
from clebsch.ops.cpu.kernel import WIDEST, Kernel, streams, supported
from clebsch.ops.specification import Specification

memory.keep_freed()

_REAL = {torch.float32: "float", torch.float64: "double"}
_CACHES = 2**25  # bytes, of most processors
_OUTSIDE = "an edge names a source or destination row that is not there"


def available(spec: Specification, some: Tensor) -> bool:
    """Whether this back end takes the specification for tensors like ``some``."""
    return (
        some.device.type == "cpu" and some.dtype in _REAL and bool(spec.paths) and compiler.usable()
    )


def fused(spec: Specification, some: Tensor) -> bool:
    """Whether ``open_slots`` takes the specification for tensors like ``some``."""
    return _is_convolution(spec) and available(spec, some)


@lru_cache(maxsize=1024)
def _is_convolution(spec: Specification) -> bool:
    return supported(spec)


_P, _I = ctypes.c_void_p, ctypes.c_int64


def _function(code: str, arguments: Sequence[type]) -> Callable[..., int]:
    function: Callable[..., int] = compiler.load(code).run
    function.argtypes = arguments  # type: ignore[attr-defined]
    function.restype = ctypes.c_int  # type: ignore[attr-defined]
    return function


@lru_cache(maxsize=4096)
def _convolution(kernel: Kernel) -> Callable[..., int]:
    arguments = [_I] * 3 + [_P] * 15 + [_I, _P, ctypes.c_int]
    return _function(convolution.source(kernel), arguments)


@lru_cache(maxsize=4096)
def _generic(spec: Specification, target: str, real: str) -> Callable[..., int]:
    arguments = [_I] * 3 + [_P] * 7 + [ctypes.c_int]
    return _function(generic.source(spec, target, real), arguments)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _held(factors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {slot: factor.contiguous() for slot, factor in factors.items()}


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
        IndexError: an edge names a row that is not there.
    """
    if _is_convolution(spec):
        n_src = factors["x"].shape[0] if "x" in factors else rows
        n_dst = factors["z"].shape[0] if "z" in factors else rows
        return open_slots(spec, target, factors, {}, src, dst, n_src, n_dst, edges)[target]
    if fully_connected.pairs(spec) is not None:
        return fully_connected.contract(spec, target, factors, src, dst, rows, edges, contract)
    some = next(iter(factors.values()))
    held = _held(factors)
    width = spec.widths[target]
    shared = target == "w" and spec.shared_weights
    out = some.new_empty((generic.SHARES if shared else rows, width))
    failed = _generic(spec, target, _REAL[some.dtype])(
        held["x"].shape[0] if "x" in held else rows,
        held["z"].shape[0] if "z" in held else rows,
        edges,
        _address(src),
        _address(dst),
        *(_address(held.get(slot)) for slot in ("x", "y", "w", "z")),
        out.data_ptr(),
        torch.get_num_threads(),
    )
    if failed:
        raise IndexError(_OUTSIDE)
    return out.sum(0) if shared else out


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
) -> dict[str, Tensor]:
    """Open several slots in one pass; see ``convolution.Kernel``.

    Args:
        spec: one that ``fused`` takes.
        targets: ``"z"``, or some of ``"xyw"`` in this order.
        factors: what the targets need of x, y, w, z.
        tangents: tangents of x, y, w, as their factors; or none.
        src, dst: the edges, or None for row by row.
        n_src, n_dst, edges: rows of x and z, number of edges.

    Returns:
        The open slots by name.

    Raises:
        IndexError: an edge names a row that is not there.
    """
    some = next(iter(factors.values()))
    held, along = _held(factors), _held(tangents)
    rows = {"x": n_src, "y": edges, "w": edges, "z": n_dst}
    out = {slot: some.new_empty((rows[slot], spec.widths[slot])) for slot in targets}
    kernel = Kernel(
        spec, targets, "".join(s for s in "xyw" if s in along), False, _REAL[some.dtype]
    )
    if "w" in out and _too_large(out["w"]) and streams(kernel):
        kernel = replace(kernel, streamed=True)
    failed = _convolution(kernel)(
        n_src,
        n_dst,
        edges,
        _address(src),
        _address(dst),
        *(_address(held.get(slot)) for slot in ("x", "y", "w", "z")),
        *(_address(along.get(slot)) for slot in ("x", "y", "w")),
        *(_address(out.get(slot)) for slot in ("x", "y", "w", "z")),
        None,
        None,
        0,
        None,
        torch.get_num_threads(),
    )
    if failed:
        raise IndexError(_OUTSIDE)
    return out


def _too_large(out: Tensor) -> bool:
    """For the caches; and at an aligned place."""
    return out.nbytes >= _CACHES and out.data_ptr() % WIDEST == 0


def splined_available(spec: Specification, some: Tensor) -> bool:
    """Whether ``splined`` takes the specification for tensors like ``some``."""
    return fused(spec, some) and all(path.weighted for path in spec.paths)


def splined(
    spec: Specification,
    x: Tensor,
    y: Tensor,
    u: Tensor,
    table: Tensor,
    src: Tensor,
    dst: Tensor,
    rows: int,
) -> Tensor:
    """The convolution with weights from a uniform cubic B-spline, evaluated in the kernel.

    Args:
        spec: one that ``splined_available`` takes.
        x: (n_src, spec.x.dim).
        y: (E, spec.y.dim).
        u: (E,), 0 <= u; weights are zero from u = 1 on.
        table: (intervals + 3, spec.weight_numel) coefficients on [0, 1].
        src, dst: (E,) int64.
        rows: rows of the result.

    Returns:
        (rows, spec.z.dim).

    Raises:
        IndexError: an edge names a row that is not there.
    """
    return _splined(spec, "z", x, y, u, table, None, src, dst, rows)[0]


def splined_gradients(
    spec: Specification,
    x: Tensor,
    y: Tensor,
    u: Tensor,
    table: Tensor,
    z: Tensor,
    src: Tensor,
    dst: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of the sum of z * ``splined(...)`` by x, y and u."""
    gx, gy, gu = _splined(spec, "xyw", x, y, u, table, z, src, dst, z.shape[0])
    return gx, gy, gu


def _splined(
    spec: Specification,
    targets: str,
    x: Tensor,
    y: Tensor,
    u: Tensor,
    table: Tensor,
    z: Tensor | None,
    src: Tensor,
    dst: Tensor,
    rows: int,
) -> list[Tensor]:
    x, y, u, table = x.contiguous(), y.contiguous(), u.contiguous(), table.contiguous()
    z = None if z is None else z.contiguous()
    if targets == "z":
        out = {"z": x.new_empty((rows, spec.z.dim))}
    else:
        out = {"x": torch.empty_like(x), "y": torch.empty_like(y), "u": torch.empty_like(u)}
    failed = _convolution(Kernel(spec, targets, "", True, _REAL[x.dtype]))(
        x.shape[0],
        rows,
        u.shape[0],
        src.data_ptr(),
        dst.data_ptr(),
        x.data_ptr(),
        y.data_ptr(),
        None,
        _address(z),
        None,
        None,
        None,
        _address(out.get("x")),
        _address(out.get("y")),
        None,
        _address(out.get("z")),
        u.data_ptr(),
        table.data_ptr(),
        table.shape[0] - 3,
        _address(out.get("u")),
        torch.get_num_threads(),
    )
    if failed:
        raise IndexError(_OUTSIDE)
    return list(out.values())
