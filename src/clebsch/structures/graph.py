"""An atomic structure as a periodic graph; a batch of them is one larger graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from torch import Tensor
from vesin import NeighborList

from clebsch.errors import UserError

_THREADED_ABOVE = 500  # atoms; below this the start of threads costs more than it saves

#: Neighbours per atom, on average, above which a cutoff is a mistake: 23 to 36 Å in solids.
MOST_NEIGHBOURS = 10_000


@dataclass
class AtomGraph:
    """One structure, or several side by side (a batch is the same type).

    N atoms, E directed edges, G structures. An edge carries information from ``src`` to ``dst``;
    its vector is ``positions[src] + shifts @ cell - positions[dst]``. Edges are sorted by
    (dst, src, shift), so sums over them are reproducible. Lengths in Å.

    Attributes:
        numbers: (N,) int64 atomic numbers.
        positions: (N, 3) Å.
        cell: (G, 3, 3) Å, rows are the cell vectors; zero where there is none.
        pbc: (G, 3) bool.
        src: (E,) int64 the neighbour that sends.
        dst: (E,) int64 the centre that receives.
        shifts: (E, 3) whole numbers of cell vectors, dtype of ``positions``.
        batch: (N,) int64 structure of each atom.
        energy: (G,) eV, always float64 (total energies are large), NaN where there is no label.
        forces: (N, 3) eV/Å, NaN where there is no label.
        stress: (G, 3, 3) eV/Å^3, tension positive, NaN where there is no label.
        config_type: G names.
        frame: (G,) int64 index in the data set, -1 where there is none.
    """

    numbers: Tensor
    positions: Tensor
    cell: Tensor
    pbc: Tensor
    src: Tensor
    dst: Tensor
    shifts: Tensor
    batch: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor
    config_type: tuple[str, ...]
    frame: Tensor

    @property
    def n_atoms(self) -> int:
        return self.numbers.shape[0]

    @property
    def n_edges(self) -> int:
        return self.src.shape[0]

    @property
    def n_graphs(self) -> int:
        return self.cell.shape[0]

    @property
    def nbytes(self) -> int:
        """Memory of all tensors, in bytes."""
        return sum(t.numel() * t.element_size() for t in self._tensors().values())

    def vectors(self) -> Tensor:
        """Edge vectors (E, 3) in Å from ``dst`` to ``src``; differentiable."""
        between = self.positions.index_select(0, self.src) - self.positions.index_select(
            0, self.dst
        )
        if self.n_graphs == 1:
            return between + self.shifts @ self.cell[0]
        cell = self.cell.index_select(0, self.batch.index_select(0, self.dst))
        return between + torch.einsum("ea,eab->eb", self.shifts, cell)

    def to(
        self,
        device: torch.device | str | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
        non_blocking: bool = False,
    ) -> AtomGraph:
        """Move every tensor to ``device`` and the floating-point ones to ``dtype``.

        As of a tensor, the type may come alone: ``graph.to(torch.float64)``. Energies stay float64.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        moved = {
            name: t.to(
                device=device,
                dtype=dtype if t.is_floating_point() and name != "energy" else None,
                non_blocking=non_blocking,
            )
            for name, t in self._tensors().items()
        }
        return replace(self, **moved)

    def pin_memory(self) -> AtomGraph:
        """Copy to page-locked memory; called by ``torch.utils.data.DataLoader``."""
        return replace(self, **{name: t.pin_memory() for name, t in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "config_type"}

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        cutoff: float,
        dtype: torch.dtype | None = None,
        frame: int = -1,
    ) -> AtomGraph:
        """Graph of all pairs closer than ``cutoff``.

        Labels are taken from a ``SinglePointCalculator`` only: the results of a live calculator
        are not reference data. Neighbours are found in float64 whatever ``dtype`` is.

        Args:
            atoms: periodic in any subset of directions; atoms may lie outside of the cell.
            cutoff: Å.
            dtype: of the floating-point tensors; torch's default when None.
            frame: index in the data set that the structure comes from.

        Raises:
            UserError: positions that are not finite, or periodic directions without volume.
        """
        dtype = dtype or torch.get_default_dtype()
        positions = atoms.positions
        cell = atoms.cell.array
        src, dst, shifts = neighbour_list(positions, cell, atoms.pbc, cutoff)
        n = len(positions)
        energy, forces, stress = _labels(atoms)
        return cls(
            numbers=torch.from_numpy(atoms.numbers.astype(np.int64)),
            positions=torch.tensor(positions, dtype=dtype),
            cell=torch.tensor(cell, dtype=dtype).unsqueeze(0),
            pbc=torch.tensor(atoms.pbc).unsqueeze(0),
            src=torch.from_numpy(src),
            dst=torch.from_numpy(dst),
            shifts=torch.from_numpy(shifts).to(dtype),
            batch=torch.zeros(n, dtype=torch.int64),
            energy=torch.tensor([energy], dtype=torch.float64),
            forces=torch.full((n, 3), torch.nan, dtype=dtype)
            if forces is None
            else torch.tensor(forces, dtype=dtype),
            stress=torch.full((1, 3, 3), torch.nan, dtype=dtype)
            if stress is None
            else torch.tensor(stress, dtype=dtype).unsqueeze(0),
            config_type=(str(atoms.info.get("config_type", "default")),),
            frame=torch.tensor([frame]),
        )


