"""Densities that a verb works on: those of a file, or a model's of structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import torch

from clebsch.data import PREFIX
from clebsch.density.data import DensityRecord, read_density
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.reference import check_structure
from clebsch.errors import UserError


@dataclass(frozen=True)
class NamedDensity:
    """A density, float64, with the place of its molecule and what its file knows of it.

    Attributes:
        number: of the molecule in its file, from 0.
        name: ``"file.xyz, frame 3"``.
        density: the density.
        record: the file's, or None where a model predicted it.
    """

    number: int
    name: str
    density: ElectronDensity
    record: DensityRecord | None


@dataclass(frozen=True)
class Densities:
    """Densities one after the other, what is known of their level of theory, and free atoms."""

    source: Sequence[Any]
    level: Mapping[str, Any]
    free_atoms: Mapping[int, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[NamedDensity]:
        return (self.source[i] for i in range(len(self.source)))


def open_densities(
    file: str,
    structures: Sequence[str],
    device: str | None = None,
    split: str | None = None,
    crystals: bool = False,
) -> Densities:
    """Densities of a file, or those that a model predicts.

    Args:
        file: of densities (.h5, .npz, or embedded:NAME), or a model.
        structures: for a model, neutral and with closed shells.
        device: where the model runs; None is the CPU.
        split: only the molecules of this part, where the file says.
        crystals: a model may predict structures that are periodic along all three vectors.

    Raises:
        UserError: a wrong file, structures or a device without a model, a model without
            structures, a structure that cannot be treated, an element that the model does not know.
    """
    if Path(file).suffix == ".clebsch":
        return _predicted(Path(file), structures, device or "cpu", split, crystals)
    _check_kind(file)
    if structures:
        raise UserError(
            f"{file}: is a file of densities, which has its molecules; structures go with a model "
            "(.clebsch)."
        )
    if device is not None:
        raise UserError(
            f"{file}: is a file of densities, which no model has to predict; leave out --device."
        )
    data = read_density(file)
    indices = range(len(data)) if split is None else data.split(split).tolist()
    _check_any(indices, file, split)
    return Densities(_FromFile(data, indices), data.level, data.free_atoms)


def _check_kind(file: str) -> None:
    """Raise UserError if a file is there, but of another kind."""
    path = Path(file).expanduser()
    named = path.suffix.lower() in (".h5", ".hdf5", ".npz")
    if file.startswith(PREFIX) or named or not path.is_file() or h5py.is_hdf5(path):
        return  # whoever reads it says more
    raise UserError(
        f"{file}: is no file of densities (.h5 or .npz); to predict those of structures, name a "
        "model (.clebsch) before them."
    )


def _check_any(indices: Sequence[int], where: str, split: str | None) -> None:
    if len(indices) == 0:
        part = "" if split is None else f" of the part {split!r}"
        raise UserError(f"{where}: there are no molecules{part} in it.")


def _predicted(
    file: Path, structures: Sequence[str], device: str, split: str | None, crystals: bool
) -> Densities:
    from clebsch.cli.simulation import check_device
    from clebsch.models import load_density_model
    from clebsch.simulate.calculator import check_elements
    from clebsch.structures import read_dataset

    check_device(device)
    model = load_density_model(file, device=device)
    if not structures:
        raise UserError(f"{file}: is a model; name the structures to predict as well.")
    dataset = read_dataset(structures[0] if len(structures) == 1 else list(structures))
    indices = [
        i for i in range(len(dataset)) if split is None or dataset[i].info.get("split") == split
    ]
    _check_any(indices, dataset.path, split)
    for i in indices:
        where = dataset.where(i)
        if not (crystals and dataset[i].pbc.all()):
            check_structure(dataset[i], where)
        check_elements(model, dataset[i].numbers, where)
    return Densities(_FromModel(model, dataset, indices), model.header.get("level", {}))


class _FromFile(Sequence[NamedDensity]):
    def __init__(self, data: Any, indices: Sequence[int]) -> None:
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: Any) -> Any:
        i = int(self.indices[place])
        record = self.data[i]
        return NamedDensity(i, record.source or f"molecule {i}", self.data.density(i), record)


class _FromModel(Sequence[NamedDensity]):
    def __init__(self, model: Any, dataset: Any, indices: Sequence[int]) -> None:
        self.model, self.dataset, self.indices = model, dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: Any) -> Any:
        from clebsch.models import predict_density

        i = self.indices[place]
        density = predict_density(self.model, self.dataset[i]).to(torch.float64, "cpu")
        return NamedDensity(i, self.dataset.where(i), density, None)
