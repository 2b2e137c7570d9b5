"""e3nn's constants of activations: estimates from a million random numbers, ours are exact.

They differ from ours by 1e-4 to 1e-3, so that a network whose weights come from e3nn agrees with
it to rounding only with e3nn's constants.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.nn.activations import ScaledActivation
from clebsch.nn.mlp import MLP
from clebsch.ops.nodewise.gating import Gating


@cache
def e3nn_second_moment_scale(activation: Callable[[Tensor], Tensor]) -> float:
    """The factor that e3nn's ``normalize2mom`` finds, by the same random numbers.

    torch draws them from a fixed seed; another version of torch may draw others, and e3nn would
    then differ from itself as well: its files hold no constants. Next to one it takes one.

    Example:
        >>> round(e3nn_second_moment_scale(torch.nn.functional.silu), 3)
        1.679
    """
    if isinstance(activation, nn.Module):
        activation = copy.deepcopy(activation).cpu().double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(1_000_000, generator=generator, dtype=torch.float64)
        scale = float(activation(z).square().mean() ** -0.5)
    return 1.0 if abs(scale - 1) < 1e-4 else scale


Scale = Callable[[Callable[[Tensor], Tensor]], float]


def scale_of(source: nn.Module | None) -> Scale:
    """What gives e3nn's constant of a function: the module's own, where it has it."""
    held: dict[Any, float] = {}
    for part in source.modules() if source is not None else ():
        if hasattr(part, "cst") and hasattr(part, "f"):
            held[part.f] = 1.0 if getattr(part, "_is_id", False) else float(part.cst)  # type: ignore[arg-type]
    return lambda f: held[f] if f in held else e3nn_second_moment_scale(f)


def use_e3nn_constants(module: nn.Module, source: nn.Module | None = None) -> None:
    """Give every activation and gate of ``module`` the constant that e3nn would.

    The constants are no part of a state dict: call it again after loading one. Inside networks
    (``MLP``) only the last activation is changed: ``from_e3nn_state_dict`` puts the constants of
    the others into the weights.

    Args:
        module: changed in place.
        source: an e3nn module whose constants are taken; without one they are found anew.

    Example:
        >>> from clebsch.nn import Gate
        >>> gate = Gate("8x0e + 4x1o")
        >>> use_e3nn_constants(gate)
        >>> round(gate.even.scale, 3)
        1.679
    """
    scale = scale_of(source)
    for part in module.modules():
        if isinstance(part, MLP):
            _use_in_network(part, scale)
        elif isinstance(part, ScaledActivation):
            part.scale = scale(part.activation)
        gating = getattr(part, "gating", None)
        if isinstance(gating, Gating):
            part.gating = with_constants(gating, scale)  # type: ignore[assignment]


def _use_in_network(mlp: MLP, scale: Scale) -> None:
    """The constant of an activation after the last layer; ``mlp.activation.scale`` tells it."""
    if mlp.activation is None or mlp.last is None:
        return
    ratio = scale(mlp.activation.activation) / mlp.activation.scale
    of_scalars = tuple((f, factor * ratio) for f, factor in mlp.last.of_scalars)
    mlp.last = replace(mlp.last, of_scalars=of_scalars)


def with_constants(gating: Gating, scale: Scale) -> Gating:
    """The same gating with other constants; functions without one stay so."""
    of_scalars, of_gates = (
        tuple((f, factor if f is None else scale(f)) for f, factor in scaled)
        for scaled in (gating.of_scalars, gating.of_gates)
    )
    return replace(gating, of_scalars=of_scalars, of_gates=of_gates)
