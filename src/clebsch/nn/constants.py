"""Constants of a module that stay in float64 whatever the module is cast to."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")


def on_cpu(function: Callable[P, R]) -> Callable[P, R]:
    """A function that makes constants: on the CPU, whatever the default device is."""

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return made


class ExactConstants(nn.Module):
    """Base of modules with constants: they move between devices but are never rounded.

    A module that was float32 and is cast to float64 is then exact again. One that was built or put
    on the meta device gets its constants back when ``to_empty`` gives it memory.
    """

    def register_constant(self, name: str, value: Tensor) -> None:
        """Keep ``value`` as ``self.name``, on the default device; not part of the state dict.

        Args:
            value: made on the CPU, whatever the default device is.
        """
        device = torch.get_default_device()
        if device.type == "meta":
            self._off_meta()[name] = value
        self.register_buffer(name, value.to(device), persistent=False)

    def _off_meta(self) -> dict[str, Tensor]:
        """Values of the constants that are on the meta device."""
        found: dict[str, Tensor] = self.__dict__.setdefault("_constants_off_meta", {})
        return found

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        exact = {
            name: buffer
            for name, buffer in self._buffers.items()
            if buffer is not None and name in self._non_persistent_buffers_set
        }
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = self._buffers[name]
            assert moved is not None
            if moved.is_meta and not buffer.is_meta:
                self._off_meta()[name] = buffer
            elif buffer.is_meta and not moved.is_meta:
                buffer = self._off_meta().pop(name)
            self._buffers[name] = buffer.to(moved.device)
        return self
