"""A linear model of electron densities on lambda-SOAP features.

The coefficients of degree l on an atom are linear in the equivariant power spectrum of degree l of
its environment, with weights for each element, l and function; s coefficients are counted from
their mean over the training molecules. It is SALTED with a linear kernel: Lewis, Grisafi, Ceriotti,
Rossi, J. Chem. Theory Comput. 17, 7203 (2021). Nothing is learnt but these weights: what a network
of density coefficients is measured against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.data import DensityDataset
from clebsch.density.electron_density import ElectronDensity, periodic_cell
from clebsch.density.metric import Metric, metric_matrix
from clebsch.density.moments import electrons_per_function
from clebsch.density.on_site import on_site_block, on_site_matrix
from clebsch.errors import UserError
from clebsch.fields.neighbour_density import NeighbourDensity
from clebsch.fields.power_spectrum import PowerSpectrum
from clebsch.models.density_least_squares import LinearBlock, least_squares
from clebsch.structures.graph import AtomGraph, collate

#: Penalties that are tried, in units of the largest squared length of a feature's axis.
STRENGTHS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_ATOMS = 256  # whose features are computed together


class Trial(NamedTuple):
    """A strength of the penalty and the squared error per electron of the validation molecules."""

    strength: float
    error: float


@dataclass(frozen=True, eq=False)
class DensityRidge:
    """A fitted model.

    Attributes:
        basis: of the coefficients.
        descriptor: expansion of the environments.
        means: coefficients that every atom of an element has before its environment counts, (dim,).
        weights: (F, n) for each element and degree: features of the power spectrum to functions.
        metric: what the fit was made in, and the electron count is restored in.
        trials: how the penalty was chosen.
    """

    basis: AuxiliaryBasis
    descriptor: NeighbourDensity
    means: dict[int, Tensor]
    weights: dict[tuple[int, int], Tensor]
    metric: Metric = "overlap"
    trials: tuple[Trial, ...] = ()

    @classmethod
    def fit(
        cls,
        data: DensityDataset,
        train: npt.ArrayLike | Sequence[int],
        valid: npt.ArrayLike | Sequence[int],
        descriptor: NeighbourDensity | None = None,
        *,
        lmax: int | None = None,
        metric: Metric = "overlap",
        between_atoms: bool = True,
        strengths: Sequence[float] = STRENGTHS,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> DensityRidge:
        """Fit to molecules of a data set, in memory.

        Args:
            train: indices of the molecules that are fitted.
            valid: of those that choose the penalty, by their squared error per electron in the
                metric once the electron count is right.
            descriptor: default `default_descriptor` of the basis.
            lmax: highest degree that is predicted, 0 for invariants alone; coefficients of higher
                ones are 0. Default: all of the basis.
            metric: in which squared errors are measured.
            between_atoms: whether functions of different atoms count in the metric (this needs
                PySCF), or only those of the same atom.
            strengths: penalties to try, falling.
            on_trial: called after each.

        Raises:
            ValueError: no molecule to train or to validate on, or no penalty.
            UserError: an element that only the validation molecules have; PySCF is not installed.
        """
        train, valid = _indices(train, "train"), _indices(valid, "validate")
        if not strengths:
            raise ValueError("give at least one strength of the penalty")
        descriptor = default_descriptor(data.basis) if descriptor is None else descriptor
        model = cls(data.basis, descriptor, mean_coefficients(data, train), {}, metric)
        for i in valid:
            model._check(data[i].numbers, f"validation molecule {i}")
        blocks = model._blocks(data, train, data.basis.lmax if lmax is None else lmax)
        numbers, coefficients = _joined(data, train)
        solutions = least_squares(
            list(blocks.values()),
            coefficients - model._start(numbers),
            _metrics(data, train, metric, between_atoms),
            strengths,
        )
        known = [model._expansions([data[i].atoms()]) for i in valid]
        judges = _metrics(data, valid, metric, between_atoms)
        best, trials = model, []
        for strength, weights in zip(strengths, solutions, strict=True):
            model = replace(model, weights=dict(zip(blocks, weights, strict=True)))
            errors = [
                model._squared_error(data, i, expansion, M)
                for i, expansion, M in zip(valid, known, judges, strict=True)
            ]
            trials.append(Trial(strength, float(np.mean(errors))))
            if trials[-1].error == min(trial.error for trial in trials):
                best = model
            if on_trial is not None:
                on_trial(trials[-1])
        return replace(best, trials=tuple(trials))

    @property
    def strength(self) -> float:
        """The penalty that was chosen."""
        return min(self.trials, key=lambda trial: trial.error).strength

    def predict(self, atoms: Atoms, charge: int = 0) -> ElectronDensity:
        """The density of a molecule or crystal, with exactly its number of electrons.

        Args:
            charge: of the molecule or cell, in e. Only the count changes: the model knows what it
                was trained on.

        Raises:
            UserError: an element that the model was not trained on.
            ValueError: periodic along one or two cell vectors only.
        """
        cell = periodic_cell(atoms)
        self._check(atoms.numbers, "the structure")
        numbers = torch.from_numpy(atoms.numbers.astype(np.int64))
        c = self._coefficients(numbers, self._expansions([atoms]), int(numbers.sum()) - charge)
        positions = torch.from_numpy(atoms.positions.copy())
        return ElectronDensity(self.basis, numbers, positions, c, cell)

    def _check(self, numbers: npt.NDArray[np.int64], where: str) -> None:
        self.basis.check_elements(numbers, where)
        lacking = sorted(set(numbers.tolist()) - set(self.means))
        if lacking:
            known = ", ".join(chemical_symbols[z] for z in self.means)
            raise UserError(
                f"{where}: the model was not trained on {chemical_symbols[lacking[0]]}, only on "
                f"{known}; train it on molecules that have it."
            )

    def _expansions(self, molecules: Sequence[Atoms]) -> Tensor:
        """Neighbour densities of all atoms, (N, dim), float64."""
        cutoff = self.descriptor.cutoff
        graphs = [AtomGraph.from_atoms(atoms, cutoff, torch.float64) for atoms in molecules]
        with torch.no_grad():
            expansions: Tensor = self.descriptor(collate(graphs))
        return expansions

    def _features(self, expansions: Tensor, l: int) -> Tensor:
        """(atoms, dim) -> (atoms, 2l+1, F)."""
        spectrum = PowerSpectrum(self.descriptor.irreps_out, lmax=l, lmin=l)
        blocks = list(zip(spectrum.irreps_out, spectrum.irreps_out.slices(), strict=True))
        F = sum(mul for (mul, _), _ in blocks)
        found = expansions.new_zeros(len(expansions), 2 * l + 1, F)
        for first in range(0, len(expansions) if blocks else 0, _ATOMS):
            p = spectrum(expansions[first : first + _ATOMS])
            parts = [p[:, place].unflatten(1, (2 * l + 1, mul)) for (mul, _), place in blocks]
            found[first : first + _ATOMS] = torch.cat(parts, dim=2)
        return found

    def _blocks(
        self, data: DensityDataset, train: Sequence[int], lmax: int
    ) -> dict[tuple[int, int], LinearBlock]:
        """What is linear in what, for each element and degree."""
        numbers, _ = _joined(data, train)
        expansions = self._expansions([data[i].atoms() for i in train])
        blocks = {}
        for z, (atoms, places) in self.basis.index(numbers).items():
            for block in self.basis.blocks(z):
                if block.l > lmax:
                    continue
                blocks[z, block.l] = LinearBlock.of(
                    self._features(expansions[atoms], block.l).flatten(0, 1),
                    places[:, block.inside].reshape(-1, len(block.exponents)),
                    torch.from_numpy(on_site_block(block, self.metric)),
                )
        return blocks

    def _squared_error(self, data: DensityDataset, i: int, expansions: Tensor, M: Tensor) -> float:
        """Of molecule i in the metric, per electron."""
        numbers, c = _joined(data, [i])
        wrong = self._coefficients(numbers, expansions, data[i].electrons) - c
        return float(wrong @ M @ wrong) / data[i].electrons

    def _start(self, numbers: Tensor) -> Tensor:
        parts = [self.means[z] for z in numbers.tolist()]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def _coefficients(self, numbers: Tensor, expansions: Tensor, electrons: int) -> Tensor:
        c = self._start(numbers)
        for z, (atoms, places) in self.basis.index(numbers).items():
            for block in self.basis.blocks(z):
                weights = self.weights.get((z, block.l))
                if weights is not None:
                    features = self._features(expansions[atoms], block.l)
                    c[places[:, block.inside]] += (features @ weights).flatten(1)
        return with_electrons(self.basis, numbers, c, electrons, self.metric)


def default_descriptor(basis: AuxiliaryBasis, cutoff: float = 5.0) -> NeighbourDensity:
    """Neighbours of every element of the basis within a cutoff in Å: 6 Bessel functions, l <= 4."""
    return NeighbourDensity([chemical_symbols[z] for z in basis.elements], cutoff, lmax=4)


def mean_coefficients(data: DensityDataset, train: npt.ArrayLike) -> dict[int, Tensor]:
    """Mean of the coefficients of each element, (dim,); those of l > 0 are 0, by symmetry."""
    numbers, coefficients = _joined(data, _indices(train, "train"))
    means = {}
    for z, (_, places) in data.basis.index(numbers).items():
        s = data.basis.blocks(z)[0].inside
        means[z] = torch.zeros(data.basis.dim(z), dtype=torch.float64)
        means[z][s] = coefficients[places[:, s]].mean(0)
    return means


def with_electrons(
    basis: AuxiliaryBasis, numbers: Tensor, coefficients: Tensor, electrons: float, metric: Metric
) -> Tensor:
    """Coefficients (K,) with an exact electron count: c + y (N - q.c) / (q.y).

    q are the functions' electrons and M y = q with the metric on each atom alone: the change is the
    smallest in this metric.
    """
    q = electrons_per_function(basis, numbers, coefficients)
    y = torch.zeros_like(q)
    for z, (_, places) in basis.index(numbers).items():
        block = basis.blocks(z)[0]
        M = torch.from_numpy(on_site_block(block, metric)).to(q)
        y[places[:, block.inside]] = torch.linalg.solve(M, q[places[0, block.inside]])
    if not len(q):
        return coefficients
    return coefficients + y * ((electrons - q @ coefficients) / (q @ y))


def _metrics(
    data: DensityDataset, indices: Sequence[int], metric: Metric, between_atoms: bool
) -> list[Tensor]:
    found = []
    for record in (data[i] for i in indices):
        numbers = torch.from_numpy(record.numbers)
        if between_atoms:
            found.append(metric_matrix(data.basis, numbers, record.positions, metric))
        else:
            found.append(on_site_matrix(data.basis, numbers, metric))
    return found


def _joined(data: DensityDataset, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Elements (N,) and coefficients (K,) of molecules, one after the other."""
    numbers = np.concatenate([data[i].numbers for i in indices])
    coefficients = np.concatenate([data[i].coefficients for i in indices])
    return torch.from_numpy(numbers), torch.from_numpy(coefficients)


def _indices(given: npt.ArrayLike, purpose: str) -> list[int]:
    indices: list[int] = np.asarray(given, dtype=np.int64).tolist()
    if not indices:
        raise ValueError(f"there is no molecule to {purpose} on")
    return indices
