"""Which blocks a linear map connects, and where in its weights each connection lies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate
from math import sqrt
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from clebsch.nn.constants import on_cpu
from clebsch.ops import Specification
from clebsch.ops.nodewise.mixing import Mixing

PathNormalization: TypeAlias = Literal["element", "path"]


class Connections:
    """Connected pairs (block of the input, block of the result) of a mixing.

    Args:
        mixing: the kinds of irreps and their matrices.
        pairs: what is connected; by default all blocks of equal irreps.
        normalization: see ``Linear``.

    Attributes:
        pairs: in the order given, or by block of the input, then of the result.
        own_weights: whether weights lie pair by pair, and not as the mixing has them.
        weight_numel: number of weights.

    Raises:
        ValueError: blocks that are not there, differ in irrep, or are connected twice.
    """

    def __init__(
        self,
        mixing: Mixing,
        pairs: Iterable[tuple[int, int]] | None = None,
        normalization: PathNormalization = "element",
    ) -> None:
        if normalization not in ("element", "path"):
            raise ValueError(
                f"Linear: path_normalization is element or path, not {normalization!r}"
            )
        self.mixing, self.normalization = mixing, normalization
        everything = [
            (i, k)
            for i, (_, ir) in enumerate(mixing.x)
            for k, (_, other) in enumerate(mixing.z)
            if ir == other
        ]
        self.pairs = everything if pairs is None else list(pairs)
        self._check()
        self.own_weights = self.pairs != everything or normalization == "path"
        self.weight_numel = self._ends[-1] if self.own_weights else mixing.weight_numel

    def _check(self) -> None:
        x, z = self.mixing.x, self.mixing.z
        for i, k in self.pairs:
            if not (0 <= i < len(x) and 0 <= k < len(z)):
                raise ValueError(f"Linear: {x} -> {z} has no blocks ({i}, {k}) to connect")
            if x[i].ir != z[k].ir:
                raise ValueError(f"Linear: {x[i]} and {z[k]} cannot connect, their irreps differ")
        if len(set(self.pairs)) != len(self.pairs):
            raise ValueError(f"Linear: blocks of {x} -> {z} are connected twice")

    @cached_property
    def _ends(self) -> list[int]:
        """Where the weights of the pairs begin and end, pair by pair."""
        x, z, n = self.mixing.x, self.mixing.z, self.mixing.n_species
        return list(accumulate((n * x[i].mul * z[k].mul for i, k in self.pairs), initial=0))

    def _filled(self) -> list[tuple[int, int]]:
        """The pairs that have weights."""
        x, z = self.mixing.x, self.mixing.z
        return [(i, k) for i, k in self.pairs if x[i].mul and z[k].mul]

    def _in_matrix(self, i: int, k: int) -> tuple[int, int, int]:
        """The kind of two blocks; row and column in its matrix where their weights begin."""
        x, z = self.mixing.x, self.mixing.z
        for number, (ir, sources, results) in enumerate(self.mixing.kinds):
            if ir == z[k].ir:
                row = sum(x[a].mul for a in sources if a < i)
                return number, row, sum(z[b].mul for b in results if b < k)
        raise AssertionError("every block of the result is of some kind")

    def view(self, w: Tensor, i: int, k: int, species: bool) -> Tensor:
        """Weights (..., weight_numel) between two blocks, (..., [species,] in, out).

        Raises:
            ValueError: the blocks are not connected.
        """
        x, z, n = self.mixing.x, self.mixing.z, self.mixing.n_species
        if (i, k) not in self.pairs:
            raise ValueError(f"Linear: block {i} of {x} is not connected with block {k} of {z}")
        lead = (n,) if species else ()
        if not x[i].mul or not z[k].mul:
            return w[..., :0].reshape(*w.shape[:-1], *lead, x[i].mul, z[k].mul)
        if self.own_weights:
            number = self.pairs.index((i, k))
            part = w[..., self._ends[number] : self._ends[number + 1]]
            return part.unflatten(-1, (*lead, x[i].mul, z[k].mul))
        kind, row, column = self._in_matrix(i, k)
        sizes = [n * fan_in * channels for fan_in, channels in self.mixing.shapes]
        matrix = w[..., sum(sizes[:kind]) : sum(sizes[: kind + 1])]
        matrix = matrix.unflatten(-1, (*lead, *self.mixing.shapes[kind]))
        return matrix.narrow(-2, row, x[i].mul).narrow(-1, column, z[k].mul)

    @on_cpu
    def places(self) -> Tensor:
        """Where in the mixing's weights those of the pairs lie, (weight_numel,)."""
        x, z, n = self.mixing.x, self.mixing.z, self.mixing.n_species
        everywhere = torch.arange(self.mixing.weight_numel)
        matrices = everywhere.split([n * a * b for a, b in self.mixing.shapes])
        found = [everywhere[:0]]
        for i, k in self._filled():
            kind, row, column = self._in_matrix(i, k)
            matrix = matrices[kind].view(n, *self.mixing.shapes[kind])
            block = matrix.narrow(-2, row, x[i].mul).narrow(-1, column, z[k].mul)
            found.append(block.flatten())
        return torch.cat(found)

    @cached_property
    def _factors(self) -> list[float]:
        """Factor of each pair with weights; the mixing divides by the root of the kind's fan-in."""
        x, factors = self.mixing.x, []
        for i, k in self._filled():
            into = [x[a].mul for a, b in self.pairs if b == k]
            summed = len(into) * x[i].mul if self.normalization == "path" else sum(into)
            fan_in, _ = self.mixing.shapes[self._in_matrix(i, k)[0]]
            factors.append(sqrt(fan_in / max(summed, 1)))
        return factors

    def spread(self, w: Tensor, places: Tensor) -> Tensor:
        """Weights pair by pair as the mixing has them, zero between blocks that do not connect.

        Raises:
            ValueError: a wrong number of weights.
        """
        if w.numel() != self.weight_numel:
            raise ValueError(
                f"Linear: {w.numel()} weights are given, {self.weight_numel} are needed"
            )
        everything = w.new_zeros(self.mixing.weight_numel)
        if not self.weight_numel:
            return everything
        sizes = [b - a for a, b in zip(self._ends, self._ends[1:], strict=False) if b > a]
        parts = zip(w.reshape(-1).split(sizes), self._factors, strict=True)
        return everything.index_copy(0, places, torch.cat([part * f for part, f in parts]))

    def row_by_row(self) -> Specification:
        """The map, without its scale, as a product with one scalar: each row has weights.

        They lie pair by pair.
        """
        return Specification.from_instructions(
            self.mixing.x,
            "1x0e",
            self.mixing.z,
            [(i, 0, k, "uvw", True) for i, k in self.pairs],
            path_normalization=self.normalization,
            shared_weights=False,
        )
