"""What a model needs to know of its training data before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from clebsch.errors import UserError
from clebsch.structures.dataset import Dataset, label
from clebsch.structures.graph import neighbour_list

Indices = Sequence[int] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Statistics:
    """Numbers about the frames of a data set; ``to_dict`` is plain JSON.

    Attributes:
        species: chemical symbols by atomic number.
        cutoff: Å at which neighbours are counted.
        n_frames: frames.
        n_atoms: atoms of all frames.
        composition: atoms of each element.
        n_atoms_histogram: frames by number of atoms.
        e0s: energy of a free atom of each element, eV.
        e0_source: ``"isolated atoms"``, ``"given"``, ``"least squares"``, ``"none"`` or a mixture.
        e0_note: what is to be known about them, as a sentence; empty if nothing.
        energy_std: eV/atom, spread of (energy - sum of e0s) / atoms.
        energy_mean: eV/atom, mean of the same.
        force_rms: eV/Å, root mean square of force components; NaN without forces.
        force_rms_per_species: the same for each element.
        force_max: eV/Å, largest length of a force.
        stress_rms: eV/Å^3, root mean square of stress components; NaN without stress.
        n_energy, n_forces, n_stress: frames that have the label.
        mean_neighbours: neighbours of an atom within the cutoff, mean over all atoms.
        mean_edges: edges of a frame within the cutoff.
        shortest: Å, shortest distance of each pair of elements seen within the cutoff ("H-O").
    """

    species: list[str]
    cutoff: float
    n_frames: int
    n_atoms: int
    composition: dict[str, int]
    n_atoms_histogram: dict[int, int]
    e0s: dict[str, float]
    e0_source: str
    e0_note: str
    energy_mean: float
    energy_std: float
    force_rms: float
    force_rms_per_species: dict[str, float]
    force_max: float
    stress_rms: float
    n_energy: int
    n_forces: int
    n_stress: int
    mean_neighbours: float
    mean_edges: float
    shortest: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; NaN becomes null and keys text."""
        data = asdict(self)
        data["n_atoms_histogram"] = {str(k): v for k, v in self.n_atoms_histogram.items()}
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in data.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Statistics:
        values: dict[str, Any] = {k: float("nan") if v is None else v for k, v in data.items()}
        values["n_atoms_histogram"] = {int(k): v for k, v in data["n_atoms_histogram"].items()}
        return cls(**values)


def dataset_statistics(
    dataset: Dataset,
    indices: Indices | None = None,
    cutoff: float = 5.0,
    e0s: Mapping[str, float] | None = None,
) -> Statistics:
    """Statistics of the frames ``indices`` (all but isolated atoms when None).

    Args:
        dataset: frames.
        indices: which of them.
        cutoff: Å.
        e0s: energies of free atoms in eV, for all elements or some. Elements without one get
            that of an isolated atom in the data set, and those without either a least-squares fit
            of the energies (a minimal-norm one where the compositions do not determine it).

    Raises:
        UserError: there is no frame.
    """
    chosen = dataset.frames if indices is None else np.asarray(indices, dtype=np.int64)
    if len(chosen) == 0:
        raise UserError(f"{dataset.path}: there are no frames to learn from.")
    counts = np.zeros((len(chosen), 119), dtype=np.int64)
    energies = np.full(len(chosen), np.nan)
    force_square, force_count = np.zeros(119), np.zeros(119, dtype=np.int64)
    force_max, n_forces, n_edges = 0.0, 0, 0
    stresses = []
    shortest: dict[tuple[int, int], float] = {}
    for row, i in enumerate(chosen):
        atoms = dataset[int(i)]
        numbers = atoms.numbers
        counts[row] = np.bincount(numbers, minlength=119)
        energy, forces, stress = (label(atoms, k) for k in ("energy", "forces", "stress"))
        energies[row] = np.nan if energy is None else energy
        if forces is not None:
            n_forces += 1
            square = (forces**2).sum(axis=1)
            force_square += np.bincount(numbers, weights=square, minlength=119)
            force_count += 3 * counts[row]
            force_max = max(force_max, float(np.sqrt(square.max())))
        if stress is not None:
            stresses.append(stress[[0, 1, 2, 3, 4, 5, 3, 4, 5]])
        n_edges += _neighbours(atoms, cutoff, shortest)

    present = np.flatnonzero(counts.sum(axis=0))
    species = [chemical_symbols[z] for z in present]
    e0, source, note = fit_e0s(
        species, counts[:, present], energies, {**dataset.isolated_energies(), **(e0s or {})}, e0s
    )
    have = ~np.isnan(energies)
    n_atoms = counts.sum(axis=1)
    rest = energies - counts[:, present] @ np.array([e0[s] for s in species])
    per_atom = rest[have] / n_atoms[have]
    total = int(n_atoms.sum())
    with np.errstate(invalid="ignore"):
        rms = np.sqrt(force_square / np.where(force_count > 0, force_count, np.nan))
    return Statistics(
        species=species,
        cutoff=float(cutoff),
        n_frames=len(chosen),
        n_atoms=total,
        composition={chemical_symbols[z]: int(counts[:, z].sum()) for z in present},
        n_atoms_histogram=dict(sorted(Counter(n_atoms.tolist()).items())),
        e0s=e0,
        e0_source=source,
        e0_note=note,
        energy_mean=float(per_atom.mean()) if have.any() else float("nan"),
        energy_std=float(per_atom.std()) if have.any() else float("nan"),
        force_rms=float(np.sqrt(force_square.sum() / force_count.sum()))
        if n_forces
        else float("nan"),
        force_rms_per_species={
            chemical_symbols[z]: float(rms[z]) for z in present if force_count[z]
        },
        force_max=force_max if n_forces else float("nan"),
        stress_rms=float(np.sqrt(np.mean(np.square(stresses)))) if stresses else float("nan"),
        n_energy=int(have.sum()),
        n_forces=n_forces,
        n_stress=len(stresses),
        mean_neighbours=n_edges / total,
        mean_edges=n_edges / len(chosen),
        shortest={
            f"{chemical_symbols[a]}-{chemical_symbols[b]}": d
            for (a, b), d in sorted(shortest.items())
        },
    )


