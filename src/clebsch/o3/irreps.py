"""Irreducible representations of O(3) and their direct sums: names and bookkeeping, no data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, TypeAlias, overload

import torch

from clebsch.errors import UserError
from clebsch.o3 import characters
from clebsch.o3.rotations import (
    angles_to_quaternion,
    axis_angle_to_quaternion,
)
from clebsch.o3.wigner import determinant_sign, wigner_D_from_quaternion, wigner_D_of_degrees

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

        >>> Irrep("1o").D_from_matrix(-torch.eye(3)).diagonal()
        tensor([-1., -1., -1.])
        """
        return _matrices([self], R)[self]

    def D_from_quaternion(self, q: Tensor, k: Tensor | None = None) -> Tensor:
        """The representation's matrix for a rotation, times p^k.

        Args:
            q: quaternions (w, x, y, z) of any length, shape (..., 4).
            k: how often space is inverted as well, shape (...); default 0.

        Returns:
            Shape (..., 2l+1, 2l+1).

        >>> Irrep("0o").D_from_quaternion(torch.tensor([1.0, 0, 0, 0]), torch.tensor(1))
        tensor([[-1.]])
        """
        return _matrices_from_quaternion([self], q, k)[self]

    def D_from_angles(
        self, alpha: Tensor, beta: Tensor, gamma: Tensor, k: Tensor | None = None
    ) -> Tensor:
        """As `D_from_quaternion`, for the Euler angles of `clebsch.o3.rotations`, each (...).

        >>> Irrep("1e").D_from_angles(*torch.zeros(3)).diagonal()
        tensor([1., 1., 1.])
        """
        return self.D_from_quaternion(angles_to_quaternion(alpha, beta, gamma), k)

    def D_from_axis_angle(self, axis: Tensor, angle: Tensor) -> Tensor:
        """As `D_from_quaternion`, for an axis (..., 3) and an angle (...) in radians.

        >>> axis, angle = torch.tensor([0.0, 1.0, 0.0]), torch.tensor(0.0)
        >>> Irrep("1e").D_from_axis_angle(axis, angle).diagonal()
        tensor([1., 1., 1.])
        """
        return self.D_from_quaternion(axis_angle_to_quaternion(axis, angle))

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


