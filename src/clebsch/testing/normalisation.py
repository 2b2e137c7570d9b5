"""Have outputs unit variance at initialisation?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import nn

from clebsch.o3 import Irreps
from clebsch.o3.irreps import Layout
from clebsch.testing.arguments import (
    POINTS,
    Function,
    call,
    check_width,
    inputs_of,
    name_of,
    outputs_of,
    random_inputs,
)

Normalization = Literal["component", "norm"]


@dataclass(frozen=True)
class Moments:
    """Statistics of one block of one output over inputs and weights.

    Attributes:
        output: name of the output, its number where it has none.
        irreps: the block, such as ``4x1o``.
        place: the block's place in the last dimension.
        square: mean square of each component over the expected one, the component furthest from 1.
        square_error: its standard error.
        mean: mean of the component whose mean is furthest from zero, over the expected root.
        mean_error: its standard error.
        l: degree of the irrep.
    """

    output: str
    irreps: str
    place: slice
    square: float
    square_error: float
    mean: float
    mean_error: float
    l: int


def output_moments(
    module: Function,
    irreps_in: Any = None,
    irreps_out: Any = None,
    *,
    normalization: Normalization = "component",
    layout: Layout = "ir_mul",
    n_inputs: int = 256,
    n_weights: int = 40,
    inputs: Callable[[int, torch.Generator], Sequence[Any]] | None = None,
    redraw: Callable[[nn.Module], object] | None = None,
    seed: int = 0,
) -> list[Moments]:
    """Mean and mean square of every block of the outputs; see ``assert_normalized``."""
    if normalization not in ("component", "norm"):
        raise ValueError(f'normalization must be "component" or "norm", not {normalization!r}')
    kinds, kinds_out = inputs_of(module, irreps_in), outputs_of(module, irreps_out)
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.get_default_dtype()
    blocks = [
        (name, mul, ir, place)
        for name, kind in kinds_out.items()
        if isinstance(kind, Irreps)
        for (mul, ir), place in zip(kind, kind.slices(), strict=True)
        if mul
    ]
    squares: list[list[torch.Tensor]] = [[] for _ in blocks]
    means: list[list[torch.Tensor]] = [[] for _ in blocks]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(n_weights):
            fresh = module
            if isinstance(module, nn.Module):
                fresh = copy.deepcopy(module)
                (redraw or redraw_weights)(fresh)
            if inputs is not None:
                values = list(inputs(n_inputs, generator))
            else:
                values = random_inputs(kinds, n_inputs, generator, dtype)
                if normalization == "norm":
                    values = [
                        v if kind is None or kind == POINTS else v / _root_dims(kind)
                        for v, kind in zip(values, kinds, strict=True)
                    ]
            outputs = call(fresh, values, list(kinds_out))
            for name, kind in kinds_out.items():
                check_width(module, f"output {name}", outputs[name], kind)
            for number, (name, mul, ir, place) in enumerate(blocks):
                expected = 1.0 if normalization == "component" else 1 / ir.dim
                shape = (ir.dim, mul) if layout == "ir_mul" else (mul, ir.dim)
                block = outputs[name][..., place].double().unflatten(-1, shape) / sqrt(expected)
                if layout == "mul_ir":
                    block = block.mT
                rows = block.flatten(0, -3).transpose(0, 1).flatten(1)  # components, the rest
                squares[number].append(rows.square().mean(1))
                means[number].append(rows.mean(1))
    found = []
    for number, (name, mul, ir, place) in enumerate(blocks):
        square, square_error = _furthest(torch.stack(squares[number]), 1.0)
        mean, mean_error = _furthest(torch.stack(means[number]), 0.0)
        irreps = f"{mul}x{ir}"
        found.append(Moments(name, irreps, place, square, square_error, mean, mean_error, ir.l))
    return found


def assert_normalized(
    module: Function,
    irreps_in: Any = None,
    irreps_out: Any = None,
    *,
    normalization: Normalization = "component",
    layout: Layout = "ir_mul",
    n_inputs: int = 256,
    n_weights: int = 40,
    inputs: Callable[[int, torch.Generator], Sequence[Any]] | None = None,
    redraw: Callable[[nn.Module], object] | None = None,
    tolerance: float = 0.1,
    seed: int = 0,
) -> list[Moments]:
    """Assert unit mean square of every output component for inputs of unit variance.

    The average is over inputs and over weights; components of l > 0 must have mean zero, too.
    A deviation counts where it is above the tolerance by four standard errors.

    Args:
        module: a module (a copy is used), or a function without weights.
        irreps_in, irreps_out, layout: see ``equivariance_error``.
        normalization: ``"component"``, every component has unit variance, or ``"norm"``, every
            irrep has unit mean square length; of inputs and outputs.
        n_inputs: rows per draw of the weights.
        n_weights: draws of the weights.
        inputs: ``inputs(rows, generator)`` are the inputs, where normal numbers do not do.
        redraw: how new weights are drawn; by default ``redraw_weights``.
        tolerance: of mean squares and means.
        seed: of everything that is drawn.

    Returns:
        The moments, one row per block.

    Raises:
        AssertionError: one line per block that is off, or whose statistics do not suffice.

    Example:
        >>> from clebsch.nn import Linear
        >>> _ = assert_normalized(Linear("8x0e + 4x1o", "16x0e + 16x1o"))
        >>> class Sum(torch.nn.Module):  # forgets to divide by sqrt(8)
        ...     irreps_in, irreps_out = "8x0e", "0e"
        ...     def forward(self, x):
        ...         return x.sum(-1, keepdim=True)
        >>> assert_normalized(Sum())
        Traceback (most recent call last):
            ...
        AssertionError: Sum is not normalized (component, tolerance 0.1):
          1x0e (output, 0:1): mean square 7.97 +- 0.11, expected 1
    """
    __tracebackhide__ = True
    moments = output_moments(
        module,
        irreps_in,
        irreps_out,
        normalization=normalization,
        layout=layout,
        n_inputs=n_inputs,
        n_weights=n_weights,
        inputs=inputs,
        redraw=redraw,
        seed=seed,
    )
    single = len({row.output for row in moments}) == 1
    lines = []
    for row in moments:
        output = "output" if single else f"output {row.output}"
        where = f"  {row.irreps} ({output}, {row.place.start}:{row.place.stop})"
        off = abs(row.square - 1) - tolerance
        if not off <= 4 * row.square_error:
            lines.append(
                f"{where}: mean square {row.square:.3g} +- {row.square_error:.2g}, expected 1"
            )
        elif not row.square_error <= max(0.05, tolerance):
            lines.append(
                f"{where}: mean square {row.square:.3g} +- {row.square_error:.2g} says nothing: "
                "raise n_weights or n_inputs"
            )
        if row.l > 0 and not abs(row.mean) - tolerance <= 4 * row.mean_error:
            lines.append(f"{where}: mean {row.mean:.3g} +- {row.mean_error:.2g}, expected 0")
    if lines:
        first = f"{name_of(module)} is not normalized ({normalization}, tolerance {tolerance:g}):"
        raise AssertionError("\n".join([first, *lines]))
    return moments


def redraw_weights(module: nn.Module) -> None:
    """New weights, as a new module has them.

    A submodule with ``reset_parameters`` is asked to; other parameters become standard normal,
    but for those that are all zero or all one (biases and scales of a new module).
    """
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
            continue
        for parameter in part.parameters(recurse=False):
            value = parameter.detach()
            if not ((value == 0).all() or (value == 1).all()):
                parameter.data.normal_()


def _root_dims(irreps: Irreps) -> torch.Tensor:
    """sqrt(2l + 1) of every component."""
    return torch.cat([torch.full((block.dim,), sqrt(block.ir.dim)) for block in irreps])


def _furthest(draws: torch.Tensor, expected: float) -> tuple[float, float]:
    """Of the columns of ``draws``, mean and standard error of the one furthest from expected."""
    mean = draws.mean(0)
    error = draws.std(0) / sqrt(len(draws)) if len(draws) > 1 else torch.zeros_like(mean)
    place = (mean - expected).abs().argmax()
    return mean[place].item(), error[place].item()