def _neighbours(atoms: Any, cutoff: float, shortest: dict[tuple[int, int], float]) -> int:
    """Count the edges of a frame and lower ``shortest`` in place."""
    src, dst, shifts = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    vectors = atoms.positions[src] - atoms.positions[dst] + shifts @ atoms.cell.array
    distances = np.linalg.norm(vectors, axis=1)
    low = np.minimum(atoms.numbers[src], atoms.numbers[dst])
    high = np.maximum(atoms.numbers[src], atoms.numbers[dst])
    pairs, inverse = np.unique(low * 119 + high, return_inverse=True)
    nearest = np.full(len(pairs), np.inf)
    np.minimum.at(nearest, inverse, distances)
    for pair, distance in zip(pairs.tolist(), nearest.tolist(), strict=True):
        key = divmod(pair, 119)
        shortest[key] = min(distance, shortest.get(key, np.inf))
    return len(src)


def fit_e0s(
    species: Sequence[str],
    counts: npt.NDArray[np.int64],
    energies: npt.NDArray[np.float64],
    known: Mapping[str, float],
    given: Mapping[str, float] | None = None,
) -> tuple[dict[str, float], str, str]:
    """Energies of free atoms: known ones, and least squares for the others.

    Args:
        species: (S) symbols.
        counts: (n, S) atoms of each element in each frame.
        energies: (n,) eV, NaN where unknown.
        known: eV, from isolated atoms or given.
        given: those of ``known`` that the user gave.

    Returns:
        e0s by symbol, where they come from, and a sentence if they are not determined.
    """
    known = {s: float(known[s]) for s in species if s in known}
    free = [k for k, s in enumerate(species) if s not in known]
    sources = ["given"] if any(s in (given or {}) for s in known) else []
    if any(s not in (given or {}) for s in known):
        sources.append("isolated atoms")
    e0s, note = dict(known), ""
    have = ~np.isnan(energies)
    if free and have.any():
        sources.append("least squares")
        fixed = sum(
            (counts[have, k] * known[s] for k, s in enumerate(species) if s in known),
            start=np.zeros(have.sum()),
        )
        design = counts[have][:, free].astype(np.float64)
        values, _, rank, _ = np.linalg.lstsq(design, energies[have] - fixed, rcond=None)
        e0s.update({species[k]: float(v) for k, v in zip(free, values, strict=True)})
        if rank < len(free):
            names = ", ".join(species[k] for k in free)
            note = (
                f"The compositions do not determine the atomic energies of {names} "
                f"({rank} independent of {len(free)}): the minimal-norm solution is taken, which "
                "is right for these compositions only."
            )
    elif free:
        sources.append("none")
        e0s.update({species[k]: 0.0 for k in free})
        note = "No energies: the atomic energies are set to zero."
    return {s: e0s[s] for s in species}, " and ".join(sources), note
