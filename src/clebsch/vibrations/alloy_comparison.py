"""An alloy's predicted density of states beside one that is known, and beside simple guesses."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clebsch.errors import UserError
from clebsch.models import PhononDosModel
from clebsch.phonons.alloy_formula import AlloyFormula
from clebsch.phonons.alloys import Alloy, FormulaAlloy
from clebsch.phonons.read_curve import read_csv_curve
from clebsch.phonons.spectrum import FrequencyGrid, PhononDos, published_target
from clebsch.train.dos_metrics import shares
from clebsch.vibrations.alloy_sweep import Lattice, SweepPoint, end_member_mixture
from clebsch.vibrations.prediction import bin_widths

Array = NDArray[np.float64]

#: What a treatment is called in tables and figures.
TITLES = {
    "virtual": "virtual crystal",
    "sqs": "special quasi-random supercells",
    "random": "random supercells",
}


@dataclass(frozen=True)
class Reference:
    """A known density of states of an alloy.

    Attributes:
        name: of the file.
        frequencies: (P,) cm^-1.
        density: (P,) with maximum 1.
        formula: where the file names one.
    """

    name: str
    frequencies: Array
    density: Array
    formula: str | None = None

    @property
    def mean_frequency(self) -> float:
        """Of the curve on its frequencies, cm^-1."""
        return float(shares(self.density) @ self.frequencies)


@dataclass(frozen=True)
class Comparison:
    """One curve beside the reference.

    Attributes:
        title: what it is.
        density: (P,) at the reference's frequencies, maximum 1.
        mae: mean absolute difference to the reference, both with maximum 1.
        wasserstein: distance of both, normalised to one, cm^-1.
        mean_frequency: of the curve on these frequencies, cm^-1.
    """

    title: str
    density: Array
    mae: float
    wasserstein: float
    mean_frequency: float


def read_reference(path: Path) -> Reference:
    """A table with ``phfreq`` (cm^-1), ``phdos`` and ``formula``, or a curve in two columns.

    Raises:
        UserError: neither of them, or a curve without states.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a CSV file.") from error
    if rows and {"phfreq", "phdos"} <= set(rows[0]):
        if len(rows) > 1:
            raise UserError(f"{path}: holds {len(rows)} curves; leave the one that is meant.")
        try:
            dos = PhononDos(*(np.array(json.loads(rows[0][k])) for k in ("phfreq", "phdos")))
        except (UserError, ValueError, TypeError) as error:
            raise UserError(f"{path}: phfreq and phdos are no curve ({error}).") from error
        formula = rows[0].get("formula") or None
    else:
        dos, formula = read_csv_curve(path).dos, None
    if dos.density.ndim != 1 or dos.density.max() <= 0:
        raise UserError(f"{path}: has no states in it; give a density of states.")
    return Reference(path.name, dos.frequencies, dos.density / dos.density.max(), formula)


def check_same_alloy(reference: Reference, alloy: Alloy) -> None:
    """Make sure that the reference is of this composition, where it says of which it is.

    Raises:
        UserError: the alloy varies, or is another one.
    """
    if alloy.varies:
        raise UserError(
            f"{alloy.text}: has no one composition to compare with {reference.name}; write that "
            "of the reference, such as Mg3(Bi0.75Sb0.25)2."
        )
    if reference.formula is None or not isinstance(alloy, FormulaAlloy):
        return
    contents = [_content(f) for f in (AlloyFormula.parse(reference.formula), alloy.formula)]
    if contents[0] != contents[1]:
        raise UserError(
            f"{reference.name}: is of {reference.formula}, not of {alloy.text}; compare the same "
            "composition."
        )


def compare_with(
    reference: Reference,
    model: PhononDosModel,
    alloy: Alloy,
    point: SweepPoint,
    lattices: Sequence[Lattice],
) -> list[Comparison]:
    """Every treatment, and what can be guessed without it.

    The guesses: the model's own end members mixed in proportion; the reference curves that come
    with the lattices, mixed in the proportion of Vegard's law (with one lattice: its curve).
    """
    curves = {TITLES["virtual"]: _predicted(model, point.virtual.states, reference)}
    for kind, average in point.averages.items():
        curves[TITLES[kind]] = _predicted(model, average.states, reference)
    mixture = end_member_mixture(model, alloy, Fraction(0))
    if mixture is not None:
        title = f"linear mixture of {' and '.join(mixture[0])}, predicted"
        curves[title] = _predicted(model, mixture[1], reference)
    known = [
        (lattice.atoms.get_chemical_formula("metal", True), lattice.dos) for lattice in lattices
    ]
    if isinstance(alloy, FormulaAlloy) and known and all(dos is not None for _, dos in known):
        weights = np.ones(1) if len(known) == 1 else alloy.weights(alloy.shares_at(Fraction(0)))
        names = " and ".join(name for name, _ in known)
        title = f"{names} alone, known" if len(known) == 1 else f"linear mixture of {names}, known"
        curves[title] = _known([dos for _, dos in known if dos is not None], weights, reference)
    return [_judged(title, curve, reference) for title, curve in curves.items()]


def _content(formula: AlloyFormula) -> dict[str, Fraction]:
    """Share of each element in all atoms."""
    content: dict[str, Fraction] = {}
    for group, present in zip(formula.groups, formula.at(Fraction(0)), strict=True):
        for symbol, share in present.items():
            amount = share * group.amount / formula.sites
            content[symbol] = content.get(symbol, Fraction(0)) + amount
    return {symbol: amount for symbol, amount in content.items() if amount}


def _predicted(model: PhononDosModel, states: Array, reference: Reference) -> Array:
    density = states[:-1] / bin_widths(model)
    grid = model.config.grid.centres
    return np.interp(reference.frequencies, grid, density, left=0.0, right=0.0)


def _known(curves: Sequence[PhononDos], weights: Array, reference: Reference) -> Array:
    w = np.unique(np.concatenate([dos.frequencies for dos in curves]))
    density = sum(
        weight * np.interp(w, dos.frequencies, dos.normalized(1).density, left=0.0, right=0.0)
        for dos, weight in zip(curves, weights, strict=True)
    )
    mixture = PhononDos(w, np.asarray(density))
    published = FrequencyGrid(0.0, 1000.0, 20.0).centres
    if np.array_equal(reference.frequencies, published):
        # smoothed as the references on this grid are
        return published_target(mixture)
    return np.interp(reference.frequencies, w, mixture.density, left=0.0, right=0.0)


def _judged(title: str, curve: Array, reference: Reference) -> Comparison:
    w = reference.frequencies
    density = curve / max(float(curve.max()), 1e-300)
    a, b = shares(density), shares(reference.density)
    apart = np.abs(np.cumsum(a - b)[:-1]) @ np.diff(w)
    mae = float(np.abs(density - reference.density).mean())
    return Comparison(title, density, mae, float(apart), float(a @ w))
