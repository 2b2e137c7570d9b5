"""Partial densities of states that nobody taught, against phonopy's projected ones.

A `PhononDosModel` gives states to every atom but is trained on sums over whole crystals. Whether
its atoms are physical is asked of a potential's force constants, whose eigenvectors say how much
each atom takes part in each mode.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clebsch.errors import UserError
from clebsch.files import write_text
from clebsch.models import PhononDosModel
from clebsch.phonons import FrequencyGrid, PhononDos
from clebsch.phonons.dataset import PhononDataset, PhononRecord
from clebsch.phonons.plausible import band_top
from clebsch.vibrations.crystals import Crystal
from clebsch.vibrations.finite_displacements import DisplacementSettings, finite_displacements
from clebsch.vibrations.prediction import predict_phonons

Array = NDArray[np.float64]

#: Share of imaginary states in the reference, above which a crystal is left out.
IMAGINARY = 0.01
#: Guesses that need no network's atoms, and what they are.
GUESSES = {
    "model": "the network's own atoms",
    "equal": "every atom has the network's total, divided by the number of atoms",
    "mass": "the same, its frequencies scaled by 1/sqrt(mass), with the mean over atoms kept",
    "reference equal": "every atom has phonopy's own total, divided by the number of atoms",
    "reference mass": "phonopy's own total, scaled by 1/sqrt(mass)",
}


@dataclass(frozen=True)
class PartialRow:
    """One crystal.

    Attributes:
        name, formula, n_atoms: of the crystal.
        frequencies: (K,) cm^-1, of the curves.
        reference: element -> (K,) states of one atom below each frequency over 3, phonopy's.
        guesses: guess -> element -> the same.
        stretch: factor on phonopy's frequencies that gives the data's mean frequency; the curves
            of ``reference`` have it.
        distances: guess -> element -> 1-Wasserstein distance from ``reference``, cm^-1.
        unstretched: the same from phonopy's frequencies as they are.
        offsets: element -> mean frequency minus the crystal's, cm^-1: phonopy's and the model's.
        assigned: whether no other assignment of the network's spectra to the elements is nearer.
    """

    name: str
    formula: str
    n_atoms: int
    frequencies: Array
    reference: Mapping[str, Array]
    guesses: Mapping[str, Mapping[str, Array]]
    stretch: float
    distances: Mapping[str, Mapping[str, float]]
    unstretched: Mapping[str, Mapping[str, float]]
    offsets: Mapping[str, tuple[float, float]]
    assigned: bool

    def mean_distance(self, guess: str) -> float:
        """Over the elements of the crystal."""
        return float(np.mean(list(self.distances[guess].values())))


def choose_compounds(
    dataset: PhononDataset,
    indices: Sequence[int],
    model: PhononDosModel,
    number: int,
    seed: int = 0,
    most_atoms: int = 8,
) -> list[int]:
    """Crystals drawn at random that can be compared.

    At least two elements, at most ``most_atoms`` in the cell (the potential's time), no more than
    `IMAGINARY` imaginary states, nothing beyond the model's grid.

    Raises:
        UserError: there is none.
    """
    order = np.random.default_rng(seed).permutation(np.sort(np.asarray(indices, dtype=np.int64)))
    chosen = []
    for i in order.tolist():
        record = dataset.records[i]
        several = len(set(record.atoms.numbers.tolist())) > 1
        fits = len(record.atoms) <= most_atoms and band_top(record.dos) < model.config.grid.stop
        if several and fits and record.dos.imaginary_states() < IMAGINARY:
            chosen.append(i)
    if not chosen:
        raise UserError(
            f"{dataset.path}: no crystal has several elements, at most {most_atoms} atoms and "
            "real modes within the model's grid; allow more atoms."
        )
    return chosen[:number]


def projected_dos(
    record: PhononRecord,
    calculator: Callable[[], ASECalculator],
    settings: DisplacementSettings,
    made_by: Mapping[str, Any],
    path: Path,
) -> dict[str, Any]:
    """phonopy's projected density of states by element, from ``path`` if it is there.

    Args:
        record: the crystal.
        calculator: of the potential.
        settings: of the displacements.
        made_by: what the potential is called.
        path: JSON file; written where there is none.

    Returns:
        ``frequencies`` (cm^-1), ``elements`` (symbol -> states per cm^-1 of all its atoms),
        ``imaginary``; or ``error`` where the potential's phonons fail.

    Raises:
        UserError: the file was made by another potential or with other settings.
    """
    about = {**made_by, "settings": asdict(settings)}
    if path.exists():
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if any(content.get(key) != value for key, value in about.items()):
            raise UserError(f"{path}: was computed with other settings; choose another --out.")
        return content
    try:
        phonons = finite_displacements(record.atoms, calculator(), settings, record.where)
    except (UserError, ValueError) as error:
        content = {**about, "error": str(error)}
    else:
        content = {
            **about,
            "frequencies": phonons.projected.frequencies.tolist(),
            "elements": {s: dos.density.tolist() for s, dos in phonons.by_element.items()},
            "imaginary": phonons.imaginary,
            "seconds": dict(phonons.seconds),
        }
    write_text(path, json.dumps(content))
    return content


def compare_partial(
    model: PhononDosModel, record: PhononRecord, reference: Mapping[str, Any]
) -> PartialRow:
    """The model's elements, and guesses, against phonopy's.

    Args:
        model: that predicts.
        record: the crystal and its true density of states.
        reference: of `projected_dos`.
    """
    atoms = record.atoms
    prediction = next(predict_phonons(model, [Crystal(record.name, record.where, atoms)]))
    symbols = list(dict.fromkeys(atoms.get_chemical_symbols()))
    counts = {s: int((atoms.numbers == atomic_numbers[s]).sum()) for s in symbols}
    w = np.arange(0.0, model.config.grid.stop + 2 * model.config.grid.step + 1.0)
    states_of = prediction.element_states()
    own = {s: binned_share(prediction.grid, states_of[s], w) for s in symbols}
    found = np.asarray(reference["frequencies"], dtype=np.float64)
    projected = {s: PhononDos(found, np.asarray(reference["elements"][s])) for s in symbols}
    total = record.dos
    states = total.states_at() * (total.frequencies > 0)
    target = float(states @ total.frequencies / states.sum())
    plain = {s: _share(dos, w) for s, dos in projected.items()}
    weights = {s: counts[s] / len(atoms) for s in symbols}
    stretch = target / sum(weights[s] * _mean(plain[s], w) for s in symbols)
    stretched = {s: _share(dos, w / stretch) for s, dos in projected.items()}

    def guesses(phonopy: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        totals = {
            "": sum(weights[s] * own[s] for s in symbols),
            "reference ": sum(weights[s] * phonopy[s] for s in symbols),
        }
        result: dict[str, dict[str, Array]] = {"model": own}
        for prefix, whole in totals.items():
            assert isinstance(whole, np.ndarray)
            result[f"{prefix}equal"] = dict.fromkeys(symbols, whole)
            result[f"{prefix}mass"] = mass_scaled(whole, w, atoms)
        return result

    def distances(phonopy: Mapping[str, Array]) -> dict[str, dict[str, float]]:
        return {
            guess: {s: float(np.trapezoid(abs(curves[s] - phonopy[s]), w)) for s in symbols}
            for guess, curves in guesses(phonopy).items()
        }

    centre = {
        name: sum(weights[s] * _mean(curves[s], w) for s in symbols)
        for name, curves in (("phonopy", stretched), ("model", own))
    }
    offsets = {
        s: (_mean(stretched[s], w) - centre["phonopy"], _mean(own[s], w) - centre["model"])
        for s in symbols
    }
    # the least sum of distances over all assignments
    cost = np.array([[np.trapezoid(abs(own[s] - stretched[t]), w) for t in symbols] for s in own])
    best = cost[linear_sum_assignment(cost)].sum()
    return PartialRow(
        record.name,
        atoms.get_chemical_formula(mode="metal", empirical=True),
        len(atoms),
        w,
        stretched,
        guesses(stretched),
        stretch,
        distances(stretched),
        distances(plain),
        offsets,
        bool(np.trace(cost) <= best * (1 + 1e-9)),
    )


def binned_share(grid: FrequencyGrid, states: Array, w: Array) -> Array:
    """Share of binned states below each of ``w``; each bin's are spread evenly.

    Args:
        grid: K bins.
        states: (K + 1,), the last beyond the grid: one further bin.
        w: cm^-1.

    >>> binned_share(FrequencyGrid(0, 20, 10), np.array([1.0, 2, 1, 0]), np.array([5.0, 10, 25]))
    array([0.25, 0.5 , 1.  ])
    """
    edges = np.append(grid.edges, grid.edges[-1] + grid.step)
    below = np.concatenate([[0.0], np.cumsum(states)])
    return np.asarray(np.interp(w, edges, below / below[-1]))


def mass_scaled(share: Array, w: Array, atoms: Atoms) -> dict[str, Array]:
    """A spectrum for every element: the total's, its frequencies going with 1/sqrt(mass).

    The mean over all atoms of the mean frequency stays.

    Args:
        share: (K,) of the total's states below ``w``.
        w: (K,) cm^-1.
        atoms: the crystal.
    """
    factors = atomic_masses[atoms.numbers] ** -0.5
    symbols = dict.fromkeys(atoms.get_chemical_symbols())
    return {
        s: np.interp(w / (atomic_masses[atomic_numbers[s]] ** -0.5 / factors.mean()), w, share)
        for s in symbols
    }


def summarise(rows: Sequence[PartialRow]) -> dict[str, Any]:
    """Mean distances of every guess, how often the model is nearest, and the correlation.

    ``assigned_rightly`` is the share of crystals with `PartialRow.assigned`, ``by_chance`` what a
    random order of each crystal's elements would have; ``offsets_correlation`` is Pearson's r
    between the model's and phonopy's mean frequency of an element minus that of its crystal,
    ``offsets_slope`` the slope through the origin.
    """
    values = {g: np.array([d for row in rows for d in row.distances[g].values()]) for g in GUESSES}
    plain = {g: np.array([d for row in rows for d in row.unstretched[g].values()]) for g in GUESSES}
    pairs = np.array([pair for row in rows for pair in row.offsets.values()])
    rest = [g for g in GUESSES if g != "model"]
    return {
        "crystals": len(rows),
        "elements": len(pairs),
        "wasserstein_cm1": {g: float(v.mean()) for g, v in values.items()},
        "wasserstein_median_cm1": {g: float(np.median(v)) for g, v in values.items()},
        "wasserstein_unstretched_cm1": {g: float(v.mean()) for g, v in plain.items()},
        "model_nearer_than": {g: float((values["model"] < values[g]).mean()) for g in rest},
        "assigned_rightly": float(np.mean([row.assigned for row in rows])),
        "by_chance": float(np.mean([1 / factorial(len(row.offsets)) for row in rows])),
        "offsets_correlation": float(np.corrcoef(pairs.T)[0, 1]),
        "offsets_slope": float(pairs[:, 0] @ pairs[:, 1] / (pairs[:, 0] @ pairs[:, 0])),
        "stretch": float(np.mean([row.stretch for row in rows])),
    }


def write_partial(
    rows: Sequence[PartialRow], out: Path, about: Mapping[str, Any], failed: Mapping[str, str]
) -> dict[str, Any]:
    """``partial.json``, ``partial.csv``, ``partial.png`` in ``out``.

    Raises:
        UserError: no crystal to write about.
    """
    if not rows:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise UserError(f"{out}: no crystal could be computed ({reasons[:300]}).")
    content = {
        "title": "Partial densities of states learnt from totals, against phonopy's projected ones",
        **about,
        "definitions": {
            **GUESSES,
            "distance": "1-Wasserstein distance of the spectrum of one atom of an element, "
            "normalised to one, from phonopy's, cm^-1; phonopy's frequencies are stretched so that "
            "the mean frequency of the whole is that of the data (unstretched: as they are)",
        },
        "summary": summarise(rows),
        "failed": dict(failed),
        "rows": [
            {
                "name": row.name,
                "formula": row.formula,
                "n_atoms": row.n_atoms,
                "stretch": row.stretch,
                "assigned": row.assigned,
                "distances_cm1": {g: dict(d) for g, d in row.distances.items()},
                "unstretched_cm1": {g: dict(d) for g, d in row.unstretched.items()},
                "offsets_cm1": {s: list(pair) for s, pair in row.offsets.items()},
            }
            for row in rows
        ],
    }
    write_text(out / "partial.json", json.dumps(content, indent=1) + "\n")
    lines = [",".join(["name", "formula", "element", *(f"{g} / cm^-1" for g in GUESSES)])]
    for row in rows:
        for s in row.offsets:
            cells = [f"{row.distances[g][s]:.2f}" for g in GUESSES]
            lines.append(",".join([row.name, row.formula, s, *cells]))
    write_text(out / "partial.csv", "\n".join(lines) + "\n")
    draw_partial(rows, out / "partial.png")
    return content


def draw_partial(rows: Sequence[PartialRow], path: Path, width: float = 8.0) -> None:
    """Spectra per element of up to six crystals from best to worst, offsets, and distances.

    Args:
        width: cm^-1, of the normal distribution that both curves are drawn with.
    """
    from scipy.ndimage import gaussian_filter1d

    from clebsch.figures import COLOURS, figure

    order = sorted(rows, key=lambda row: row.mean_distance("model"))
    places = np.unique(np.linspace(0, len(order) - 1, min(6, len(order))).round().astype(int))
    with figure(path, 10.5, 7.6) as canvas:
        top, bottom = canvas.subfigures(2, 1, height_ratios=[2, 1.05])
        top.suptitle("partial densities of states: phonopy (filled), network (lines)", fontsize=10)
        panels = top.subplots(2, 3).ravel()
        for panel in panels[len(places) :]:
            panel.axis("off")
        for panel, place in zip(panels, places, strict=False):
            row = order[place]
            for colour, s in zip(COLOURS, row.reference, strict=False):
                dos = [
                    gaussian_filter1d(np.gradient(curve, row.frequencies), width)
                    for curve in (row.reference[s], row.guesses["model"][s])
                ]
                panel.fill_between(row.frequencies, dos[0], color=colour, alpha=0.25, lw=0)
                panel.plot(row.frequencies, dos[1], color=colour, label=s)
            far = max(np.searchsorted(c, 0.999) for c in row.reference.values())
            panel.set(
                title=f"{row.formula} ({row.name}): {row.mean_distance('model'):.0f} cm$^{{-1}}$",
                xlim=(0, 1.15 * row.frequencies[min(far, len(row.frequencies) - 1)]),
                ylim=(0, None),
                yticks=[],
                xlabel="wavenumber / cm$^{-1}$",
            )
            panel.legend()
        left, right = bottom.subplots(1, 2)
        pairs = np.array([pair for row in rows for pair in row.offsets.values()])
        reach = 1.08 * abs(pairs).max()
        left.plot([-reach, reach], [-reach, reach], color="#999999", lw=0.8)
        left.axhline(0, color="#cccccc", lw=0.6)
        left.plot(*pairs.T, "o", ms=4)
        left.set(
            xlabel="phonopy: element's mean frequency less the crystal's / cm$^{-1}$",
            ylabel="network / cm$^{-1}$",
        )
        values = [[d for row in rows for d in row.distances[g].values()] for g in GUESSES]
        right.boxplot(values, orientation="horizontal", widths=0.6, medianprops={"color": "k"})
        names = ["network's atoms", "its total / N", "its total by mass"]
        right.set_yticks(
            range(1, 1 + len(GUESSES)), [*names, "phonopy's total / N", "phonopy's total by mass"]
        )
        right.invert_yaxis()
        right.set_xlabel("Wasserstein distance from phonopy's / cm$^{-1}$")


def _share(dos: PhononDos, w: Array) -> Array:
    """Share of the real states below each of ``w``."""
    below = dos.cumulative(np.append(w, 0.0))
    zero, total = below[-1], float(dos.states())
    return np.asarray((below[:-1] - zero) / (total - zero))


def _mean(share: Array, w: Array) -> float:
    """Mean frequency of a distribution by its shares below ``w``, from 0 on."""
    return float(np.trapezoid(share[-1] - share, w)) / float(share[-1])
