"""Atoms to periodic graphs to batches; readers, splits, statistics and inspection of data sets."""

from clebsch.structures.dataset import Dataset, FrameList
from clebsch.structures.graph import AtomGraph, collate, neighbour_list
from clebsch.structures.graph_dataset import GraphDataset
from clebsch.structures.hdf5 import write_hdf5
from clebsch.structures.reading import DataWarning, read_dataset
from clebsch.structures.sampling import PackedSampler
from clebsch.structures.splits import Split, split_dataset
from clebsch.structures.statistics import Statistics, dataset_statistics

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
