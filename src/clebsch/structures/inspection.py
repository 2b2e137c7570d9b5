"""What is in a data set, what is odd in it, and what will go wrong in training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from clebsch.structures.consistency import WorkCheck, check_work
from clebsch.structures.dataset import Dataset, label
from clebsch.structures.graph import neighbour_list
from clebsch.structures.statistics import Statistics, dataset_statistics
from clebsch.structures.units import suspected_unit

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_FAR_OUT = 8.0  # robust z-score above which a frame is an outlier
_TOO_SHORT = 0.6  # of the sum of covalent radii
_NET_FORCE = 0.02  # eV/Å per atom
_BINS = np.linspace(0.0, 1.0, 241)  # of the cutoff


@dataclass
class Inspection:
    """Everything that ``inspect_dataset`` found; per-frame arrays follow ``frames``.

    Attributes:
        path: of the data set.
        frames: (n,) indices of the frames, isolated atoms left out.
        config_types: (n,) their types.
        statistics: of these frames.
        energy: (n,) eV/atom after subtraction of the atomic energies.
        force_max: (n,) eV/Å, longest force.
        shortest: (n,) Å, shortest distance.
        net_force: (n,) eV/Å per atom, length of the sum of forces.
        net_torque: (n,) eV per atom, for frames without periodic directions.
        forces: length of the forces by element, eV/Å.
        distances: number of distances by pair of elements and bin.
        bins: edges of these bins, Å.
        work: forces against energies.
        stress: stress against energies.
        duplicates: groups of frames with the same atoms at the same places.
        outliers: sentences by frame.
        warnings: what will go wrong in training, as sentences.
    """

    path: str
    frames: Indices
    config_types: npt.NDArray[np.str_]
    statistics: Statistics
    energy: Floats
    force_max: Floats
    shortest: Floats
    net_force: Floats
    net_torque: Floats
    forces: dict[str, Floats]
    distances: dict[str, npt.NDArray[np.int64]]
    bins: Floats
    work: WorkCheck
    stress: WorkCheck
    duplicates: list[list[int]]
    isolated: dict[str, float]
    outliers: dict[int, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON without the arrays over frames."""
        return {
            "path": self.path,
            "n_frames": len(self.frames),
            "config_types": dict(Counter(self.config_types.tolist())),
            "isolated_atoms": self.isolated,
            "statistics": self.statistics.to_dict(),
            "forces_check": _check_dict(self.work),
            "stress_check": _check_dict(self.stress),
            "duplicates": self.duplicates,
            "outliers": {str(k): v for k, v in self.outliers.items()},
            "largest_net_force_eV_per_A_atom": _largest(self.net_force),
            "largest_net_torque_eV_atom": _largest(self.net_torque),
            "warnings": self.warnings,
        }


def inspect_dataset(dataset: Dataset, cutoff: float = 5.0) -> Inspection:
    """Look at every frame of ``dataset``.

    Args:
        dataset: frames; isolated atoms are used for the atomic energies only.
        cutoff: Å within which neighbours are counted.

    Raises:
        UserError: there is no frame.
    """
    statistics = dataset_statistics(dataset, None, cutoff)
    frames = dataset.frames
    n = len(frames)
    columns = {k: np.full(n, np.nan) for k in ("energy", "force", "short", "net", "torque")}
    forces_of: dict[str, list[Floats]] = {s: [] for s in statistics.species}
    distances: dict[str, npt.NDArray[np.int64]] = {}
    seen: dict[bytes, list[int]] = {}
    units: dict[str, list[int]] = {}
    short: dict[int, str] = {}
    for row, i in enumerate(frames.tolist()):
        atoms = dataset[i]
        energy, forces = label(atoms, "energy"), label(atoms, "forces")
        if energy is not None:
            rest = energy - sum(statistics.e0s[s] for s in atoms.get_chemical_symbols())
            columns["energy"][row] = rest / len(atoms)
            unit = suspected_unit(atoms.numbers, energy)
            if unit:
                units.setdefault(unit, []).append(i)
        if forces is not None:
            lengths = np.linalg.norm(forces, axis=1)
            columns["force"][row] = lengths.max()
            columns["net"][row] = np.linalg.norm(forces.sum(axis=0)) / len(atoms)
            if not atoms.pbc.any():
                arms = atoms.positions - atoms.positions.mean(axis=0)
                torque = np.linalg.norm(np.cross(arms, forces).sum(axis=0))
                columns["torque"][row] = torque / len(atoms)
            for z in np.unique(atoms.numbers):
                forces_of[chemical_symbols[z]].append(lengths[atoms.numbers == z])
        columns["short"][row], problem = _distances(atoms, cutoff, distances)
        if problem:
            short[i] = problem
        seen.setdefault(_place(atoms), []).append(i)
    work, stress = check_work(dataset, frames)
    found = Inspection(
        path=dataset.path,
        frames=frames,
        config_types=dataset.column("config_type")[frames],
        statistics=statistics,
        energy=columns["energy"],
        force_max=columns["force"],
        shortest=columns["short"],
        net_force=columns["net"],
        net_torque=columns["torque"],
        forces={s: np.concatenate(f) for s, f in forces_of.items() if f},
        distances=distances,
        bins=_BINS * cutoff,
        work=work,
        stress=stress,
        duplicates=[group for group in seen.values() if len(group) > 1],
        isolated=dataset.isolated_energies(),
    )
    _name_outliers(found, short)
    found.warnings = list(_sentences(found, units, short))
    return found


