"""Batches packed by atoms and edges, so that memory use is even whatever the frames' sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


class PackedSampler(Sampler[list[int]]):
    """A batch sampler: as many frames per batch as fit in a budget of atoms and edges.

    Every position 0..n-1 comes exactly once per epoch. A frame above the budget goes alone. The
    order depends on ``seed`` and the epoch only. Iteration can stop and go on in another process:
    ``state_dict`` after k batches, loaded elsewhere, gives the batches from k on.

    Args:
        n_atoms: (n,) atoms of each frame.
        n_edges: (n,) edges of each frame.
        max_atoms: most atoms in a batch; None is no limit.
        max_edges: most edges in a batch; None is no limit.
        shuffle: a new order every epoch; otherwise the given one.
        seed: of the order.
        max_graphs: most frames in a batch; None is no limit.
        rank: which of ``replicas`` processes this is.
        replicas: processes that share the batches. Each has equally many: batches are halved
            until the number fits.
    """

    def __init__(
        self,
        n_atoms: npt.ArrayLike,
        n_edges: npt.ArrayLike,
        max_atoms: int | None = None,
        max_edges: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        max_graphs: int | None = None,
        rank: int = 0,
        replicas: int = 1,
    ) -> None:
        self.n_atoms = np.asarray(n_atoms, dtype=np.int64)
        self.n_edges = np.asarray(n_edges, dtype=np.int64)
        if self.n_atoms.shape != self.n_edges.shape:
            raise ValueError("n_atoms and n_edges must have one entry for each frame")
        self.max_atoms = max_atoms
        self.max_edges = max_edges
        self.max_graphs = max_graphs
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.replicas = replicas
        self.epoch = 0
        self._start = 0
        self._done = 0
        self._packed: tuple[int, list[list[int]]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the epoch to come."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._start = self._done = 0

    def batches(self) -> list[list[int]]:
        """All batches of this epoch for this process."""
        if self._packed is None or (self.shuffle and self._packed[0] != self.epoch):
            self._packed = (self.epoch, self._pack())
        return self._packed[1][self.rank :: self.replicas]

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.batches()
        start, self._start = self._start, 0
        for k in range(start, len(batches)):
            self._done = k + 1
            yield batches[k]
        self._done = 0

    def state_dict(self) -> dict[str, Any]:
        """Epoch and number of batches handed out in it."""
        return {"epoch": self.epoch, "done": self._done, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches already handed out."""
        self.epoch, self.seed = state["epoch"], state["seed"]
        self._start = self._done = state["done"]
        self._packed = None

    def _pack(self) -> list[list[int]]:
        n = len(self.n_atoms)
        order = np.arange(n)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(n)
        atoms_limit = self.max_atoms or np.inf
        edges_limit = self.max_edges or np.inf
        graphs_limit = self.max_graphs or np.inf
        packed: list[list[int]] = []
        atoms = edges = 0
        for i in order.tolist():
            atoms += int(self.n_atoms[i])
            edges += int(self.n_edges[i])
            if (
                not packed
                or atoms > atoms_limit
                or edges > edges_limit
                or len(packed[-1]) >= graphs_limit
            ):
                packed.append([])
                atoms, edges = int(self.n_atoms[i]), int(self.n_edges[i])
            packed[-1].append(i)
        return self._even(packed)

    def _even(self, packed: list[list[int]]) -> list[list[int]]:
        while len(packed) % self.replicas:
            largest = max(range(len(packed)), key=lambda k: len(packed[k]))
            batch = packed[largest]
            if len(batch) < 2:
                raise ValueError(f"{len(packed)} frames cannot be shared by {self.replicas}")
            packed[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        return packed
