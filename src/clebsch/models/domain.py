"""What a model's header says of the structures that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: A pair may come closer than in training by this fraction.
DISTANCE_MARGIN = 0.1


def min_distances(header: Mapping[str, Any]) -> dict[str, float]:
    """Shortest distances in training, A, by "A-B" with A <= B by name."""
    domain = header.get("domain") or {}
    return {
        "-".join(sorted(str(pair).split("-"))): float(value)
        for pair, value in (domain.get("min_distance") or {}).items()
    }


def shortest_distances(header: Mapping[str, Any], elements: Sequence[str]) -> np.ndarray:
    """Shortest distances that are still allowed, A, (n, n) by two of the elements; 0 unknown."""
    known = min_distances(header)
    return np.array(
        [
            [(1 - DISTANCE_MARGIN) * known.get("-".join(sorted((a, b))), 0.0) for b in elements]
            for a in elements
        ]
    ).reshape(len(elements), len(elements))
