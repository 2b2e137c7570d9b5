"""A Verlet neighbour list: built with a skin, reused until the skin is spent.

Verlet, Phys. Rev. 159, 98 (1967).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms

from clebsch.structures.graph import AtomGraph


@dataclass
class _Reference:
    """The list at its last build, with everything inside cutoff + skin."""

    graph: AtomGraph
    numbers: np.ndarray
    pbc: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    shifts: np.ndarray


class VerletList:
    """Graphs of a moving structure, with exactly the edges of a fresh list.

    Edges keep the order (dst, src, shift) of `AtomGraph`, so that a graph does not depend
    on when the list was last built: a model gives bit-equal results from a reused and a fresh one.

    Args:
        cutoff: Å, edges of the graphs.
        skin: Å, extra reach of the stored list; 0 builds it afresh at every call.
        dtype: of the positions that the model sees.
    """

    def __init__(self, cutoff: float, skin: float = 0.5, dtype: torch.dtype = torch.float32):
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.dtype = dtype
        self.builds = 0
        self._reference: _Reference | None = None

    def graph(self, atoms: Atoms) -> tuple[AtomGraph, np.ndarray]:
        """Return the graph of ``atoms`` and the length (E,) of each edge in Å (float64)."""
        reference = self._reference
        if reference is None or not self._covers(reference, atoms):
            reference = self._reference = self._build(atoms)
        positions = atoms.get_positions()
        cell = np.array(atoms.cell.array)  # a copy: the graph outlives changes of the structure
        vectors = positions[reference.src] - positions[reference.dst] + reference.shifts @ cell
        lengths = np.sqrt(np.einsum("ec,ec->e", vectors, vectors))
        within = lengths < self.cutoff
        keep = torch.from_numpy(np.flatnonzero(within))
        built = reference.graph
        graph = replace(
            built,
            positions=torch.from_numpy(positions).to(self.dtype),
            cell=torch.from_numpy(cell).to(self.dtype)[None],
            src=built.src[keep],
            dst=built.dst[keep],
            shifts=built.shifts[keep],
        )
        return graph, lengths[within]

    def _build(self, atoms: Atoms) -> _Reference:
        self.builds += 1
        bare = Atoms(
            numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc
        )
        graph = AtomGraph.from_atoms(bare, self.cutoff + self.skin, torch.float64)
        return _Reference(
            graph=graph.to(dtype=self.dtype),
            numbers=atoms.numbers.copy(),
            pbc=atoms.pbc.copy(),
            positions=atoms.get_positions(),
            cell=np.array(atoms.cell.array),
            src=graph.src.numpy(),
            dst=graph.dst.numpy(),
            shifts=graph.shifts.numpy(),
        )

    def _covers(self, reference: _Reference, atoms: Atoms) -> bool:
        """Whether no pair outside the stored list can have come within the cutoff.

        With h = h0 F and r = r0 F + u an edge is v = v0 F + u_j - u_i, hence
        |v| >= s_min(F) |v0| - 2 max|u|, and each pair that is not stored has
        |v0| >= cutoff + skin.
        """
        if (
            self.skin <= 0
            or len(atoms) != len(reference.numbers)
            or not np.array_equal(atoms.numbers, reference.numbers)
            or not np.array_equal(atoms.pbc, reference.pbc)
        ):
            return False
        cell = np.asarray(atoms.cell.array)
        if np.array_equal(cell, reference.cell) or not atoms.pbc.any():
            moved, shrink = atoms.positions - reference.positions, 1.0
        elif atoms.pbc.all():
            strain = np.linalg.solve(reference.cell, cell)
            moved = atoms.positions - reference.positions @ strain
            shrink = float(np.linalg.svd(strain, compute_uv=False)[-1])
        else:  # a slab or wire with a changing cell is rare: build afresh
            return False
        if not len(moved):
            return True
        furthest = float(np.sqrt(np.einsum("nc,nc->n", moved, moved).max()))
        # A NaN position compares as False, so that a broken structure is never "covered".
        return shrink * (self.cutoff + self.skin) - 2.0 * furthest >= self.cutoff
