"""``clebsch predict`` with a model of electron densities."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from ase.units import Debye
from rich.progress import track

from clebsch.cli.simulation import check_device
from clebsch.density import ElectronDensity, write_density
from clebsch.errors import UserError
from clebsch.files import check_place
from clebsch.models import load_density_model
from clebsch.simulate.density_prediction import predict_densities, predicted_dataset
from clebsch.structures import read_dataset

_LISTED = 20  # structures that are named one by one


def predict_density_file(
    model: Path, structures: list[str], out: Path, max_atoms: int, device: str, quiet: bool
) -> None:
    """Predict every structure and write ``out``, an HDF5 file of densities.

    Raises:
        UserError: wrong options, files or structures; nothing has been written then.
    """
    if out.suffix not in (".h5", ".hdf5"):
        raise UserError(f"{out}: densities are written as HDF5; name a file that ends in .h5.")
    check_place(out)
    check_device(device)
    network = load_density_model(model, device=device)
    dataset = read_dataset(structures[0] if len(structures) == 1 else structures)
    began = time.perf_counter()
    found = predict_densities(network, dataset, max_atoms=max_atoms)
    records = list(track(found, "predicting", total=len(dataset), disable=quiet))
    seconds = time.perf_counter() - began
    predicted = predicted_dataset(network, records)
    write_density(predicted, out)
    for i, record in enumerate(predicted.records[:_LISTED]):
        density = predicted.density(i)
        print(
            f"{record.source}: {len(record.numbers)} atoms, {float(density.electrons()):.6f} "
            f"electrons{_dipole(density)}"
        )
    if len(records) > _LISTED:
        print(f"... and {len(records) - _LISTED} more")
    print(f"{len(records)} densities in {seconds:.1f} s -> {out}")


def _dipole(density: ElectronDensity) -> str:
    if density.cell is not None:
        return ""
    with torch.no_grad():
        vector = density.dipole().numpy() / Debye
    return f", dipole {np.linalg.norm(vector):.3f} D"
