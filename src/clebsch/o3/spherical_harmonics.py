"""Real spherical harmonics of any degree as polynomials, exactly differentiable to any order."""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from clebsch.errors import UserError
from clebsch.o3.constants import tensor_constant
from clebsch.o3.irreps import Irreps
from clebsch.o3.wigner import real_3j

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from clebsch.o3.irreps import IrrepsLike

Normalization: TypeAlias = Literal["component", "integral", "norm"]


def spherical_harmonics(
    l_or_irreps: int | Sequence[int] | str | Irreps,
    xyz: Tensor,
    normalize: bool = True,
    normalization: Normalization = "component",
) -> Tensor:
    """Real spherical harmonics of vectors, in e3nn's order and signs (polar axis y).

    Args:
        l_or_irreps: one degree, a list of degrees, or irreps such as ``"0e + 1o + 2e"``. The
            parity must be that of a vector, (-1)^l, or throughout even, that of a pseudovector.
            A multiplicity repeats the harmonic, in the ``ir_mul`` layout.
        xyz: vectors, shape (..., 3).
        normalize: take the direction x/|x|. At x = 0 the harmonics with l > 0 are then 0, and so
            are all derivatives. Otherwise the result is the solid harmonic |x|^l Y(x/|x|).
        normalization: on the sphere ``"component"``: |Y_l|^2 = 2l+1; ``"norm"``: |Y_l| = 1;
            ``"integral"``: the integral of each squared component is 1.

    Returns:
        Shape (..., dim), in the order asked. The harmonics of directions in float32: where a
        degree above 4 is asked, all are computed in float64 and rounded once, and no component is
        wrong by more than 3e-7 in any normalisation (up to l = 12); below, by no more than 3e-6
        in ``"component"`` and 1e-6 in the others.

    Raises:
        UserError: for a negative degree, a wrong parity, an unknown normalisation or a last axis
            that is not 3 long.

    >>> spherical_harmonics("0e + 1o", torch.tensor([0.0, 2.0, 0.0]), normalization="norm")
    tensor([1., 0., 1., 0.])
    """
    check_normalization(normalization)
    if xyz.shape[-1:] != (3,):
        raise UserError(f"spherical harmonics need vectors of shape (..., 3), not {xyz.shape}")
    degrees = degrees_of(l_or_irreps)
    lmax = max([0, *(l for l, _ in degrees)])
    dtype = xyz.dtype
    xyz = _exact_enough(xyz, lmax)
    if normalize:
        xyz = _direction(xyz)
    if torch.compiler.is_compiling():  # the compiler differentiates and fuses the plain recursion
        Y = _solid_harmonics(xyz, lmax, normalization)
    else:
        Y = _SolidHarmonics.apply(xyz, lmax, normalization)
    Y = Y.to(dtype)
    if degrees == [(l, 1) for l in range(lmax + 1)]:
        return Y
    if not degrees:
        return Y[..., :0]
    blocks = [Y[..., l**2 : (l + 1) ** 2].repeat_interleave(mul, -1) for l, mul in degrees]
    return torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0]


def spherical_harmonics_jacobian(
    lmax: int, xyz: Tensor, normalization: Normalization = "component"
) -> tuple[Tensor, Tensor]:
    """The harmonics of degrees 0 to lmax of the directions x/|x|, and their derivatives by x.

    For callers that need the derivative as a tensor, without a graph.

    Args:
        lmax: highest degree.
        xyz: vectors, shape (..., 3).
        normalization: as in `spherical_harmonics`.

    Returns:
        Shapes (..., (lmax+1)^2) and (..., (lmax+1)^2, 3); both are 0 at x = 0 for l > 0.

    >>> Y, J = spherical_harmonics_jacobian(1, torch.tensor([0.0, 2.0, 0.0]), "norm")
    >>> J[1:]
    tensor([[0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.5000]])
    """
    dtype = xyz.dtype
    xyz = _exact_enough(xyz, lmax)
    direction = _direction(xyz)
    Y = _solid_harmonics(direction, lmax, normalization)
    G = _gradient_tensor(lmax, normalization, like=xyz).reshape((lmax + 1) ** 2, 3, lmax**2)
    columns = G.permute(2, 0, 1).reshape(lmax**2, 3 * (lmax + 1) ** 2)
    slope = (Y[..., : lmax**2] @ columns).unflatten(-1, ((lmax + 1) ** 2, 3))
    # The direction does not change along itself; n is x/|x|, so n (n.x)/|x|^2 is n/|x|.
    along = (slope * direction.unsqueeze(-2)).sum(-1, keepdim=True)
    r = torch.linalg.vector_norm(xyz, dim=-1)[..., None, None]
    inverse = torch.where(r > 0, 1 / torch.where(r > 0, r, 1.0), 0.0)
    J = (slope - along * direction.unsqueeze(-2)) * inverse
    return Y.to(dtype), J.to(dtype)


