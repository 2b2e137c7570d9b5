"""One training run: data in, a folder with model, metrics, figures and report out."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.models import Potential, PotentialConfig, save_model, set_unit_variance
from clebsch.structures import AtomGraph, collate
from clebsch.structures.inspection import inspect_dataset
from clebsch.train.callbacks import EpochEnd, write_history
from clebsch.train.config import TrainConfig, save_config
from clebsch.train.data import GraphData, Parts, data_sources, read_parts, save_split
from clebsch.train.domain import training_domain
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
from clebsch.train.losses import PotentialLoss
from clebsch.train.metrics import (
    Predictions,
    error_metrics,
    metrics_by_config_type,
    metrics_by_element,
    predict_batches,
)
from clebsch.train.potential_task import PotentialTask
from clebsch.train.resolve import choose_device, resolve
from clebsch.train.summary import draw_figures, report_sections

INSPECTED = 3000  # frames; looking at more would take longer than a user wants to wait


def train_potential(
    data: str | Sequence[str] | None = None,
    config: TrainConfig | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train a potential.

    Args:
        data: file (or files) to train on, or ``"embedded:NAME"``; overrides ``config.data.train``.
        config: what to do; what it leaves open is chosen from the data.
        out: the run directory; ``runs/<name of the data>`` by default.
        resume: go on where the run in ``out`` stopped. Its ``config.yaml`` is used; of ``config``
            only ``epochs``, ``max_time``, ``patience``, ``device`` and ``devices`` may differ.
        overwrite: replace the run in ``out``.
        progress: show a progress bar on stderr.
        callbacks: further Lightning callbacks.

    Raises:
        UserError: wrong data or configuration, an existing run, no space.
    """
    began = time.monotonic()
    config = (config or TrainConfig()).model_copy(deep=True)
    if data is not None:
        config.data.train = data if isinstance(data, str) else list(data)
    folder = Path(out) if out is not None else Path("runs") / _default_name(config)
    resume = prepare_folder(folder, resume, overwrite)
    if resume:
        config = resumed_config(folder, config)
    config.data.train = absolute(config.data.train)
    config.data.valid = absolute(config.data.valid)
    config.data.test = absolute(config.data.test)
    device = choose_device(config.device)

    parts = read_parts(config.data, config.split, config.seed)
    config = resolve(config, parts)
    if progress:
        _say_concerns(parts, config)
    sources = data_sources(parts)
    potential_data = GraphData(parts, config, float(config.model["cutoff"]))
    model = _new_model(config, potential_data)
    check_space(folder, model)
    if overwrite and not resume:
        remove_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    save_split(parts, sources, folder / "split.json")

    task = PotentialTask(PotentialLoss(**config.loss.model_dump()))
    epoch_end, module = fit(
        folder,
        config,
        potential_data,
        model,
        task,
        device,
        resume=resume,
        progress=progress,
        callbacks=callbacks,
    )
    model.load_state_dict(epoch_end.best_weights)
    model = model.to(device).eval()
    header = {
        "training_data": sources["train"],
        "n_train": len(parts.train),
        "seed": config.seed,
        "epoch": epoch_end.best_epoch + 1,
        "domain": training_domain(
            potential_data.graphs["train"][i] for i in range(len(parts.train))
        ),
        "metrics": {k: v for k, v in _best_row(epoch_end).items() if k.startswith("valid_")},
    }
    result = RunResult(folder, model, config, "Potential", history=epoch_end.history)
    model.header = header
    if epoch_end.interrupted:
        save_model(model, folder / "model.clebsch", header)
        result.interrupted = True
        return result

    predictions = _predict_parts(model, potential_data, config, device)
    metrics = _collect_metrics(predictions, parts, epoch_end, model)
    metrics["train_s"] = round(module.budget.elapsed(), 3)
    metrics["wall_s"] = round(module.budget.wall(began), 3)
    header["metrics"] = {k: v for k, v in metrics.items() if not isinstance(v, dict)}
    save_model(model, folder / "model.clebsch", header)
    write_history(epoch_end.history, folder / "metrics.csv")
    result.metrics = metrics
    pictures = draw_figures(predictions, metrics, epoch_end.history, folder / "figures")
    result.sections = report_sections(result, parts, sources, pictures, machine(device))
    with atomic_path(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    result.write_report()
    return result


def _say_concerns(parts: Parts, config: TrainConfig) -> None:
    """What an inspection finds wrong with the data, on stderr; not for the largest sets."""
    dataset = parts.train.dataset
    if len(dataset) <= INSPECTED:
        for sentence in inspect_dataset(dataset, float(config.model["cutoff"])).warnings:
            print(f"warning: {dataset.path}: {sentence}", file=sys.stderr)


def _new_model(config: TrainConfig, data: GraphData) -> Potential:
    """A potential whose initial weights depend on the seed and the first frames only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Potential(PotentialConfig(**config.model))
    model = model.to(getattr(torch, config.dtype))
    graphs = data.graphs["train"]
    set_unit_variance(model, collate([graphs[i] for i in range(min(16, len(graphs)))]))
    return model


def _predict_parts(
    model: Potential, data: GraphData, config: TrainConfig, device: torch.device
) -> dict[str, Predictions]:
    """Predictions for the parts that have frames; the stress where it was trained."""
    result = {}
    for name in ("train", "valid", "test"):
        batches: Iterator[AtomGraph] = data.batches(name)
        if len(data.graphs[name]):
            result[name] = predict_batches(model, batches, bool(config.loss.stress), device)
    return result


def _collect_metrics(
    predictions: dict[str, Predictions], parts: Parts, epoch_end: EpochEnd, model: Potential
) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for name in ("test", "valid", "train"):
        if name in predictions:
            errors = error_metrics(predictions[name])
            metrics |= {f"{name}_{key}": value for key, value in errors.items()}
    judged = predictions.get("test") or predictions.get("valid") or predictions["train"]
    metrics["by_element"] = metrics_by_element(judged)
    metrics["by_config_type"] = metrics_by_config_type(judged)
    metrics |= {f"n_{name}": len(part) for name, part in parts.named().items()}
    metrics["n_parameters"] = sum(p.numel() for p in model.parameters())
    metrics["epochs"] = len(epoch_end.history)
    metrics["best_epoch"] = epoch_end.best_epoch + 1
    metrics["steps"] = int(epoch_end.history[-1]["step"]) if epoch_end.history else 0
    return metrics


def _best_row(epoch_end: EpochEnd) -> dict[str, float]:
    return epoch_end.history[epoch_end.best_epoch] if epoch_end.history else {}


def _default_name(config: TrainConfig) -> str:
    train = config.data.train
    first = (train[0] if train else None) if isinstance(train, list) else train
    if first is None:
        raise UserError("no data given; name a file: clebsch train potential DATA.")
    return Path(first.removeprefix("embedded:")).name.split(".")[0]
