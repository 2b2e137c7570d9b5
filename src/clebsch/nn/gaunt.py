"""The Gaunt tensor product: products of functions on the sphere.

Source: Luo, Chen & Krishnapriyan, Enabling efficient equivariant operations in the Fourier basis
via Gaunt tensor products, ICLR 2024 (arXiv 2401.10216). They multiply in a Fourier basis; here the
functions are multiplied on a Gauss-Legendre grid that integrates all degrees that occur exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import pi, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.nn.constants import ExactConstants
from clebsch.nn.signal_irreps import SignalIrreps, signal_irreps
from clebsch.nn.sphere_grid import FromSphereGrid, ToSphereGrid, by_rows
from clebsch.o3 import Irreps, SphereGrid
from clebsch.o3.gaunt import gaunt_factor
from clebsch.o3.irreps import IrrepsLike
from clebsch.ops import Path, Specification

GauntNormalization = Literal["component", "integral"]


class GauntTensorProduct(ExactConstants):
    """Channel by channel, the product of two functions on the sphere: O(L^3) instead of O(L^6).

    With x, y and z coefficients of harmonics, z^l3 is the sum over l1 and l2 of x^l1 and y^l2
    coupled with the Gaunt coefficients. Degrees with l1 + l2 + l3 odd do not couple.

    Weights, where wanted, are one for each channel and degree of x, of y and of z, so that the path
    (l1, l2, l3) has the weight w1[l1] w2[l2] w3[l3]. A product with a weight of its own for every
    path has no such short cut: it is ``TensorProduct(gaunt_specification(..., weighted=True))``.

    Args:
        irreps_x, irreps_y: equally many channels of each degree; those of y as many as x has, or
            one, which then multiplies every channel of x.
        irreps_z: the degrees to keep, with the channels of x; by default all up to the largest.
        weighted: learnable weights, standard normal.
        normalization: ``"component"``: every component of the result has unit variance for
            independent input of unit variance; ``"integral"``: the coefficients are those of
            harmonics whose squared integral is 1, and the result those of the product.

    Shape: (..., irreps_x.dim), (..., irreps_y.dim) [, weights (..., weight_numel)]
        -> (..., irreps_z.dim).

    Attributes:
        grid: the points, of the degree lmax_x + lmax_y + lmax_z.
        weight_numel: number of weights: degrees times channels of x, of y, of z, in this order.
        weight: (weight_numel,), or None.

    Raises:
        ValueError: irreps that are not functions on the sphere, channels that do not match, or
            parities of z that the product has not.

    Example:
        >>> gaunt = GauntTensorProduct("8x0e + 8x1o", "0e + 1o + 2e")
        >>> gaunt.irreps_z
        8x0e+8x1o+8x2e+8x3o
        >>> gaunt(gaunt.irreps_x.randn(5, -1), gaunt.irreps_y.randn(5, -1)).shape
        torch.Size([5, 128])
    """

    degrees_x: Tensor
    degrees_y: Tensor
    degrees_z: Tensor

    def __init__(
        self,
        irreps_x: IrrepsLike,
        irreps_y: IrrepsLike,
        irreps_z: IrrepsLike | None = None,
        *,
        weighted: bool = False,
        normalization: GauntNormalization = "component",
    ) -> None:
        super().__init__()
        x, y, z = _factors(type(self).__name__, irreps_x, irreps_y, irreps_z)
        self.irreps_x, self.irreps_y, self.irreps_z = x.irreps, y.irreps, z.irreps
        scales = _scales(x.ls, y.ls, z.ls, normalization)
        self.grid = SphereGrid.gauss_legendre(max(x.ls) + max(y.ls) + max(z.ls))
        self.x_to_grid = ToSphereGrid(x.irreps, self.grid, scales[0])
        self.y_to_grid = ToSphereGrid(y.irreps, self.grid, scales[1])
        # a tuple is the factor of the mean over the sphere
        from_scales = tuple(4 * pi * s for s in scales[2])
        self.from_grid = FromSphereGrid(self.grid, z.irreps, from_scales)
        self.signals = (x, y, z)
        self.weight_numel = sum(len(s.ls) * s.channels for s in self.signals) if weighted else 0
        self.weight = nn.Parameter(torch.randn(self.weight_numel)) if weighted else None
        for name, signal in zip("xyz", self.signals, strict=True):
            sizes = torch.tensor([2 * l + 1 for l in signal.ls], device="cpu")
            degrees = torch.arange(len(signal.ls), device="cpu").repeat_interleave(sizes)
            self.register_constant(f"degrees_{name}", degrees)

    def forward(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """The product; ``weights`` of each row stand in for those of the module.

        Raises:
            ValueError: an argument has the wrong size in its last dimension.
        """
        check_features(self, "x", x, self.irreps_x)
        check_features(self, "y", y, self.irreps_y)
        weights = self.weight if weights is None else weights
        if weights is None:
            return self._product(x, y)
        if weights.shape[-1:] != (self.weight_numel,):
            raise ValueError(
                f"{type(self).__name__}: weights have the shape {tuple(weights.shape)}, but "
                f"{self.weight_numel} are needed in the last dimension"
            )
        parts = weights.split([len(s.ls) * s.channels for s in self.signals], dim=-1)
        wx, wy, wz = (
            w.unflatten(-1, (len(s.ls), s.channels)).index_select(-2, degrees).flatten(-2)
            for w, s, degrees in zip(
                parts, self.signals, (self.degrees_x, self.degrees_y, self.degrees_z), strict=True
            )
        )
        return self._product(x * wx, y * wy) * wz

    def _product(self, x: Tensor, y: Tensor) -> Tensor:
        def multiply(x: Tensor, y: Tensor) -> Tensor:
            return self.from_grid(self.x_to_grid(x) * self.y_to_grid(y))

        return by_rows(multiply, self.grid, self.signals[0].channels, x, y)

    def extra_repr(self) -> str:
        weights = f", {self.weight_numel} weights" if self.weight_numel else ""
        return f"{self.irreps_x} (x) {self.irreps_y} -> {self.irreps_z}{weights}"


def gaunt_specification(
    irreps_x: IrrepsLike,
    irreps_y: IrrepsLike,
    irreps_z: IrrepsLike | None = None,
    *,
    weighted: bool = False,
    normalization: GauntNormalization = "component",
) -> Specification:
    """The product of `GauntTensorProduct` as a list of paths with 3j symbols.

    Its weights are free, one for each path and channel; the module's are the special case
    w1[l1] w2[l2] w3[l3].

    Which one pays, on one CPU core with 64 rows of 32 channels, all factors up to l: the module
    takes 0.4, 1.0, 2.8 and 9 ms for l = 2, 4, 6 and 8; a dense contraction with all Gaunt
    coefficients in one tensor 0.4, 3.5, 34 and 138 ms. This specification's compiled kernel takes
    0.1, 0.4 and 2 ms for l = 2, 4 and 6, but is built once for 1, 3 and 48 s; without a compiler
    it takes 33, 102 and 495 ms for l = 4, 6 and 8. So: the specification up to l = 4, the module
    above.

    >>> print(gaunt_specification("1o", "1o", normalization="integral"))
    1x1o (x) 1x1o -> 1x0e+1x2e
      z0[dst e, k] += 0.4886 3j(1o 1o 0e)[i j k] x0[src e, i] y0[e, j]
      z1[dst e, k] += 0.691  3j(1o 1o 2e)[i j k] x0[src e, i] y0[e, j]
    """
    x, y, z = _factors("gaunt_specification", irreps_x, irreps_y, irreps_z)
    a, b, c = _scales(x.ls, y.ls, z.ls, normalization)
    mode: Literal["uvu", "uuu"] = "uuu" if y.channels == x.channels else "uvu"
    paths = []
    for (i, l1), (j, l2), (k, l3) in product(enumerate(x.ls), enumerate(y.ls), enumerate(z.ls)):
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0:
            coefficient = a[i] * b[j] * c[k] * gaunt_factor(l1, l2, l3)
            paths.append(Path(i, j, k, mode, coefficient, weighted))
    return Specification(x.irreps, y.irreps, z.irreps, tuple(paths), shared_weights=weighted)


def _factors(
    layer: str, irreps_x: IrrepsLike, irreps_y: IrrepsLike, irreps_z: IrrepsLike | None
) -> tuple[SignalIrreps, SignalIrreps, SignalIrreps]:
    """The three functions, checked against each other."""
    x = signal_irreps(layer, "irreps_x", irreps_x)
    y = signal_irreps(layer, "irreps_y", irreps_y)
    if y.channels not in (1, x.channels):
        raise ValueError(
            f"{layer}: channels multiply one by one: {y.irreps} needs {x.channels} channels, as "
            f"{x.irreps} has, or one, not {y.channels}"
        )
    signs = {(vx * vy, ax) for vx, ax in x.parities for vy, ay in y.parities if ax == ay}
    if not signs:
        raise ValueError(
            f"{layer}: {x.irreps} and {y.irreps} are functions of arguments of different parity "
            "(f(-r) here, f(r) there, under the inversion), so that their product is neither"
        )
    coupled = {l for l1, l2 in product(x.ls, y.ls) for l in range(abs(l1 - l2), l1 + l2 + 1, 2)}
    if irreps_z is None:
        p_val, p_arg = max(signs)
        irreps_z = Irreps([(x.channels, (l, p_val * p_arg**l)) for l in sorted(coupled)])
    z = signal_irreps(layer, "irreps_z", irreps_z)
    absent = sorted(set(z.ls) - coupled)
    if z.channels != x.channels or absent or not signs & set(z.parities):
        why = (
            f"needs {x.channels} channels"
            if z.channels != x.channels
            else f"has l={absent[0]}, which does not occur"
            if absent
            else "has other parities"
        )
        raise ValueError(f"{layer}: {z.irreps} {why} in the product of {x.irreps} and {y.irreps}")
    return x, y, z


def _scales(
    x: Sequence[int], y: Sequence[int], z: Sequence[int], normalization: GauntNormalization
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Factors of the harmonics of x and y, and of the integrals that make z."""
    if normalization == "integral":
        return (1.0,) * len(x), (1.0,) * len(y), (1.0,) * len(z)
    if normalization != "component":
        raise ValueError(
            'the normalisation of a Gaunt product is "component" or "integral", '
            f"not {normalization!r}"
        )
    # each degree has an equal part in the variance of a factor's values
    a, b = (tuple(sqrt(4 * pi / ((2 * l + 1) * len(ls))) for l in ls) for ls in (x, y))
    variance = [0.0] * len(z)
    for (i, l1), (j, l2), (k, l3) in product(enumerate(x), enumerate(y), enumerate(z)):
        if abs(l1 - l2) <= l3 <= l1 + l2:
            # a 3j symbol has norm 1, shared by the 2 l3 + 1 components
            variance[k] += (a[i] * b[j] * gaunt_factor(l1, l2, l3)) ** 2 / (2 * l3 + 1)
    return a, b, tuple(v**-0.5 for v in variance)
