"""Channel mixing: one matrix per kind of irrep, applied where the features lie.

With features x and z and weights w (one matrix per kind, blocks of equal irreps side by side),

    S = sum_n sum_kinds scale * z[n, m, j] x[n, m, k] w[species n, k, j]

is trilinear, as the convolution's form is: opening z is the layer, opening x or w its gradients,
and each of these three is differentiated by opening another slot, to any order.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from clebsch import compiler
from clebsch.compiler import usable
from clebsch.o3 import Irrep, Irreps
from clebsch.ops.nodewise import batched, fast, wanted
from clebsch.ops.nodewise.mixing_source import SOURCE

X, W, Z = SLOTS = range(3)  # in the order of the kernel's arguments
_REAL = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True, eq=False)
class Mixing:
    """Which channels mix: blocks of equal irreps are fully connected.

    Attributes:
        x, z: irreps of the input and of the result, layout ``ir_mul``.
        scale: factor of the result, besides 1/sqrt(fan-in) of each kind.
        n_species: number of sets of weights.
    """

    x: Irreps
    z: Irreps
    scale: float = 1.0
    n_species: int = 1

    def __post_init__(self) -> None:
        _ = (
            self.weight_numel,
            self.widths,
        )  # now: Python 3.11 takes a lock, which torch.compile cannot

    def __reduce__(self) -> tuple[Any, ...]:
        return Mixing, (self.x, self.z, self.scale, self.n_species)  # no addresses in copies

    @cached_property
    def widths(self) -> tuple[int, int]:
        """Dimensions of the input and of the result."""
        return self.x.dim, self.z.dim

    @cached_property
    def kinds(self) -> list[tuple[Irrep, list[int], list[int]]]:
        """For each kind of irrep of the result, its blocks in the input and in the result.

        Blocks without channels are left out.
        """
        return [
            (
                ir,
                [i for i, block in enumerate(self.x) if block.mul and block.ir == ir],
                [i for i, block in enumerate(self.z) if block.mul and block.ir == ir],
            )
            for ir in dict.fromkeys(block.ir for block in self.z if block.mul)
        ]

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, channels) of the matrix of each kind."""
        return [
            (sum(self.x[i].mul for i in sources), sum(self.z[i].mul for i in results))
            for _, sources, results in self.kinds
        ]

    @cached_property
    def weight_numel(self) -> int:
        """Number of weights, all species together."""
        return self.n_species * sum(fan_in * channels for fan_in, channels in self.shapes)

    @cached_property
    def plan(self) -> tuple[Any, Any, int, int]:
        """What the kernel reads: integers and factors, and where they lie."""
        numbers = [self.x.dim, self.z.dim, len(self.kinds)]
        for ir, sources, results in self.kinds:
            numbers += [ir.dim, len(sources), len(results)]
            for irreps, blocks in ((self.x, sources), (self.z, results)):
                places = irreps.slices()
                for block in blocks:
                    numbers += [places[block].start, irreps[block].mul]
        factors = [self.scale / sqrt(max(fan_in, 1)) for fan_in, _ in self.shapes]
        integers = (ctypes.c_int64 * len(numbers))(*numbers)
        scales = (ctypes.c_double * len(factors))(*factors)
        return integers, scales, ctypes.addressof(integers), ctypes.addressof(scales)


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., int]:
    function: Callable[..., int] = compiler.load(SOURCE.format(real=_REAL[dtype])).run
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [integer] * 3 + [pointer] * 7 + [ctypes.c_int]  # type: ignore[attr-defined]
    function.restype = ctypes.c_int  # type: ignore[attr-defined]
    return function


def compute(
    mixing: Mixing,
    target: int,
    shape: tuple[int, ...],
    species: Tensor | None,
    *factors: Tensor | None,
) -> Tensor:
    """Open the slot of number ``target``, of the given shape; factors in the order of SLOTS."""
    held = [None if factor is None else factor.contiguous() for factor in factors]
    rows = held[Z if target == X else X]
    assert rows is not None
    out = torch.empty(shape, dtype=rows.dtype)
    _, _, integers, scales = mixing.plan
    failed = _kernel(rows.dtype)(
        target,
        rows.shape[0],
        mixing.n_species,
        integers,
        scales,
        None if species is None else species.data_ptr(),
        *[None if factor is None else factor.data_ptr() for factor in held],
        out.data_ptr(),
        torch.get_num_threads(),
    )
    if failed:
        raise IndexError(f"a species lies outside of 0 to {mixing.n_species - 1}")
    return out


class _Mix(torch.autograd.Function):
    """One open slot; its derivatives are the same function with another slot open."""

    @staticmethod
    def forward(ctx, mixing, target, shape, species, *factors):  # type: ignore[no-untyped-def]
        ctx.mixing, ctx.target = mixing, target
        ctx.save_for_backward(species, *factors)
        return compute(mixing, target, shape, species, *factors)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        species, *factors = ctx.saved_tensors
        grads: list[Tensor | None] = [None, None, None]
        tensor = 0 if species is None else 1
        factors[ctx.target] = grad
        for slot in SLOTS:
            if slot == ctx.target:
                continue
            if wanted(ctx, 4 + slot, tensor):
                others = [None if s == slot else factors[s] for s in SLOTS]
                open_slot = _opened if batched() else _Mix.apply
                grads[slot] = open_slot(ctx.mixing, slot, factors[slot].shape, species, *others)
            tensor += 1
        return (None, None, None, None, *grads)


