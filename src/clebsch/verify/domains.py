"""A structure divided among several domains in one process, as LAMMPS divides it among ranks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from clebsch.ops import Edges
from clebsch.structures.graph import neighbour_list
from clebsch.verify.comparison import Prediction
from clebsch.verify.engines import EXACT, Engine, Model

_PATIENCE = 600.0  # seconds that a domain waits for the others


class Domains(Engine):
    """Every domain has a thread, knows its own atoms and ghosts, and exchanges features.

    Needs no LAMMPS, yet takes the same way through the model: features of ghosts from their
    owners at every layer, and the derivatives by them back. Slices are cut along the direction in
    which the structure is longest; a lone atom leaves the other domains empty.

    Args:
        model: is not changed.
        count: number of domains.
    """

    keyword, tolerance, cost = "domains", EXACT, 2.5

    def __init__(self, model: Model, count: int = 2) -> None:
        self.name = f"{count} domains, float64"
        self.model = copy.deepcopy(model).double().eval().requires_grad_(False)
        self.count = count

    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        with ThreadPoolExecutor(self.count) as pool:
            return [self._evaluate(atoms, pool) for atoms in structures]

    def _evaluate(self, atoms: Atoms, pool: ThreadPoolExecutor) -> Prediction:
        parts = _divide(atoms, self.model.cutoff, self.count)
        board = Board(parts)
        running = [pool.submit(self._compute, atoms, board, rank) for rank in range(self.count)]
        results = _results(running)
        energies, forces, virial = np.zeros(len(atoms)), np.zeros((len(atoms), 3)), np.zeros((3, 3))
        for part, (energy, slopes) in zip(parts, results, strict=True):
            energies[part.local] = energy
            np.add.at(forces, part.owner[part.dst], slopes)
            np.add.at(forces, part.owner[part.src], -slopes)
            virial += part.vectors.T @ slopes
        virial = (virial + virial.T) / 2
        return Prediction(float(energies.sum()), energies, forces, virial)

    def _compute(self, atoms: Atoms, board: Board, rank: int) -> tuple[Any, Any]:
        part = board.parts[rank]
        numbers = torch.from_numpy(atoms.numbers[part.owner])
        edges = Edges(torch.from_numpy(part.src), torch.from_numpy(part.dst), len(part.local))
        try:
            energy, slopes = self.model.energies_and_slopes(
                torch.from_numpy(part.vectors),
                self.model.species_of(numbers),
                edges,
                Neighbours(board, rank),
            )
        except BaseException:
            board.barrier.abort()  # the others must not wait
            raise
        shifts = dict(zip(self.model.config.numbers, self.model.config.shifts, strict=False))
        own = np.array([shifts.get(z, 0.0) for z in atoms.numbers[part.local].tolist()])
        return energy.detach().numpy() + own, slopes.detach().numpy()


@dataclass(frozen=True)
class Part:
    """One domain: its atoms, its ghosts, and the edges into its atoms.

    Attributes:
        local: (n_local,) atoms of the structure.
        owner: (n_local + n_ghost,) atom of the structure that each row is or is an image of.
        src, dst: (E,) rows; ``dst`` is below n_local and ascends.
        vectors: (E, 3) from dst to src, Å.
    """

    local: Any
    owner: Any
    src: Any
    dst: Any
    vectors: Any


class Board:
    """Where the domains lay out rows for each other.

    Args:
        parts: the domains.

    Attributes:
        home: (N, 2) domain of each atom, and its row there.
    """

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.barrier = Barrier(len(parts), timeout=_PATIENCE)
        self.rows: list[Tensor | None] = [None] * len(parts)
        self.home = np.zeros((sum(len(part.local) for part in parts), 2), dtype=np.int64)
        for number, part in enumerate(parts):
            self.home[part.local, 0] = number
            self.home[part.local, 1] = np.arange(len(part.local))

    def exchange(self, rank: int, rows: Tensor) -> list[Tensor]:
        """Lay out ``rows``; returns those of all domains once they are there."""
        self.barrier.wait()  # what was laid out before has been read
        self.rows[rank] = rows
        self.barrier.wait()
        return [laid for laid in self.rows if laid is not None]


class Neighbours:
    """The exchange of one domain with all of them: ``ops.exchange.Exchange``."""

    def __init__(self, board: Board, rank: int) -> None:
        self.board, self.rank = board, rank
        self.part = board.parts[rank]

    def forward(self, rows: Tensor) -> Tensor:
        laid = self.board.exchange(self.rank, rows)
        domain, row = self.board.home[self.part.owner[len(self.part.local) :]].T
        ghosts = rows.new_empty(len(domain), rows.shape[1])
        for number, theirs in enumerate(laid):
            mine = torch.from_numpy(np.flatnonzero(domain == number))
            ghosts[mine] = theirs[torch.from_numpy(row[domain == number])]
        return torch.cat([rows, ghosts])

    def reverse(self, rows: Tensor) -> Tensor:
        laid = self.board.exchange(self.rank, rows)
        total = rows[: len(self.part.local)].clone()
        for part, theirs in zip(self.board.parts, laid, strict=True):
            n = len(part.local)
            domain, row = self.board.home[part.owner[n:]].T
            mine = np.flatnonzero(domain == self.rank)
            total.index_add_(0, torch.from_numpy(row[mine]), theirs[torch.from_numpy(mine + n)])
        return total


def _divide(atoms: Atoms, cutoff: float, count: int) -> list[Part]:
    src, dst, shifts = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    vectors = atoms.positions[src] - atoms.positions[dst] + shifts @ atoms.cell.array
    along = atoms.positions[:, int(np.ptp(atoms.positions, axis=0).argmax())]
    domain = np.empty(len(atoms), dtype=np.int64)
    domain[np.argsort(along, kind="stable")] = np.arange(len(atoms)) * count // len(atoms)
    parts = []
    for number in range(count):
        local = np.flatnonzero(domain == number)
        row = np.full(len(atoms), -1)
        row[local] = np.arange(len(local))
        into = np.flatnonzero(domain[dst] == number)
        at_home = (shifts[into] == 0).all(axis=1) & (row[src[into]] >= 0)
        images = np.concatenate([src[into][:, None], shifts[into]], axis=1)
        ghosts, which = np.unique(images[~at_home], axis=0, return_inverse=True)
        source = row[src[into]]
        source[~at_home] = len(local) + which.reshape(-1)
        owner = np.concatenate([local, ghosts[:, 0]]).astype(np.int64)
        parts.append(Part(local, owner, source, row[dst[into]], vectors[into]))
    return parts


def _results(running: list[Future[Any]]) -> list[Any]:
    """Of all domains; where one failed, its own error and not that of those that waited."""
    failures = [error for task in running if (error := task.exception()) is not None]
    for error in failures:
        if not isinstance(error, BrokenBarrierError):
            raise error
    return [task.result() for task in running]
