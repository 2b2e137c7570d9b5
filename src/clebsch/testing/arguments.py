"""What goes into a function under test and what comes out: kinds, random inputs, calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from clebsch.errors import UserError
from clebsch.o3 import Irreps

#: Irreps of features, positions (rows, 3) in space, or ``None`` for what no operation changes.
Kind: TypeAlias = Irreps | Literal["cartesian_points"] | None
POINTS: Literal["cartesian_points"] = "cartesian_points"

Function: TypeAlias = Callable[..., Any]


def name_of(function: Function) -> str:
    """Class of a module, name of a function."""
    if isinstance(function, nn.Module):
        return type(function).__name__
    return str(getattr(function, "__name__", type(function).__name__))


def kind(declared: Any, name: str) -> Kind:
    """One declared input or output.

    Raises:
        ValueError: it is neither irreps, nor ``"cartesian_points"``, nor None.
    """
    if declared is None:
        return None
    if isinstance(declared, str) and declared == POINTS:
        return POINTS
    try:  # through their string, so that the irreps of another library are read as well
        return declared if isinstance(declared, Irreps) else Irreps(str(declared))
    except UserError:
        raise ValueError(
            f'{name} is {declared!r}: give irreps, such as "8x0e + 4x1o", '
            f'"{POINTS}" for positions, or None for what does not turn'
        ) from None


def inputs_of(function: Function, declared: Any) -> list[Kind]:
    """Kinds of the inputs, read from the module's attributes where none are declared.

    Raises:
        ValueError: none are declared and the module does not tell.
    """
    if declared is None:
        specification = getattr(function, "specification", None)
        if hasattr(function, "irreps_in"):
            declared = function.irreps_in
        elif hasattr(function, "irreps_in1"):
            declared = [function.irreps_in1, function.irreps_in2]  # type: ignore[attr-defined]
        elif specification is not None:
            declared = [specification.x, specification.y]
        else:
            raise ValueError(f"{name_of(function)} has no attribute irreps_in: give irreps_in=...")
    several = declared if isinstance(declared, list) else [declared]
    return [kind(one, f"input {number}") for number, one in enumerate(several)]


def outputs_of(function: Function, declared: Any) -> dict[str, Kind]:
    """Kinds of the outputs by name; see ``inputs_of``."""
    if declared is None:
        specification = getattr(function, "specification", None)
        if hasattr(function, "irreps_out"):
            declared = function.irreps_out
        elif specification is not None:
            declared = specification.z
        else:
            raise ValueError(
                f"{name_of(function)} has no attribute irreps_out: give irreps_out=..."
            )
    if isinstance(declared, Mapping):
        return {str(name): kind(one, f"output {name!r}") for name, one in declared.items()}
    several = declared if isinstance(declared, list) else [declared]
    return {str(n): kind(one, f"output {n}") for n, one in enumerate(several)}


def random_inputs(
    kinds: Sequence[Kind], rows: int, generator: torch.Generator, dtype: torch.dtype
) -> list[Any]:
    """Normal features and positions.

    Raises:
        ValueError: an input is declared None, so that nobody knows what it holds.
    """
    if None in kinds:
        raise ValueError(
            f"input {kinds.index(None)} is declared None, so it can not be drawn: give inputs=[...]"
        )
    widths = [3 if k == POINTS else k.dim for k in kinds if k is not None]
    return [torch.randn(rows, w, generator=generator, dtype=dtype) for w in widths]


def prepared(function: Function, dtype: torch.dtype) -> Function:
    """A copy of a module in this precision; functions are what they are."""
    if isinstance(function, nn.Module):
        return copy.deepcopy(function).to(dtype)
    return function


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating tensors in this precision, all else as it is."""
    if isinstance(value, Tensor):
        value = value.detach()
        return value.to(dtype) if value.is_floating_point() else value
    return value


def call(function: Function, inputs: Sequence[Any], names: Sequence[str]) -> dict[str, Tensor]:
    """The outputs by name; random layers (dropout) draw the same numbers in every call.

    Raises:
        ValueError: another number of outputs than declared, or one that is no tensor.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = function(*inputs)
    if isinstance(result, Mapping):
        missing = [name for name in names if name not in result]
        if missing:
            raise ValueError(f"{name_of(function)} returns no {missing[0]!r}, as irreps_out says")
        found = {name: result[name] for name in names}
    else:
        several = list(result) if isinstance(result, tuple | list) else [result]
        if len(several) != len(names):
            raise ValueError(
                f"{name_of(function)} returns {len(several)} outputs, "
                f"but irreps_out declares {len(names)}"
            )
        found = dict(zip(names, several, strict=True))
    for name, output in found.items():
        if not isinstance(output, Tensor):
            raise ValueError(
                f"{name_of(function)}: output {name} is a {type(output).__name__}, not a tensor"
            )
    return found


def check_width(function: Function, name: str, x: Any, declared: Kind) -> None:
    """Refuse a tensor whose last dimension is not that of its kind.

    Raises:
        ValueError: it is not.
    """
    if declared is None:
        return
    width = 3 if declared == POINTS else declared.dim
    if not isinstance(x, Tensor) or x.shape[-1:] != (width,):
        have = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ValueError(
            f"{name_of(function)}: {name} has {have}, but {declared} needs a last dimension "
            f"of {width}"
        )
