"""Many-body features: symmetric powers of features, channel by channel."""

from __future__ import annotations

from math import factorial, prod, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import Irreps
from clebsch.o3.symmetric_polynomials import Monomial, monomials, symmetric_polynomials
from clebsch.ops.nodewise.polynomials import Polynomials, evaluate


class SymmetricContraction(ExactConstants):
    """All equivariant polynomials of a feature up to a degree, weighted by species and channel.

    out[n, c] = sum_nu sum_paths w[species n, path, c] U_path^nu x[n, c]^nu, with the U of each
    irrep and degree a basis of all symmetric equivariant maps (``o3.symmetric_polynomials``):
    complete, and without the dependent ones. Batatia et al., MACE (2022), eqs. 10 and 11; the
    product of Drautz' atomic cluster expansion (2019). With features that are sums over
    neighbours, degree nu is body order nu + 1.

    Weights are standard normal at first; every degree then adds the same variance and the result
    has unit variance for inputs of unit variance. Irreps that no polynomial can have are zero.

    Args:
        irreps_in: irreps of the features, every block of the same number of channels.
        irreps_out: irreps of the result, of as many channels.
        correlation: highest degree nu, at least 1.
        n_species: with more than zero, every species has weights of its own and ``forward``
            takes the species of each row.

    Raises:
        ValueError: blocks of different channels, a correlation below 1.

    Shape: (..., irreps_in.dim), species (...) -> (..., irreps_out.dim), layout ``ir_mul``.

    Attributes:
        n_paths: number of paths of each block of the result, for degree 1, 2, ...
        weight: (max(n_species, 1), paths, channels); the paths of the first block of the result
            come first, in each block by degree.
        factors: what multiplies each path's U, for unit variance.

    Example:
        >>> layer = SymmetricContraction("8x0e + 8x1o + 8x2e", "8x0e + 8x1o", correlation=3)
        >>> layer.n_paths
        ((1, 3, 5), (1, 2, 5))
        >>> layer(torch.randn(10, 72)).shape
        torch.Size([10, 32])
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        *,
        correlation: int,
        n_species: int = 0,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.correlation, self.n_species = correlation, n_species
        if correlation < 1:
            raise ValueError(f"SymmetricContraction: correlation must be >= 1, not {correlation}")
        blocks = [*self.irreps_in, *self.irreps_out]
        if len({mul for mul, _ in blocks}) > 1:
            raise ValueError(
                f"SymmetricContraction: {self.irreps_in} -> {self.irreps_out} must have the same "
                "number of channels in every block; put a Linear before or after it"
            )
        self.channels = blocks[0].mul if blocks else 0
        variables = Irreps([ir for _, ir in self.irreps_in])
        bases = [
            symmetric_polynomials(variables, degree, Irreps([ir for _, ir in self.irreps_out]))
            for degree in range(1, correlation + 1)
        ]
        self.n_paths = tuple(tuple(len(basis[ir]) for basis in bases) for _, ir in self.irreps_out)
        terms: list[tuple[int, ...]] = []
        self._paths, self._blocks = [], []
        factors: list[float] = []
        start = 0
        for number, (_, ir) in enumerate(self.irreps_out):
            block, matrix, scales = _block([basis[ir] for basis in bases], variables.dim, start)
            terms += block
            factors += scales
            start += ir.dim
            self._paths.append(matrix.shape[1])
            self._blocks.append(f"coefficients_{number}")
            self.register_constant(self._blocks[-1], torch.from_numpy(matrix))
        self.factors = tuple(factors)
        self.polynomials = Polynomials(variables.dim, start, tuple(terms))
        self.weight = nn.Parameter(torch.randn(max(1, n_species), sum(self._paths), self.channels))

    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """The polynomials of ``x``; ``species`` int64 picks the weights of each row."""
        check_features(self, "x", x, self.irreps_in)
        lead = x.shape[:-1]
        if self.n_species and (species is None or species.shape != lead):
            given = "are missing" if species is None else f"have shape {tuple(species.shape)}"
            raise ValueError(
                f"SymmetricContraction: the species of features {tuple(x.shape)} {given}; "
                f"there are weights for {self.n_species}"
            )
        rows = x.reshape(prod(lead), self.polynomials.n_in, self.channels)
        picked = None if species is None or not self.n_species else species.reshape(-1)
        out = evaluate(self.polynomials, rows, self._coefficients(), picked)
        return out.reshape(*lead, self.irreps_out.dim)

    def _coefficients(self) -> Tensor:
        """Weights of paths to coefficients of terms, (species, terms, channels)."""
        parts = [
            self.get_buffer(name).to(weight.dtype) @ weight
            for name, weight in zip(self._blocks, self.weight.split(self._paths, 1), strict=True)
        ]
        return torch.cat(parts, dim=1) if parts else self.weight

    def extra_repr(self) -> str:
        species = f", n_species={self.n_species}" if self.n_species else ""
        return (
            f"{self.irreps_in} -> {self.irreps_out}, correlation={self.correlation}, "
            f"{sum(self._paths)} paths, {len(self.polynomials.terms)} terms{species}"
        )


def _block(
    bases: list[NDArray[np.float64]], n_variables: int, start: int
) -> tuple[list[tuple[int, ...]], NDArray[np.float64], list[float]]:
    """Terms of one block, the matrix (terms, paths) of their coefficients, the paths' factors.

    Args:
        bases: polynomials (paths, dim, monomials) of degree 1, 2, ...
        n_variables: of the polynomials.
        start: first component of the block in the result.
    """
    terms: list[tuple[int, ...]] = []
    factors: list[float] = []
    columns = sum(len(basis) for basis in bases)
    degrees = sum(len(basis) > 0 for basis in bases)
    rows, before = [], 0
    for degree, basis in enumerate(bases, 1):
        if not len(basis):
            continue
        names = monomials(n_variables, degree)
        power = sum(_mean_square(dict(zip(names, path[0], strict=True))) for path in basis)
        factor = 1 / sqrt(power * degrees)
        factors += [factor] * len(basis)
        scaled = basis * factor
        for k, m in zip(*np.nonzero(scaled.any(axis=0)), strict=True):
            terms.append((start + int(k), *names[m]))
            row = np.zeros(columns)
            row[before : before + len(basis)] = scaled[:, k, m]
            rows.append(row)
        before += len(basis)
    return terms, np.array(rows).reshape(len(rows), columns), factors


def _mean_square(polynomial: dict[Monomial, float]) -> float:
    """Mean square of a homogeneous polynomial of independent standard normal variables.

    By the Laplacian: it is the sum over j of sum_a a! h_a^2 with h = Laplace^j p / (2^j j!).
    """
    total, step = 0.0, 0
    current = {m: c for m, c in polynomial.items() if c}
    while current:
        for m, c in current.items():
            weight = 1
            for variable in set(m):
                weight *= factorial(m.count(variable))
            total += weight * c * c
        step += 1
        lower: dict[Monomial, float] = {}
        for m, c in current.items():
            for variable in set(m):
                count = m.count(variable)
                if count > 1:
                    at = m.index(variable)
                    rest = m[:at] + m[at + 2 :]
                    change = c * count * (count - 1) / (2 * step)
                    lower[rest] = lower.get(rest, 0.0) + change
        current = lower
    return total
