"""Does a function turn as its irreps say?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from clebsch.o3 import Irreps, rand_matrix
from clebsch.o3.irreps import Layout
from clebsch.testing.arguments import (
    POINTS,
    Function,
    Kind,
    call,
    cast,
    check_width,
    inputs_of,
    name_of,
    outputs_of,
    prepared,
    random_inputs,
)

Operation: TypeAlias = Literal["rotation", "inversion", "translation", "permutation"]
OPERATIONS: tuple[Operation, ...] = ("rotation", "inversion", "translation", "permutation")

#: Largest relative error of a function that counts as equivariant.
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.float16: 3e-2,
    torch.bfloat16: 1e-1,
}


@dataclass(frozen=True)
class Deviation:
    """How far one block of one output is from turning as it should.

    Attributes:
        output: name of the output, its number where it has none.
        irreps: the block, such as ``4x1o``, or the kind of the output.
        place: the block's place in the last dimension.
        operation: what was done to the inputs.
        error: largest absolute difference of any component.
        size: largest absolute component of the whole output.
    """

    output: str
    irreps: str
    place: slice
    operation: Operation
    error: float
    size: float

    @property
    def relative(self) -> float:
        """The error beside the output's size, or alone where that is below one."""
        return self.error / max(1.0, self.size)


class EquivarianceTable(tuple[Deviation, ...]):
    """Deviations of every block of every output under every operation; prints as a table."""

    __slots__ = ()

    @property
    def largest(self) -> float:
        """Largest relative error; zero where there is nothing that could differ."""
        return max((row.relative for row in self), default=0.0)

    def above(self, tolerance: float) -> EquivarianceTable:
        """The rows whose relative error is larger (or is not a number)."""
        return EquivarianceTable(row for row in self if not row.relative <= tolerance)

    def error(self, operation: Operation) -> float:
        """Largest relative error under this operation."""
        return max((row.relative for row in self if row.operation == operation), default=0.0)

    def __str__(self) -> str:
        operations = [o for o in OPERATIONS if any(row.operation == o for row in self)]
        cells = [["output", "irreps", *operations]]
        for output, irreps, start in dict.fromkeys(
            (row.output, row.irreps, row.place.start) for row in self
        ):
            errors = {
                row.operation: f"{row.relative:.1e}"
                for row in self
                if (row.output, row.place.start) == (output, start)
            }
            cells.append([output, irreps, *(errors.get(o, "") for o in operations)])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )


class _Element(NamedTuple):
    """One element of the group: its kind and what it does."""

    operation: Operation
    rotation: Tensor
    shift: Tensor
    order: Tensor | None

    def apply(self, x: Any, kind: Kind, layout: Layout, rows: int) -> Any:
        """The tensor after the operation, in its own precision."""
        if not isinstance(x, Tensor):
            return x
        dtype = x.dtype
        if self.operation == "permutation":
            assert self.order is not None
            return x[self.order] if x.dim() and x.shape[0] == rows else x
        if kind is None:
            return x
        if kind == POINTS:
            return (x.double() @ self.rotation.T + self.shift).to(dtype)
        assert isinstance(kind, Irreps)
        if self.operation == "translation":
            return x
        return (x.double() @ kind.D_from_matrix(self.rotation, layout).T).to(dtype)


