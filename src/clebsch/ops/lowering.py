"""From a specification to one that every back end takes.

Channel pairs u < v are gathered, so that ``uvu<v`` becomes ``uuu`` and ``u<vw`` becomes ``uuw`` on
the pairs; paths without channels are left out. Weights and result stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.o3 import Irreps
from clebsch.ops.specification import PAIRS, Path, Specification

if TYPE_CHECKING:
    from torch import Tensor

# which channels of a block: all, or those of the pairs u < v that are u, that are v
_ALL, _FIRST, _SECOND = range(3)


@dataclass(frozen=True)
class Lowered:
    """A product of gathered features.

    Attributes:
        specification: what is computed, its x and y the gathered ones.
        columns_x, columns_y: places of the gathered features in those given; None for all.
    """

    specification: Specification
    columns_x: tuple[int, ...] | None
    columns_y: tuple[int, ...] | None


def lower(spec: Specification) -> Lowered | None:
    """The product that computes ``spec``; None where ``spec`` needs no other."""
    kept = [path for path in spec.paths if all(mul > 0 for mul, _ in spec.blocks(path))]
    kept = [path for path in kept if path.mode not in PAIRS or spec.x[path.x].mul > 1]
    if len(kept) == len(spec.paths) and not any(path.mode in PAIRS for path in kept):
        return None
    of_x: dict[tuple[int, int], int] = {}
    of_y: dict[tuple[int, int], int] = {}
    paths = []
    for path in kept:
        pairs = path.mode in PAIRS
        x = of_x.setdefault((path.x, _FIRST if pairs else _ALL), len(of_x))
        y = of_y.setdefault((path.y, _SECOND if pairs else _ALL), len(of_y))
        mode = PAIRS.get(path.mode, path.mode)
        paths.append(Path(x, y, path.z, mode, path.coefficient, path.weighted))  # type: ignore[arg-type]
    irreps_x, columns_x = _gathered(spec.x, list(of_x))
    irreps_y, columns_y = _gathered(spec.y, list(of_y))
    lowered = Specification(irreps_x, irreps_y, spec.z, tuple(paths), spec.shared_weights)
    return Lowered(lowered, columns_x, columns_y)


def _gathered(
    irreps: Irreps, wanted: list[tuple[int, int]]
) -> tuple[Irreps, tuple[int, ...] | None]:
    """Irreps of the wanted (block, channels), and where they lie in features of ``irreps``."""
    places, blocks = irreps.slices(), []
    columns: list[int] = []
    for block, which in wanted:
        mul, ir = irreps[block]
        channels = np.arange(mul) if which == _ALL else np.triu_indices(mul, 1)[which - 1]
        rows = places[block].start + mul * np.arange(ir.dim)
        columns += (rows[:, None] + channels).flatten().tolist()
        blocks.append((len(channels), ir))
    everything = columns == list(range(irreps.dim))
    return Irreps(blocks), None if everything else tuple(columns)


def gathered(lowered: Lowered, x: Tensor, y: Tensor) -> tuple[Specification, Tensor, Tensor]:
    """What is computed, and the factors as it takes them."""
    x, y = gather(x, lowered.columns_x), gather(y, lowered.columns_y)
    return lowered.specification, x, y


def gather(x: Tensor, columns: tuple[int, ...] | None) -> Tensor:
    """The features (..., dim) at these columns."""
    if columns is None:
        return x
    if torch.compiler.is_compiling() or type(x) not in (torch.Tensor, torch.nn.Parameter):
        return x.index_select(-1, torch.tensor(columns, dtype=torch.int64, device=x.device))
    return x.index_select(-1, _index(columns, x.device))


@lru_cache(maxsize=1024)
def _index(columns: tuple[int, ...], device: torch.device) -> Tensor:
    # by numpy: a tensor made by torch could be caught by a functorch transform
    return torch.from_numpy(np.array(columns, dtype=np.int64)).to(device)
