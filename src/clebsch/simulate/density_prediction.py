"""Electron densities of many structures from a model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from ase import Atoms

from clebsch.density.data import DensityDataset, DensityRecord
from clebsch.density.electron_density import periodic_cell
from clebsch.errors import UserError
from clebsch.models.density import DensityModel
from clebsch.simulate.prediction import graph_batches
from clebsch.structures import Dataset

MAX_ATOMS = 2000
MAX_EDGES = 200_000


def predict_densities(
    model: DensityModel,
    dataset: Dataset | Sequence[Atoms],
    *,
    device: str | torch.device | None = None,
    max_atoms: int = MAX_ATOMS,
) -> Iterator[DensityRecord]:
    """Coefficients of every structure, batched; yielded in order, as soon as each is done.

    Energy, forces and what else only a calculation knows is NaN; ``free_electrons``
    is what the network alone counted.

    Raises:
        UserError: an element that the model was not trained on, a charge, or a structure that is
            periodic along one or two vectors only, with file and frame.
    """
    if device is not None:
        model = model.to(device=device)
    model.eval()
    for index in range(len(dataset)):
        _check(dataset[index], _where(dataset, index))
    limit = (MAX_EDGES * max_atoms) // MAX_ATOMS
    began = time.perf_counter()
    for batch in graph_batches(model, dataset, max_atoms, limit):
        with torch.no_grad():
            out = model(batch.to(model.embedding.device))
        sizes = [
            int(model.basis.offsets(batch.numbers[batch.batch == g])[-1])
            for g in range(batch.n_graphs)
        ]
        each = out["coefficients"].cpu().split(sizes)
        per_structure = (time.perf_counter() - began) / batch.n_graphs
        for place, index in enumerate(batch.frame.tolist()):
            atoms = dataset[index]
            n = len(atoms)
            cell = periodic_cell(atoms)
            record = DensityRecord(
                numbers=atoms.numbers.astype(np.int64),
                positions=np.array(atoms.positions),
                coefficients=each[place].numpy(),
                energy=np.nan,
                forces=np.full((n, 3), np.nan),
                dipole=np.full(3, np.nan),
                fit_error_percent=np.nan,
                free_electrons=atoms.numbers.sum() + n * float(out["surplus"][place]),
                scf_seconds=0.0,
                seconds=per_structure,
                source=_where(dataset, index),
                split=str(atoms.info.get("split", "")),
                cell=None if cell is None else cell.numpy(),
            )
            yield record
        began = time.perf_counter()


def predicted_dataset(model: DensityModel, records: Sequence[DensityRecord]) -> DensityDataset:
    """Predictions as a data set, which ``clebsch.density.write_density`` writes."""
    header = model.header
    level = dict(header.get("level", {})) | {"predicted": True}
    return DensityDataset("predictions", model.basis, level, records)


def _check(atoms: Atoms, where: str) -> None:
    charge = float(atoms.info.get("charge", 0) or atoms.get_initial_charges().sum())
    if abs(charge) > 1e-6:
        raise UserError(
            f"{where}: has the charge {charge:g}, but only neutral structures are predicted; add "
            "the counter-ion or leave it out."
        )
    try:
        periodic_cell(atoms)
    except ValueError as error:
        raise UserError(f"{where}: {error}.") from error


def _where(dataset: Dataset | Sequence[Atoms], index: int) -> str:
    return dataset.where(index) if isinstance(dataset, Dataset) else f"structure {index}"
