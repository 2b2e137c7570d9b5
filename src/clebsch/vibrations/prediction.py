"""Phonon densities of states of many crystals from a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nlargest, nsmallest
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from clebsch.errors import UserError
from clebsch.models import PhononDosModel
from clebsch.phonons import FrequencyGrid, convert_frequency
from clebsch.phonons.properties import Thermodynamics
from clebsch.phonons.thermodynamics import Amount
from clebsch.structures import AtomGraph, neighbour_list
from clebsch.vibrations.crystals import Crystal, OnError, check_crystal

Array = NDArray[np.float64]
Normalisation = Literal["3N", "1", "maximum"]

#: In one batch: enough to keep a core busy, small enough for its cache and a laptop's memory.
MAX_ATOMS = 1000
EDGES_PER_ATOM = 30
_STATES_PER_ATOM = 3.0
_CLOSEST = 0.5  # Å; the shortest bond there is, in H2, has 0.74
_SHOWN = 12  # elements in a message


@dataclass(frozen=True)
class Spectrum:
    """Densities of states of one crystal, to be drawn or written.

    Attributes:
        frequencies: (K,) centres of the bins in ``unit``.
        total: (K,) density; its integral is 3N or 1, or its largest value 1.
        std: (K,) standard deviation over an ensemble; None for a single network.
        elements: symbol -> (K,), the part of each element in ``total``.
        unit: of the frequencies.
        density_unit: such as ``states/cm^-1``.
    """

    frequencies: Array
    total: Array
    std: Array | None
    elements: dict[str, Array]
    unit: str
    density_unit: str


@dataclass(frozen=True)
class PhononPrediction:
    """What a model says of one crystal.

    Attributes:
        name: of the crystal.
        where: file and frame.
        atoms: the structure.
        grid: K bins, cm^-1.
        widths: (K,) cm^-1 that the states of a bin stand for.
        atomic_states: (N, K + 1) states of every atom, three each; the last bin is what lies
            beyond the grid.
        member_states: (M, K + 1) states of the cell by each network of an ensemble, or None.
    """

    name: str
    where: str
    atoms: Atoms
    grid: FrequencyGrid
    widths: Array
    atomic_states: Array
    member_states: Array | None = field(default=None)

    @cached_property
    def states(self) -> Array:
        """(K + 1,) states of the cell, 3N in all."""
        return np.asarray(self.atomic_states.sum(0))

    @property
    def spread(self) -> Array | None:
        """(K + 1,) standard deviation of ``states`` over the ensemble, or None."""
        return None if self.member_states is None else self.member_states.std(0, ddof=1)

    @property
    def members(self) -> int:
        """Networks that were asked."""
        return 1 if self.member_states is None else len(self.member_states)

    def element_states(self) -> dict[str, Array]:
        """Symbol -> (K + 1,) states that the atoms of each element take part in."""
        numbers = self.atoms.numbers
        return {
            chemical_symbols[z]: self.atomic_states[numbers == z].sum(0)
            for z in dict.fromkeys(numbers.tolist())
        }

    def thermodynamics(self, temperatures: Sequence[float] = (300.0,)) -> Thermodynamics:
        """Heat capacity, entropy, energies and more, each with its uncertainty.

        Args:
            temperatures: K.
        """
        return Thermodynamics(
            self.grid,
            self.states,
            self.member_states,
            temperatures,
            len(self.atoms),
            float(self.atoms.get_masses().sum()),
        )

    def spectrum(self, unit: str = "cm^-1", normalise: Normalisation = "3N") -> Spectrum:
        """The densities on the grid.

        Args:
            unit: ``"cm^-1"``, ``"THz"`` or ``"meV"``.
            normalise: the integral is ``"3N"`` or ``"1"``, what lies beyond the grid included, or
                the ``"maximum"`` is 1.

        Raises:
            UserError: an unknown unit or normalisation.
        """
        widths = convert_frequency(self.widths, "cm^-1", unit)
        total = self.states[:-1] / widths
        if normalise == "3N":
            factor, label = 1.0, f"states/{unit}"
        elif normalise == "1":
            factor, label = 1.0 / (_STATES_PER_ATOM * len(self.atoms)), f"1/{unit}"
        elif normalise == "maximum":
            factor, label = 1.0 / max(float(total.max()), 1e-300), "of maximum"
        else:
            raise UserError(
                f'a spectrum is normalised to "3N", "1" or "maximum", not {normalise!r}'
            )
        spread = self.spread
        return Spectrum(
            convert_frequency(self.grid.centres, "cm^-1", unit),
            total * factor,
            None if spread is None else spread[:-1] / widths * factor,
            {s: g[:-1] / widths * factor for s, g in self.element_states().items()},
            unit,
            label,
        )


def predict_phonons(
    model: PhononDosModel,
    structures: Iterable[Atoms | Crystal],
    *,
    device: str | torch.device | None = None,
    max_atoms: int = MAX_ATOMS,
    on_error: OnError | None = None,
) -> Iterator[PhononPrediction]:
    """Predict crystals, batched; yields in their order, as soon as each batch is done.

    Memory holds one batch. Every prediction has exactly three states per atom.

    Args:
        model: as loaded.
        structures: ``Atoms``, or what `read_crystals` yields.
        device: where the model is moved to; None leaves it.
        max_atoms: in one batch; a larger crystal comes alone.
        on_error: receives the error of a structure that cannot be predicted, which is then left
            out; without it the first one is raised.

    Raises:
        UserError: no crystal, an element that the model does not know; names the structure.
    """
    if device is not None:
        model = model.to(device=device)
    model.eval()
    target = next(model.parameters()).device
    widths = bin_widths(model)
    for crystals, graph in _batches(model, structures, max_atoms, on_error):
        with torch.inference_mode():
            out = model(graph.to(target))
        atomic = out["atomic_states"].double().cpu().numpy()
        # the states of a softmax in float32 miss their sum by 1e-7
        atomic *= _STATES_PER_ATOM / atomic.sum(-1, keepdims=True)
        sizes = np.array([len(c.atoms) for c in crystals])
        members: Array | None = None
        if "member_states" in out:
            members = out["member_states"].double().cpu().numpy()
            members *= _STATES_PER_ATOM * sizes[None, :, None] / members.sum(-1, keepdims=True)
        ends = np.cumsum(sizes)
        for place, (crystal, end) in enumerate(zip(crystals, ends, strict=True)):
            yield PhononPrediction(
                crystal.name,
                crystal.where,
                crystal.atoms,
                model.config.grid,
                widths,
                atomic[end - sizes[place] : end],
                None if members is None else members[:, place],
            )


def bin_widths(model: PhononDosModel) -> Array:
    """(K,) cm^-1 that the states of each bin stand for.

    The first bin of a grid from zero is half as wide, but not for a model of the published
    target, which has learnt values at the centres.
    """
    grid = model.config.grid
    if model.header.get("target", {}).get("kind") == "published":
        return np.full(len(grid), grid.step)
    return np.diff(grid.edges)


def rank(
    predictions: Iterable[PhononPrediction],
    temperature: float,
    amount: Amount = "mol of atoms",
    highest: bool = True,
    top: int | None = None,
) -> list[PhononPrediction]:
    """Predictions by their heat capacity, the best first.

    Args:
        predictions: any number; only ``top`` of them are kept in memory, all where it is None.
        temperature: K.
        amount: what the heat capacities are compared per.
        highest: whether a high one is wanted, or a low one.
        top: how many to keep.
    """

    def key(prediction: PhononPrediction) -> float:
        return prediction.thermodynamics([temperature]).heat_capacity(temperature, amount).value

    if top is None:
        return sorted(predictions, key=key, reverse=highest)
    return (nlargest if highest else nsmallest)(top, predictions, key=key)


@dataclass(frozen=True)
class _Bonded:
    """A crystal with its atoms inside the cell and its neighbours."""

    crystal: Crystal
    positions: Array
    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    shifts: NDArray[np.int32]


def _batches(
    model: PhononDosModel,
    structures: Iterable[Atoms | Crystal],
    max_atoms: int,
    on_error: OnError | None,
) -> Iterator[tuple[list[Crystal], AtomGraph]]:
    waiting: list[_Bonded] = []
    atoms = edges = 0
    known = {atomic_numbers[symbol] for symbol in model.species}
    for number, structure in enumerate(structures):
        try:
            crystal = structure if isinstance(structure, Crystal) else _named(structure, number)
            check_crystal(crystal.atoms, crystal.where)
            _check_elements(model, known, crystal)
            bonded = _bonded(crystal, model.cutoff)
        except UserError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        more = len(crystal.atoms), len(bonded.src)
        full = atoms + more[0] > max_atoms or edges + more[1] > EDGES_PER_ATOM * max_atoms
        if waiting and full:
            yield [b.crystal for b in waiting], _graph(waiting, model.dtype)
            waiting, atoms, edges = [], 0, 0
        waiting.append(bonded)
        atoms, edges = atoms + more[0], edges + more[1]
    if waiting:
        yield [b.crystal for b in waiting], _graph(waiting, model.dtype)


def _named(atoms: Atoms, number: int) -> Crystal:
    return Crystal(str(atoms.info.get("name", f"structure-{number}")), f"structure {number}", atoms)


def _check_elements(model: PhononDosModel, known: set[int], crystal: Crystal) -> None:
    unknown = sorted(set(crystal.atoms.numbers.tolist()) - known)
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        listed = ", ".join(model.species[:_SHOWN])
        more = f", ... {len(known)} in all" if len(known) > _SHOWN else ""
        raise UserError(
            f"{crystal.where}: the model does not know {names} (it was trained on "
            f"{listed}{more}); leave the structure out or take another model."
        )


def _bonded(crystal: Crystal, cutoff: float) -> _Bonded:
    """Neighbours, found in double precision."""
    cell = crystal.atoms.cell.array
    # near the origin: far from it, single precision would see bonds change
    share = np.linalg.solve(cell.T, crystal.atoms.positions.T).T
    positions = (share - np.floor(share)) @ cell
    try:
        src, dst, shifts = neighbour_list(positions, cell, crystal.atoms.pbc, cutoff)
    except UserError as error:
        raise UserError(f"{crystal.where}: {error}") from error
    vectors = positions[src] - positions[dst] + shifts @ cell
    if len(src) and np.einsum("ea,ea->e", vectors, vectors).min() < _CLOSEST**2:
        raise UserError(
            f"{crystal.where}: has atoms closer than {_CLOSEST} Å; check its unit of length, and "
            "that no atom is there twice."
        )
    return _Bonded(crystal, positions, src, dst, shifts)


def _graph(bonded: Sequence[_Bonded], dtype: torch.dtype) -> AtomGraph:
    """All of them side by side; `collate` of single graphs would make ten tensors for each."""
    sizes = np.array([len(b.positions) for b in bonded])
    starts = np.repeat(np.cumsum(sizes) - sizes, [len(b.src) for b in bonded])
    n, count = int(sizes.sum()), len(bonded)
    atoms = [b.crystal.atoms for b in bonded]

    def joined(parts: Sequence[NDArray[Any]], kind: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(kind)

    return AtomGraph(
        numbers=joined([a.numbers for a in atoms], torch.int64),
        positions=joined([b.positions for b in bonded], dtype),
        cell=joined([a.cell.array[None] for a in atoms], dtype),
        pbc=torch.ones(count, 3, dtype=torch.bool),
        src=torch.from_numpy(np.concatenate([b.src for b in bonded]) + starts),
        dst=torch.from_numpy(np.concatenate([b.dst for b in bonded]) + starts),
        shifts=joined([b.shifts for b in bonded], dtype),
        batch=torch.from_numpy(np.repeat(np.arange(count), sizes)),
        energy=torch.full((count,), torch.nan, dtype=torch.float64),
        forces=torch.full((n, 3), torch.nan, dtype=dtype),
        stress=torch.full((count, 3, 3), torch.nan, dtype=dtype),
        config_type=("default",) * count,
        frame=torch.arange(count),
    )
