"""Are gradients finite where the formulas are singular?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from clebsch.o3 import Irreps
from clebsch.testing.arguments import (
    POINTS,
    Function,
    Kind,
    call,
    cast,
    inputs_of,
    name_of,
    outputs_of,
    prepared,
    random_inputs,
)


def assert_finite_gradients(
    function: Function,
    irreps_in: Any = None,
    irreps_out: Any = None,
    *,
    inputs: Sequence[Any] | None = None,
    rows: int = 4,
    dtype: torch.dtype = torch.float64,
    second: bool = True,
    seed: int = 0,
) -> None:
    """Assert that values and derivatives are finite at zero, on the axes, and without rows.

    One input after the other is replaced by zeros, by equal rows, and, where it holds vectors or
    positions, by vectors along +-x, +-y, +-z; then all by zeros; then no rows at all.

    Args:
        function, irreps_in, irreps_out, inputs, rows, dtype, seed: see ``equivariance_error``.
            Without rows is tried only where the inputs are drawn.
        second: whether second derivatives are tried, too.

    Raises:
        AssertionError: names the special inputs, the derivative and the input it is taken of.

    Example:
        >>> from clebsch.nn import Norm
        >>> assert_finite_gradients(Norm("2x0e + 2x1o"))
        >>> def length(x):
        ...     return x.square().sum(-1, keepdim=True).sqrt()
        >>> assert_finite_gradients(length, "1o", "0e")
        Traceback (most recent call last):
            ...
        AssertionError: length: the first derivative by input 0 is not finite with input 0 zero
    """
    __tracebackhide__ = True
    kinds, names = inputs_of(function, irreps_in), list(outputs_of(function, irreps_out))
    generator = torch.Generator().manual_seed(seed)
    module = prepared(function, dtype)
    drawn = inputs is None
    start = random_inputs(kinds, rows, generator, dtype) if inputs is None else list(inputs)
    start = [cast(x, dtype) for x in start]
    cases = [("random inputs", start), *_special(start, kinds)]
    if drawn:
        cases.append(("no rows", [x[:0] for x in start]))
    for case, values in cases:
        found = _not_finite(module, values, names, second)
        if found:
            raise AssertionError(f"{name_of(function)}: {found} not finite with {case}")


def _special(start: list[Any], kinds: Sequence[Kind]) -> Iterator[tuple[str, list[Any]]]:
    """(name, inputs) of the points where formulas are singular."""
    free = [n for n, x in enumerate(start) if isinstance(x, Tensor) and x.is_floating_point()]
    for number in free:
        x, kind = start[number], kinds[number]
        if kind is None:
            continue

        def instead(value: Tensor, number: int = number) -> list[Any]:
            return [*start[:number], value, *start[number + 1 :]]

        yield f"input {number} zero", instead(torch.zeros_like(x))
        if x.dim() > 1 and x.shape[0]:
            yield f"equal rows of input {number}", instead(x[:1].expand_as(x).clone())
        places = (
            [slice(0, 3)]
            if kind == POINTS
            else [
                place
                for (_, ir), place in zip(kind, kind.slices(), strict=True)
                if isinstance(kind, Irreps) and ir.l == 1
            ]
        )
        for place in places:
            for axis in range(3):
                for sign in (1, -1):
                    value = x.clone()
                    block = value[..., place].unflatten(-1, (3, -1))
                    block.zero_()
                    block[..., axis, :] = sign
                    value[..., place] = block.flatten(-2)
                    where = f"input {number} along {'-' if sign < 0 else '+'}{'xyz'[axis]}"
                    yield where, instead(value)
    if len(free) > 1:
        zeros = [torch.zeros_like(x) if n in free else x for n, x in enumerate(start)]
        yield "all inputs zero", zeros


def _not_finite(
    function: Function, values: list[Any], names: list[str], second: bool
) -> str | None:
    """What is not finite, with its verb, or None."""
    leaves = {
        n: x.clone().requires_grad_()
        for n, x in enumerate(values)
        if isinstance(x, Tensor) and x.is_floating_point()
    }
    outputs = call(function, [leaves.get(n, x) for n, x in enumerate(values)], names)
    for name, y in outputs.items():
        if not torch.isfinite(y).all():
            return f"output {name} is" if len(outputs) > 1 else "the output is"
    order, total = "first", sum((_spread(y) for y in outputs.values()), torch.zeros(()))
    while total.requires_grad:
        gradients = torch.autograd.grad(
            total, list(leaves.values()), create_graph=True, allow_unused=True
        )
        total = torch.zeros(())
        for number, gradient in zip(leaves, gradients, strict=True):
            if gradient is None:
                continue
            if not torch.isfinite(gradient).all():
                return f"the {order} derivative by input {number} is"
            total = total + _spread(gradient)
        if order == "second" or not second:
            break
        order = "second"
    return None


def _spread(y: Tensor) -> Tensor:
    """A sum in which every component has a weight of its own."""
    return (y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)).sum()
