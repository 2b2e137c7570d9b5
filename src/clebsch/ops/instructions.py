"""Paths from instructions such as e3nn's, and the coefficients that keep unit variance."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Literal, NamedTuple, TypeAlias

from clebsch.o3 import Irrep, Irreps
from clebsch.ops.specification import CHANNELS, PAIRS, Mode, Path, couple

IrrepNormalization: TypeAlias = Literal["component", "norm", "none"]
PathNormalization: TypeAlias = Literal["element", "path", "none"]


class Instruction(NamedTuple):
    """Put x[x] (x) y[y] into z[z].

    Attributes:
        x, y, z: indices of the blocks.
        mode: how channels combine.
        weighted: whether the path takes weights.
        path_weight: factor of the path's variance.
    """

    x: int
    y: int
    z: int
    mode: Mode
    weighted: bool
    path_weight: float = 1.0


InstructionLike: TypeAlias = (
    "Instruction | tuple[int, int, int, str, bool] | tuple[int, int, int, str, bool, float]"
)


def paths(
    x: Irreps,
    y: Irreps,
    z: Irreps,
    instructions: Iterable[InstructionLike],
    variances: tuple[Iterable[float] | None, Iterable[float] | None, Iterable[float] | None],
    irrep_normalization: IrrepNormalization,
    path_normalization: PathNormalization,
) -> tuple[Path, ...]:
    """A path for each instruction, see ``Specification.from_instructions``.

    The coefficient is the square root of the irreps' factor (``irrep_factor``) times the block's
    variance and the path's weight, over the sum of the variances of all products that are added.

    Raises:
        ValueError: see there.
    """
    if path_normalization not in ("element", "path", "none"):
        raise ValueError(f"path_normalization is element, path or none, not {path_normalization!r}")
    read = [_read(x, y, z, instruction) for instruction in instructions]
    var_x, var_y, var_z = (
        _variances(name, irreps, given)
        for name, irreps, given in zip(
            ("in1_var", "in2_var", "out_var"), (x, y, z), variances, strict=True
        )
    )
    fan_in = [var_x[ins.x] * var_y[ins.y] * _summed(x, y, ins) for ins in read]
    of_block, number = [0.0] * len(z), [0] * len(z)
    for ins, some in zip(read, fan_in, strict=True):
        of_block[ins.z] += some
        number[ins.z] += 1
    found = []
    for ins, some in zip(read, fan_in, strict=True):
        total = {"element": of_block[ins.z], "path": some * number[ins.z], "none": 1.0}
        scale = total[path_normalization]
        variance = irrep_factor(x[ins.x].ir, y[ins.y].ir, z[ins.z].ir, irrep_normalization)
        if scale > 0:
            variance /= scale
        variance *= var_z[ins.z] * ins.path_weight
        if variance < 0:
            raise ValueError(f"a path's weight and variances are not negative: {ins}")
        found.append(Path(ins.x, ins.y, ins.z, ins.mode, sqrt(variance), ins.weighted))
    return tuple(found)


def irrep_factor(a: Irrep, b: Irrep, c: Irrep, normalization: IrrepNormalization) -> float:
    """Square of what the 3j symbol of norm 1 is multiplied with.

    Raises:
        ValueError: an unknown normalisation.
    """
    factors = {"component": c.dim, "norm": a.dim * b.dim, "none": 1}
    if normalization not in factors:
        raise ValueError(f"irrep_normalization is component, norm or none, not {normalization!r}")
    return float(factors[normalization])


def square_factor(
    a: Irrep, b: Irrep, c: Irrep, normalization: IrrepNormalization, *, same: bool
) -> float:
    """``irrep_factor`` for products of x with itself.

    A channel times itself (``same``) is not a product of independent factors: for normal
    components the square of the norm-1 coupling into degree 0 has mean dim + 2, into another 2.
    """
    if not same or normalization == "none":
        return irrep_factor(a, b, c, normalization)
    if normalization == "component":
        return c.dim / (a.dim + 2) if c.l == 0 else c.dim / 2
    if normalization == "norm":
        return float(a.dim) if c.l == 0 else a.dim * (a.dim + 2) / 2
    return irrep_factor(a, b, c, normalization)


def _read(x: Irreps, y: Irreps, z: Irreps, instruction: InstructionLike) -> Instruction:
    try:
        ins = Instruction(*instruction)
    except TypeError:
        raise ValueError(
            f"{instruction!r} is no instruction: give (block of x, block of y, block of z, mode, "
            "weighted) and, if wanted, the path's weight"
        ) from None
    for slot, irreps, block in (("x", x, ins.x), ("y", y, ins.y), ("z", z, ins.z)):
        if not 0 <= block < len(irreps):
            raise ValueError(f"{slot} = {irreps} has no block {block}: {ins}")
    if ins.mode not in CHANNELS and ins.mode not in PAIRS:
        modes = ", ".join([*CHANNELS, *PAIRS])
        raise ValueError(f"there is no mode {ins.mode!r}; the modes are {modes}: {ins}")
    blocks = x[ins.x], y[ins.y], z[ins.z]
    if not couple(*(block.ir for block in blocks)):
        raise ValueError("{} (x) {} does not contain {}: {}".format(*(b.ir for b in blocks), ins))
    return ins


def _variances(name: str, irreps: Irreps, given: Iterable[float] | None) -> list[float]:
    if given is None:
        return [1.0] * len(irreps)
    values = [float(value) for value in given]
    if len(values) != len(irreps):
        raise ValueError(
            f"{name} has {len(values)} values, one is needed for each block of {irreps}"
        )
    return values


def _summed(x: Irreps, y: Irreps, ins: Instruction) -> int:
    """How many products of channels the path adds in each channel of its result."""
    mul_x, mul_y = x[ins.x].mul, y[ins.y].mul
    return {
        "uvw": mul_x * mul_y,
        "uvu": mul_y,
        "uvv": mul_x,
        "uuw": mul_x,
        "uuu": 1,
        "uvuv": 1,
        "uvu<v": 1,
        "u<vw": mul_x * (mul_y - 1) // 2,
    }[ins.mode]
