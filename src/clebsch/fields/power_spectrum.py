"""Products of pairs of coefficients that are invariant, or turn as harmonics of degree lambda.

p^lm_{q q' l1 l2} = sum over m1, m2 of <l1 m1; l2 m2 | l m> c_{q l1 m1} c_{q' l2 m2}. For l = 0 it
is the power spectrum of SOAP (Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013)), for l > 0
that of lambda-SOAP (Grisafi, Wilkins, Csányi, Ceriotti, Phys. Rev. Lett. 120, 036002 (2018)).
"""

from __future__ import annotations

from math import sqrt

from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import Path, Specification, tensor_product


class PowerSpectrum(nn.Module):
    """Every pair of channels once, coupled to each degree with the parity of a polar tensor.

    Products that are there twice, as (q l1, q' l2) and (q' l2, q l1), are listed once, times
    sqrt(2): scalar products of two atoms' spectra (SOAP kernels) are those of the full spectra.

    Args:
        irreps_in: coefficients, as of ``NeighbourDensity``.
        lmax: highest degree of the result; 0 leaves the invariants.
        lmin: lowest degree.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Attributes:
        irreps_out: blocks by degree; parity (-1)^l.

    Raises:
        ValueError: degrees out of range.

    Example:
        >>> PowerSpectrum("2x0e + 2x1o", lmax=1).irreps_out
        1x0e+2x0e+1x0e+2x0e+4x1o
    """

    def __init__(self, irreps_in: Irreps | str, lmax: int = 0, lmin: int = 0) -> None:
        super().__init__()
        if not 0 <= lmin <= lmax:
            raise ValueError(f"degrees run from lmin >= 0 to lmax, not from {lmin} to {lmax}")
        self.irreps_in = Irreps(irreps_in)
        self.specification = _pairs(
            self.irreps_in, [Irrep(l, (-1) ** l) for l in range(lmin, lmax + 1)]
        )
        self.irreps_out = self.specification.z

    def forward(self, c: Tensor) -> Tensor:
        check_features(self, "c", c, self.irreps_in)
        rows = c.reshape(-1, self.irreps_in.dim)
        spectrum = tensor_product(self.specification, rows, rows)
        return spectrum.reshape(*c.shape[:-1], self.irreps_out.dim)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"


def _pairs(x: Irreps, wanted: list[Irrep]) -> Specification:
    """Paths of every pair of channels, with Clebsch-Gordan coefficients (sqrt(2l+1) times 3j)."""
    found: list[tuple[int, int, Irrep, str, int]] = []
    for ir in wanted:
        for i, (mul, one) in enumerate(x):
            for j, (other_mul, other) in enumerate(x[i:], start=i):
                if ir not in one * other:
                    continue
                if i < j:
                    found.append((i, j, ir, "uvuv", mul * other_mul))
                    continue
                if mul > 1:
                    found.append((i, i, ir, "uvu<v", mul * (mul - 1) // 2))
                if ir.l % 2 == 0:  # c x c is symmetric
                    found.append((i, i, ir, "uuu", mul))
    paths = tuple(
        Path(i, j, k, mode, sqrt(ir.dim * (1 if mode == "uuu" else 2)), weighted=False)  # type: ignore[arg-type]
        for k, (i, j, ir, mode, _) in enumerate(found)
    )
    z = Irreps([(mul, ir) for _, _, ir, _, mul in found])
    return Specification(x, x, z, paths, shared_weights=True)
