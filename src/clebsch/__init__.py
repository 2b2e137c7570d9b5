"""Symmetry-aware neural networks for materials science."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.models import load_model as load

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that `clebsch --help` and `import clebsch.o3` need not import the models.
    if name == "load":
        from clebsch.models import load_model

        return load_model
    raise AttributeError(f"module 'clebsch' has no attribute {name!r}")
