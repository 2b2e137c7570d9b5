"""What is in a set of phonon spectra, which records are suspicious, what a split leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from clebsch.phonons.dataset import PhononDataset, PhononRecord
from clebsch.phonons.plausible import INTEGRAL, band_top
from clebsch.phonons.spectrum import FrequencyGrid
from clebsch.structures.graph import neighbour_list
from clebsch.structures.splits import Split

Floats = npt.NDArray[np.float64]

#: A record is suspicious from this share of imaginary states on.
IMAGINARY = 0.01
#: Band top times root of the lightest mass, cm^-1 u^(1/2), outside which a record is suspicious.
USUAL_TOPS = (400.0, 9500.0)
#: Density at the end of a curve over its largest value, from which on it counts as cut off.
CUT_OFF = 0.02
#: Two crystals of one composition are alike if no averaged distance differs by more, relatively.
SAME = 0.005
#: Distances that are compared; 19 tell hcp from fcc, 17 wurtzite from zincblende. Long polytypes
#: are alike, and so are their spectra.
NEIGHBOURS = 24
_STEP = 5.0  # cm^-1, of the mean spectrum


@dataclass
class PhononInspection:
    """Everything that `inspect_phonons` found; arrays follow the records.

    Attributes:
        path: of the data set.
        names: (n,) of the records.
        parts: (n,) part of the split, or "".
        elements: number of crystals with each element.
        n_atoms: (n,) in the cell.
        lengths, angles: (n, 3) of the cell as it is in the file, Å and degrees.
        volume: (n,) Å^3 per atom.
        neighbours: number of neighbours of every atom of all crystals.
        cutoff: Å, within which they are counted.
        tops: (n,) cm^-1, end of the spectrum.
        mean_frequencies: (n,) cm^-1.
        integrals: (n,) number of states over 3N; NaN where the unit is arbitrary.
        imaginary: (n,) share of imaginary states.
        frequencies: (K,) cm^-1.
        percentiles: (3, K) 10th, 50th and 90th of the states per atom and cm^-1.
        mean: (K,) of the same.
        duplicates: groups of records that are alike to `NEIGHBOURS` neighbours: the same
            crystal, its mirror image, or a polytype.
        leaks: those of them that are in more than one part.
        suspicious: what is odd, by name of the record.
    """

    path: str
    names: list[str]
    parts: list[str]
    elements: dict[str, int]
    n_atoms: npt.NDArray[np.int64]
    lengths: Floats
    angles: Floats
    volume: Floats
    neighbours: npt.NDArray[np.int64]
    cutoff: float
    tops: Floats
    mean_frequencies: Floats
    integrals: Floats
    imaginary: Floats
    frequencies: Floats
    percentiles: Floats
    mean: Floats
    duplicates: list[list[str]]
    leaks: list[list[str]]
    suspicious: dict[str, list[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: what is known of every record, and of all."""
        records = {
            name: {
                "n_atoms": int(self.n_atoms[i]),
                "volume_A3_per_atom": float(self.volume[i]),
                "band_top_cm1": float(self.tops[i]),
                "mean_frequency_cm1": float(self.mean_frequencies[i]),
                "states_over_3N": _number(self.integrals[i]),
                "imaginary_share": float(self.imaginary[i]),
                "part": self.parts[i],
            }
            for i, name in enumerate(self.names)
        }
        return {
            "path": self.path,
            "n_crystals": len(self.names),
            "elements": self.elements,
            "cutoff_A": self.cutoff,
            "mean_neighbours": float(self.neighbours.mean()),
            "duplicates": self.duplicates,
            "leaks": self.leaks,
            "suspicious": self.suspicious,
            "records": records,
        }


