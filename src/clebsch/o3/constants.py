"""Exact constants as tensors: kept in float64, cast and placed once for each dtype and device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor


class TensorConstant(Protocol):
    """A constant that takes the dtype and device of the tensor it meets."""

    def __call__(self, *args: Any, like: Tensor) -> Tensor: ...


def tensor_constant(array: Callable[..., NDArray[np.float64]]) -> TensorConstant:
    """``array(*args)`` as a tensor in the dtype and on the device of ``like``, cached.

    Tracers (``torch.compile``, ``torch.export``, ``make_fx``) get a literal in their graph, and
    their make-believe tensors never enter the cache.
    """
    cache: dict[tuple[Any, ...], Tensor] = {}

    def literal(*args: Any) -> list[Any]:
        return array(*args).tolist()

    # The mark of torch.compiler.assume_constant_result, which would import torch's compiler: a
    # second that every program would wait for.
    literal._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def get(*args: Any, like: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or type(like) not in (torch.Tensor, torch.nn.Parameter):
            return torch.tensor(literal(*args), dtype=like.dtype, device=like.device)
        key = (args, like.dtype, like.device)
        if key not in cache:
            values = array(*args)
            # cast by numpy where it can: a torch cast could be caught by a functorch transform
            if like.dtype == torch.float32:
                values = values.astype(np.float32)
            cache[key] = torch.from_numpy(values.copy()).to(dtype=like.dtype, device=like.device)
        return cache[key]

    return get
