"""One training run of any kind: data in, a folder with model, metrics, figures and report out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import Callback

from clebsch.errors import UserError
from clebsch.files import make_folder, write_text
from clebsch.models.model_file import save_model
from clebsch.train.callbacks import EpochEnd, write_history
from clebsch.train.config import RunConfig, save_config
from clebsch.train.data import GraphData, Parts, data_sources, save_split
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
from clebsch.train.module import TrainingModule
from clebsch.train.report import Section
from clebsch.train.resolve import choose_device
from clebsch.train.task import Task

Sources = Mapping[str, Mapping[str, str]]


@dataclass
class Prepared:
    """Everything that a run is made of.

    Attributes:
        config: with every choice made.
        parts: the frames.
        graphs: their batches.
        model: untrained.
        task: what it learns.
    """

    config: Any
    parts: Parts
    graphs: GraphData
    model: Any
    task: Task


class Job(Protocol):
    """What a kind of model adds to a run.

    Attributes:
        kind: of the model, for titles.
        verb: of the command that trains it.
    """

    kind: str
    verb: str

    def prepare(self, config: Any, progress: bool) -> Prepared:
        """Read the data, choose what the configuration leaves open, make the model."""

    def header(self, run: Prepared) -> dict[str, Any]:
        """Facts about the model besides those that every run knows."""

    def metrics(self, run: Prepared, predictions: Mapping[str, Any]) -> dict[str, Any]:
        """Final errors, ``PART_NAME``, and whatever else is measured of each part."""

    def sections(
        self,
        run: Prepared,
        result: RunResult,
        predictions: Mapping[str, Any],
        sources: Sources,
        machine: Mapping[str, str],
    ) -> list[Section]:
        """Write figures and tables into ``result.folder``; the report's parts."""


def run_training(
    job: Job,
    config: RunConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train what ``job`` says.

    Args:
        job: the kind of model.
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
    folder = Path(out) if out is not None else Path("runs") / _default_name(config, job)
    resume = prepare_folder(folder, resume, overwrite)
    if resume:
        config = resumed_config(folder, config)
    for name in ("train", "valid", "test"):
        setattr(config.data, name, absolute(getattr(config.data, name)))
    device = choose_device(config.device)
    run = job.prepare(config, progress)
    config = run.config
    check_space(folder, run.model)
    if overwrite and not resume:
        remove_run(folder)
    make_folder(folder)
    sources = data_sources(run.parts)
    save_config(config, folder / "config.yaml")
    save_split(run.parts, sources, folder / "split.json")

    epoch_end, module = fit(
        folder,
        config,
        run.graphs,
        run.model,
        run.task,
        device,
        resume=resume,
        progress=progress,
        callbacks=callbacks,
    )
    model = run.model
    model.load_state_dict(epoch_end.best_weights)
    model = model.to(device).eval()
    best = epoch_end.history[epoch_end.best_epoch] if epoch_end.history else {}
    graphs = run.graphs.graphs
    model.header = {
        "training_data": sources["train"],
        "n_train": len(run.parts.train),
        "seed": config.seed,
        "epoch": epoch_end.best_epoch + 1,
        "domain": training_domain(graphs["train"][i] for i in range(len(run.parts.train))),
        "metrics": {k: v for k, v in best.items() if k.startswith("valid_")},
        **job.header(run),
    }
    result = RunResult(folder, model, config, job.kind, history=epoch_end.history)
    if epoch_end.interrupted:
        save_model(model, folder / "model.clebsch")
        result.interrupted = True
        return result

    predictions = {
        part: run.task.predict(model, run.graphs.batches(part), device)
        for part in ("train", "valid", "test")
        if len(graphs[part])
    }
    metrics = job.metrics(run, predictions) | _facts(run, epoch_end, module, began)
    model.header["metrics"] = {k: v for k, v in metrics.items() if not isinstance(v, dict)}
    save_model(model, folder / "model.clebsch")
    write_history(epoch_end.history, folder / "metrics.csv")
    result.metrics = metrics
    result.sections = job.sections(run, result, predictions, sources, machine(device))
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    result.write_report()
    return result


def part_metrics(
    predictions: Mapping[str, Any], errors: Any, order: Sequence[str] = ("test", "valid", "train")
) -> dict[str, Any]:
    """``errors(predictions)`` of each part with the part's name before every key."""
    return {
        f"{part}_{key}": value
        for part in order
        if part in predictions
        for key, value in errors(predictions[part]).items()
    }


def judged(predictions: Mapping[str, Any]) -> Any:
    """The predictions by which a model is judged: of the test part, where there is one."""
    return predictions.get("test") or predictions.get("valid") or predictions["train"]


def _facts(
    run: Prepared, epoch_end: EpochEnd, module: TrainingModule, began: float
) -> dict[str, Any]:
    """Sizes, epochs and times."""
    history = epoch_end.history
    return {
        **{f"n_{part}": len(p) for part, p in run.parts.named().items()},
        "n_parameters": sum(p.numel() for p in run.model.parameters()),
        "epochs": len(history),
        "best_epoch": epoch_end.best_epoch + 1,
        "steps": int(history[-1]["step"]) if history else 0,
        "train_s": round(module.budget.elapsed(), 3),
        "wall_s": round(module.budget.wall(began), 3),
    }


def _default_name(config: RunConfig, job: Job) -> str:
    train = config.data.train
    first = (train[0] if train else None) if isinstance(train, list) else train
    if first is None:
        raise UserError(f"no data given; name a file: clebsch train {job.verb} DATA.")
    return Path(first.removeprefix("embedded:")).name.split(".")[0]
