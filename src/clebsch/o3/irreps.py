"""Irreducible representations of O(3) and their direct sums: names and bookkeeping, no data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, TypeAlias, overload

import torch

from clebsch.errors import UserError
from clebsch.o3.wigner import determinant_sign, wigner_D

if TYPE_CHECKING:
    from torch import Tensor

_PARITY_NAME = {1: "e", -1: "o"}

Layout: TypeAlias = Literal["ir_mul", "mul_ir"]


class _IrrepFields(NamedTuple):
    l: int
    p: int


class Irrep(_IrrepFields):
    """One irreducible representation of O(3): degree ``l`` and parity ``p`` (+1 even, -1 odd).

    It is the tuple ``(l, p)``, so it hashes, sorts and unpacks as one. Strings are e3nn's:
    ``"1o"``, ``"2e"``, and ``"3y"`` for the parity (-1)^l of the spherical harmonics.

    Raises:
        UserError: when the argument does not name an irrep.

    >>> Irrep("1o"), Irrep(2, 1), Irrep("3y").p, Irrep("2e").dim
    (1o, 2e, -1, 5)
    >>> list(Irrep("1o") * Irrep("1o"))
    [0e, 1e, 2e]
    >>> 3 * Irrep("1o")
    3x1o
    """

    __slots__ = ()

    def __new__(cls, l: IrrepLike | int, p: int | None = None) -> Irrep:
        if p is None:
            if isinstance(l, Irrep):
                return l
            if isinstance(l, MulIr):
                return l.ir
            if isinstance(l, str):
                return cls(*_parse_irrep(l))
            if isinstance(l, tuple) and len(l) == 2:
                return cls(*l)
        if not isinstance(l, int) or isinstance(l, bool) or l < 0:
            raise UserError(f"the degree l of an irrep must be a non-negative integer, not {l!r}")
        if p not in (-1, 1):
            raise UserError(f"the parity of an irrep must be 1 (even) or -1 (odd), not {p!r}")
        return super().__new__(cls, l, p)

    def __repr__(self) -> str:
        return f"{self.l}{_PARITY_NAME[self.p]}"

    @property
    def dim(self) -> int:
        """Dimension 2l + 1."""
        return 2 * self.l + 1

    def is_scalar(self) -> bool:
        """True for ``0e``."""
        return self.l == 0 and self.p == 1

    @classmethod
    def iterator(cls, lmax: int | None = None) -> Iterator[Irrep]:
        """All irreps, l ascending, the parity of the spherical harmonics first.

        >>> list(Irrep.iterator(1))
        [0e, 0o, 1o, 1e]
        """
        for l in itertools.count() if lmax is None else range(lmax + 1):
            yield cls(l, (-1) ** l)
            yield cls(l, -((-1) ** l))

    def D_from_matrix(self, R: Tensor) -> Tensor:
        """The representation's matrix for R in O(3).

        Args:
            R: orthogonal matrices, shape (..., 3, 3); with determinant -1 the parity is applied.

        Returns:
            Shape (..., 2l+1, 2l+1).
        """
        D = wigner_D(self.l, R)
        if self.p == 1:
            return D
        return D * determinant_sign(R)[..., None, None]

    def __mul__(self, other: IrrepLike) -> Iterator[Irrep]:  # type: ignore[override]
        other = Irrep(other)
        p = self.p * other.p
        return (Irrep(l, p) for l in range(abs(self.l - other.l), self.l + other.l + 1))

    def __rmul__(self, mul: SupportsIndex) -> Irreps:  # type: ignore[override]
        return Irreps([(mul.__index__(), self)])

    def __add__(self, other: IrrepsLike) -> Irreps:  # type: ignore[override]
        return Irreps(self) + Irreps(other)


class MulIr(NamedTuple):
    """``mul`` copies of the irrep ``ir``."""

    mul: int
    ir: Irrep

    @property
    def dim(self) -> int:
        """Dimension mul (2l + 1)."""
        return self.mul * self.ir.dim

    def __repr__(self) -> str:
        return f"{self.mul}x{self.ir}"


class SortedIrreps(NamedTuple):
    """What `Irreps.sort` returns: ``irreps[p[i]]`` is the old entry i, ``inv`` inverts ``p``."""

    irreps: Irreps
    p: tuple[int, ...]
    inv: tuple[int, ...]


class Irreps(tuple[MulIr, ...]):
    """Direct sum of irreps, ``mul_1 x ir_1 + mul_2 x ir_2 + ...``; frozen and hashable.

    Made from e3nn's string, an `Irrep`, or a list whose entries are ``(mul, irrep)`` pairs,
    `Irrep` or strings. The order is kept, and nothing is merged until `simplify` is called.

    Raises:
        UserError: when the argument can not be read as irreps.

    >>> irreps = Irreps("64x0e + 32x1o")
    >>> irreps, irreps.dim, irreps.num_irreps, irreps.lmax
    (64x0e+32x1o, 160, 96, 1)
    >>> irreps == Irreps([(64, (0, 1)), (32, "1o")])
    True
    >>> "1o" in irreps, irreps.count("1o"), irreps.slices()
    (True, 32, [slice(0, 64, None), slice(64, 160, None)])
    >>> irreps // 32 + "2e"
    2x0e+1x1o+1x2e
    """

    __slots__ = ()

    def __new__(cls, irreps: IrrepsLike = ()) -> Irreps:
        if isinstance(irreps, Irreps):
            return irreps
        if isinstance(irreps, str):
            return super().__new__(cls, _parse_irreps(irreps))
        if isinstance(irreps, Irrep):
            return super().__new__(cls, (MulIr(1, irreps),))
        if isinstance(irreps, MulIr):
            return super().__new__(cls, (irreps,))
        try:
            entries = tuple(irreps)
        except TypeError:
            raise UserError(f"{irreps!r} can not be read as irreps") from None
        return super().__new__(cls, (_mul_ir(entry) for entry in entries))

    @classmethod
    def spherical_harmonics(cls, lmax: int, p: int = -1) -> Irreps:
        """Irreps of the spherical harmonics up to ``lmax`` of a vector of parity ``p``.

        >>> Irreps.spherical_harmonics(3)
        1x0e+1x1o+1x2e+1x3o
        """
        return cls([(1, (l, p**l)) for l in range(lmax + 1)])

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return sum(mul_ir.dim for mul_ir in self)

    @property
    def num_irreps(self) -> int:
        """Sum of the multiplicities."""
        return sum(mul for mul, _ in self)

    @property
    def ls(self) -> list[int]:
        """Degree of each irrep, repeated by multiplicity."""
        return [ir.l for mul, ir in self for _ in range(mul)]

    @property
    def lmax(self) -> int:
        """Largest degree present.

        Raises:
            UserError: when there is no irrep.
        """
        if self.num_irreps == 0:
            raise UserError("empty irreps have no largest l")
        return max(ir.l for mul, ir in self if mul > 0)

    def slices(self) -> list[slice]:
        """Where each entry's block lies in a flat feature vector (the same in both layouts)."""
        ends = list(itertools.accumulate(mul_ir.dim for mul_ir in self))
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def count(self, ir: IrrepLike) -> int:
        """Total multiplicity of ``ir``."""
        ir = Irrep(ir)
        return sum(mul for mul, other in self if other == ir)

    def simplify(self) -> Irreps:
        """Merge equal neighbours and drop zero multiplicities, keeping the order.

        >>> Irreps("1e + 1e + 0e + 0x2e + 1e").simplify()
        2x1e+1x0e+1x1e
        """
        runs = itertools.groupby(self.remove_zero_multiplicities(), key=lambda mul_ir: mul_ir.ir)
        return Irreps([(sum(mul for mul, _ in run), ir) for ir, run in runs])

    def remove_zero_multiplicities(self) -> Irreps:
        """Drop the entries with multiplicity zero."""
        return Irreps([mul_ir for mul_ir in self if mul_ir.mul > 0])

    def sort(self) -> SortedIrreps:
        """Sort by (l, p), stably.

        >>> Irreps("2o + 1e + 0e + 1e").sort()
        SortedIrreps(irreps=1x0e+1x1e+1x1e+1x2o, p=(3, 1, 0, 2), inv=(2, 1, 3, 0))
        """
        inv = tuple(sorted(range(len(self)), key=lambda i: self[i].ir))
        p = tuple(sorted(range(len(self)), key=lambda i: inv[i]))
        return SortedIrreps(Irreps([self[i] for i in inv]), p, inv)

    def regroup(self) -> Irreps:
        """`sort`, then `simplify`.

        >>> Irreps("1e + 0e + 1e + 0x2e").regroup()
        1x0e+2x1e
        """
        return self.sort().irreps.simplify()

    def filter(
        self,
        keep: IrrepFilter | None = None,
        *,
        drop: IrrepFilter | None = None,
        lmax: int | None = None,
    ) -> Irreps:
        """The entries that are in ``keep``, not in ``drop`` and not above ``lmax``.

        ``keep`` and ``drop`` are irreps (multiplicities do not matter) or a function of a `MulIr`.

        >>> Irreps("1e + 2e + 0e").filter(keep="0e + 1e"), Irreps("1e + 2e").filter(drop=["2e"])
        (1x1e+1x0e, 1x1e)
        """
        kept = [mul_ir for mul_ir in self if lmax is None or mul_ir.ir.l <= lmax]
        if keep is not None:
            wanted = _predicate(keep)
            kept = [mul_ir for mul_ir in kept if wanted(mul_ir)]
        if drop is not None:
            unwanted = _predicate(drop)
            kept = [mul_ir for mul_ir in kept if not unwanted(mul_ir)]
        return Irreps(kept)

    def randn(
        self,
        *size: int,
        normalization: Literal["component", "norm"] = "component",
        requires_grad: bool = False,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Random features in the ``ir_mul`` layout.

        Args:
            size: shape with one -1, which stands for this ``dim``.
            normalization: ``"component"``: every component has unit variance; ``"norm"``: every
                irrep has norm 1.

        Raises:
            UserError: when ``size`` has no -1 or more than one, or the normalisation is unknown.

        >>> Irreps("5x0e + 10x1o").randn(5, -1, 2).shape
        torch.Size([5, 35, 2])
        """
        if size.count(-1) != 1:
            raise UserError(f"size must have exactly one -1 in place of the irreps, got {size}")
        if normalization not in ("component", "norm"):
            raise UserError(f'normalization must be "component" or "norm", not {normalization!r}')
        axis = size.index(-1)
        shape = (*size[:axis], self.dim, *size[axis + 1 :])
        x = torch.randn(shape, generator=generator, dtype=dtype, device=device)
        if normalization == "norm":
            blocks = []
            for part, (mul, ir) in zip(self.slices(), self, strict=True):
                block = x.narrow(axis, part.start, mul * ir.dim).unflatten(axis, (ir.dim, mul))
                blocks.append((block / block.norm(dim=axis, keepdim=True)).flatten(axis, axis + 1))
            x = torch.cat(blocks, dim=axis) if blocks else x
        return x.requires_grad_(requires_grad)

    def D_from_matrix(self, R: Tensor, layout: Layout = "ir_mul") -> Tensor:
        """The block-diagonal matrix that turns flat features when space is turned by R.

        Args:
            R: orthogonal matrices, shape (..., 3, 3), proper or improper.
            layout: ``"ir_mul"`` (ours) or ``"mul_ir"`` (e3nn's).

        Returns:
            Shape (..., dim, dim).
        """
        if layout not in ("ir_mul", "mul_ir"):
            raise UserError(f'layout must be "ir_mul" or "mul_ir", not {layout!r}')
        out = R.new_zeros(*R.shape[:-2], self.dim, self.dim)
        of_irrep = {ir: ir.D_from_matrix(R) for _, ir in self}
        for part, (mul, ir) in zip(self.slices(), self, strict=True):
            copies = torch.eye(mul, dtype=R.dtype, device=R.device)
            D = of_irrep[ir]
            block = torch.kron(D, copies) if layout == "ir_mul" else torch.kron(copies, D)
            out[..., part, part] = block
        return out

    def __repr__(self) -> str:
        return "+".join(map(str, self))

    def __contains__(self, ir: object) -> bool:
        ir = Irrep(ir)  # type: ignore[arg-type]
        return any(mul > 0 and other == ir for mul, other in self)

    @overload
    def __getitem__(self, i: SupportsIndex) -> MulIr: ...
    @overload
    def __getitem__(self, i: slice) -> Irreps: ...
    def __getitem__(self, i: SupportsIndex | slice) -> MulIr | Irreps:
        item = super().__getitem__(i)
        return item if isinstance(item, MulIr) else Irreps(item)

    def __add__(self, other: IrrepsLike) -> Irreps:  # type: ignore[override]
        return Irreps(tuple(self) + tuple(Irreps(other)))

    def __radd__(self, other: IrrepsLike) -> Irreps:
        return Irreps(other) + self

    def __mul__(self, times: SupportsIndex) -> Irreps:
        """Repeat the whole sum, as e3nn does.

        >>> Irreps("2x0e + 1e") * 2
        2x0e+1x1e+2x0e+1x1e
        """
        return Irreps(super().__mul__(times))

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Irreps:
        """Divide every multiplicity, rounding down."""
        return Irreps([(mul // divisor, ir) for mul, ir in self])


IrrepLike: TypeAlias = "Irrep | MulIr | str | tuple[int, int]"
IrrepsLike: TypeAlias = (
    "Irreps | Irrep | MulIr | str | Iterable[Irrep | MulIr | str | tuple[int, Any]]"
)
IrrepFilter: TypeAlias = "IrrepsLike | Callable[[MulIr], bool]"


def _parse_irrep(text: str) -> tuple[int, int]:
    name = text.strip()
    degree, parity = name[:-1], name[-1:]
    if not (degree.isascii() and degree.isdigit() and parity in ("e", "o", "y")):
        raise UserError(
            f'"{text}" is not an irrep: write the degree and the parity e or o, such as "1o"'
        )
    l = int(degree)
    return l, {"e": 1, "o": -1, "y": (-1) ** l}[parity]


def _parse_irreps(text: str) -> Iterator[MulIr]:
    if not text.strip():
        return
    for term in text.split("+"):
        mul, times, ir = term.rpartition("x")
        count = mul.strip() if times else "1"
        if not (count.isascii() and count.isdigit()):
            raise UserError(
                f'"{text}" can not be read as irreps: the multiplicity in "{term.strip()}" '
                'must be a whole number, as in "64x0e + 32x1o"'
            )
        try:
            yield MulIr(int(count), Irrep(ir))
        except UserError:
            raise UserError(
                f'"{text}" can not be read as irreps: "{term.strip()}" is not an irrep, '
                'write for instance "64x0e + 32x1o"'
            ) from None


def _mul_ir(entry: object) -> MulIr:
    if isinstance(entry, MulIr):
        return entry
    if isinstance(entry, (Irrep, str)):
        return MulIr(1, Irrep(entry))
    if isinstance(entry, tuple | list) and len(entry) == 2:
        mul, ir = entry
        if isinstance(mul, int) and mul >= 0:
            return MulIr(int(mul), Irrep(ir))
    raise UserError(
        f"{entry!r} is not a term of irreps: give (multiplicity, irrep), such as (32, '1o')"
    )


def _predicate(chosen: IrrepFilter) -> Callable[[MulIr], bool]:
    if callable(chosen):
        return chosen
    irreps = {ir for _, ir in Irreps(chosen)}
    return lambda mul_ir: mul_ir.ir in irreps