class SliceByMul:
    """What `Irreps.slice_by_mul` returns."""

    def __init__(self, irreps: Irreps) -> None:
        self.irreps = irreps

    def __getitem__(self, which: slice) -> Irreps:
        """The irreps ``start`` to ``stop``, as if every copy were an entry of its own.

        Raises:
            UserError: when ``which`` is not a slice, or one with a step.
        """
        if not isinstance(which, slice) or which.step not in (None, 1):
            raise UserError(
                f"slice_by_mul takes a slice without a step, such as [2:5], not {which}"
            )
        start, stop, _ = which.indices(self.irreps.num_irreps)
        kept, first = [], 0
        for mul, ir in self.irreps:
            inside = min(stop, first + mul) - max(start, first)
            if inside > 0 or (start <= first and first + mul <= stop):
                kept.append((max(inside, 0), ir))
            first += mul
        return Irreps(kept)


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

    @property
    def slice_by_mul(self) -> SliceByMul:
        """The irreps counted one by one, ``irreps.slice_by_mul[start:stop]``.

        >>> Irreps("4x0e + 2x1o").slice_by_mul[3:5]
        1x0e+1x1o
        """
        return SliceByMul(self)

    def count(self, ir: IrrepLike) -> int:
        """Total multiplicity of ``ir``.

        >>> Irreps("2x1o + 0e + 1o").count("1o")
        3
        """
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

    def tensor_product(self, other: IrrepsLike) -> Irreps:
        """The irreps that the tensor product of all components contains, sorted and merged.

        >>> Irreps("2x1o").tensor_product("0o + 1o")
        2x0e+4x1e+2x2e
        """
        other = Irreps(other)
        return _from_weights(
            characters.product(characters.weights(self), characters.weights(other))
        )

    def tensor_power(self, n: int) -> Irreps:
        """The irreps in the product of n factors of these, sorted and merged.

        Raises:
            UserError: when n is negative, as in the symmetric and the antisymmetric power.

        >>> Irreps("1o").tensor_power(3)
        1x0o+3x1o+2x2o+1x3o
        """
        _check_power(n)
        factor = characters.weights(self)
        power = characters.weights([(1, Irrep(0, 1))])
        for _ in range(n):
            power = characters.product(power, factor)
        return _from_weights(power)

    def symmetric_power(self, n: int) -> Irreps:
        """The irreps in the part of `tensor_power` that no exchange of factors changes.

        >>> Irreps("1o").symmetric_power(3)
        1x1o+1x3o
        """
        _check_power(n)
        return _from_weights(characters.symmetric_power(characters.weights(self), n))

    def antisymmetric_power(self, n: int) -> Irreps:
        """The irreps in the part of `tensor_power` that changes sign with every exchange.

        >>> Irreps("1o").antisymmetric_power(2), Irreps("1o").antisymmetric_power(3)
        (1x1e, 1x0o)
        """
        _check_power(n)
        return _from_weights(characters.antisymmetric_power(characters.weights(self), n))

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

        `rotate` does the same to features without this matrix.

        Args:
            R: orthogonal matrices, shape (..., 3, 3), proper or improper.
            layout: ``"ir_mul"`` (ours) or ``"mul_ir"`` (e3nn's).

        Returns:
            Shape (..., dim, dim).

        >>> Irreps("2x0e + 1o").D_from_matrix(-torch.eye(3)).diagonal()
        tensor([ 1.,  1., -1., -1., -1.])
        """
        return self._block_diagonal(_matrices([ir for _, ir in self], R), R, R.shape[:-2], layout)

    def D_from_quaternion(
        self, q: Tensor, k: Tensor | None = None, layout: Layout = "ir_mul"
    ) -> Tensor:
        """As `D_from_matrix`, for quaternions (w, x, y, z), shape (..., 4).

        Args:
            k: how often space is inverted as well, shape (...); default 0.

        >>> q = torch.tensor([0.0, 0.0, 1.0, 0.0])  # half a turn about y
        >>> Irreps("0e + 1o").D_from_quaternion(q).diagonal()
        tensor([ 1., -1.,  1., -1.])
        """
        D = _matrices_from_quaternion([ir for _, ir in self], q, k)
        lead = q.shape[:-1] if k is None else torch.broadcast_shapes(q.shape[:-1], k.shape)
        return self._block_diagonal(D, q, lead, layout)

    def D_from_angles(
        self,
        alpha: Tensor,
        beta: Tensor,
        gamma: Tensor,
        k: Tensor | None = None,
        layout: Layout = "ir_mul",
    ) -> Tensor:
        """As `D_from_quaternion`, for the Euler angles of `clebsch.o3.rotations`, each (...).

        >>> Irreps("0e + 1o").D_from_angles(*torch.zeros(3)).diagonal()
        tensor([1., 1., 1., 1.])
        """
        return self.D_from_quaternion(angles_to_quaternion(alpha, beta, gamma), k, layout)

    def D_from_axis_angle(self, axis: Tensor, angle: Tensor, layout: Layout = "ir_mul") -> Tensor:
        """As `D_from_quaternion`, for an axis (..., 3) and an angle (...) in radians.

        >>> axis, angle = torch.tensor([0.0, 1.0, 0.0]), torch.tensor(torch.pi)
        >>> Irreps("1o").D_from_axis_angle(axis, angle).diagonal()
        tensor([-1.,  1., -1.])
        """
        return self.D_from_quaternion(axis_angle_to_quaternion(axis, angle), None, layout)

    def rotate(self, x: Tensor, R: Tensor, layout: Layout = "ir_mul") -> Tensor:
        """Features after space has been turned by R, block by block.

        Args:
            x: shape (..., dim).
            R: orthogonal matrices, proper or improper, shape (..., 3, 3); the leading axes of
                both broadcast.

        Returns:
            Shape (..., dim), what `D_from_matrix` times x would be.

        Raises:
            UserError: when the last axis of x is not dim long.

        >>> Irreps("0o + 1o").rotate(torch.tensor([1.0, 1.0, 2.0, 3.0]), -torch.eye(3))
        tensor([-1., -1., -2., -3.])
        """
        _check_layout(layout)
        if x.shape[-1:] != (self.dim,):
            raise UserError(
                f"features of {self} must be {self.dim} long in the last axis, got {tuple(x.shape)}"
            )
        of_irrep = _matrices([ir for _, ir in self], R)
        lead = torch.broadcast_shapes(x.shape[:-1], R.shape[:-2])
        blocks = [x.new_zeros(*lead, 0)]
        for part, (mul, ir) in zip(self.slices(), self, strict=True):
            D, block = of_irrep[ir], x[..., part]
            if layout == "ir_mul":
                turned = D @ block.unflatten(-1, (ir.dim, mul))
            else:
                turned = block.unflatten(-1, (mul, ir.dim)) @ D.mT
            blocks.append(turned.reshape(*lead, mul * ir.dim))
        return torch.cat(blocks, dim=-1)

    def _block_diagonal(
        self, D: dict[Irrep, Tensor], like: Tensor, lead: torch.Size, layout: Layout
    ) -> Tensor:
        _check_layout(layout)
        out = like.new_zeros(*lead, self.dim, self.dim)
        for part, (mul, ir) in zip(self.slices(), self, strict=True):
            shape = (ir.dim, mul) if layout == "ir_mul" else (mul, ir.dim)
            copies = -1 if layout == "ir_mul" else -2
            block = out[..., part, part].unflatten(-1, shape).unflatten(-3, shape)
            # (..., copy, component, copy, component) in some order: the diagonal of the copies
            block.diagonal(dim1=copies - 2, dim2=copies).copy_(D[ir][..., None])
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

    def __radd__(self, other: IrrepsLike | Literal[0]) -> Irreps:
        """The built-in ``sum`` begins with 0.

        >>> sum([Irreps("2x0e"), Irreps("1o")])
        2x0e+1x1o
        """
        return self if isinstance(other, int) and other == 0 else Irreps(other) + self

    def __mul__(self, times: SupportsIndex) -> Irreps:
        """Repeat the whole sum, as e3nn does.

        >>> Irreps("2x0e + 1e") * 2
        2x0e+1x1e+2x0e+1x1e
        """
        if isinstance(times, tuple | str):
            raise UserError(
                f"{self} * {times}: irreps are multiplied by an integer, which repeats them; "
                "for the product of two representations there is tensor_product"
            )
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


def _from_weights(found: characters.Weights) -> Irreps:
    return Irreps([(mul, Irrep(*ir)) for mul, ir in characters.content(found)])


def _check_power(n: int) -> None:
    if n < 0:
        raise UserError(f"a power of a representation must not be negative, got {n}")


def _check_layout(layout: str) -> None:
    if layout not in ("ir_mul", "mul_ir"):
        raise UserError(f'layout must be "ir_mul" or "mul_ir", not {layout!r}')


def _matrices(irreps: Iterable[Irrep], R: Tensor) -> dict[Irrep, Tensor]:
    """{irrep: (..., 2l+1, 2l+1)} for R in O(3)."""
    irreps = set(irreps)
    D = wigner_D_of_degrees({ir.l for ir in irreps}, R)
    sign = determinant_sign(R)[..., None, None] if any(ir.p == -1 for ir in irreps) else None
    return {ir: D[ir.l] if sign is None or ir.p == 1 else D[ir.l] * sign for ir in irreps}


def _matrices_from_quaternion(
    irreps: Iterable[Irrep], q: Tensor, k: Tensor | None
) -> dict[Irrep, Tensor]:
    """{irrep: p^k D}."""
    irreps = set(irreps)
    D = wigner_D_from_quaternion({ir.l for ir in irreps}, torch.nn.functional.normalize(q, dim=-1))
    if k is None:
        return {ir: D[ir.l] for ir in irreps}
    odd = (1 - 2 * (k.to(q.dtype) % 2))[..., None, None]
    return {ir: D[ir.l] * (odd if ir.p == -1 else torch.ones_like(odd)) for ir in irreps}
