"""Training of a model of the phonon density of states."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from lightning.pytorch import Callback
from pydantic import ValidationError

from clebsch.errors import UserError
from clebsch.files import write_text
from clebsch.models import DosConfig, PhononDosModel
from clebsch.phonons.dataset import PhononDataset
from clebsch.phonons.reading import read_phonons
from clebsch.structures import split_dataset
from clebsch.train.config import check_model_keys, explain_model_key
from clebsch.train.data import GraphData, Part, Parts, check_elements
from clebsch.train.dos_config import DosTrainConfig
from clebsch.train.dos_metrics import DosPredictions, dos_metrics
from clebsch.train.dos_summary import dos_sections, draw_dos_figures
from clebsch.train.dos_task import DosTask, dos_targets
from clebsch.train.fit import RunResult, absolute
from clebsch.train.report import Section
from clebsch.train.run import Prepared, Sources, judged, part_metrics, run_training

CUTOFF = 5.0  # Å
CRYSTALS = 16  # in a batch
TARGET_STEPS = 9_000
EDGES_PER_BATCH = 100_000
WEIGHT_DECAY = 0.05


def train_dos(
    data: str | None = None,
    config: DosTrainConfig | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train a model of the phonon density of states.

    Args:
        data: what ``read_phonons`` reads; overrides ``config.data.train``.
        config: what to do; what it leaves open is chosen from the data.
        out: the run directory; ``runs/<name of the data>`` by default.
        resume, overwrite, progress, callbacks: see `clebsch.train.run.run_training`.

    Raises:
        UserError: wrong data or configuration, an existing run, no space.
    """
    config = (config or DosTrainConfig()).model_copy(deep=True)
    if data is not None:
        config.data.train = data
    if not (resume or isinstance(config.data.train, str)):
        raise UserError("no data given; name one file: clebsch train dos DATA.")
    return run_training(
        DosJob(),
        config,
        out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        callbacks=callbacks,
    )


