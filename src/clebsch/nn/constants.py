"""Constants of a module that stay in float64 whatever the module is cast to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class ExactConstants(nn.Module):
    """Base of modules with constants: they move between devices but are never rounded.

    A module that was float32 and is cast to float64 is then exact again.
    """

    def register_constant(self, name: str, value: Tensor) -> None:
        """Keep ``value`` as ``self.name``; not part of the state dict."""
        self.register_buffer(name, value, persistent=False)

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
            self._buffers[name] = buffer.to(moved.device)
        return self