class SphericalHarmonics(torch.nn.Module):
    """`spherical_harmonics` as a module without parameters, for models that list their parts.

    Args:
        irreps_out: as `spherical_harmonics` takes them.
        normalize: take the direction of the vector.
        normalization: as in `spherical_harmonics`; e3nn's default is ``"integral"``.
        irreps_in: ``"1o"`` or ``"1e"``; default what ``irreps_out`` needs, a vector where both do.

    Attributes:
        irreps_in, irreps_out: what goes in and comes out.

    Raises:
        UserError: when ``irreps_in`` is neither or does not fit ``irreps_out``.

    >>> harmonics = SphericalHarmonics([0, 2])
    >>> harmonics, harmonics(torch.randn(5, 3)).shape
    (SphericalHarmonics(1x1o -> 1x0e+1x2e, normalize=True, 'component'), torch.Size([5, 6]))
    """

    def __init__(
        self,
        irreps_out: int | Sequence[int] | str | Irreps,
        normalize: bool = True,
        normalization: Normalization = "component",
        irreps_in: IrrepsLike | None = None,
    ) -> None:
        super().__init__()
        check_normalization(normalization)
        degrees = degrees_of(irreps_out)
        wanted = Irreps(irreps_out) if isinstance(irreps_out, str | Irreps) else None
        if irreps_in is None:
            pseudo = wanted is not None and any(ir.l % 2 == 1 and ir.p == 1 for _, ir in wanted)
            irreps_in = "1e" if pseudo else "1o"
        self.irreps_in = Irreps(irreps_in)
        if self.irreps_in not in (Irreps("1o"), Irreps("1e")):
            raise UserError(
                "spherical harmonics are functions of a vector, 1o, or of a pseudovector, 1e, "
                f"not of {self.irreps_in}"
            )
        p = self.irreps_in[0].ir.p
        self.irreps_out = Irreps([(mul, (l, p**l)) for l, mul in degrees])
        if wanted is not None and wanted != self.irreps_out:
            raise UserError(
                f"the spherical harmonics of {self.irreps_in} are {self.irreps_out}, not {wanted}"
            )
        self.normalize = normalize
        self.normalization: Normalization = normalization

    def forward(self, xyz: Tensor) -> Tensor:
        """Shape (..., 3) to (..., irreps_out.dim)."""
        return spherical_harmonics(self.irreps_out, xyz, self.normalize, self.normalization)

    def __repr__(self) -> str:
        return (
            f"SphericalHarmonics({self.irreps_in} -> {self.irreps_out}, "
            f"normalize={self.normalize}, {self.normalization!r})"
        )


def check_normalization(normalization: str) -> None:
    """Raises UserError unless it is one of the three."""
    if normalization not in ("component", "integral", "norm"):
        raise UserError(
            'the normalisation of spherical harmonics must be "component", "integral" or "norm", '
            f"not {normalization!r}"
        )


def degrees_of(l_or_irreps: int | Sequence[int] | str | Irreps) -> list[tuple[int, int]]:
    """(degree, multiplicity) of each block."""
    if isinstance(l_or_irreps, str | Irreps):
        irreps = Irreps(l_or_irreps)
        if any(ir.p != (-1) ** ir.l for _, ir in irreps) and any(ir.p != 1 for _, ir in irreps):
            raise UserError(
                f'"{irreps}" can not be spherical harmonics: of a vector they have the parity '
                "(-1)^l (0e, 1o, 2e, ...), of a pseudovector they are all even"
            )
        return [(ir.l, mul) for mul, ir in irreps]
    ls = [l_or_irreps] if isinstance(l_or_irreps, int) else list(l_or_irreps)
    if any(l < 0 for l in ls):
        raise UserError(f"the degree of spherical harmonics must not be negative, got {ls}")
    return [(l, 1) for l in ls]


