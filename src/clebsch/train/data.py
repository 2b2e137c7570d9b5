"""Frames for training: the three parts, checked, and the batches of each epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.structures import (
    AtomGraph,
    Dataset,
    GraphDataset,
    PackedSampler,
    collate,
    read_dataset,
    split_dataset,
)
from clebsch.train.config import DataConfig, SplitConfig, TrainConfig


@dataclass
class Part:
    """Some frames of a data set."""

    dataset: Dataset
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


@dataclass
class Parts:
    """The frames to train on, to choose the best epoch by, and to test on at the end."""

    train: Part
    valid: Part
    test: Part

    def named(self) -> dict[str, Part]:
        """The parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def read_parts(data: DataConfig, split: SplitConfig, seed: int) -> Parts:
    """Read the files and split off what has no file of its own.

    Raises:
        UserError: a file cannot be read, the split asks for more frames than there are, or an
            element in the validation or test part is absent from the training part.
    """
    if data.train is None:
        raise UserError("no data given; name a file: clebsch train potential DATA.")
    keys = (data.energy_key, data.forces_key, data.stress_key)
    whole = read_dataset(data.train, *keys)
    counts = _counts(len(whole.frames), split, data)
    chosen = split_dataset(whole, *counts, seed=seed, by=split.by)
    parts = {
        "train": Part(whole, np.asarray(chosen.train)),
        "valid": Part(whole, np.asarray(chosen.valid)),
        "test": Part(whole, np.asarray(chosen.test)),
    }
    for name, path in (("valid", data.valid), ("test", data.test)):
        if path is not None:
            other = read_dataset(path, *keys)
            parts[name] = Part(other, other.frames)
    result = Parts(**parts)
    _check_elements(result)
    return result


def _counts(n: int, split: SplitConfig, data: DataConfig) -> tuple[int, int, int]:
    """Numbers of frames to take from the training file for the three parts."""

    def count(value: float | None, default: float, name: str) -> int:
        value = default if value is None else value
        if isinstance(value, float) and value > 1:
            raise UserError(f"split.{name} is {value}: give a fraction below 1 or a whole number.")
        return round(value * n) if isinstance(value, float) else int(value)

    # At least one frame each where there are three or more.
    least = 1 if n >= 3 else 0
    valid = 0 if data.valid else max(count(split.valid, 0.1, "valid"), least * (split.valid != 0))
    test = 0 if data.test else max(count(split.test, 0.1, "test"), least * (split.test != 0))
    rest = n - valid - test
    train = rest if split.train is None else min(count(split.train, 1.0, "train"), n)
    if isinstance(split.train, float):  # rounding must not ask for one frame too many
        train = min(train, max(rest, 1))
    if train < 1 or train + valid + test > n:
        raise UserError(
            f"{data.train}: has {n} frames, but the split asks for {max(train, 1)} to train, "
            f"{valid} to validate and {test} to test; lower split.train, split.valid or split.test."
        )
    return train, valid, test


def _check_elements(parts: Parts) -> None:
    known = {int(z) for i in parts.train.indices for z in set(parts.train.dataset[int(i)].numbers)}
    for name in ("valid", "test"):
        part = parts.named()[name]
        for i in part.indices:
            unknown = sorted(set(part.dataset[int(i)].numbers.tolist()) - known)
            if unknown:
                raise UserError(
                    f"{part.dataset.where(int(i))}: the {name} set has the element "
                    f"{chemical_symbols[unknown[0]]}, which no training frame has; "
                    "add such frames to training or take this one out."
                )


def data_sources(parts: Parts) -> dict[str, dict[str, str]]:
    """Path of the data set behind each part, and the hash of its structures and labels."""
    hashes: dict[int, str] = {}
    for part in parts.named().values():
        if id(part.dataset) not in hashes:
            hashes[id(part.dataset)] = part.dataset.fingerprint()
    return {
        name: {"path": part.dataset.path, "sha256": hashes[id(part.dataset)]}
        for name, part in parts.named().items()
    }


def save_split(parts: Parts, sources: dict[str, Any], path: Path) -> None:
    """Write paths, hashes and frame indices of each part as JSON."""
    content = {
        name: {**sources[name], "frames": np.asarray(part.indices).tolist()}
        for name, part in parts.named().items()
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def pack(
    graphs: GraphDataset, max_atoms: int, max_edges: int, shuffle: bool, seed: int = 0
) -> PackedSampler:
    """Batches of at most ``max_atoms`` atoms and ``max_edges`` edges (one larger frame alone)."""
    return PackedSampler(
        graphs.n_atoms, graphs.n_edges, max_atoms, max_edges, shuffle=shuffle, seed=seed
    )


class EpochBatches(Sampler[list[int]]):
    """The batches of one epoch, or one process's equal share of them."""

    def __init__(self, sampler: PackedSampler, epoch: int, rank: int = 0, world: int = 1) -> None:
        sampler.set_epoch(epoch)
        batches = [list(batch) for batch in sampler]
        even = max(len(batches) // world, 1)
        self.batches = batches[rank::world][:even] or batches[:1]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class PotentialData(LightningDataModule):
    """Batches of training, a new order each epoch that depends on seed and epoch only."""

    def __init__(self, parts: Parts, config: TrainConfig) -> None:
        super().__init__()
        dtype = getattr(torch, config.dtype)
        cutoff = float(config.model["cutoff"])
        assert config.batch.atoms is not None
        assert config.batch.edges is not None
        self.budget = (config.batch.atoms, config.batch.edges)
        self.graphs = {
            name: GraphDataset(part.dataset, part.indices, cutoff, dtype)
            for name, part in parts.named().items()
        }
        self.sampler = pack(self.graphs["train"], *self.budget, shuffle=True, seed=config.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """Called once per epoch."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        epoch = trainer.current_epoch if trainer else 0
        return DataLoader(
            self.graphs["train"],
            batch_sampler=EpochBatches(self.sampler, epoch, rank, world),
            collate_fn=collate,
        )

    def batches(self, name: str) -> Iterator[AtomGraph]:
        """Batches of a part in order, four times as large as in training."""
        graphs = self.graphs[name]
        if len(graphs) == 0:
            return
        atoms, edges = self.budget
        for batch in pack(graphs, 4 * atoms, 4 * edges, shuffle=False):
            yield collate([graphs[i] for i in batch])
