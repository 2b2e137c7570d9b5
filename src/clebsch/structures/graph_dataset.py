"""Graphs of a data set, for ``torch.utils.data.DataLoader``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

from clebsch.errors import UserError
from clebsch.structures.dataset import Dataset
from clebsch.structures.graph import AtomGraph


class GraphDataset(torch.utils.data.Dataset[AtomGraph]):
    """The graph of each chosen frame, built when first asked for and kept while memory lasts.

    Args:
        dataset: frames.
        indices: which of them, in this order; ``graph.frame`` is the index in ``dataset``.
        cutoff: Å.
        dtype: of positions and labels.
        cache_bytes: memory for graphs to keep; those beyond it are built again each time.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int] | npt.NDArray[np.int64],
        cutoff: float,
        dtype: torch.dtype | None = None,
        cache_bytes: int = 2 * 1024**3,
    ) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        self.cutoff = cutoff
        self.dtype = dtype or torch.get_default_dtype()
        self._room = cache_bytes
        self._cache: dict[int, AtomGraph] = {}
        self._sizes: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> AtomGraph:
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        frame = int(self.indices[index])
        try:
            graph = AtomGraph.from_atoms(self.dataset[frame], self.cutoff, self.dtype, frame)
        except UserError as error:
            if str(error).startswith(self.dataset.where(frame)):
                raise
            raise UserError(f"{self.dataset.where(frame)}: {error}") from error
        if graph.nbytes <= self._room:
            self._room -= graph.nbytes
            self._cache[index] = graph
        return graph

    def sizes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Atoms (n,) and edges (n,) of every graph, for ``PackedSampler``."""
        if self._sizes is None:
            atoms = self.dataset.n_atoms[self.indices]
            edges = np.array([self[i].n_edges for i in range(len(self))], dtype=np.int64)
            self._sizes = atoms, edges
        return self._sizes