def neighbour_list(
    positions: npt.ArrayLike, cell: npt.ArrayLike, pbc: npt.ArrayLike, cutoff: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Full neighbour list: ``src`` (E,), ``dst`` (E,), ``shifts`` (E, 3).

    Sorted by (dst, src, shift). Periodic images of an atom are its neighbours, the atom itself
    is not. Lengths in Å; rows of ``cell`` are the cell vectors.

    Raises:
        UserError: positions that are not finite, periodic directions without volume, or a
            cutoff that is not positive or gives an atom more than `MOST_NEIGHBOURS`.
    """
    points = np.ascontiguousarray(positions, dtype=np.float64)
    box = np.ascontiguousarray(cell, dtype=np.float64)
    periodic = np.ascontiguousarray(pbc, dtype=np.bool_)
    if not (cutoff > 0 and np.isfinite(cutoff)):
        raise UserError(f"The cutoff must be a positive length in Å, not {cutoff}.")
    if not np.isfinite(points).all():
        atom = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise UserError(f"The position of atom {atom} is not finite: {points[atom].tolist()}.")
    volume = periodic_volume(box, periodic) if periodic.any() else 1.0
    if volume < 1e-8:
        raise UserError(
            f"The cell has no volume in its periodic directions (pbc = {periodic.tolist()}, "
            f"cell = {box.tolist()}); give the cell or set pbc to False."
        )
    n = len(points)
    about = _expected_neighbours(points, box, periodic, volume, cutoff)
    if about > MOST_NEIGHBOURS:
        raise UserError(
            f"A cutoff of {cutoff:g} Å gives an atom about {round(about)} neighbours here, more "
            f"than the {MOST_NEIGHBOURS} that are allowed; take a shorter one, 4 to 10 Å are usual."
        )
    if _too_flat_for_cell_list(points, box, periodic, cutoff):
        from ase.neighborlist import primitive_neighbor_list  # late: imports much of scipy

        dst, src, shifts = primitive_neighbor_list("ijS", periodic, box, points, cutoff)
    else:
        finder = NeighborList(
            cutoff=cutoff, full_list=True, n_threads=1 if n < _THREADED_ABOVE else 0
        )
        pairs, shifts = finder.compute(points, box, periodic, "PS", copy=False)
        pairs = pairs.astype(np.int64)
        dst, src = pairs[:, 0], pairs[:, 1]
    # One integer orders (dst, src, shift); a single stable sort is far cheaper than lexsort.
    reach = int(np.abs(shifts).max(initial=0))
    width = 2 * reach + 1
    key = dst * n + src
    if reach:
        s = shifts.astype(np.int64) + reach
        key = ((key * width + s[:, 0]) * width + s[:, 1]) * width + s[:, 2]
    order = np.argsort(key, kind="stable")
    return src[order], dst[order], shifts[order]


def _expected_neighbours(
    points: npt.NDArray[np.float64],
    box: npt.NDArray[np.float64],
    periodic: npt.NDArray[np.bool_],
    volume: float,
    cutoff: float,
) -> float:
    """Neighbours of an atom at the mean density, without looking for any."""
    n, d = len(points), int(periodic.sum())
    if d == 3:
        return float(n * (4 / 3) * np.pi * cutoff**3 / volume)
    if n == 0 or (d == 0 and n <= MOST_NEIGHBOURS):
        return float(n)  # at most
    # The last axes of the decomposition are those across the periodic directions.
    across = np.ptp(points @ np.linalg.svd(box[periodic].reshape(d, 3))[2][d:].T, axis=0)
    within = np.minimum(1.0, 2 * cutoff / np.maximum(across, 1e-9))
    reach = (1.0, 2 * cutoff, np.pi * cutoff**2)[d]
    return float(n * reach / volume * within.prod())


def _too_flat_for_cell_list(
    points: npt.NDArray[np.float64],
    box: npt.NDArray[np.float64],
    periodic: npt.NDArray[np.bool_],
    cutoff: float,
) -> bool:
    """Whether vesin's grid would lose its thinnest direction and divide by zero (vesin 0.6).

    It caps the number of grid cells by shrinking all three directions alike, so a very wide and
    thin structure (a fragment that flew off a planar molecule) ends with no cell across.
    """
    if np.abs(points).max(initial=0.0) + np.abs(box).max() < 50 * cutoff:
        return False
    heights = np.where(periodic, np.linalg.norm(box, axis=1), np.ptp(points, axis=0))
    cells = np.maximum(heights / cutoff, 1.0)
    return bool(cells.min() < np.cbrt(cells.prod() / 2e4))


def periodic_volume(cell: npt.NDArray[np.float64], pbc: npt.NDArray[np.bool_]) -> float:
    """Length, area or volume spanned by the periodic cell vectors, relative to a cube of 1 Å."""
    # Singular values: the determinant of the metric loses half of the digits of a flat cell.
    return float(np.linalg.svd(cell[pbc], compute_uv=False).prod())


def collate(graphs: Sequence[AtomGraph]) -> AtomGraph:
    """Put graphs side by side in one; the inverse order is kept by ``batch`` and ``frame``.

    Raises:
        ValueError: no graph is given.
    """
    if not graphs:
        raise ValueError("collate needs at least one graph")
    if len(graphs) == 1:
        return graphs[0]
    atoms = np.cumsum([0] + [g.n_atoms for g in graphs[:-1]]).tolist()
    count = np.cumsum([0] + [g.n_graphs for g in graphs[:-1]]).tolist()
    joined: dict[str, Any] = {
        f.name: torch.cat([getattr(g, f.name) for g in graphs])
        for f in fields(AtomGraph)
        if f.name not in ("src", "dst", "batch", "config_type")
    }
    return AtomGraph(
        **joined,
        src=torch.cat([g.src + o for g, o in zip(graphs, atoms, strict=True)]),
        dst=torch.cat([g.dst + o for g, o in zip(graphs, atoms, strict=True)]),
        batch=torch.cat([g.batch + o for g, o in zip(graphs, count, strict=True)]),
        config_type=tuple(name for g in graphs for name in g.config_type),
    )


def _labels(
    atoms: Atoms,
) -> tuple[float, npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    if not isinstance(atoms.calc, SinglePointCalculator):
        return np.nan, None, None
    results = atoms.calc.results
    energy, forces, stress = (results.get(k) for k in ("energy", "forces", "stress"))
    return (
        np.nan if energy is None else float(energy),
        forces,
        None if stress is None else full_stress(stress),
    )


def full_stress(stress: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Stress as (3, 3), from that, 9 components, or ASE's six (xx, yy, zz, yz, xz, xy).

    Raises:
        ValueError: another shape.
    """
    s = np.asarray(stress, dtype=np.float64)
    if s.shape == (6,):
        return s[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    return s.reshape(3, 3)
