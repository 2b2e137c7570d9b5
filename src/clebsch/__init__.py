"""Symmetry-aware neural networks for materials science."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.models import load

__version__ = "0.1.0"

# Large tensors on huge pages: torch reads this when it makes its first tensor (ops/memory.py says
# what else is done about memory, and how to forbid it).
if os.environ.get("CLEBSCH_KEEP_MEMORY") != "0":
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that `clebsch --help` and `import clebsch.o3` need not import the models.
    if name == "load":
        from clebsch.models import load

        return load
    raise AttributeError(f"module 'clebsch' has no attribute {name!r}")