def robust_z(values: Floats) -> Floats:
    """Distance from the median in units of 1.4826 times the median absolute deviation."""
    finite = values[np.isfinite(values)]
    if len(finite) < 10:
        return np.zeros_like(values)
    middle = np.median(finite)
    spread = 1.4826 * np.median(np.abs(finite - middle))
    # Where more than half of the values agree, fall back on the mean deviation.
    spread = spread or 1.2533 * np.mean(np.abs(finite - middle)) or 1.0
    return np.nan_to_num((values - middle) / spread)


def _distances(
    atoms: Any, cutoff: float, counts: dict[str, npt.NDArray[np.int64]]
) -> tuple[float, str]:
    src, dst, shifts = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    if len(src) == 0:
        return float("nan"), ""
    vectors = atoms.positions[src] - atoms.positions[dst] + shifts @ atoms.cell.array
    lengths = np.linalg.norm(vectors, axis=1)
    a, b = atoms.numbers[src], atoms.numbers[dst]
    code = np.minimum(a, b) * 119 + np.maximum(a, b)
    for pair in np.unique(code).tolist():
        low, high = divmod(pair, 119)
        name = f"{chemical_symbols[low]}-{chemical_symbols[high]}"
        histogram = np.histogram(lengths[code == pair], bins=_BINS * cutoff)[0]
        counts[name] = counts.get(name, 0) + histogram
    ratio = lengths / (covalent_radii[a] + covalent_radii[b])
    worst = int(ratio.argmin())
    problem = ""
    if ratio[worst] < _TOO_SHORT:
        first, second = sorted((int(src[worst]), int(dst[worst])))
        problem = (
            f"atoms {first} ({chemical_symbols[atoms.numbers[first]]}) and {second} "
            f"({chemical_symbols[atoms.numbers[second]]}) are {lengths[worst]:.3f} Å apart"
        )
    return float(lengths.min()), problem


def _place(atoms: Any) -> bytes:
    parts = [np.round(atoms.positions, 5) + 0.0, np.round(atoms.cell.array, 5) + 0.0]
    return bytes(b"".join(p.tobytes() for p in (atoms.numbers, atoms.pbc, *parts)))


def _name_outliers(found: Inspection, short: dict[int, str]) -> None:
    for row, score in enumerate(robust_z(found.energy)):
        if abs(score) > _FAR_OUT:
            _note(found, row, f"energy {found.energy[row]:.3f} eV/atom (z = {score:.0f})")
    # Forces spread over decades: their logarithm is what has an ordinary distribution.
    with np.errstate(divide="ignore"):
        scores = robust_z(np.log(np.maximum(found.force_max, 1e-3)))
    for row, score in enumerate(scores):
        if score > _FAR_OUT:
            _note(found, row, f"force {found.force_max[row]:.2f} eV/Å (z = {score:.0f})")
    for i, problem in short.items():
        found.outliers.setdefault(i, []).append(problem)
    found.outliers = dict(sorted(found.outliers.items()))


def _note(found: Inspection, row: int, text: str) -> None:
    found.outliers.setdefault(int(found.frames[row]), []).append(text)


