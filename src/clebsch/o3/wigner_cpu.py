"""The kernel of many Wigner D matrices on the CPU: when it is used, and the tables it reads."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.autograd import forward_ad

from clebsch import compiler
from clebsch.o3 import wigner_recursion

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

LEAST = 256  # rotations; for fewer PyTorch is fast enough and nothing is built
_SHARED_ABOVE = 100_000  # numbers; below, a second thread gains nothing

_REAL = {torch.float32: "float", torch.float64: "double"}
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class _Tables(NamedTuple):
    """What the kernel reads, in the layout of its structures."""

    outermost: NDArray[np.void]
    steps: NDArray[np.floating]
    order: NDArray[np.int64]


def available(rotations: Tensor) -> bool:
    """Whether the kernel takes them: (n, ...) with many plain rows that nothing transforms."""
    return (
        type(rotations) in (torch.Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()  # before its sizes are asked for
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and rotations.shape[0] >= LEAST
        and rotations.device.type == "cpu"
        and rotations.dtype in _REAL
        and not (rotations.requires_grad and torch.is_grad_enabled())
        and compiler.usable()
    )


def matrices(degrees: list[int], rotations: Tensor) -> dict[int, Tensor]:
    """{l: (n, (2l+1)^2)} of rotations for which the kernel is ``available``.

    The bits of a matrix depend neither on the number of threads nor on its place in the batch.

    Args:
        degrees: not negative.
        rotations: unit quaternions (n, 4), or orthogonal matrices (n, 3, 3); of matrices of
            determinant -1 the negative is taken.
    """
    lmax = max(degrees, default=0)
    given = rotations.detach().flatten(1).contiguous().resolve_neg()
    n, width = given.shape
    D = {l: given.new_empty(n, (2 * l + 1) ** 2) for l in degrees}
    out = [D[l].data_ptr() if l in D else None for l in range(lmax + 1)]
    shared = sum(matrix.numel() for matrix in D.values()) > _SHARED_ABOVE
    _kernel(given.dtype)(
        n,
        width,
        lmax,
        given.data_ptr(),
        *[table.ctypes.data for table in _tables(lmax, given.dtype)],
        (ctypes.c_void_p * len(out))(*out),
        torch.get_num_threads() if shared else 1,
    )
    return D


@cache
def _tables(lmax: int, dtype: torch.dtype) -> _Tables:
    real = _NUMPY[dtype]
    count = (lmax + 1) ** 2
    reals = [(name, real, 2) for name in ("scale", "sign_a", "sign_b")]
    outermost = np.zeros(count, [("a", np.int64, 2), ("b", np.int64, 2), *reals])
    for which, name in enumerate(("a", "b")):
        outermost[name] = wigner_recursion.exponents(lmax, which).reshape(2, count).T
    factors = wigner_recursion.outermost_factors(lmax)[..., 0]
    for (name, *_), values in zip(reals, factors, strict=True):
        outermost[name] = values.T
    steps = [wigner_recursion.three_terms(l)[..., 0].T for l in range(1, lmax + 1)]
    order = [wigner_recursion.real_order(l) for l in range(lmax + 1)]
    return _Tables(
        outermost,
        np.concatenate([np.empty((0, 3)), *steps]).astype(real),
        np.concatenate(order).astype(np.int64),
    )


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., None]:
    from clebsch.o3.wigner_source import SOURCE

    function: Callable[..., None] = compiler.load(SOURCE.format(real=_REAL[dtype])).run
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [integer] * 3 + [pointer] * 5 + [ctypes.c_int]  # type: ignore[attr-defined]
    function.restype = None  # type: ignore[attr-defined]
    return function
