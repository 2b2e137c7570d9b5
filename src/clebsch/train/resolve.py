"""Choosing what the configuration leaves open, from the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import ValidationError

from clebsch.errors import UserError
from clebsch.models import PotentialConfig
from clebsch.structures import Statistics, dataset_statistics
from clebsch.train.config import TrainConfig, check_model_keys, explain_model_key
from clebsch.train.data import Part, Parts

CUTOFF = 5.0  # Å; the usual range of message-passing potentials
LOWEST_CUTOFF = 4.0  # Å
NEIGHBOURS = 40.0  # beyond this many the cutoff shrinks: time grows with them, accuracy hardly
TARGET_STEPS = 20_000  # optimiser steps of a run that has neither epochs nor time given
EDGES_PER_BATCH = 100_000  # memory: about 2 kB per edge and channel in training


def choose_device(name: str) -> torch.device:
    """The device of ``"auto"`` (a GPU where there is one) or of a torch name.

    Raises:
        UserError: torch does not know the name, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available here; use cpu or auto.") from error
    return device


def resolve(config: TrainConfig, parts: Parts) -> TrainConfig:
    """The configuration with every choice made; resolving it again changes nothing.

    Raises:
        UserError: a model key is unknown or out of range, or a loss has no label to learn from.
    """
    config = config.model_copy(deep=True)
    labels = _labels(parts.train)
    _resolve_model(config, parts.train)
    _resolve_loss(config, parts.train, labels)
    _resolve_batch(config, parts.train)
    _resolve_schedule(config, parts.train)
    return config


def _resolve_model(config: TrainConfig, train: Part) -> None:
    check_model_keys(config, PotentialConfig.model_fields)
    given = dict(config.model)
    if "size" not in given:
        given["size"] = "medium"
    cutoff = given.get("cutoff", CUTOFF)
    if isinstance(cutoff, bool) or not isinstance(cutoff, int | float) or not cutoff > 0:
        where = config.where("model.cutoff")
        raise UserError(f"{where}: 'model.cutoff' is {cutoff!r}; give a length in Å.")
    statistics: Statistics = dataset_statistics(train.dataset, train.indices, float(cutoff))
    if "cutoff" not in given and statistics.mean_neighbours > NEIGHBOURS:
        shrunk = CUTOFF * (NEIGHBOURS / statistics.mean_neighbours) ** (1 / 3)
        cutoff = max(LOWEST_CUTOFF, round(shrunk, 1))
        statistics = dataset_statistics(train.dataset, train.indices, float(cutoff))
    given["cutoff"] = float(cutoff)
    given.setdefault("species", list(statistics.species))
    missing = [s for s in statistics.species if s not in given["species"]]
    if missing:
        raise UserError(
            f"{config.where('model.species')}: 'model.species' lacks {missing[0]}, which "
            f"{train.dataset.path} has; add it or leave model.species out."
        )
    known = list(statistics.species)

    def per_species(values: list[float], absent: float) -> list[float]:
        return [values[known.index(s)] if s in known else absent for s in given["species"]]

    given.setdefault("shifts", per_species([float(statistics.e0s[s]) for s in known], 0.0))
    scale = statistics.force_rms
    scale = float(scale) if scale is not None and math.isfinite(scale) and scale > 0 else 1.0
    given.setdefault("scales", [scale] * len(given["species"]))
    given.setdefault("mean_neighbours", max(1.0, float(statistics.mean_neighbours)))
    try:
        config.model = PotentialConfig(**given).model_dump(mode="json")
    except ValidationError as error:
        raise explain_model_key(config, error) from error


def _labels(train: Part) -> dict[str, bool]:
    """Which labels occur in the training frames."""
    found = dict.fromkeys(("energy", "forces", "stress"), False)
    for i in train.indices:
        calc = train.dataset[int(i)].calc
        results = {} if calc is None else calc.results
        for name in found:
            value = results.get(name)
            if value is not None and not np.isnan(np.asarray(value, dtype=float)).all():
                found[name] = True
        if all(found.values()):
            break
    return found


def _resolve_loss(config: TrainConfig, train: Part, labels: dict[str, bool]) -> None:
    loss = config.loss
    for name in ("energy", "forces"):
        if getattr(loss, name) is None:
            # A weight given by hand, 0 too, says that frames without the label are meant.
            train.dataset.require(name, indices=train.indices.tolist())
    where = train.dataset.path
    if not (labels["energy"] or labels["forces"]):
        raise UserError(
            f"{where}: no training frame has an energy or forces; name their keys with "
            "--set data.energy_key=... and data.forces_key=...."
        )
    for name in labels:
        if getattr(loss, name) and not labels[name]:
            raise UserError(
                f"{config.where(f'loss.{name}')}: loss.{name} is {getattr(loss, name)}, but no "
                f"frame of {where} has a label '{name}'; set it to 0 or name the key with "
                f"data.{name}_key."
            )
    if loss.energy is None:
        # An absolute error pulls equally at any size, and energies are learnt long before
        # forces: at full weight they hold the forces back (measured: by a sixth).
        weight = 0.1 if loss.kind == "mae" and labels["forces"] else 1.0
        loss.energy = weight if labels["energy"] else 0.0
    if loss.forces is None:
        loss.forces = 1.0 if labels["forces"] else 0.0
    if loss.stress is None:
        # Stress times volume per atom is an energy per atom: that puts the two on one scale.
        volumes = [
            atoms.get_volume() / len(atoms)
            for atoms in (train.dataset[int(i)] for i in train.indices[:200])
            if atoms.cell.rank == 3 and atoms.calc is not None and "stress" in atoms.calc.results
        ]
        power = 2 if loss.kind == "mse" else 1
        weight = float(np.mean(volumes)) ** power if volumes and labels["stress"] else 0.0
        loss.stress = float(f"{weight * (loss.energy or 1.0):.3g}")


def _resolve_batch(config: TrainConfig, train: Part) -> None:
    batch = config.batch
    sizes = train.dataset.n_atoms[train.indices]
    if batch.frames is None and batch.atoms is None:
        batch.frames = max(1, min(64, round(math.sqrt(len(sizes)) / 6)))
    if batch.atoms is None:
        assert batch.frames is not None
        batch.atoms = max(int(sizes.max()), math.ceil(batch.frames * float(sizes.mean())))
    if batch.edges is None:
        batch.edges = EDGES_PER_BATCH


def _resolve_schedule(config: TrainConfig, train: Part) -> None:
    optimiser = config.optimiser
    if optimiser.lr is None:
        optimiser.lr = 0.02
    if optimiser.ema is None:
        optimiser.ema = 0.99
    if config.epochs is None and config.max_time is None:
        atoms = int(train.dataset.n_atoms[train.indices].sum())
        assert config.batch.atoms is not None
        steps = max(1, math.ceil(atoms / config.batch.atoms))
        config.epochs = max(10, min(2000, math.ceil(TARGET_STEPS / steps)))
