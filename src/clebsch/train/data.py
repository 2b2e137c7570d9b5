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
from torch.utils.data import DataLoader

from clebsch.errors import UserError
from clebsch.files import write_text
from clebsch.structures import (
    AtomGraph,
    Dataset,
    GraphDataset,
    PackedSampler,
    collate,
    read_dataset,
    split_dataset,
)
from clebsch.train.config import DataConfig, RunConfig, SplitConfig


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
    chosen = split_dataset(whole, *_shares(len(whole.frames), split, data), seed=seed, by=split.by)
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
    if len(result.train) == 0:
        raise UserError(
            f"{whole.path}: the split leaves none of its {len(whole.frames)} frames to train on; "
            "lower split.valid or split.test."
        )
    check_elements(result)
    return result


def _shares(
    n: int, split: SplitConfig, data: DataConfig
) -> tuple[float | None, float | None, float | None]:
    """What to take from the training file: a tenth each to validate and test by default."""

    def share(asked: float | None, path: str | None) -> float:
        if path is not None:
            return 0
        share = 0.1 if asked is None else asked
        # A small set still gives one frame each, where frames are drawn singly.
        few = isinstance(share, float) and 0 < share * n < 1 and n >= 3 and split.by == "frame"
        return 1 if few else share

    return split.train, share(split.valid, data.valid), share(split.test, data.test)


def check_elements(parts: Parts) -> None:
    """Refuse validation and test frames with elements that no training frame has."""
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
    write_text(path, json.dumps(content) + "\n")


class GraphData(LightningDataModule):
    """Batches of training, a new order each epoch that depends on seed and epoch only.

    Args:
        parts: the frames.
        config: of the run, its batch resolved.
        cutoff: of the neighbours, Å.
    """

    def __init__(self, parts: Parts, config: RunConfig, cutoff: float) -> None:
        super().__init__()
        dtype = getattr(torch, config.dtype)
        assert config.batch.atoms is not None
        assert config.batch.edges is not None
        self.budget = (config.batch.atoms, config.batch.edges)
        self.graphs = {
            name: GraphDataset(part.dataset, part.indices, cutoff, dtype)
            for name, part in parts.named().items()
        }
        self.seed = config.seed

    def edges_per_batch(self) -> float:
        """Mean number of edges of a training batch."""
        atoms, edges = (np.asarray(n, dtype=float).mean() for n in self.graphs["train"].sizes())
        return float(min(self.budget[1], edges * max(1.0, self.budget[0] / max(atoms, 1.0))))

    def train_dataloader(self) -> DataLoader[Any]:
        """Called once per epoch."""
        trainer = self.trainer
        assert trainer is not None
        graphs = self.graphs["train"]
        sampler = PackedSampler(
            *graphs.sizes(),
            *self.budget,
            seed=self.seed,
            rank=trainer.global_rank,
            replicas=trainer.world_size,
        )
        sampler.set_epoch(trainer.current_epoch)
        return DataLoader(graphs, batch_sampler=sampler, collate_fn=collate)

    def batches(self, name: str) -> Iterator[AtomGraph]:
        """Batches of a part in order, four times as large as in training."""
        graphs = self.graphs[name]
        if len(graphs) == 0:
            return
        atoms, edges = self.budget
        for batch in PackedSampler(*graphs.sizes(), 4 * atoms, 4 * edges, shuffle=False):
            yield collate([graphs[i] for i in batch])
