"""What a network of electron densities is measured against, and by how much each is wrong.

From nothing learnt to much: the sum of free atoms; mean s coefficients of each element; a linear
model on invariants, which can only change s coefficients; linear models on lambda-SOAP features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms

from clebsch.density.data import DensityDataset
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.errors import DensityErrors, density_errors
from clebsch.density.free_atoms import superposition
from clebsch.density.grid import integration_grid
from clebsch.fields.neighbour_density import NeighbourDensity
from clebsch.models.density_ridge import DensityRidge, default_descriptor, mean_coefficients

Predict = Callable[[Atoms], ElectronDensity]


class ModelError(NamedTuple):
    """How wrong one model is for one molecule.

    Attributes:
        name: of the model.
        molecule: index in the data set.
        atoms: size of the molecule.
        errors: of its density.
    """

    name: str
    molecule: int
    atoms: int
    errors: DensityErrors


def model_errors(
    data: DensityDataset,
    indices: npt.ArrayLike | Iterable[int],
    models: Mapping[str, Predict],
    *,
    radial: int = 40,
    degree: int = 17,
    on_molecule: Callable[[int], None] | None = None,
) -> list[ModelError]:
    """`density_errors` of every model on molecules of a data set, molecule by molecule.

    Any function from ``ase.Atoms`` to a density in the data's basis is a model.

    Args:
        radial, degree: of the `integration_grid`; the defaults give errors to 0.1 % of their value.
        on_molecule: called with the index of each finished molecule.
    """
    rows = []
    for i in np.asarray(indices, dtype=np.int64).tolist():
        record, reference = data[i], data.density(i)
        grid = integration_grid(reference.numbers, reference.positions, radial, degree)
        for name, predict in models.items():
            density = predict(record.atoms())
            data.basis.check_same(density.basis, f"the model {name}")
            errors = density_errors(density, record, reference, grid)
            rows.append(ModelError(name, i, len(record.numbers), errors))
        if on_molecule is not None:
            on_molecule(i)
    return rows


def errors_by_atoms(rows: Iterable[ModelError]) -> dict[str, dict[int, float]]:
    """Mean ``errors.against_fit`` of each model, in percent, by the number of atoms.

    >>> row = ModelError("free atoms", 0, 3, DensityErrors(12.0, None, 0.4))
    >>> errors_by_atoms([row, row._replace(molecule=1, errors=DensityErrors(14.0, None, 0.5))])
    {'free atoms': {3: 13.0}}
    """
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        own = found.setdefault(row.name, {}).setdefault(row.atoms, [])
        own.append(row.errors.against_fit)
    return {
        name: {atoms: float(np.mean(errors)) for atoms, errors in sorted(by_size.items())}
        for name, by_size in found.items()
    }


def density_baselines(
    data: DensityDataset,
    train: npt.ArrayLike,
    valid: npt.ArrayLike,
    descriptors: Mapping[str, NeighbourDensity] | None = None,
    *,
    between_atoms: bool = True,
) -> dict[str, Predict]:
    """The baselines, fitted: names and what predicts.

    Args:
        train, valid: indices of the molecules that are fitted and that choose penalties.
        descriptors: of the linear models by name; the first also gives the invariants. Default:
            `default_descriptor` with cutoffs of 5, 4 and 3 Å.
        between_atoms: whether the metric of the fits couples functions of different atoms.

    The free atoms are left out where the data set does not hold them.
    """
    if descriptors is None:
        made = [default_descriptor(data.basis, cutoff) for cutoff in (5.0, 4.0, 3.0)]
        descriptors = {f"lambda-SOAP, {d.cutoff:g} Å": d for d in made}
    models: dict[str, Predict] = {}
    first = next(iter(descriptors.values()))
    means = mean_coefficients(data, train)
    if set(means) <= set(data.free_atoms):
        models["free atoms"] = lambda atoms: superposition(
            data.free_atoms,
            data.basis,
            torch.from_numpy(atoms.numbers.astype(np.int64)),
            torch.from_numpy(atoms.positions),
        )
    models["mean s coefficients"] = DensityRidge(data.basis, first, means, {}).predict
    models["invariants"] = DensityRidge.fit(
        data, train, valid, first, lmax=0, between_atoms=between_atoms
    ).predict
    for name, descriptor in descriptors.items():
        models[name] = DensityRidge.fit(
            data, train, valid, descriptor, between_atoms=between_atoms
        ).predict
    return models
