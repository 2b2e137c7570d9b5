"""What layers ask of their arguments: sentences that name layer, irreps and dimension."""

from __future__ import annotations

from torch import Tensor, nn

from clebsch.o3 import Irreps


def check_features(layer: nn.Module, name: str, x: Tensor, irreps: Irreps) -> None:
    """Refuse features that cannot be of these irreps.

    Args:
        layer: the layer that is asked; its class is named.
        name: the argument's name.
        x: features, (..., irreps.dim).

    Raises:
        ValueError: the last dimension of ``x`` is not ``irreps.dim``.
    """
    if x.shape[-1:] != (irreps.dim,):
        have = f"{x.shape[-1]} in its last dimension" if x.dim() else "no dimension"
        raise ValueError(
            f"{type(layer).__name__}: {name} has {have} (shape {tuple(x.shape)}), "
            f"but {named(irreps)} needs {irreps.dim}"
        )


def named(irreps: Irreps) -> str:
    """Irreps in a sentence, where an empty string would be overlooked."""
    return str(irreps) or '""'