def _exact_enough(xyz: Tensor, lmax: int) -> Tensor:
    """Float32 as float64 where float32's rounding of the direction, times l, would be seen."""
    if xyz.dtype == torch.float32 and lmax > 4 and xyz.device.type != "mps":  # has no float64
        return xyz.double()
    return xyz


def _direction(xyz: Tensor) -> Tensor:
    """x/|x|; at 0 the value and every derivative are 0 (no branch lets an infinity through)."""
    r2 = (xyz * xyz).sum(-1, keepdim=True)
    at_origin = r2 == 0
    return xyz * torch.where(at_origin, 0.0, torch.where(at_origin, 1.0, r2).rsqrt())


def _solid_harmonics(xyz: Tensor, lmax: int, normalization: Normalization) -> Tensor:
    """All |x|^l Y_l(x/|x|) for l = 0..lmax, shape (..., (lmax+1)^2)."""
    Y = torch.full_like(xyz[..., :1], 1 / sqrt(4 * pi) if normalization == "integral" else 1.0)
    blocks = [Y]
    for l in range(lmax):
        products = (Y.unsqueeze(-2) * xyz.unsqueeze(-1)).flatten(-2)
        Y = products @ _raising_tensor(l, normalization, like=xyz)
        blocks.append(Y)
    return torch.cat(blocks, dim=-1)


class _SolidHarmonics(torch.autograd.Function):
    """`_solid_harmonics` with the gradient in closed form, to save autograd the recursion.

    With C the 3j symbols of (l+1, l, 1), a solid harmonic and its gradient are both contractions
    of the harmonics one degree lower:

        Y^{l+1}_i = c_l sum_jk C_ijk Y^l_j x_k        d_k Y^{l+1}_i = (l+1) c_l sum_j C_ijk Y^l_j

    so the derivative of any order is a handful of tensor operations, whatever l.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(xyz: Tensor, lmax: int, normalization: Normalization) -> Tensor:
        return _solid_harmonics(xyz, lmax, normalization)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.lmax, ctx.normalization = inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (Y,) = ctx.saved_tensors
        lower = Y[..., : ctx.lmax**2]
        G = _gradient_tensor(ctx.lmax, ctx.normalization, like=grad)
        by_axis = (grad @ G).reshape(*grad.shape[:-1], 3, ctx.lmax**2)
        return (by_axis * lower.unsqueeze(-2)).sum(-1), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (Y,) = ctx.saved_tensors
        lower = Y[..., : ctx.lmax**2]
        G = _gradient_tensor(ctx.lmax, ctx.normalization, like=tangent)
        return (tangent.unsqueeze(-1) * lower.unsqueeze(-2)).flatten(-2) @ G.T


@cache
def _raising(l: int, normalization: Normalization) -> NDArray[np.float64]:
    """c_l C as a matrix: (x_k, Y^l_j) -> Y^{l+1}_i, shape (3 (2l+1), 2l+3)."""
    C = real_3j(l + 1, l, 1)
    # on the polar axis only m = 0 is left, with the value sqrt(2l+1)
    scale = 1 / C[l + 1, l, 1]
    if normalization != "norm":
        scale *= sqrt((2 * l + 3) / (2 * l + 1))
    return (scale * C).transpose(2, 1, 0).reshape(3 * (2 * l + 1), 2 * l + 3)


@cache
def _gradient(lmax: int, normalization: Normalization) -> NDArray[np.float64]:
    """Y_i -> (k, Y_j) with d_k Y_i = sum_j G_i,kj Y_j, shape ((lmax+1)^2, 3 lmax^2)."""
    G = np.zeros(((lmax + 1) ** 2, 3, lmax**2))
    for l in range(lmax):
        block = _raising(l, normalization).reshape(3, 2 * l + 1, 2 * l + 3).transpose(2, 0, 1)
        G[(l + 1) ** 2 : (l + 2) ** 2, :, l**2 : (l + 1) ** 2] = (l + 1) * block
    return G.reshape((lmax + 1) ** 2, 3 * lmax**2)


_raising_tensor = tensor_constant(_raising)
_gradient_tensor = tensor_constant(_gradient)
