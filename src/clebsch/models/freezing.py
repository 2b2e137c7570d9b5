"""Freezing a potential: the fewest spline intervals whose measured error is small enough."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor

from clebsch.errors import UserError
from clebsch.models.domain import min_distances
from clebsch.models.frozen import FrozenPotential
from clebsch.models.potential import Potential
from clebsch.structures.dataset import Dataset
from clebsch.structures.graph import AtomGraph, collate

#: Numbers of intervals that are tried, each about 1.4 times the one before.
INTERVALS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
#: eV/A, forces that no structure near a minimum has.
STRONG = 10.0
_EDGES = 20_000  # edges in one batch of the check


def freeze(
    model: Potential,
    tolerance: float = 1e-6,
    structures: Dataset | Sequence[Atoms] | None = None,
) -> FrozenPotential:
    """See ``Potential.freeze``."""
    if not tolerance > 0:
        raise UserError(f"the tolerance must be a positive energy in eV/atom, not {tolerance}.")
    exact = copy.deepcopy(model).double().eval()
    given = structures is not None and len(structures) > 0
    atoms = list(structures) if structures is not None and given else typical_structures(model)
    checks = [_Check(exact, graph, strict=given) for graph in _batches(atoms, exact.cutoff)]
    for intervals in INTERVALS:
        frozen = FrozenPotential(exact, intervals)
        energy, forces = np.max([check.errors(frozen) for check in checks], axis=0).tolist()
        if energy <= tolerance and forces <= 10 * tolerance:
            break
    else:
        raise UserError(
            f"{intervals} spline intervals leave errors of {energy:.1e} eV/atom and {forces:.1e} "
            f"eV/A, more than the tolerance of {tolerance:g} eV/atom and {10 * tolerance:g} eV/A; "
            "ask for a larger tolerance, or give structures of the kind that the model was "
            "trained on."
        )
    frozen = frozen.to(dtype=model.dtype)
    frozen.facts |= {
        "tolerance": tolerance,
        "energy_error_eV_per_atom": energy,
        "forces_error_eV_per_A": forces,
        "checked_on": f"{len(atoms)} {'given' if given else 'generated'} structures",
        "table_bytes": frozen.table_bytes,
    }
    frozen.header = {**copy.deepcopy(model.header), "frozen": frozen.facts}
    return frozen


class _Check:
    """What the potential predicts for a batch of structures, and how far another is from it.

    Args:
        exact: the potential in float64.
        graph: the batch.
        strict: where not, errors in a structure with forces above ``STRONG`` count relative to
            it: random structures can be far from all that the model knows.
    """

    def __init__(self, exact: Potential, graph: AtomGraph, strict: bool) -> None:
        self.graph = graph.to(exact.embedding.device)
        self.energy, self.forces = self._predict(exact)
        if not (self.energy.isfinite().all() and self.forces.isfinite().all()):
            raise UserError(
                "the model's energy or forces are not finite on the structures of the check; give "
                "structures that it was trained for."
            )
        largest = self.energy.new_zeros(graph.n_graphs)
        largest.scatter_reduce_(0, self.graph.batch, self.forces.norm(dim=1), "amax")
        self.size = torch.ones_like(largest) if strict else (largest / STRONG).clamp(min=1)

    def errors(self, frozen: FrozenPotential) -> tuple[float, float]:
        """The largest of the energies, eV/atom, and of the forces, eV/A."""
        energy, forces = self._predict(frozen)
        by_energy = (energy - self.energy).abs() / self.size
        by_forces = (forces - self.forces).norm(dim=1) / self.size[self.graph.batch]
        return by_energy.max().item(), by_forces.max().item()

    def _predict(self, model: Potential | FrozenPotential) -> tuple[Tensor, Tensor]:
        result = model(self.graph)
        atoms = torch.bincount(self.graph.batch, minlength=self.graph.n_graphs)
        return result["energy"].detach() / atoms, result["forces"].detach()


def typical_structures(model: Potential, seed: int = 0) -> list[Atoms]:
    """Structures of the model's species: pairs at all distances, and random periodic ones.

    No two atoms are closer than in the training data (``domain`` of the header), or, where that
    is not known, than 0.7 of the sum of their covalent radii. The density is that of the typical
    number of neighbours.
    """
    draw = np.random.default_rng(seed)
    config, cutoff = model.config, model.cutoff
    known = min_distances(model.header)
    shortest: dict[frozenset[str], float] = {}
    for a, b in combinations_with_replacement(config.species, 2):
        radii = [covalent_radii[atomic_numbers[s]] for s in (a, b)]
        seen = known.get("-".join(sorted((a, b))), 0.7 * sum(radii))
        shortest[frozenset((a, b))] = min(float(seen), 0.9 * cutoff)
    structures = []
    for pair, near in shortest.items():
        a, b = (sorted(pair) * 2)[:2]
        for r in np.linspace(near, 0.999 * cutoff, 12):
            structures.append(Atoms([a, b], positions=[[0, 0, 0], [0, 0, r]]))
    for _ in range(6):
        structures.append(_random_crystal(model, shortest, draw))
    return structures


def _random_crystal(
    model: Potential, shortest: dict[frozenset[str], float], draw: np.random.Generator
) -> Atoms:
    """A cubic cell filled at random; it grows where atoms find no place."""
    config = model.config
    count = int(np.clip(round(1.5 * config.mean_neighbours), 4, 32))
    density = (config.mean_neighbours + 1) / (4 / 3 * np.pi * model.cutoff**3)
    side = (count / density) ** (1 / 3)
    symbols = [str(s) for s in draw.choice(config.species, count)]
    places: list[np.ndarray[Any, Any]] = []
    failures = 0
    while len(places) < count:
        place = draw.uniform(0, 1, 3)
        limits = np.array([shortest[frozenset((symbols[len(places)], s))] for s in symbols])
        apart = (np.array(places).reshape(-1, 3) - place + 0.5) % 1.0 - 0.5
        near = side * np.linalg.norm(apart, axis=1) < limits[: len(places)]
        own = shortest[frozenset((symbols[len(places)],))]
        if near.any() or side < own:
            failures += 1
            side *= 1.02 if failures % 20 == 0 else 1.0
        else:
            places.append(place)
    return Atoms(symbols, scaled_positions=places, cell=[side] * 3, pbc=True)


def _batches(structures: Sequence[Atoms], cutoff: float) -> Iterator[AtomGraph]:
    waiting: list[AtomGraph] = []
    for atoms in structures:
        waiting.append(AtomGraph.from_atoms(atoms, cutoff, torch.float64))
        if sum(graph.n_edges for graph in waiting) > _EDGES:
            yield collate(waiting)
            waiting = []
    if waiting:
        yield collate(waiting)