class DosJob:
    """Spectra of crystals."""

    kind = "Phonon DoS"
    verb = "dos"

    def prepare(self, config: DosTrainConfig, progress: bool) -> Prepared:
        config.split_file = absolute(config.split_file)
        assert isinstance(config.data.train, str)
        dataset = read_phonons(config.data.train)
        parts = split_phonons(dataset, config)
        config = _resolve(config, parts)
        graphs = GraphData(parts, config, float(config.model["cutoff"]))
        config = _resolve_neighbours(config, graphs)
        described = DosConfig(**config.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = PhononDosModel(described).to(getattr(torch, config.dtype))
        targets = dos_targets(dataset, described.grid, config.target)
        return Prepared(config, parts, graphs, model, DosTask(targets, described.grid, config.loss))

    def header(self, run: Prepared) -> dict[str, Any]:
        return {"target": run.config.target.model_dump()}

    def metrics(self, run: Prepared, predictions: Mapping[str, Any]) -> dict[str, Any]:
        return part_metrics(predictions, lambda p: dos_metrics(p, run.model.config.grid))

    def sections(
        self,
        run: Prepared,
        result: RunResult,
        predictions: Mapping[str, Any],
        sources: Sources,
        machine: Mapping[str, str],
    ) -> list[Section]:
        dataset, described = run.parts.train.dataset, run.model.config
        assert isinstance(dataset, PhononDataset)
        table = result.folder / "test_predictions.csv"
        _write_predictions(table, dataset, described, judged(predictions))
        pictures = draw_dos_figures(
            predictions, dataset, described.grid, result.history, result.folder / "figures"
        )
        return dos_sections(result, run.parts, sources, pictures, machine)


def test_errors(model: PhononDosModel, config: DosTrainConfig) -> dict[str, float]:
    """Errors of a model on the test part of a run's configuration, as the run names them.

    Raises:
        UserError: the data or the split file are not there.
    """
    assert isinstance(config.data.train, str)
    dataset = read_phonons(config.data.train)
    parts = split_phonons(dataset, config)
    grid = model.config.grid
    task = DosTask(dos_targets(dataset, grid, config.target), grid, config.loss)
    graphs = GraphData(parts, config, model.cutoff)
    predicted = task.predict(model, graphs.batches("test"), torch.device("cpu"))
    return {f"test_{name}": value for name, value in dos_metrics(predicted, grid).items()}


def split_phonons(dataset: PhononDataset, config: DosTrainConfig) -> Parts:
    """The three parts, by the split file, by what the data say, or balanced by element.

    Raises:
        UserError: what the split file names is not there, or is there twice; nothing to train on.
    """
    split = config.split
    if config.split_file is not None:
        chosen = dataset.split_by_names(Path(config.split_file))
    else:
        by = split.by if "by" in split.model_fields_set else "element"
        valid, test = (0.1 if x is None else x for x in (split.valid, split.test))
        chosen = split_dataset(dataset, split.train, valid, test, seed=config.seed, by=by)
    indices = (chosen.train, chosen.valid, chosen.test)
    parts = Parts(*(Part(dataset, np.asarray(part)) for part in indices))
    if len(parts.train) == 0:
        raise UserError(f"{dataset.path}: the split leaves no crystal to train on.")
    check_elements(parts)
    return parts


def _resolve(config: DosTrainConfig, parts: Parts) -> DosTrainConfig:
    """The configuration with every choice made but the number of neighbours."""
    config = config.model_copy(deep=True)
    given = dict(config.model)
    check_model_keys(config, DosConfig.model_fields)
    train = parts.train
    numbers = {int(z) for i in train.indices for z in set(train.dataset[int(i)].numbers)}
    given.setdefault("species", [chemical_symbols[z] for z in sorted(numbers)])
    lacking = sorted({chemical_symbols[z] for z in numbers} - set(given["species"]))
    if lacking:
        raise UserError(
            f"{config.where('model.species')}: 'model.species' lacks {lacking[0]}, which "
            f"{train.dataset.path} has; add it or leave model.species out."
        )
    given.setdefault("cutoff", CUTOFF)
    if "stop" not in given and config.target.kind == "states":
        dataset = train.dataset
        assert isinstance(dataset, PhononDataset)
        given["stop"] = _covering(dataset, train, float(given.get("step", 20.0)))
    try:
        config.model = DosConfig(**given).model_dump(mode="json", exclude_unset=True)
        resolved = DosConfig(**given)
    except ValidationError as error:
        raise explain_model_key(config, error) from error
    if config.target.kind == "published" and (resolved.start, resolved.stop, resolved.step) != (
        0,
        1000,
        20,
    ):
        raise UserError(
            f"{config.where('target.kind')}: target.kind is 'published', whose grid is 0 to 1000 "
            "by 20 cm^-1; leave model.start, model.stop and model.step out."
        )
    config.split.by = config.split.by if "by" in config.split.model_fields_set else "element"
    batch = config.batch
    sizes = train.dataset.n_atoms[train.indices]
    if batch.frames is None and batch.atoms is None:
        batch.frames = max(1, min(CRYSTALS, len(sizes) // 8))
    if batch.atoms is None:
        assert batch.frames is not None
        batch.atoms = max(int(sizes.max()), math.ceil(batch.frames * float(sizes.mean())))
    batch.edges = batch.edges or EDGES_PER_BATCH
    optimiser = config.optimiser
    if optimiser.lr is None:
        optimiser.lr = 0.005
    if optimiser.ema is None:
        optimiser.ema = 0.99
    if "weight_decay" not in optimiser.model_fields_set:
        optimiser.weight_decay = WEIGHT_DECAY
    if "clip" not in optimiser.model_fields_set:
        optimiser.clip = 10.0
    if config.epochs is None and config.max_time is None:
        steps = max(1, math.ceil(int(sizes.sum()) / batch.atoms))
        config.epochs = max(10, min(2000, math.ceil(TARGET_STEPS / steps)))
    return config


def _covering(dataset: PhononDataset, train: Part, step: float) -> float:
    """A grid end, a multiple of ``step``, that holds 99.9 % of every training spectrum."""
    ends = []
    for i in train.indices:
        dos = dataset.dos(int(i))
        below = dos.cumulative(dos.frequencies)
        ends.append(float(dos.frequencies[np.searchsorted(below, 0.999 * below[-1])]))
    return float(step * math.ceil(max(ends) / step))


def _resolve_neighbours(config: DosTrainConfig, graphs: GraphData) -> DosTrainConfig:
    if "mean_neighbours" not in config.model:
        atoms, edges = (np.asarray(n).sum() for n in graphs.graphs["train"].sizes())
        config.model = config.model | {"mean_neighbours": max(1.0, float(edges / atoms))}
    return config


def _write_predictions(
    path: Path,
    dataset: PhononDataset,
    config: DosConfig,
    predictions: DosPredictions,
) -> None:
    """States per bin, label and prediction, as CSV."""
    bins = [*(f"{w:g}" for w in config.grid.centres), "beyond"]
    lines = [",".join(["name", "what", *bins])]
    for i, frame in enumerate(predictions.frame):
        for what, values in (
            ("label", predictions.label[i]),
            ("prediction", predictions.states[i]),
        ):
            lines.append(",".join([dataset.names[frame], what, *(f"{v:.6g}" for v in values)]))
    write_text(path, "\n".join(lines) + "\n")