def _sentences(found: Inspection, units: dict[str, list[int]], short: dict[int, str]) -> list[str]:
    stats, frames = found.statistics, found.frames
    out: list[str] = []
    for name, count in (("energy", stats.n_energy), ("forces", stats.n_forces)):
        lacking = frames[np.isnan(found.energy if name == "energy" else found.force_max)]
        if count == 0:
            out.append(f"No frame has {name}: training needs them; name the key if it is there.")
        elif len(lacking):
            out.append(f"{name.capitalize()} missing in {_list(lacking)}.")
    for unit, which in units.items():
        if len(which) == len(frames):
            out.append(f"All energies seem to be in {unit}; convert them to eV.")
        else:
            out.append(
                f"Units are mixed: the energies of {_list(which)} seem to be in {unit}, the others "
                "not; convert them to eV."
            )
    if np.isfinite(stats.force_rms) and stats.force_rms > 15:
        out.append(
            f"The forces are very large (RMS {stats.force_rms:.1f} eV/Å, about 1 is usual): are "
            "they in kcal/mol/Å (divide by 23.06) or in meV/Å?"
        )
    elif np.isfinite(stats.force_rms) and stats.force_rms < 0.01:
        out.append(
            f"The forces are very small (RMS {stats.force_rms:.2g} eV/Å): relaxed structures only "
            "teach no dynamics; or are they in Hartree/Bohr (multiply by 51.42)?"
        )
    out += [check.verdict for check in (found.work, found.stress) if check.wrong]
    if short:
        out.append(f"Atoms are unphysically close in {_list(list(short))}; see the outliers.")
    if found.duplicates:
        surplus = [i for group in found.duplicates for i in group[1:]]
        out.append(
            f"Duplicates: {_list(surplus)} repeat{'s' if len(surplus) == 1 else ''} earlier ones; "
            "a random split would put copies into the test set."
        )
    far = [i for i in found.outliers if i not in short]
    if far:
        out.append(
            f"Outliers in energy or force: {_list(far)}; one of them in a batch can dominate a "
            "squared loss (use Huber, or remove them if they did not converge)."
        )
    drift = frames[np.nan_to_num(found.net_force) > _NET_FORCE]
    if len(drift):
        out.append(
            f"The forces do not add up to zero in {_list(drift)} (up to "
            f"{np.nanmax(found.net_force):.3f} eV/Å per atom): no invariant energy can fit that."
        )
    twist = frames[np.nan_to_num(found.net_torque) > 5 * _NET_FORCE]
    if len(twist):
        out.append(
            f"The forces exert a torque on the whole molecule in {_list(twist)} (up to "
            f"{np.nanmax(found.net_torque):.3f} eV per atom): no invariant energy can fit that."
        )
    if 0 < stats.n_stress < stats.n_frames:
        out.append(
            f"{stats.n_stress} of {stats.n_frames} frames have a stress; the rest is masked."
        )
    if stats.e0_note:
        out.append(stats.e0_note)
    rare = [
        s
        for s in stats.species
        if stats.composition[s] < max(10, 1e-4 * stats.n_atoms) and stats.n_frames > 10
    ]
    if rare:
        out.append(
            f"Rare elements: {', '.join(f'{s} ({stats.composition[s]})' for s in rare)} "
            "(number of atoms); a random split can leave them out of the training set."
        )
    lonely = frames[np.isnan(found.shortest)]
    if len(lonely):
        out.append(
            f"No atom has a neighbour within {stats.cutoff:g} Å in {_list(lonely)}: a larger "
            "cutoff is needed to learn from them."
        )
    if stats.n_frames == 1:
        out.append("There is only one frame: nothing is left to validate on.")
    elif stats.n_frames < 50:
        out.append(f"There are only {stats.n_frames} frames: expect a poor validation estimate.")
    return out


def _list(indices: Any) -> str:
    """``"3 frames (0, 4, 17)"``."""
    numbers = [int(i) for i in indices]
    shown = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return f"{len(numbers)} frame{'s' if len(numbers) != 1 else ''} ({shown})"


def _check_dict(check: WorkCheck) -> dict[str, Any]:
    return {
        "verdict": check.verdict,
        "slope": check.slope if np.isfinite(check.slope) else None,
        "error": check.error if np.isfinite(check.error) else None,
        "pairs": len(check.work),
        "certain": check.certain,
        "wrong": check.wrong,
    }


def _largest(values: Floats) -> float | None:
    return float(np.nanmax(values)) if np.isfinite(values).any() else None


def covalent_sum(pair: str) -> float:
    """Sum of the covalent radii of a pair such as ``"H-O"``, Å."""
    a, b = pair.split("-")
    return float(covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]])
