"""Polynomials of features, channel by channel, with coefficients by species and channel.

With features x, coefficients w and the result's cotangent z,

    S = sum_n sum_terms z[n, k, c] w[species n, term, c] x[n, i1, c] x[n, i2, c] ...

Opening z is the layer, opening w a gradient. A derivative by x is a derivative along a tangent,
left open: S with r tangents is linear in z, w and each tangent, so the derivatives of every order
are this form with one slot open. Terms of equal factors share their products.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clebsch import compiler
from clebsch.compiler import usable
from clebsch.ops.nodewise import batched, fast, wanted

Z, W, X = range(3)  # what is open: the result, the coefficients, x or one more tangent
_REAL = {torch.float32: "float", torch.float64: "double"}
_ORDERS = 2  # tangents that the kernel knows
_CHUNK = 1 << 25  # numbers in one factor of the reference at a time


class _Level(NamedTuple):
    """The monomials of one degree: one of the degree below times a variable; their terms."""

    parents: list[int]
    variables: list[int]
    terms: list[int]
    monomials: list[int]
    components: list[int]


@dataclass(frozen=True)
class Polynomials:
    """Which polynomials are evaluated.

    Attributes:
        n_in: number of variables.
        n_out: number of polynomials.
        terms: (component of the result, variable, variable, ...) of each coefficient, variables
            ascending, at least one.

    Raises:
        ValueError: a term without variables, of variables out of order, or of numbers out of
            range.

    Example:
        >>> Polynomials(2, 1, ((0, 0), (0, 0, 1)))  # a x0 + b x0 x1
        Polynomials(n_in=2, n_out=1, terms=((0, 0), (0, 0, 1)))
    """

    n_in: int
    n_out: int
    terms: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for component, *variables in self.terms:
            if not variables or variables != sorted(variables):
                raise ValueError(f"a term needs variables in ascending order, not {variables}")
            if not 0 <= component < self.n_out or variables[0] < 0 or variables[-1] >= self.n_in:
                raise ValueError(
                    f"term {(component, *variables)} does not fit {self.n_in} variables "
                    f"and {self.n_out} polynomials"
                )
        _ = self.key  # computed now: compilers cannot trace how it comes about

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Callable[[str], Polynomials], tuple[str]]:
        return Polynomials.from_key, (self.key,)  # what the kernel reads is no part of a pickle

    @cached_property
    def key(self) -> str:
        """A string that ``from_key`` turns back into this."""
        return json.dumps([self.n_in, self.n_out, self.terms], separators=(",", ":"))

    @staticmethod
    @cache
    def from_key(key: str) -> Polynomials:
        """The polynomials that printed this ``key``."""
        n_in, n_out, terms = json.loads(key)
        return Polynomials(n_in, n_out, tuple(map(tuple, terms)))

    @cached_property
    def levels(self) -> list[_Level]:
        """Monomials by degree, from 1 on."""
        degree = max((len(term) - 1 for term in self.terms), default=0)
        needed: list[dict[tuple[int, ...], int]] = [{} for _ in range(degree + 1)]
        for _, *variables in self.terms:
            for d in range(len(variables) + 1):
                needed[d].setdefault(tuple(variables[:d]), len(needed[d]))
        levels = []
        for d in range(1, degree + 1):
            terms = [t for t, term in enumerate(self.terms) if len(term) == d + 1]
            levels.append(
                _Level(
                    [needed[d - 1][m[:-1]] for m in needed[d]],
                    [m[-1] for m in needed[d]],
                    terms,
                    [needed[d][self.terms[t][1:]] for t in terms],
                    [self.terms[t][0] for t in terms],
                )
            )
        return levels

    @cached_property
    def plan(self) -> Any:
        """What the kernel reads: products of all but the last variable, and what follows them."""
        prefixes: dict[tuple[int, ...], int] = {(): 0}
        for _, *variables in self.terms:
            for d in range(1, len(variables)):
                prefixes.setdefault(tuple(variables[:d]), len(prefixes))
        following: dict[tuple[int, int], list[int]] = {}
        for number, (component, *variables) in enumerate(self.terms):
            following.setdefault((component, prefixes[tuple(variables[:-1])]), []).append(number)
        groups: list[tuple[int, int, int]] = []
        order: list[int] = []
        for (_, prefix), terms in sorted(following.items()):
            groups.append((prefix, len(order), len(order) + len(terms)))
            order += terms
        nodes = [(prefixes[prefix[:-1]], prefix[-1] if prefix else 0) for prefix in prefixes]
        components = [sum(c < k for c, _ in following) for k in range(self.n_out + 1)]
        leaves = [self.terms[t][-1] for t in order]
        numbers = [self.n_in, self.n_out, len(order), len(nodes), len(groups)]
        numbers += [n for node in nodes for n in node] + components
        numbers += [n for group in groups for n in group] + leaves + order
        return (ctypes.c_int64 * len(numbers))(*numbers)


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., int]:
    from clebsch.ops.nodewise.polynomials_source import SOURCE

    function: Callable[..., int] = compiler.load(SOURCE.format(real=_REAL[dtype])).run
    pointer, integer, small = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    function.argtypes = [small] * 2 + [integer] * 2 + [pointer] * 9 + [small]  # type: ignore[attr-defined]
    function.restype = small  # type: ignore[attr-defined]
    return function


def _compute(
    polynomials: Polynomials,
    target: int,
    n_species: int,
    species: Tensor | None,
    x: Tensor,
    w: Tensor | None,
    z: Tensor | None,
    tangents: Sequence[Tensor],
) -> Tensor:
    """The open slot: (rows, n_out, channels), (species, terms, channels) or x's shape."""
    rows, _, channels = x.shape
    shape = {
        Z: (rows, polynomials.n_out, channels),
        W: (n_species, len(polynomials.terms), channels),
        X: tuple(x.shape),
    }[target]
    given = [t for t in (x, w, z, *tangents) if t is not None]
    if not polynomials.terms or x.numel() == 0:
        return x.new_zeros(shape)
    if (
        all(t.is_cpu and t.dtype == x.dtype and t.dtype in _REAL for t in given)
        and len(tangents) <= _ORDERS
        and usable()
    ):
        return _by_kernel(polynomials, target, shape, n_species, species, x, w, z, tangents)
    return _in_parts(polynomials, target, shape, species, x, w, z, tangents)


