"""Whether energies, forces and stresses of near frames belong together.

Between two frames i and j of the same atoms, the energy changes by the work of the forces and of
the stress,

    E_j - E_i = -F . (ds C) + V stress : strain + O(displacement^3),

with the means of both frames on the right (the trapezoidal rule), ds the change of the scaled
positions, C the mean cell and strain the symmetric part of C^-1 dC. A wrong unit or sign of one
label shows as a slope other than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import units
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.spatial import cKDTree

from clebsch.structures.dataset import Dataset, label

Floats = npt.NDArray[np.float64]

_FAR = 0.3  # Å, root mean square displacement above which the trapezoidal rule says nothing
_MOST_FRAMES = 4000  # of one compound, for the search of near frames
_SMALL_STRAIN = 1e-4
_SLOPES = {
    "the stress is in GPa": units.GPa,
    "the stress is in kbar": units.GPa / 10,
    "the stress is in bar": units.bar,
    "the energies are in kcal/mol and the forces in eV/Å": units.mol / units.kcal,
    "the energies are in eV and the forces in kcal/mol/Å": units.kcal / units.mol,
    "the energies are in Hartree and the forces in eV/Å": 1 / units.Hartree,
    "the energies are in eV and the forces in Hartree/Bohr": units.Hartree / units.Bohr,
    "the energies are in Hartree and the forces in Hartree/Bohr": 1 / units.Bohr,
    "the energies are in meV and the forces in eV/Å": 1e3,
    "the energies are in eV and the forces in meV/Å": 1e-3,
}


@dataclass(frozen=True)
class WorkCheck:
    """Energy differences against work, over pairs of near frames.

    Attributes:
        energy: (P,) eV, E_j - E_i; for the stress, what the forces leave of it.
        work: (P,) eV, what the forces or the stress predict.
        slope: of energy against work, 1 if the labels belong together; NaN if unknown.
        correlation: between both.
        verdict: a sentence.
        certain: whether the pairs suffice to say so.
        wrong: whether the labels contradict each other.
    """

    energy: Floats
    work: Floats
    slope: float
    correlation: float
    verdict: str
    certain: bool
    wrong: bool


def check_work(dataset: Dataset, indices: npt.NDArray[np.int64]) -> tuple[WorkCheck, WorkCheck]:
    """Check of forces and of stress against energies, from pairs of near frames."""
    rows = np.array([_pair(dataset, i, j) for i, j in _near_pairs(dataset, indices)])
    rows = rows.reshape(-1, 4)
    energy, force_work, stress_work, strain = rows.T
    forces = _judge(energy - np.nan_to_num(stress_work), force_work, "forces", np.isfinite)
    strained = strain > _SMALL_STRAIN
    # Forces that contradict the energies would make the stress look wrong.
    usable = strained & np.isfinite(stress_work) & (not forces.wrong)
    stress = _judge(
        (energy - np.nan_to_num(force_work))[usable], stress_work[usable], "stress", np.isfinite
    )
    # Without strain in the pairs, only the forces' work is compared with the energies.
    clean = ~strained | np.isfinite(stress_work)
    if not clean.all():
        forces = _judge(energy[clean], force_work[clean], "forces", np.isfinite)
    return forces, stress


def _judge(energy: Floats, work: Floats, name: str, finite: np.ufunc) -> WorkCheck:
    keep = finite(energy) & finite(work)
    energy, work = energy[keep], work[keep]
    nothing = WorkCheck(energy, work, float("nan"), float("nan"), "", False, False)
    how = "strained copies of each other" if name == "stress" else "near each other"
    if len(work) < 3 or not work.any() or np.ptp(work) < 1e-6:
        verdict = f"The {name} cannot be checked against the energies: no frames are {how}."
        return WorkCheck(**{**nothing.__dict__, "verdict": verdict})
    correlation = float(np.corrcoef(energy, work)[0, 1]) if np.ptp(energy) > 0 else 0.0
    slope = _robust_slope(energy, work)
    if not abs(correlation) > 0.9:
        verdict = (
            f"The {name} cannot be checked against the energies: the frames are too far apart "
            f"(correlation {correlation:.2f} over {len(work)} pairs)."
        )
        return WorkCheck(energy, work, slope, correlation, verdict, False, False)
    if abs(slope - 1) < 0.15:
        verdict = (
            f"The {name} agree{'s' if name == 'stress' else ''} with the energies "
            f"(slope {slope:.3f}, correlation {correlation:.3f} over {len(work)} pairs of frames)."
        )
        return WorkCheck(energy, work, slope, correlation, verdict, True, False)
    guess = _guess(slope, name)
    verdict = (
        f"The {name} contradict{'s' if name == 'stress' else ''} the energies: the slope of energy "
        f"against work is {slope:.4g} where 1 is right (correlation {correlation:.3f} over "
        f"{len(work)} pairs of frames){guess}."
    )
    return WorkCheck(energy, work, slope, correlation, verdict, True, True)


def _robust_slope(energy: Floats, work: Floats) -> float:
    """Least squares through zero, twice: the second time without the worst tenth."""
    slope = float(energy @ work / (work @ work))
    rest = np.abs(energy - slope * work)
    keep = rest <= np.quantile(rest, 0.9)
    if work[keep].any():
        slope = float(energy[keep] @ work[keep] / (work[keep] @ work[keep]))
    return slope


def _guess(slope: float, name: str) -> str:
    sign = ""
    if slope < 0:
        sign = "the sign is reversed" if name == "stress" else "these are gradients, not forces"
    scale = ""
    for reason, value in _SLOPES.items():
        about_stress = reason.startswith("the stress")
        if about_stress == (name == "stress") and abs(abs(slope) / value - 1) < 0.15:
            scale = reason
            break
    reasons = " and ".join(filter(None, (sign, scale)))
    return f"; it seems that {reasons}" if reasons else ""


def _near_pairs(dataset: Dataset, indices: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of each frame and the nearest other one of the same atoms in the same order."""
    compounds: dict[bytes, list[int]] = {}
    for i in indices.tolist():
        atoms = dataset[i]
        key = atoms.numbers.tobytes() + atoms.pbc.tobytes()
        members = compounds.setdefault(key, [])
        if len(members) < _MOST_FRAMES:
            members.append(i)
    pairs: set[tuple[int, int]] = set()
    for members in compounds.values():
        if len(members) < 2:
            continue
        reference = dataset[members[0]]
        points = []
        for i in members:
            atoms = dataset[i]
            if atoms.pbc.all():
                change = atoms.get_scaled_positions(wrap=False) - reference.get_scaled_positions(
                    wrap=False
                )
                moved = (change - np.round(change)) @ reference.cell.array
                # The cell counts too, so that strained copies are not all at one point.
                cell = (atoms.cell.array - reference.cell.array).ravel()
                points.append(np.concatenate([moved.ravel(), cell]))
            else:
                points.append(atoms.positions.ravel() - reference.positions.ravel())
        count = min(4, len(members))
        distances, nearest = cKDTree(np.array(points)).query(np.array(points), k=count)
        reach = _FAR * np.sqrt(len(reference))
        for a in range(len(members)):
            for distance, b in zip(distances[a, 1:], nearest[a, 1:], strict=True):
                if 1e-6 < distance < reach:
                    pairs.add((members[min(a, int(b))], members[max(a, int(b))]))
    return sorted(pairs)