def equivariance_error(
    function: Function,
    irreps_in: Any = None,
    irreps_out: Any = None,
    *,
    inputs: Sequence[Any] | None = None,
    layout: Layout = "ir_mul",
    operations: Sequence[Operation] | None = None,
    trials: int = 2,
    rows: int = 4,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> EquivarianceTable:
    """How far f(g x) is from g f(x), for every block of the outputs and every kind of operation.

    A module is copied and cast to ``dtype`` first: constants that were rounded to float32 show up.

    Args:
        function: a module or function of tensors.
        irreps_in: one entry per input, a list where there are several: irreps,
            ``"cartesian_points"`` for positions (rows, 3), or None for what no operation changes
            (species, lengths, numbers). By default the module's ``irreps_in``, or ``irreps_in1``
            and ``irreps_in2``, or its specification.
        irreps_out: the same of the outputs; a dictionary where the function returns one.
        inputs: the inputs; by default normal numbers in ``rows`` rows.
        layout: of features, ``"ir_mul"`` (ours) or ``"mul_ir"`` (e3nn's).
        operations: which of rotation, inversion, translation, permutation (of rows; an output
            with another number of rows must not change). By default all that make sense:
            translation with positions, permutation where every input is irreps or positions and
            has the same number of rows.
        trials: random elements of each kind.
        rows: of the inputs that are drawn.
        dtype: precision of the test.
        seed: of inputs and operations.

    Raises:
        ValueError: irreps that can not be found out, an unknown operation, or a tensor whose width
            is not that of its irreps.

    Example:
        >>> def cross(x, y):
        ...     return torch.linalg.cross(x, y)
        >>> equivariance_error(cross, ["1o", "1o"], "1e").largest < 1e-12
        True
        >>> table = equivariance_error(cross, ["1o", "1o"], "1o")  # a wrong parity
        >>> table.error("rotation") < 1e-12, table.error("inversion") > 1
        (True, True)
    """
    probe = _Probe(function, irreps_in, irreps_out, inputs, layout, rows, dtype, seed)
    chosen = probe.usual_operations() if operations is None else tuple(operations)
    for operation in chosen:
        if operation not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise ValueError(f"there is no operation {operation!r}; there are {known}")
    worst: dict[tuple[str, int, str], Deviation] = {}
    for operation in chosen:
        for element in probe.elements(operation, trials):
            for row in probe.deviations(probe.inputs, element):
                key = (row.output, row.place.start, operation)
                if key not in worst or not row.error <= worst[key].error:
                    worst[key] = row
    return EquivarianceTable(worst.values())


def assert_equivariant(
    function: Function,
    irreps_in: Any = None,
    irreps_out: Any = None,
    *,
    tolerance: float | None = None,
    inputs: Sequence[Any] | None = None,
    layout: Layout = "ir_mul",
    operations: Sequence[Operation] | None = None,
    trials: int = 2,
    rows: int = 4,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> EquivarianceTable:
    """Assert that every output turns as its irreps say; see ``equivariance_error``.

    Args:
        tolerance: of the largest difference, relative to the output where that is above one;
            by default ``TOLERANCE[dtype]``, 1e-10 in float64.

    Returns:
        The errors, should you want to look.

    Raises:
        AssertionError: one line per block and operation that break: irreps, place, size of the
            error, and the inputs without which it vanishes.

    Example:
        >>> from clebsch.nn import Linear
        >>> _ = assert_equivariant(Linear("8x0e + 4x1o", "2x0e + 2x1o"))
        >>> def biased(x):
        ...     return x + torch.tensor([0, 0, 0, 0.5])
        >>> assert_equivariant(biased, "0e + 1o", "0e + 1o", operations=["inversion"])
        Traceback (most recent call last):
            ...
        AssertionError: biased is not equivariant (float64, tolerance 1e-10):
          1x1o (output, 1:4) under inversion: off by 1 (output up to 2.52), whatever the input
    """
    __tracebackhide__ = True
    table = equivariance_error(
        function,
        irreps_in,
        irreps_out,
        inputs=inputs,
        layout=layout,
        operations=operations,
        trials=trials,
        rows=rows,
        dtype=dtype,
        seed=seed,
    )
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    broken = table.above(limit)
    if not broken:
        return table
    probe = _Probe(function, irreps_in, irreps_out, inputs, layout, rows, dtype, seed)
    lines = [f"{name_of(function)} is not equivariant ({_name(dtype)}, tolerance {limit:g}):"]
    single = len(probe.kinds_out) == 1
    for row in broken:
        needs = probe.needed(row, limit, trials)
        because = f"not without {' or '.join(needs)}" if needs else "whatever the input"
        output = "output" if single else f"output {row.output}"
        lines.append(
            f"  {row.irreps} ({output}, {row.place.start}:{row.place.stop}) under {row.operation}: "
            f"off by {row.error:.3g} (output up to {row.size:.3g}), {because}"
        )
    raise AssertionError("\n".join(lines))


class _Probe:
    """A function with its inputs, ready to be asked under many operations."""

    def __init__(
        self,
        function: Function,
        irreps_in: Any,
        irreps_out: Any,
        inputs: Sequence[Any] | None,
        layout: Layout,
        rows: int,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        self.kinds = inputs_of(function, irreps_in)
        self.kinds_out = outputs_of(function, irreps_out)
        self.layout, self.seed = layout, seed
        generator = torch.Generator().manual_seed(seed)
        self.function = prepared(function, dtype)
        if inputs is None:
            inputs = random_inputs(self.kinds, rows, generator, dtype)
        if len(inputs) != len(self.kinds):
            raise ValueError(
                f"{name_of(function)}: there are {len(inputs)} inputs, "
                f"but irreps_in declares {len(self.kinds)}"
            )
        self.inputs = [cast(x, dtype) for x in inputs]
        for number, (x, kind) in enumerate(zip(self.inputs, self.kinds, strict=True)):
            check_width(function, f"input {number}", x, kind)
        lengths = {x.shape[0] for x in self.inputs if isinstance(x, Tensor) and x.dim() > 1}
        self.one_length = len(lengths) == 1 and max(lengths) > 1
        self.rows = next(
            (x.shape[0] for x in self.inputs if isinstance(x, Tensor) and x.dim() > 1), 0
        )

    def usual_operations(self) -> tuple[Operation, ...]:
        """Those that make sense for these inputs."""
        chosen: list[Operation] = ["rotation", "inversion"]
        if POINTS in self.kinds:
            chosen.append("translation")
        if None not in self.kinds and self.one_length:
            chosen.append("permutation")
        return tuple(chosen)

    def elements(self, operation: Operation, trials: int) -> list[_Element]:
        """Random elements of this kind; there is but one inversion."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        one, none = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        if operation == "inversion":
            return [_Element(operation, -one, none, None)]
        found = []
        for _ in range(trials):
            rotation = rand_matrix(generator=generator, dtype=torch.float64)
            shift = 3 * torch.randn(3, generator=generator, dtype=torch.float64)
            if operation == "rotation":
                found.append(_Element(operation, rotation, none, None))
            elif operation == "translation":
                found.append(_Element(operation, one, shift, None))
            else:
                order = torch.randperm(self.rows, generator=generator)
                if torch.equal(order, torch.arange(self.rows)):
                    order = order.roll(1)
                found.append(_Element(operation, one, none, order))
        return found

    def deviations(self, inputs: Sequence[Any], element: _Element) -> list[Deviation]:
        """f(g x) - g f(x), block by block."""
        names = list(self.kinds_out)
        turned = [
            element.apply(x, kind, self.layout, self.rows)
            for x, kind in zip(inputs, self.kinds, strict=True)
        ]
        before = call(self.function, inputs, names)
        after = call(self.function, turned, names)
        found = []
        for name, kind in self.kinds_out.items():
            y, z = before[name].detach(), after[name].detach()
            check_width(self.function, f"output {name}", y, kind)
            if z.shape != y.shape:
                raise ValueError(
                    f"{name_of(self.function)}: output {name} has shape {tuple(y.shape)}, "
                    f"and {tuple(z.shape)} after a {element.operation}"
                )
            expected = element.apply(y.double(), kind, self.layout, self.rows)
            difference = (z.double() - expected).abs()
            size = _largest(y)
            for irreps, place in _blocks(kind, y):
                part = difference[..., place] if y.dim() else difference
                found.append(
                    Deviation(name, irreps, place, element.operation, _largest(part), size)
                )
        return found

    def needed(self, broken: Deviation, limit: float, trials: int) -> list[str]:
        """Blocks of the inputs that must not be zero for the block to break."""
        names = []
        for number, (x, kind) in enumerate(zip(self.inputs, self.kinds, strict=True)):
            if not isinstance(x, Tensor) or not x.is_floating_point() or not x.dim():
                continue
            where = "" if len(self.inputs) == 1 else f" of input {number}"
            for irreps, place in _blocks(kind, x):
                without = x.clone()
                without[..., place] = 0
                inputs = [*self.inputs[:number], without, *self.inputs[number + 1 :]]
                if broken.operation == "translation":
                    found = kind == POINTS  # it moves nothing else
                else:
                    found = self._holds(inputs, broken, limit, trials)
                if found:
                    names.append(f"{irreps}{where}")
        return names

    def _holds(self, inputs: Sequence[Any], broken: Deviation, limit: float, trials: int) -> bool:
        """Whether the block turns as it should with these inputs."""
        try:
            return all(
                row.relative <= limit
                for element in self.elements(broken.operation, trials)
                for row in self.deviations(inputs, element)
                if (row.output, row.place) == (broken.output, broken.place)
            )
        except Exception:  # the function does not take such inputs: nothing is known
            return False


def _blocks(kind: Kind, x: Tensor) -> list[tuple[str, slice]]:
    """(name, place) of the parts that are judged on their own."""
    if isinstance(kind, Irreps):
        return [
            (str(block), place)
            for block, place in zip(kind, kind.slices(), strict=True)
            if block.dim
        ]
    width = x.shape[-1] if x.dim() else 1
    return [("positions" if kind == POINTS else "invariants", slice(0, width))]


def _largest(x: Tensor) -> float:
    """Largest absolute value; NaN wins, and nothing is zero."""
    return x.abs().max().item() if x.numel() else 0.0


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
