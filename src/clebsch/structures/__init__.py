"""Atoms to periodic graphs to batches; readers, splits, statistics and inspection of data sets.

Names are imported when they are first used, so that a model needs no reader of files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.structures.dataset import Dataset, FrameList
    from clebsch.structures.graph import AtomGraph, collate, neighbour_list
    from clebsch.structures.graph_dataset import GraphDataset
    from clebsch.structures.hdf5 import write_hdf5
    from clebsch.structures.reading import DataWarning, read_dataset
    from clebsch.structures.sampling import PackedSampler
    from clebsch.structures.splits import Split, split_dataset
    from clebsch.structures.statistics import Statistics, dataset_statistics

_HOMES = {
    "AtomGraph": "graph",
    "DataWarning": "reading",
    "Dataset": "dataset",
    "FrameList": "dataset",
    "GraphDataset": "graph_dataset",
    "PackedSampler": "sampling",
    "Split": "splits",
    "Statistics": "statistics",
    "collate": "graph",
    "dataset_statistics": "statistics",
    "neighbour_list": "graph",
    "read_dataset": "reading",
    "split_dataset": "splits",
    "write_hdf5": "hdf5",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "AtomGraph",
    "DataWarning",
    "Dataset",
    "FrameList",
    "GraphDataset",
    "PackedSampler",
    "Split",
    "Statistics",
    "collate",
    "dataset_statistics",
    "neighbour_list",
    "read_dataset",
    "split_dataset",
    "write_hdf5",
]
