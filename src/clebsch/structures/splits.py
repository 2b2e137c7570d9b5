"""Seeded splits into training, validation and test frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clebsch.errors import UserError
from clebsch.structures.dataset import Dataset

Indices = npt.NDArray[np.int64]
By = Literal["frame", "trajectory", "config_type", "file", "element"]
_BLOCKS = 20  # pieces that a data set without named trajectories is cut into
_FEW = 5  # fewer trajectories than this are cut into blocks too
_FILE_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Split:
    """Frame indices of the three parts, ascending and disjoint."""

    train: Indices
    valid: Indices
    test: Indices

    def to_dict(self) -> dict[str, list[int]]:
        return {k: getattr(self, k).tolist() for k in ("train", "valid", "test")}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Split:
        return cls(*(np.array(data[k], dtype=np.int64) for k in ("train", "valid", "test")))


def split_dataset(
    dataset: Dataset,
    train: float | int | None = 0.8,
    valid: float | int | None = 0.1,
    test: float | int | None = None,
    seed: int = 0,
    by: By = "frame",
) -> Split:
    """Split the frames of ``dataset`` in three; isolated atoms are in none.

    Args:
        train: share of the frames (a float up to 1) or their number (an int); None is all that
            the other parts leave (for one part at most).
        valid: likewise.
        test: likewise.
        seed: of the shuffle; the same seed gives the same split.
        by: what stays together in one part.
            ``"frame"``: nothing, every frame is drawn on its own.
            ``"trajectory"``: neighbours in time. Frames are grouped by ``info["trajectory"]``, or,
            with fewer than five of these, by contiguous blocks in the order of the files.
            ``"config_type"``: frames of one configuration type; the parts then have none in
            common, which tests extrapolation.
            ``"element"``: nothing, but every element is shared out in proportion, the rarest
            first, and none is in another part without being in training.
            ``"file"``: the parts named by ``info["split"]``; the sizes are limits, drawn at random.

    Groups are never shared between parts: when a part is full, the rest of its last group is
    left unused.

    Raises:
        UserError: more frames asked for than there are, a share out of range, or no
            ``info["split"]``.
    """
    frames = dataset.frames
    rng = np.random.default_rng(seed)
    if by == "file":
        return _by_file(dataset, frames, (train, valid, test), rng)
    if by not in ("frame", "trajectory", "config_type", "element"):
        raise UserError(
            f"split by {by!r} is not known; take frame, trajectory, config_type, element, file."
        )
    counts = _counts(dataset, (train, valid, test), len(frames))
    if by == "element":
        return _by_element(dataset, frames, counts, rng)
    groups = _groups(dataset, frames, by)
    order = rng.permutation(len(groups))
    # The smallest part chooses first, so that a large one does not use up few groups.
    parts: dict[int, Indices] = {}
    position = 0
    asking = [p for p in sorted(range(3), key=lambda p: counts[p]) if counts[p]]
    parts.update({p: np.empty(0, dtype=np.int64) for p in range(3)})
    for place, part in enumerate(asking):
        taken: list[Indices] = []
        size = 0
        # Every part still to come keeps at least one group.
        last = len(order) - (len(asking) - place - 1)
        while size < counts[part] and position < last:
            taken.append(groups[order[position]])
            size += len(taken[-1])
            position += 1
        chosen = np.concatenate(taken) if taken else np.empty(0, dtype=np.int64)
        parts[part] = np.sort(chosen[: counts[part]])
        exact = isinstance((train, valid, test)[part], int)
        if len(parts[part]) < counts[part] and (exact or len(parts[part]) == 0):
            name = ("train", "valid", "test")[part]
            raise UserError(
                f"{dataset.path}: {counts[part]} frames are asked for {name} but only "
                f"{len(parts[part])} are left when each {by} stays in one part "
                f"({len(groups)} groups); ask for fewer or split by frame."
            )
    return Split(parts[0], parts[1], parts[2])


def _counts(
    dataset: Dataset, sizes: Sequence[float | int | None], available: int
) -> tuple[int, ...]:
    names = ("train", "valid", "test")
    if sum(s is None for s in sizes) > 1:
        raise UserError("Only one of train, valid and test may be left open.")
    counts: list[int | None] = []
    for name, size in zip(names, sizes, strict=True):
        if size is None:
            counts.append(None)
        elif isinstance(size, float):
            if not 0 <= size <= 1:
                raise UserError(f"{name} = {size} is not a share between 0 and 1 of the frames.")
            counts.append(round(size * available))
        elif size < 0:
            raise UserError(f"{name} = {size} is not a number of frames.")
        else:
            counts.append(int(size))
    asked = sum(c or 0 for c in counts)
    shares = all(isinstance(s, float) for s in sizes)
    if shares and asked > available and sum(s or 0 for s in sizes) <= 1 + 1e-9:
        counts[0] = (counts[0] or 0) - (asked - available)  # rounding only
        asked = available
    if asked > available:
        parts = ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True) if c is not None)
        raise UserError(
            f"{dataset.path}: {asked} frames are asked for ({parts}) but there are {available}; "
            "ask for fewer."
        )
    return tuple(available - asked if c is None else c for c in counts)


def _groups(dataset: Dataset, frames: Indices, by: str) -> list[Indices]:
    if by == "frame":
        return list(frames[:, None])
    names = dataset.column(by, default="default" if by == "config_type" else "")[frames]
    _, inverse = np.unique(names, return_inverse=True)
    groups = [frames[inverse == k] for k in range(inverse.max(initial=-1) + 1)]
    if by == "trajectory" and len(groups) < _FEW:
        share = max(len(frames) // _BLOCKS, 1)
        groups = [
            block
            for group in groups
            for block in np.array_split(group, max(len(group) // share, 1))
        ]
    return groups


def _by_element(
    dataset: Dataset, frames: Indices, counts: tuple[int, ...], rng: np.random.Generator
) -> Split:
    """Element after element, the rarest first, hand its frames to the part that lacks most.

    Sechidis, Tsoumakas & Vlahavas, On the stratification of multi-label data (2011). The first
    frame of an element always goes to training, if that has room.
    """
    contents = [set(dataset[int(i)].numbers.tolist()) for i in frames]
    order = rng.permutation(len(frames))
    holders: dict[int, list[int]] = {}
    for k in order.tolist():
        for z in contents[k]:
            holders.setdefault(z, []).append(k)
    room = np.array(counts)
    shares = room / max(1, len(frames))
    wanted = {z: shares * len(own) for z, own in holders.items()}
    owner = np.full(len(frames), -1)
    known: set[int] = set()  # elements that training has
    for z in sorted(holders, key=lambda z: (len(holders[z]), z)):
        for k in holders[z]:
            if owner[k] >= 0 or not room.any():
                continue
            lack = np.where(room > 0, wanted[z], -np.inf)
            part = int(np.argmax(lack + 1e-9 * room))
            if room[0] and not contents[k] <= known:
                part = 0
            owner[k] = part
            room[part] -= 1
            for other in contents[k]:
                wanted[other][part] -= 1
            if part == 0:
                known |= contents[k]
    return Split(*(np.sort(frames[owner == part]) for part in range(3)))


def _by_file(
    dataset: Dataset,
    frames: Indices,
    sizes: Sequence[float | int | None],
    rng: np.random.Generator,
) -> Split:
    column = np.char.lower(dataset.column("split")[frames])
    if not (column != "").any():
        raise UserError(f"{dataset.path}: the frames do not say their split; split by frame.")
    parts = []
    for (part, names), size in zip(_FILE_NAMES.items(), sizes, strict=True):
        chosen = frames[np.isin(column, names)]
        # Shares make no sense here: the file has decided. Numbers are limits.
        if isinstance(size, int):
            if size > len(chosen):
                raise UserError(
                    f"{dataset.path}: {size} frames are asked for {part} but {len(chosen)} are "
                    "marked so; ask for fewer."
                )
            chosen = np.sort(rng.permutation(chosen)[:size])
        parts.append(chosen)
    if len(parts[0]) == 0:
        raise UserError(
            f"{dataset.path}: no frame is marked 'train' (there are "
            f"{', '.join(sorted(set(column.tolist())))}); split by frame."
        )
    return Split(*parts)