def _opened(
    mixing: Mixing,
    target: int,
    shape: tuple[int, ...],
    species: Tensor | None,
    x: Tensor | None,
    w: Tensor | None,
    z: Tensor | None,
) -> Tensor:
    """Open ``target`` in plain PyTorch: a derivative of the composition, which is linear in it."""
    some = x if x is not None else z
    assert some is not None
    free = torch.zeros(shape, dtype=some.dtype, requires_grad=True)
    x, w = free if x is None else x, free if w is None else w
    if target == Z:
        return compose(mixing, x, w, species)
    with torch.enable_grad():
        value = compose(mixing, x, w, species)
        if not value.requires_grad:  # no irreps meet
            return torch.zeros(shape, dtype=some.dtype)
        (opened,) = torch.autograd.grad(value, free, z, create_graph=True)
    return opened


def mix(mixing: Mixing, x: Tensor, w: Tensor, species: Tensor | None = None) -> Tensor:
    """Mix the channels of x, by the kernel where it can be used.

    Args:
        mixing: what is computed.
        x: (rows, x.dim), or (..., x.dim) without species.
        w: ``weight_numel`` weights of any shape: the matrix of each kind, (species, fan_in,
            channels), one after the other.
        species: (rows,) int64, the weights of each row; not used where there is one set.

    Returns:
        (..., z.dim).

    Raises:
        ValueError: shapes that do not fit.
        IndexError: a species that is not there.
    """
    if mixing.n_species == 1:
        species = None
    elif species is None:
        raise ValueError(f"{mixing.n_species} species have weights; none are given")
    elif x.ndim != 2 or species.shape != x.shape[:1]:
        raise ValueError(
            f"x {tuple(x.shape)} and species {tuple(species.shape)} must be (rows, dim) and (rows,)"
        )
    width, result_width = mixing.widths
    if x.shape[-1] != width:
        raise ValueError(f"x is {tuple(x.shape)}; its rows must have {width} entries")
    if w.numel() != mixing.weight_numel:
        raise ValueError(f"there are {w.numel()} weights; {mixing.weight_numel} are needed")
    if fast(x, w) and x.dtype == w.dtype and usable():
        if species is not None:
            species = species.to("cpu", torch.int64).contiguous()
        rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), width)
        shape = (rows.shape[0], result_width)
        result: Tensor = _Mix.apply(mixing, Z, shape, species, rows, w, None)
        return result if x.ndim == 2 else result.reshape(*x.shape[:-1], result_width)
    return compose(mixing, x, w, species)


def compose(mixing: Mixing, x: Tensor, w: Tensor, species: Tensor | None = None) -> Tensor:
    """``mix`` in plain PyTorch: its meaning, and what tracers see."""
    lead = x.shape[:-1]
    if species is not None:
        one_hot = nn.functional.one_hot(species, mixing.n_species).to(x.dtype)[:, None, :, None]
    # One split each: its backward is one concatenation, that of slices one sum per slice.
    inputs = x.split([mul * ir.dim for mul, ir in mixing.x], dim=-1)
    weights = w.reshape(-1).split([mixing.n_species * a * b for a, b in mixing.shapes])
    blocks: list[Tensor | None] = [None] * len(mixing.z)
    for (ir, sources, results), (fan_in, channels), weight in zip(
        mixing.kinds, mixing.shapes, weights, strict=True
    ):
        if not sources:
            continue
        parts = [inputs[i].reshape(*lead, ir.dim, mixing.x[i].mul) for i in sources]
        block = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if species is not None:
            # Channels of absent species are zero, so that one product serves all species.
            block = (one_hot * block[:, :, None, :]).flatten(-2)
        z = block @ (weight.reshape(-1, channels) * (mixing.scale / sqrt(fan_in)))
        muls = [mixing.z[i].mul for i in results]
        for i, part in zip(results, z.split(muls, dim=-1) if len(muls) > 1 else [z], strict=True):
            blocks[i] = part.reshape(*lead, ir.dim * mixing.z[i].mul)
    flat = [
        block if block is not None else x.new_zeros(*lead, mul * ir.dim)
        for block, (mul, ir) in zip(blocks, mixing.z, strict=True)
    ]
    if not flat:
        return x.new_zeros(*lead, 0)
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=-1)


def mix_back(mixing: Mixing, z: Tensor, w: Tensor, species: Tensor | None = None) -> Tensor:
    """The transpose of ``mix``, (rows, z.dim) to (rows, x.dim): the derivative by its x."""
    species = None if mixing.n_species == 1 else species
    shape = (z.shape[0], mixing.x.dim)
    if fast(z, w) and usable():
        result: Tensor = _Mix.apply(mixing, X, shape, species, None, w, z)
        return result
    with torch.enable_grad():
        x = z.new_zeros(shape, requires_grad=True)
        value = compose(mixing, x, w, species)
        if not value.requires_grad:  # no irreps meet
            return x.detach()
        return torch.autograd.grad(value, x, z, create_graph=True)[0]
