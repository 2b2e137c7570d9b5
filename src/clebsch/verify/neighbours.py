"""The neighbour lists against every pair of atoms and images, counted one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from clebsch.simulate.neighbours import VerletList
from clebsch.structures.graph import AtomGraph
from clebsch.verify.cases import full_cell
from clebsch.verify.comparison import Deviation, count

_BORDER = 1e-9  # Å: at the cutoff itself rounding decides, and edges weigh nothing
_CENTRES = 300  # atoms whose neighbours are counted in a large structure

Edge = tuple[int, ...]


def check_lists(atoms: Atoms, cutoff: float) -> tuple[Deviation, Deviation]:
    """The list of a fresh graph, and that of a moving structure after a move that it outlasts.

    Args:
        atoms: the structure.
        cutoff: Å.
    """
    centres = np.unique(np.linspace(0, len(atoms) - 1, min(len(atoms), _CENTRES)).round())
    wanted = all_edges(atoms, cutoff, centres.astype(int))
    fresh = AtomGraph.from_atoms(atoms, cutoff)
    moving = VerletList(cutoff)
    before = atoms.copy()
    before.positions += np.random.default_rng(1).uniform(-0.1, 0.1, (len(atoms), 3))
    moving.graph(before)
    reused, _ = moving.graph(atoms)
    found = [_compared(graph, atoms, cutoff, centres, wanted) for graph in (fresh, reused)]
    return found[0], found[1]


def all_edges(atoms: Atoms, cutoff: float, centres: Any) -> set[Edge]:
    """Edges (src, dst, shifts) into the ``centres``, from all atoms and as many images as needed.

    Images of j are tried in all cells within the cutoff's reach: their number along a cell vector
    is the cutoff over the cell's height, more by how far the atoms lie outside of the cell.
    """
    cell, positions = full_cell(atoms.cell.array, atoms.pbc), atoms.positions
    inverse = np.linalg.inv(cell)
    spread = np.ptp(positions @ inverse, axis=0)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    reach = np.where(atoms.pbc, np.ceil(cutoff / heights + spread), 0).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    images = (shifts @ cell)[:, None, :] + positions  # (cells, atoms, 3)
    home = int(np.flatnonzero((shifts == 0).all(axis=1))[0])
    found: set[Edge] = set()
    for dst in centres:
        apart = images - positions[dst]
        near = np.einsum("snc,snc->sn", apart, apart) < cutoff**2
        near[home, dst] = False
        cells, sources = np.nonzero(near)
        found.update(
            (src, int(dst), *shift)
            for src, shift in zip(sources.tolist(), shifts[cells].tolist(), strict=True)
        )
    return found


def _compared(
    graph: AtomGraph, atoms: Atoms, cutoff: float, centres: Any, wanted: set[Edge]
) -> Deviation:
    listed = np.column_stack([graph.src, graph.dst, graph.shifts.round()]).astype(int)
    listed = listed[np.isin(listed[:, 1], centres)]
    edges = {tuple(edge) for edge in listed.tolist()}
    twice = len(listed) - len(edges)
    wrong = [edge for edge in wanted ^ edges if not _on_the_border(edge, atoms, cutoff)]
    place = f"{twice} edges are there twice" if twice else ""
    if wrong:
        src, dst, *shift = min(wrong)
        kind = "missing" if (src, dst, *shift) in wanted else "too many"
        place = f"{kind}: {src} -> {dst}, cell {shift}"
    return count("wrong edges", len(wrong) + twice, place)


def _on_the_border(edge: Any, atoms: Atoms, cutoff: float) -> bool:
    src, dst, *shift = edge
    vector = atoms.positions[src] - atoms.positions[dst] + np.array(shift) @ atoms.cell.array
    return bool(abs(np.linalg.norm(vector) - cutoff) < _BORDER)
