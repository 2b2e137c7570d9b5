"""What the training set covers: a simulation that leaves it is no longer interpolation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from clebsch.structures import AtomGraph


def training_domain(graphs: Iterable[AtomGraph]) -> dict[str, Any]:
    """The part ``domain`` of a model's header.

    Returns:
        ``min_distance``: "A-B" (A <= B by name) -> shortest distance in Å; ``max_force``: largest
        norm of the force on an atom, eV/Å; ``energy_per_atom``: lowest and highest, eV. The last
        two are absent without labels.
    """
    shortest: dict[int, float] = {}
    largest = -1.0
    low, high = np.inf, -np.inf
    for graph in graphs:
        numbers = graph.numbers.numpy()
        if graph.n_edges:
            distance = graph.vectors().norm(dim=1).numpy()
            ends = np.sort(np.stack([numbers[graph.src.numpy()], numbers[graph.dst.numpy()]]), 0)
            pairs = 1000 * ends[0] + ends[1]
            kinds, place = np.unique(pairs, return_inverse=True)
            minima = np.full(len(kinds), np.inf)
            np.minimum.at(minima, place, distance)
            for kind, value in zip(kinds.tolist(), minima.tolist(), strict=True):
                shortest[kind] = min(value, shortest.get(kind, np.inf))
        size = graph.forces.norm(dim=1).numpy()
        size = size[~np.isnan(size)]
        if size.size:
            largest = max(largest, float(size.max()))
        energy = float(graph.energy[0]) / graph.n_atoms
        if not np.isnan(energy):
            low, high = min(low, energy), max(high, energy)
    named = {
        "-".join(sorted((chemical_symbols[kind // 1000], chemical_symbols[kind % 1000]))): value
        for kind, value in shortest.items()
    }
    domain: dict[str, Any] = {"min_distance": dict(sorted(named.items()))}
    if largest >= 0:
        domain["max_force"] = largest
    if low <= high:
        domain["energy_per_atom"] = [low, high]
    return domain