def _pair(dataset: Dataset, i: int, j: int) -> tuple[float, float, float, float]:
    """Energy difference, work of forces, work of stress, largest strain; NaN where unknown."""
    a, b = dataset[i], dataset[j]
    (e_a, f_a, s_a), (e_b, f_b, s_b) = (
        tuple(label(x, k) for k in ("energy", "forces", "stress")) for x in (a, b)
    )
    energy = np.nan if e_a is None or e_b is None else float(e_b - e_a)
    stress_work, strain = 0.0, np.zeros((3, 3))
    if a.pbc.all():
        cell = 0.5 * (a.cell.array + b.cell.array)
        change = b.get_scaled_positions(wrap=False) - a.get_scaled_positions(wrap=False)
        moved = (change - np.round(change)) @ cell
        gradient = np.linalg.solve(cell, b.cell.array - a.cell.array)
        strain = 0.5 * (gradient + gradient.T)
        if np.abs(strain).max() > _SMALL_STRAIN:
            stress_work = np.nan
            if s_a is not None and s_b is not None:
                stress = voigt_6_to_full_3x3_stress(0.5 * (s_a + s_b))
                stress_work = float(abs(np.linalg.det(cell)) * (stress * strain).sum())
    else:
        moved = b.positions - a.positions
    force_work = np.nan
    if f_a is not None and f_b is not None:
        force_work = -float((0.5 * (f_a + f_b) * moved).sum())
    return energy, force_work, stress_work, float(np.abs(strain).max())