def inspect_phonons(
    dataset: PhononDataset,
    cutoff: float = 5.0,
    split: Split | None = None,
    on_record: Callable[[], None] | None = None,
) -> PhononInspection:
    """Look at every record.

    Args:
        dataset: crystals and spectra.
        cutoff: Å within which neighbours are counted.
        split: parts to look for leaks between; by default those that the file names.
        on_record: called after each crystal.
    """
    n = len(dataset)
    parts = [record.part for record in dataset.records]
    if split is not None:
        parts = [""] * n
        for part in ("train", "valid", "test"):
            for i in getattr(split, part):
                parts[int(i)] = part
    columns = {k: np.zeros(n) for k in ("volume", "top", "mean", "integral", "imaginary")}
    cells = np.zeros((n, 6))
    neighbours, distances = [], []
    suspicious: dict[str, list[str]] = {}
    stop = max(float(record.dos.frequencies[-1]) for record in dataset.records)
    grid = FrequencyGrid(0.0, _STEP * np.ceil(stop / _STEP), _STEP)
    spectra = np.zeros((n, len(grid)))
    for i, record in enumerate(dataset.records):
        atoms, dos = record.atoms, record.dos
        cells[i] = atoms.cell.cellpar()
        columns["volume"][i] = atoms.get_volume() / len(atoms)
        columns["integral"][i] = float(dos.states()) / (3 * len(atoms)) if record.whole else np.nan
        columns["imaginary"][i] = dos.imaginary_states()
        why = _oddities(record, columns["integral"][i], columns["imaginary"][i])
        if float(dos.states()) > 0:
            columns["top"][i] = band_top(dos)
            states = dos.states_at()
            real = dos.frequencies > 0
            total = states[real].sum()
            columns["mean"][i] = states[real] @ dos.frequencies[real] / total if total > 0 else 0
            inside = grid.states(dos)[:-1]
            spectra[i] = 3 * inside / max(inside.sum(), 1e-300) / np.diff(grid.edges)
            reduced = columns["top"][i] * np.sqrt(atoms.get_masses().min())
            if not USUAL_TOPS[0] < reduced < USUAL_TOPS[1]:
                why.append(f"the spectrum ends at {columns['top'][i]:.0f} cm^-1: another unit?")
        if why:
            suspicious[record.name] = why
        counts, averaged = _surroundings(atoms, cutoff)
        neighbours.append(counts)
        distances.append(averaged)
        if on_record is not None:
            on_record()
    duplicates = [
        [dataset.names[i] for i in group] for group in _same_structures(dataset.records, distances)
    ]
    part_of = dict(zip(dataset.names, parts, strict=True))
    leaks = [group for group in duplicates if len({part_of[name] for name in group} - {""}) > 1]
    percentiles = np.percentile(spectra, [10, 50, 90], axis=0)
    used = int(np.searchsorted(grid.centres, np.percentile(columns["top"], 95))) + 2
    elements = Counter(s for r in dataset.records for s in set(r.atoms.get_chemical_symbols()))
    return PhononInspection(
        path=dataset.path,
        names=dataset.names,
        parts=parts,
        elements=dict(elements.most_common()),
        n_atoms=dataset.n_atoms,
        lengths=cells[:, :3],
        angles=cells[:, 3:],
        volume=columns["volume"],
        neighbours=np.concatenate(neighbours),
        cutoff=cutoff,
        tops=columns["top"],
        mean_frequencies=columns["mean"],
        integrals=columns["integral"],
        imaginary=columns["imaginary"],
        frequencies=grid.centres[:used],
        percentiles=percentiles[:, :used],
        mean=spectra.mean(0)[:used],
        duplicates=duplicates,
        leaks=leaks,
        suspicious=suspicious,
    )


def _oddities(record: PhononRecord, integral: float, imaginary: float) -> list[str]:
    """What is odd in a curve by itself."""
    g = record.dos.density
    why = [str(record.facts["problem"])] if record.facts.get("problem") else []
    if g.max() <= 0:
        return ["the density is nowhere positive"]
    if abs(integral - 1) > INTEGRAL:  # not of NaN
        why.append(f"{integral * 3 * len(record.atoms):.3g} states, not {3 * len(record.atoms)}")
    if imaginary > IMAGINARY:
        why.append(f"{imaginary:.1%} of the states are imaginary")
    if g.min() < -0.01 * g.max():
        why.append(f"the density falls to {g.min() / g.max():.0%} of its largest value")
    if g[-1] > CUT_OFF * g.max():
        why.append(f"the curve is cut off at {record.dos.frequencies[-1]:.0f} cm^-1")
    return why


def _surroundings(atoms: Atoms, cutoff: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Neighbours of every atom, and averaged distances by element, (elements, neighbours).

    The n-th row entry is the mean over the atoms of an element of the distance to the n-th
    neighbour: average minimum distances, which no choice of the cell changes (Widdowson et al.,
    MATCH 87, 529 (2022)).
    """
    lengths, dst = _distances(atoms, cutoff)
    counts = np.bincount(dst, minlength=len(atoms))
    reach = cutoff
    while np.bincount(dst, minlength=len(atoms)).min() < NEIGHBOURS:
        reach *= 1.4
        lengths, dst = _distances(atoms, reach)
    order = np.lexsort((lengths, dst))
    first = np.searchsorted(dst[order], np.arange(len(atoms)))
    nearest = lengths[order][first[:, None] + np.arange(NEIGHBOURS)]
    rows = [nearest[atoms.numbers == z].mean(0) for z in np.unique(atoms.numbers)]
    return counts, np.array(rows)


def _distances(atoms: Atoms, cutoff: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    cell = atoms.cell.array
    src, dst, shifts = neighbour_list(atoms.positions, cell, atoms.pbc, cutoff)
    vectors = atoms.positions[src] - atoms.positions[dst] + shifts @ cell
    return np.linalg.norm(vectors, axis=1), np.asarray(dst)


def _same_structures(
    records: Sequence[PhononRecord], distances: Sequence[Floats]
) -> list[list[int]]:
    """Groups of records with the same composition and the same averaged distances."""
    alike: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        numbers, counts = np.unique(record.atoms.numbers, return_counts=True)
        divisor = np.gcd.reduce(counts)
        key = str(list(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True)))
        alike.setdefault(key, []).append(i)
    groups = []
    for members in alike.values():
        left = list(members)
        while len(left) > 1:
            first, *others = left
            reference = distances[first]
            group = [
                i for i in others if (np.abs(distances[i] - reference) < SAME * reference).all()
            ]
            if group:
                groups.append([first, *group])
            left = [i for i in others if i not in group]
    return groups


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