def _by_kernel(
    polynomials: Polynomials,
    target: int,
    shape: tuple[int, ...],
    n_species: int,
    species: Tensor | None,
    x: Tensor,
    w: Tensor | None,
    z: Tensor | None,
    tangents: Sequence[Tensor],
) -> Tensor:
    if species is None:
        order = torch.arange(x.shape[0])
        starts = torch.tensor([0, x.shape[0]])
    else:
        order = species.argsort(stable=True)
        counts = torch.bincount(species, minlength=n_species)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    held = [None if t is None else t.contiguous() for t in (x, w, z, *tangents)]
    held += [None] * (3 + _ORDERS - len(held))
    out = x.new_empty(shape)
    _kernel(x.dtype)(
        target,
        len(tangents),
        n_species,
        x.shape[2],
        polynomials.plan,
        order.data_ptr(),
        starts.data_ptr(),
        *[None if t is None else t.data_ptr() for t in held],
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def _in_parts(
    polynomials: Polynomials,
    target: int,
    shape: tuple[int, ...],
    species: Tensor | None,
    x: Tensor,
    w: Tensor | None,
    z: Tensor | None,
    tangents: Sequence[Tensor],
) -> Tensor:
    """The reference, some rows at a time: it holds a number for every term, row and channel."""
    size = max(1, _CHUNK // max(1, len(polynomials.terms) * x.shape[2]))
    out = x.new_zeros(shape)
    for first in range(0, x.shape[0], size):
        part = slice(first, first + size)
        some = None if species is None else species[part]
        cut = [x[part], None if z is None else z[part], *[t[part] for t in tangents]]
        opened = _opened(polynomials, target, shape, some, cut[0], w, cut[1], cut[2:])  # type: ignore[arg-type]
        if target == W:
            out += opened.detach()
        else:
            out[part] = opened.detach()
    return out


def _opened(
    polynomials: Polynomials,
    target: int,
    shape: tuple[int, ...],
    species: Tensor | None,
    x: Tensor,
    w: Tensor | None,
    z: Tensor | None,
    tangents: Sequence[Tensor],
) -> Tensor:
    """The open slot by autograd through the composition; differentiable."""
    if target == Z:
        assert w is not None
        return compose(polynomials, x, w, species, tangents)
    with torch.enable_grad():
        if target == W:
            free = w = x.new_zeros(shape, requires_grad=True)
        else:
            free = x = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        assert w is not None
        value = compose(polynomials, x, w, species, tangents)
        (opened,) = torch.autograd.grad(value, free, z, create_graph=True, allow_unused=True)
    return torch.zeros_like(free) if opened is None else opened


class _Open(torch.autograd.Function):
    """One open slot; its derivatives are the same function with another slot open."""

    @staticmethod
    def forward(ctx, polynomials, target, n_species, species, x, w, z, *tangents):  # type: ignore[no-untyped-def]
        ctx.polynomials, ctx.target, ctx.n_species = polynomials, target, n_species
        ctx.save_for_backward(species, x, w, z, *tangents)
        return _compute(polynomials, target, n_species, species, x, w, z, tangents)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        species, x, w, z, *tangents = ctx.saved_tensors
        given = [t is not None for t in (species, x, w, z, *tangents)]

        def needed(slot: int) -> bool:
            return wanted(ctx, 3 + slot, sum(given[:slot]))

        saved = (species, x, w, z, *tangents)
        return (None, None, None, None, *_gradients(_apply, ctx, saved, grad, needed))


def _gradients(
    contract: Callable[..., Tensor],
    ctx: Any,
    saved: Sequence[Any],
    grad: Tensor,
    needed: Callable[[int], bool],
) -> list[Tensor | None]:
    """Gradients by x, w, z and the tangents; ``needed`` takes their position after species.

    ``saved`` are the context's tensors: activation checkpointing lets them be read only once.
    """
    species, x, w, z, *tangents = saved
    head = (ctx.polynomials, ctx.n_species, species)
    w = grad if ctx.target == W else w
    z = grad if ctx.target == Z else z
    along = [*tangents, grad] if ctx.target == X else tangents
    by_x = contract(X, *head, x, w, z, along) if needed(1) else None
    by_w = contract(W, *head, x, None, z, along) if ctx.target != W and needed(2) else None
    by_z = contract(Z, *head, x, w, None, along) if ctx.target != Z and needed(3) else None
    by_tangents = [
        contract(X, *head, x, w, z, [*along[:j], *along[j + 1 :]]) if needed(4 + j) else None
        for j in range(len(tangents))
    ]
    return [by_x, by_w, by_z, *by_tangents]


def _apply(
    target: int,
    polynomials: Polynomials,
    n_species: int,
    species: Tensor | None,
    x: Tensor,
    w: Tensor | None,
    z: Tensor | None,
    tangents: Sequence[Tensor],
) -> Tensor:
    if batched():
        shape = (n_species, len(polynomials.terms), x.shape[-1]) if target == W else x.shape
        return _opened(polynomials, target, shape, species, x, w, z, tangents)
    result: Tensor = _Open.apply(polynomials, target, n_species, species, x, w, z, *tangents)
    return result


@torch.library.custom_op("clebsch::polynomials", mutates_args=())
def _operator(
    key: str,
    target: int,
    n_species: int,
    species: Tensor | None,
    x: Tensor,
    w: Tensor | None,
    z: Tensor | None,
    tangents: Sequence[Tensor],
) -> Tensor:
    return _compute(Polynomials.from_key(key), target, n_species, species, x, w, z, tangents)


@_operator.register_fake
def _(key, target, n_species, species, x, w, z, tangents):  # type: ignore[no-untyped-def]
    polynomials = Polynomials.from_key(key)
    if target == X:
        return x.new_empty(x.shape)
    if target == W:
        return x.new_empty((n_species, len(polynomials.terms), x.shape[2]))
    return x.new_empty((x.shape[0], polynomials.n_out, x.shape[2]))


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.polynomials, ctx.target, ctx.n_species, species, x, w, z, tangents = inputs
    ctx.needs = [t is not None and t.requires_grad for t in (x, w, z, *tangents)]
    ctx.save_for_backward(species, x, w, z, *tangents)


def _traced(target, key, n_species, species, x, w, z, tangents):  # type: ignore[no-untyped-def]
    return torch.ops.clebsch.polynomials(key, target, n_species, species, x, w, z, list(tangents))


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    saved = ctx.saved_tensors
    gradients = _gradients(_traced, ctx, saved, grad, lambda slot: ctx.needs[slot - 1])
    return (None, None, None, None, *gradients[:3], gradients[3:])


_operator.register_autograd(_backward, setup_context=_save)


def evaluate(
    polynomials: Polynomials, x: Tensor, w: Tensor, species: Tensor | None = None
) -> Tensor:
    """The polynomials of x, channel by channel; by a C++ kernel on the CPU.

    Args:
        polynomials: what is computed.
        x: (rows, n_in, channels).
        w: (species, terms, channels) coefficients.
        species: (rows,) int64, the coefficients of each row; not used where there is one set.

    Returns:
        (rows, n_out, channels).

    Raises:
        ValueError: shapes that do not fit.
        IndexError: a species that is not there.

    Example:
        >>> square = Polynomials(2, 1, ((0, 0, 0), (0, 1, 1)))  # x0^2 + x1^2
        >>> evaluate(square, torch.tensor([[[3.0], [4.0]]]), torch.ones(1, 2, 1)).item()
        25.0
    """
    n_species = w.shape[0] if w.ndim == 3 else 0
    if (
        x.ndim != 3
        or x.shape[1] != polynomials.n_in
        or w.shape != (n_species, len(polynomials.terms), x.shape[2])
    ):
        raise ValueError(
            f"x {tuple(x.shape)} and w {tuple(w.shape)} must be (rows, {polynomials.n_in}, "
            f"channels) and (species, {len(polynomials.terms)}, channels)"
        )
    if n_species == 1:
        species = None
    elif species is None or species.shape != x.shape[:1]:
        given = "none are given" if species is None else f"they are {tuple(species.shape)}"
        raise ValueError(f"the species of {x.shape[0]} rows are needed; {given}")
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        result: Tensor = _traced(Z, polynomials.key, n_species, species, x, w, None, [])
        return result
    if species is not None and species.numel() and not species.is_meta:
        low, high = int(species.min()), int(species.max())
        if low < 0 or high >= n_species:
            wrong = low if low < 0 else high
            raise IndexError(f"species {wrong} lies outside of 0 to {n_species - 1}")
    plain = x.dtype == w.dtype and (not x.is_cpu or fast(x, w))
    if not plain or torch._C._functorch.peek_interpreter_stack() is not None:
        return compose(polynomials, x, w, species)
    if species is not None:
        species = species.to(torch.int64)
    return _apply(Z, polynomials, n_species, species, x, w, None, [])


def compose(
    polynomials: Polynomials,
    x: Tensor,
    w: Tensor,
    species: Tensor | None = None,
    tangents: Sequence[Tensor] = (),
) -> Tensor:
    """``evaluate`` in plain PyTorch, its meaning; with tangents its derivative along them."""
    zero = torch.zeros_like(x) if len(tangents) > 1 else x
    tower = [zero] * 2 ** len(tangents)  # along each set of tangents, written in bits
    tower[0] = x
    for bit, tangent in enumerate(tangents):
        tower[1 << bit] = tangent
    each = w if species is None else w[species]
    out = x.new_zeros(x.shape[0], polynomials.n_out, x.shape[2])
    value: list[Tensor] | None = None
    for level in polynomials.levels:
        parents, variables, terms, places, components = (
            torch.tensor(numbers, dtype=torch.int64, device=x.device) for numbers in level
        )
        factor = [part[:, variables] for part in tower]
        value = factor if value is None else _times([part[:, parents] for part in value], factor)
        out = out.index_add(1, components, each[:, terms] * value[-1][:, places])
    return out


def _times(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """Leibniz' rule for towers of derivatives."""
    return [
        sum((a[t] * b[s ^ t] for t in range(1, s + 1) if t & s == t), a[0] * b[s])
        for s in range(len(a))
    ]
