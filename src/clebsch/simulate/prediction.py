"""Energies, forces and stress of many structures."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.simulate.calculator import PotentialModel, check_elements, model_dtype
from clebsch.structures import AtomGraph, Dataset, collate

#: Atoms in one batch: enough to keep two cores busy, small enough for a laptop's memory.
MAX_ATOMS = 1000
MAX_EDGES = 40_000


def graph_batches(
    model: PotentialModel,
    dataset: Dataset | Sequence[Atoms],
    max_atoms: int = MAX_ATOMS,
    max_edges: int = MAX_EDGES,
    indices: Sequence[int] | None = None,
) -> Iterator[AtomGraph]:
    """Batches of a data set (of ``indices`` only, where given) in its order.

    A frame larger than the limits comes alone.

    Raises:
        UserError: an element that the model was not trained on, with file and frame.
    """
    dtype = model_dtype(model)
    waiting: list[AtomGraph] = []
    atoms_waiting = edges_waiting = 0
    for index in range(len(dataset)) if indices is None else indices:
        atoms = dataset[index]
        where = dataset.where(index) if isinstance(dataset, Dataset) else f"structure {index}"
        check_elements(model, atoms.numbers, where)
        try:
            graph = AtomGraph.from_atoms(atoms, model.cutoff, dtype, index)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        atoms_full = atoms_waiting + graph.n_atoms > max_atoms
        if waiting and (atoms_full or edges_waiting + graph.n_edges > max_edges):
            yield collate(waiting)
            waiting, atoms_waiting, edges_waiting = [], 0, 0
        waiting.append(graph)
        atoms_waiting += graph.n_atoms
        edges_waiting += graph.n_edges
    if waiting:
        yield collate(waiting)


def predict(
    model: PotentialModel,
    dataset: Dataset | Sequence[Atoms],
    *,
    device: str | torch.device | None = None,
    max_atoms: int = MAX_ATOMS,
) -> Iterator[Atoms]:
    """Predict every structure, batched; yields copies in order, as soon as each is done.

    Each copy's ``calc.results`` hold ``energy`` (eV), ``energies`` (N,) per atom, ``forces``
    (N, 3) in eV/Å and, if the cell is 3-D periodic, ``stress`` (6,) in eV/Å^3. Where a `Dataset`
    is given, ``info`` names the file as ``source`` and the number in it, from 0, as ``frame``.

    Raises:
        UserError: an element that the model was not trained on, with file and frame.
    """
    if device is not None:
        model = model.to(device=device)
    model.eval()
    target = next(iter((*model.parameters(), *model.buffers()))).device
    for batch in graph_batches(model, dataset, max_atoms, (MAX_EDGES * max_atoms) // MAX_ATOMS):
        output = model(batch.to(target), forces=True, stress=bool(batch.pbc.all(dim=1).any()))
        arrays = {name: value.detach().cpu().double().numpy() for name, value in output.items()}
        ends = np.cumsum(np.bincount(batch.batch.numpy(), minlength=batch.n_graphs))[:-1]
        energies = np.split(arrays["atomic_energy"], ends)
        forces = np.split(arrays["forces"], ends)
        for place, index in enumerate(batch.frame.tolist()):
            atoms = dataset[index].copy()
            if isinstance(dataset, Dataset):
                atoms.info["source"], atoms.info["frame"] = dataset.place(index)
            results: dict[str, Any] = {
                "energy": float(arrays["energy"][place]),
                "energies": energies[place],
                "forces": forces[place],
            }
            if atoms.pbc.all():
                results["stress"] = full_3x3_to_voigt_6_stress(arrays["stress"][place])
            atoms.calc = SinglePointCalculator(atoms, **results)
            yield atoms


def write_predictions(predictions: Iterable[Atoms], path: str | os.PathLike[str]) -> int:
    """Write predictions to a file whose suffix says the format; returns how many.

    ``.xyz``, ``.extxyz``: structures with everything; ``.csv``: a row per structure;
    ``.json``: a list with per-atom energies, forces and stress. All name ``source`` and ``frame``
    of what came from files. The file appears when it is whole; memory does not grow with the
    number of structures.

    Raises:
        UserError: another suffix.
    """
    target = Path(path)
    writer = _writer(target)
    with atomic_path(target) as temporary:
        return writer(predictions, temporary)


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise UserError if predictions cannot be written to a file of this name."""
    _writer(Path(path))


def _writer(path: Path) -> Callable[[Iterable[Atoms], Path], int]:
    writers = {
        ".xyz": _write_extxyz,
        ".extxyz": _write_extxyz,
        ".csv": _write_csv,
        ".json": _write_json,
    }
    if path.suffix.lower() not in writers:
        raise UserError(
            f"{path}: predictions are written as {', '.join(writers)}; choose one of these."
        )
    return writers[path.suffix.lower()]


def _write_extxyz(predictions: Iterable[Atoms], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as handle:
        for atoms in predictions:
            ase.io.write(handle, atoms, format="extxyz")
            count += 1
    return count


def _summary(index: int, atoms: Atoms) -> dict[str, Any]:
    results = atoms.calc.results
    return {
        "index": index,
        "source": str(atoms.info.get("source", "")),
        "frame": atoms.info.get("frame", index),
        "formula": atoms.get_chemical_formula(),
        "n_atoms": len(atoms),
        "energy_eV": results["energy"],
        "energy_per_atom_eV": results["energy"] / max(len(atoms), 1),
    }


def _write_csv(predictions: Iterable[Atoms], path: Path) -> int:
    count = 0
    voigt = ("xx", "yy", "zz", "yz", "xz", "xy")
    names = ["index", "source", "frame", "formula", "n_atoms", "energy_eV", "energy_per_atom_eV"]
    names += ["max_force_eV_per_A", *(f"stress_{c}_eV_per_A3" for c in voigt)]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, names, lineterminator="\n")
        writer.writeheader()
        for index, atoms in enumerate(predictions):
            row = _summary(index, atoms)
            sizes = np.linalg.norm(atoms.calc.results["forces"], axis=1)
            row["max_force_eV_per_A"] = float(sizes.max(initial=0.0))
            for component, value in zip(voigt, atoms.calc.results.get("stress", ()), strict=False):
                row[f"stress_{component}_eV_per_A3"] = float(value)
            writer.writerow(row)
            count += 1
    return count


def _write_json(predictions: Iterable[Atoms], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as handle:
        handle.write("[")
        for index, atoms in enumerate(predictions):
            record = _summary(index, atoms)
            results = atoms.calc.results
            record["numbers"] = atoms.numbers.tolist()
            record["atomic_energies_eV"] = results["energies"].tolist()
            record["forces_eV_per_A"] = results["forces"].tolist()
            if "stress" in results:
                record["stress_eV_per_A3"] = results["stress"].tolist()
            handle.write(("," if index else "") + "\n" + json.dumps(record))
            count += 1
        handle.write("\n]\n")
    return count
