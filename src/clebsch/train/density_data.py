"""Molecules with reference densities as frames to train on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clebsch.density.data import DensityDataset, DensityRecord, read_density
from clebsch.errors import UserError
from clebsch.structures import split_dataset
from clebsch.structures.dataset import Dataset, FrameList
from clebsch.train.data import Part, Parts, check_elements
from clebsch.train.density_config import DensityTrainConfig

_PARTS = {"valid": "valid", "val": "valid", "validation": "valid", "train": "train"}


class DensityFrames(Dataset):
    """Molecules of one or several files in one auxiliary basis.

    Raises:
        UserError: the files are of different bases, or one structure is there twice.
    """

    def __init__(self, files: Sequence[DensityDataset]) -> None:
        first = files[0]
        for file in files[1:]:
            first.basis.check_same(file.basis, file.path)
        self.basis = first.basis
        self.level = first.level
        self.free_atoms = first.free_atoms
        self.records: list[DensityRecord] = [r for file in files for r in file]
        seen: dict[str, int] = {}
        sources = []
        for file in files:
            frames = []
            for record in file:
                if record.key in seen:
                    raise UserError(
                        f"{record.source or file.path}: is the same structure as "
                        f"{self.records[seen[record.key]].source}; a molecule in two parts would "
                        "be tested on what it was trained on: keep one."
                    )
                seen[record.key] = len(seen)
                atoms = record.atoms()
                if record.split:
                    atoms.info["split"] = record.split
                frames.append(atoms)
            sources.append(FrameList(file.path, frames))
        super().__init__(sources)
        if not self.records:
            raise UserError(f"{self.path}: there are no molecules in it.")

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.basis.fingerprint().encode())
        for record in self.records:
            digest.update(record.key.encode())
            digest.update(np.ascontiguousarray(record.coefficients).tobytes())
        return digest.hexdigest()


def read_density_parts(config: DensityTrainConfig) -> tuple[DensityFrames, Parts]:
    """All molecules, and which of them are in which part.

    A part that the training file names and one that has a file of its own are taken together.

    Raises:
        UserError: a file cannot be read or is of another basis; nothing to train on.
    """
    data = config.data
    if data.train is None:
        raise UserError("no data given; name a file: clebsch train density DATA.")
    train_files = [data.train] if isinstance(data.train, str) else data.train
    own = [read_density(path) for path in train_files]
    others = {
        part: read_density(path)
        for part, path in (("valid", data.valid), ("test", data.test))
        if path is not None
    }
    frames = DensityFrames([*own, *others.values()])
    first = DensityFrames(own)
    if all(record.split for record in first.records):
        chosen = _named(np.array([record.split for record in first.records]), config)
    else:
        split = config.split
        valid, test = (
            0 if part in others else (0.1 if share is None else share)
            for part, share in (("valid", split.valid), ("test", split.test))
        )
        drawn = split_dataset(first, split.train, valid, test, seed=config.seed, by=split.by)
        chosen = {name: np.asarray(getattr(drawn, name)) for name in ("train", "valid", "test")}
    start = len(first)
    for part, file in others.items():
        chosen[part] = np.concatenate([chosen[part], np.arange(start, start + len(file))])
        start += len(file)
    if config.largest_train is not None:
        small = frames.n_atoms <= config.largest_train
        late = [chosen[p][~small[chosen[p]]] for p in ("train", "valid")]
        chosen = {
            "train": chosen["train"][small[chosen["train"]]],
            "valid": chosen["valid"][small[chosen["valid"]]],
            "test": np.sort(np.concatenate([chosen["test"], *late])),
        }
    result = Parts(**{name: Part(frames, chosen[name]) for name in ("train", "valid", "test")})
    if len(result.train) == 0:
        raise UserError(f"{frames.path}: the split leaves no molecule to train on.")
    check_elements(result)
    return frames, result


def _named(names: NDArray[np.str_], config: DensityTrainConfig) -> dict[str, NDArray[np.int64]]:
    """Parts as the file names them; whatever is neither trained nor validated on is tested on."""
    part = np.array([_PARTS.get(name, "test") for name in names])
    chosen = {p: np.flatnonzero(part == p) for p in ("train", "valid", "test")}
    limit = config.split.train
    if limit is not None:
        total = len(chosen["train"])
        wanted = int(limit) if isinstance(limit, int) else round(limit * total)
        if not 0 < wanted <= total:
            raise UserError(
                f"{config.where('split.train')}: split.train asks for {limit}, but the file names "
                f"{total} molecules to train on."
            )
        rng = np.random.default_rng(config.seed)
        chosen["train"] = np.sort(rng.permutation(chosen["train"])[:wanted])
    return chosen
