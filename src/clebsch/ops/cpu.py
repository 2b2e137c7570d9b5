"""The CPU back end: kernels generated from the specification, built at first use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor

from clebsch.ops import compiler
from clebsch.ops.cpu_source import source, supported
from clebsch.ops.specification import Specification

_REAL = {torch.float32: "float", torch.float64: "double"}


def available(spec: Specification, some: Tensor) -> bool:
    """Whether this back end takes the specification for tensors like ``some``."""
    return some.device.type == "cpu" and some.dtype in _REAL and _supported(spec) and _usable()


@lru_cache(maxsize=1024)
def _supported(spec: Specification) -> bool:
    return supported(spec)


@cache
def _usable() -> bool:
    """Whether kernels can be built here; a warning says why not."""
    try:
        compiler.load('extern "C" int probe() { return 1; }')
    except compiler.NoCompiler as error:
        compiler.warn_once(str(error))
        return False
    return True


@lru_cache(maxsize=1024)
def _kernel(spec: Specification, target: str, real: str) -> Callable[..., int]:
    function: Callable[..., int] = compiler.load(source(spec, target, real)).contract
    pointer = ctypes.c_void_p
    function.argtypes = [ctypes.c_int64] * 4 + [pointer] * 7 + [ctypes.c_int]  # type: ignore[attr-defined]
    function.restype = ctypes.c_int  # type: ignore[attr-defined]
    return function


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
    some = next(iter(factors.values()))
    width = spec.weight_numel if target == "w" else getattr(spec, target).dim
    out = some.new_empty((rows, width))
    held = {slot: factor.contiguous() for slot, factor in factors.items()}
    function = _kernel(spec, target, _REAL[some.dtype])
    failed = function(
        held["x"].shape[0] if "x" in held else rows,
        held["z"].shape[0] if "z" in held else rows,
        rows,
        edges,
        None if src is None else src.data_ptr(),
        None if dst is None else dst.data_ptr(),
        *(held[slot].data_ptr() if slot in held else None for slot in ("x", "y", "w", "z")),
        out.data_ptr(),
        torch.get_num_threads(),
    )
    if failed:
        raise IndexError("an edge names a source or destination row that is not there")
    return out
