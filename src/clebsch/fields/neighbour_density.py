"""The neighbours of each atom as a density, expanded in radial functions and harmonics.

c_i,aq,lm = sum over neighbours j of species a of R_q(r_ij) Y_lm(r_ij / |r_ij|): the density of
point-like neighbours, weighted by a smooth cutoff, in a basis. Bartók, Kondor, Csányi, Phys. Rev. B
87, 184115 (2013); Drautz, Phys. Rev. B 99, 014104 (2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from clebsch.errors import UserError
from clebsch.nn.constants import ExactConstants
from clebsch.nn.radial import BesselBasis, RadialBasis
from clebsch.o3 import Irreps, spherical_harmonics
from clebsch.ops import Edges, Specification, convolve
from clebsch.structures.graph import AtomGraph


class NeighbourDensity(ExactConstants):
    """Expansion coefficients of the neighbour density of every atom.

    Args:
        species: chemical symbols; the neighbours of each have channels of their own.
        cutoff: Å.
        lmax: highest degree.
        radial: R_q as functions of r / cutoff that end smoothly at 1; 6 Bessel functions where
            none are given. None of them depends on l.
        centre: whether an atom counts among its own neighbours, at distance 0.

    Shape: a graph whose edges reach the cutoff (longer ones do not count) -> (N, irreps_out.dim).

    Attributes:
        irreps_out: for each l as many channels as species times radial functions, the radial
            function fastest; parity (-1)^l. The harmonics are orthonormal (``integral``).

    Raises:
        ValueError: no species, one twice or unknown; a cutoff or degree out of range.
        UserError: (when called) an atom of another species.

    Example:
        >>> from ase.build import molecule
        >>> density = NeighbourDensity(["H", "O"], cutoff=3.0, lmax=2)
        >>> density.irreps_out
        12x0e+12x1o+12x2e
        >>> density(AtomGraph.from_atoms(molecule("H2O"), 3.0)).shape
        torch.Size([3, 108])
    """

    table: Tensor

    def __init__(
        self,
        species: Sequence[str],
        cutoff: float = 4.0,
        lmax: int = 4,
        radial: RadialBasis | None = None,
        centre: bool = True,
    ) -> None:
        super().__init__()
        unknown = [s for s in species if s not in atomic_numbers or not atomic_numbers[s]]
        if unknown or not species or len(set(species)) < len(species):
            raise ValueError(f"species are different chemical symbols, not {list(species)}")
        if not (cutoff > 0 and math.isfinite(cutoff)) or lmax < 0:
            raise ValueError(f"a positive cutoff and lmax >= 0, not {cutoff} and {lmax}")
        self.species, self.cutoff, self.lmax = tuple(species), float(cutoff), lmax
        self.radial = BesselBasis(6) if radial is None else radial
        self.centre = centre
        harmonics = Irreps.spherical_harmonics(lmax)
        n = self.radial.n_basis
        self.irreps_out = Irreps([(len(species) * n, ir) for _, ir in harmonics])
        # Every path is 3j(0 l l) times its coefficient, which is 1: z = x w y.
        self.specification = Specification.convolution(f"{n}x0e", harmonics, harmonics)
        table = np.full(len(chemical_symbols), -1)
        table[[atomic_numbers[s] for s in species]] = np.arange(len(species))
        self.register_constant("table", torch.from_numpy(table))

    def forward(self, graph: AtomGraph) -> Tensor:
        vectors, of, N = graph.vectors(), self._species_of(graph.numbers), graph.n_atoms
        S, n = len(self.species), self.radial.n_basis
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        R = self.radial(distance / self.cutoff)
        Y = spherical_harmonics(list(range(self.lmax + 1)), vectors, normalization="integral")
        # One row for each atom and species of neighbours, so no channel is ever multiplied by 0.
        row = graph.dst * S + of[graph.src]
        row, order = torch.sort(row, stable=True)
        one = vectors.new_ones(1, n)
        c = convolve(
            self.specification,
            one,
            Y[order],
            R[order].repeat(1, self.lmax + 1),
            Edges(torch.zeros_like(row), row, N * S),
        )
        if self.centre:
            own = torch.arange(N, device=row.device) * S + of
            at_zero = self.radial(vectors.new_zeros(1)) / math.sqrt(4 * math.pi)
            c = torch.cat([c[:, :n].index_add(0, own, at_zero.expand(N, n)), c[:, n:]], dim=1)
        # (N S, m q) of each l -> (N, m S q)
        blocks = [
            c[:, place].reshape(N, S, ir.dim, n).transpose(1, 2).reshape(N, ir.dim * S * n)
            for (_, ir), place in zip(self.irreps_out, self.specification.z.slices(), strict=True)
        ]
        return torch.cat(blocks, dim=1)

    def _species_of(self, numbers: Tensor) -> Tensor:
        of = self.table[numbers]
        if bool((of < 0).any()):
            unknown = chemical_symbols[int(numbers[of < 0][0])]
            raise UserError(
                f"the neighbour density has channels for {', '.join(self.species)}, not for "
                f"{unknown}: name it among the species."
            )
        return of

    def extra_repr(self) -> str:
        return f"{', '.join(self.species)}, cutoff={self.cutoff}, lmax={self.lmax}"
