"""Whether energies, forces and stresses of near frames belong together.

Between two frames i and j of the same atoms, the energy changes by the work of the forces and of
the stress,

    E_j - E_i = -F . (ds C) + V stress : strain + O(displacement^3),

with the means of both frames on the right (the trapezoidal rule), ds the change of the scaled
positions, C the mean cell and strain the symmetric part of C^-1 dC. A wrong unit or sign of one
label shows as a slope other than one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
_CERTAIN = 7.0  # slope over its standard error
_BOND = 3.0  # Å, turns a strain into a displacement of neighbours
_UNCHECKED = "The {} cannot be checked against the energies"
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
        energy: (P,) eV, E_j - E_i less the fitted work of the other label.
        work: (P,) eV, what the forces or the stress predict.
        slope: of energy against work, 1 if the labels belong together; NaN if unknown.
        error: standard error of the slope; infinite if unknown.
        verdict: a sentence.
        certain: whether the pairs suffice to say so.
        wrong: whether the labels contradict each other.
    """

    energy: Floats
    work: Floats
    slope: float
    error: float
    verdict: str
    certain: bool
    wrong: bool


def check_work(dataset: Dataset, indices: npt.NDArray[np.int64]) -> tuple[WorkCheck, WorkCheck]:
    """Check of forces and of stress against energies, from pairs of near frames.

    Both slopes are fitted together, so that a wrong stress does not spoil the check of the forces.
    """
    pairs = [_pair(dataset, i, j) for i, j in _near_pairs(dataset, indices)]
    rows = np.array(pairs).reshape(-1, 4)
    energy, forces, stress, size = rows[np.isfinite(rows).all(axis=1)].T
    slopes, errors = _fit(np.stack([forces, stress], axis=1), energy, size)
    first = _judge(energy - slopes[1] * stress, forces, slopes[0], errors[0], "forces")
    strained = stress != 0
    second = _judge(
        (energy - slopes[0] * forces)[strained], stress[strained], slopes[1], errors[1], "stress"
    )
    if first.wrong and second.wrong:
        # A wrong energy contradicts both; the sentence about the forces is enough.
        second = replace(second, certain=False, wrong=False)
        second = replace(second, verdict=f"{_UNCHECKED.format('stress')} before the forces agree.")
    return first, second


def _fit(design: Floats, energy: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Slopes (2,) and their standard errors; zero and infinite for a column without pairs.

    Weights follow the error of the trapezoidal rule, size^3; outliers are left out in two rounds.
    """
    slopes, errors = np.zeros(2), np.full(2, np.inf)
    used = np.flatnonzero(np.abs(design).max(axis=0, initial=0.0) > 1e-6)
    if len(energy) < 3 * len(used) or len(used) == 0:
        return slopes, errors
    weight = 1 / (size**3 + 0.01 * np.median(size**3))
    keep = np.ones(len(energy), dtype=bool)
    for _ in range(3):
        x, y = design[keep][:, used] * weight[keep, None], energy[keep] * weight[keep]
        found, *_ = np.linalg.lstsq(x, y, rcond=None)
        rest = weight * (energy - design[:, used] @ found)
        spread = 1.4826 * np.median(np.abs(rest))
        variance = float((rest[keep] ** 2).sum() / max(keep.sum() - len(used), 1))
        slopes[used] = found
        errors[used] = np.sqrt(np.maximum(np.diag(variance * np.linalg.pinv(x.T @ x)), 1e-30))
        keep = np.abs(rest) <= 5 * spread + 1e-12
    return slopes, errors


def _judge(energy: Floats, work: Floats, slope: float, error: float, name: str) -> WorkCheck:
    def result(verdict: str, certain: bool, wrong: bool) -> WorkCheck:
        known = slope if np.isfinite(error) else float("nan")
        return WorkCheck(energy, work, known, error, verdict, certain, wrong)

    if not np.isfinite(error):
        how = "strained copies of each other" if name == "stress" else "near each other"
        return result(f"{_UNCHECKED.format(name)}: too few frames are {how}.", False, False)
    numbers = f"slope {slope:.4g} ± {error:.2g} over {len(work)} pairs of frames"
    if abs(slope) < _CERTAIN * error:
        verdict = f"{_UNCHECKED.format(name)}: the frames are too far apart ({numbers})."
        return result(verdict, False, False)
    s = "s" if name == "stress" else ""
    if abs(slope - 1) < 0.15 + 3 * error:
        return result(f"The {name} agree{s} with the energies ({numbers}).", True, False)
    return result(
        f"The {name} contradict{s} the energies: {numbers} of energy against work, where 1 is "
        f"right{_guess(slope, name)}.",
        True,
        True,
    )


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
    """Energy difference, work of forces, work of stress in eV (NaN where unknown); size in Å."""
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
    size = np.sqrt((moved**2).sum() + len(a) * (_BOND**2) * (strain**2).sum())
    return energy, force_work, stress_work, float(size)
