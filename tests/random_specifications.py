"""Random specifications of every mode, and several of them joined into one."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from clebsch.o3 import Irreps
from clebsch.ops import Path, Specification
from clebsch.ops.specification import CHANNELS


def random_specification(seed: int, shared: bool, convolution: bool = False) -> Specification:
    """A few paths of random irreps, channels and modes.

    With ``convolution`` only what the fused kernels take: mode ``uvu``, one channel of y.
    """
    draw = random.Random(seed)
    paths: list[Path] = []
    blocks: dict[str, list[tuple[int, tuple[int, int]]]] = {"x": [], "y": [], "z": []}
    for index in range(draw.randint(1, 4)):
        mode = "uvu" if convolution else draw.choice(list(CHANNELS))
        a, b = ((draw.randint(0, 3), draw.choice((1, -1))) for _ in range(2))
        l = draw.randint(abs(a[0] - b[0]), a[0] + b[0])
        mul = {c: draw.choice((1, 2, 3, 5, 8, 17) if convolution else (1, 2, 3, 5)) for c in "uvw"}
        if convolution:
            mul["v"] = 1
        x, y, _, z = CHANNELS[mode]
        blocks["x"].append((mul[x], a))
        blocks["y"].append((mul[y], b))
        blocks["z"].append((mul[z[0]] * (mul[z[1]] if len(z) == 2 else 1), (l, a[1] * b[1])))
        # e3nn has these two with weights only.
        weighted = mode in ("uvw", "uuw") or (not (convolution and shared) and draw.random() < 0.7)
        paths.append(Path(index, index, index, mode, draw.uniform(0.5, 2), weighted))
        if draw.random() < 0.3:  # a second one between the same blocks
            paths.append(Path(index, index, index, mode, draw.uniform(0.5, 2), weighted))
    return Specification(*(Irreps(blocks[s]) for s in "xyz"), tuple(paths), shared)


def join(specs: list[Specification]) -> Specification:
    """The direct sum: blocks, paths and weights one after the other."""
    paths, start = [], {"x": 0, "y": 0, "z": 0}
    for spec in specs:
        for p in spec.paths:
            place = (start["x"] + p.x, start["y"] + p.y, start["z"] + p.z)
            paths.append(Path(*place, p.mode, p.coefficient, p.weighted))
        for slot in start:
            start[slot] += len(getattr(spec, slot))
    sums = (Irreps([b for spec in specs for b in getattr(spec, slot)]) for slot in "xyz")
    return Specification(*sums, tuple(paths), specs[0].shared_weights)


def split(tensor: Tensor, specs: list[Specification], slot: str) -> tuple[Tensor, ...]:
    """The parts of a slot of ``join(specs)``."""
    return torch.split(tensor, [spec.widths[slot] for spec in specs], dim=-1)
