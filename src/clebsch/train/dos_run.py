"""One training run of a phonon-DoS model: crystals in, a folder with model and report out."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from lightning.pytorch import Callback
from pydantic import ValidationError

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.models import DosConfig, PhononDosModel, save_model
from clebsch.phonons.dataset import PhononDataset
from clebsch.phonons.reading import read_phonons
from clebsch.structures import split_dataset
from clebsch.train.callbacks import write_history
from clebsch.train.config import explain_unknown_key, save_config
from clebsch.train.data import GraphData, Part, Parts, check_elements, data_sources, save_split
from clebsch.train.domain import training_domain
from clebsch.train.dos_config import DosTrainConfig
from clebsch.train.dos_metrics import DosPredictions, dos_metrics
from clebsch.train.dos_summary import dos_sections, draw_dos_figures
from clebsch.train.dos_task import DosTask, dos_targets
from clebsch.train.fit import (
    RunResult,
    absolute,
    check_space,
    fit,
    machine,
    prepare_folder,
    remove_run,
    resumed_config,
)
from clebsch.train.resolve import choose_device

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
        resume: go on where the run in ``out`` stopped.
        overwrite: replace the run in ``out``.
        progress: show a progress bar on stderr.
        callbacks: further Lightning callbacks.

    Raises:
        UserError: wrong data or configuration, an existing run, no space.
    """
    began = time.monotonic()
    config = (config or DosTrainConfig()).model_copy(deep=True)
    if data is not None:
        config.data.train = data
    if not isinstance(config.data.train, str):
        raise UserError("no data given; name one file: clebsch train dos DATA.")
    name = Path(config.data.train).name.split(".")[0]
    folder = Path(out) if out is not None else Path("runs") / name
    resume = prepare_folder(folder, resume, overwrite)
    if resume:
        config = resumed_config(folder, config)
    config.data.train = str(absolute(config.data.train))
    config.split_file = absolute(config.split_file)
    device = choose_device(config.device)

    dataset = read_phonons(config.data.train)
    parts = split_phonons(dataset, config)
    config = _resolve(config, parts)
    graphs = GraphData(parts, config, float(config.model["cutoff"]))
    config = _resolve_neighbours(config, graphs)
    described = DosConfig(**config.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = PhononDosModel(described)
    model = model.to(getattr(torch, config.dtype))
    task = DosTask(dos_targets(dataset, described.grid, config.target), described.grid, config.loss)
    check_space(folder, model)
    if overwrite and not resume:
        remove_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sources = data_sources(parts)
    save_config(config, folder / "config.yaml")
    save_split(parts, sources, folder / "split.json")

    epoch_end, module = fit(
        folder,
        config,
        graphs,
        model,
        task,
        device,
        resume=resume,
        progress=progress,
        callbacks=callbacks,
    )
    model.load_state_dict(epoch_end.best_weights)
    model = model.to(device).eval()
    best = epoch_end.history[epoch_end.best_epoch] if epoch_end.history else {}
    header: dict[str, Any] = {
        "training_data": sources["train"],
        "n_train": len(parts.train),
        "seed": config.seed,
        "epoch": epoch_end.best_epoch + 1,
        "target": config.target.model_dump(),
        "domain": training_domain(graphs.graphs["train"][i] for i in range(len(parts.train))),
        "metrics": {k: v for k, v in best.items() if k.startswith("valid_")},
    }
    model.header = header
    result = RunResult(folder, model, config, "Phonon DoS", history=epoch_end.history)
    if epoch_end.interrupted:
        save_model(model, folder / "model.clebsch", header)
        result.interrupted = True
        return result

    predictions = {
        part: task.predict(model, graphs.batches(part), device)
        for part in ("train", "valid", "test")
        if len(graphs.graphs[part])
    }
    metrics: dict[str, Any] = {}
    for part in ("test", "valid", "train"):
        if part in predictions:
            errors = dos_metrics(predictions[part], described.grid)
            metrics |= {f"{part}_{key}": value for key, value in errors.items()}
    metrics |= {f"n_{part}": len(p) for part, p in parts.named().items()}
    metrics["n_parameters"] = sum(p.numel() for p in model.parameters())
    metrics["epochs"] = len(epoch_end.history)
    metrics["best_epoch"] = epoch_end.best_epoch + 1
    metrics["steps"] = int(epoch_end.history[-1]["step"]) if epoch_end.history else 0
    metrics["train_s"] = round(module.budget.elapsed(), 3)
    metrics["wall_s"] = round(module.budget.wall(began), 3)
    header["metrics"] = {k: v for k, v in metrics.items() if not isinstance(v, dict)}
    save_model(model, folder / "model.clebsch", header)
    write_history(epoch_end.history, folder / "metrics.csv")
    _write_predictions(folder / "test_predictions.csv", dataset, described, predictions)
    result.metrics = metrics
    pictures = draw_dos_figures(
        predictions, dataset, described.grid, epoch_end.history, folder / "figures"
    )
    result.sections = dos_sections(result, parts, sources, pictures, machine(device))
    with atomic_path(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    result.write_report()
    return result


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
    unknown = sorted(set(given) - set(DosConfig.model_fields))
    if unknown:
        raise explain_unknown_key("configuration", f"model.{unknown[0]}", DosConfig.model_fields)
    train = parts.train
    numbers = {int(z) for i in train.indices for z in set(train.dataset[int(i)].numbers)}
    given.setdefault("species", [chemical_symbols[z] for z in sorted(numbers)])
    lacking = sorted({chemical_symbols[z] for z in numbers} - set(given["species"]))
    if lacking:
        raise UserError(
            f"configuration: 'model.species' lacks {lacking[0]}, which {train.dataset.path} has; "
            "add it or leave model.species out."
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
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        place = f"'model.{key}' is {first['input']!r}" if key else "'model'"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"configuration: {place}: {message}.") from error
    if config.target.kind == "published" and (resolved.start, resolved.stop, resolved.step) != (
        0,
        1000,
        20,
    ):
        raise UserError(
            "configuration: target.kind is 'published', whose grid is 0 to 1000 by 20 cm^-1; "
            "leave model.start, model.stop and model.step out."
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
    predictions: dict[str, DosPredictions],
) -> None:
    """States per bin of the test set (or the validation set), label and prediction, as CSV."""
    judged = predictions.get("test") or predictions.get("valid") or predictions["train"]
    bins = [*(f"{w:g}" for w in config.grid.centres), "beyond"]
    lines = [",".join(["name", "what", *bins])]
    for i, frame in enumerate(judged.frame):
        for what, values in (("label", judged.label[i]), ("prediction", judged.states[i])):
            lines.append(",".join([dataset.names[frame], what, *(f"{v:.6g}" for v in values)]))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
