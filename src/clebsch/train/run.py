"""One training run: data in, a folder with model, metrics, figures and report out."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from clebsch import __version__
from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.models import Potential, PotentialConfig, save_model, set_unit_variance
from clebsch.ops.threads import threads_for
from clebsch.structures import AtomGraph, collate
from clebsch.structures.inspection import inspect_dataset
from clebsch.train.callbacks import EpochEnd, ShowProgress, StopOnInterrupt, write_history
from clebsch.train.checkpoint import SafeCheckpointIO, load_checkpoint
from clebsch.train.config import TrainConfig, load_config, save_config
from clebsch.train.data import Parts, PotentialData, data_sources, read_parts, save_split
from clebsch.train.domain import training_domain
from clebsch.train.losses import PotentialLoss
from clebsch.train.metrics import (
    Predictions,
    error_metrics,
    metrics_by_config_type,
    metrics_by_element,
    predict_batches,
)
from clebsch.train.module import PotentialModule
from clebsch.train.report import Section, write_report
from clebsch.train.resolve import choose_device, resolve
from clebsch.train.schedule import Budget
from clebsch.train.summary import draw_figures, report_sections

#: What a resumed run may change; anything else would make it another run.
RESUMABLE = {"epochs", "max_time", "patience", "device", "devices"}
INSPECTED = 3000  # frames; looking at more would take longer than a user wants to wait


@dataclass
class RunResult:
    """What a training run leaves.

    Attributes:
        folder: the run directory.
        model: the potential with its best averaged weights, in ``eval()`` mode.
        config: the resolved configuration.
        metrics: the content of ``metrics.json`` (empty when interrupted).
        history: one row per epoch.
        sections: the report's parts; write it again with more of them by :meth:`write_report`.
        interrupted: whether Ctrl-C ended it; then there is no report yet.
    """

    folder: Path
    model: Potential
    config: TrainConfig
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    interrupted: bool = False

    @property
    def best_epoch(self) -> int:
        """The epoch (counted from 1) whose averaged weights the model has."""
        return int(self.model.header["epoch"])

    def write_report(self, extra: Sequence[Section] = (), title: str | None = None) -> Path:
        """Write ``report.html`` with ``extra`` sections after the training's own."""
        path = self.folder / "report.html"
        name = title or f"Potential trained on {_names(self.config)}"
        lead = f"clebsch {__version__}, {time.strftime('%Y-%m-%d %H:%M')}, {self.folder.resolve()}"
        write_report(path, name, [*self.sections, *extra], lead)
        return path


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
    resume = _prepare_folder(folder, resume, overwrite)
    if resume:
        config = _resumed_config(folder, config)
    config.data.train = _absolute(config.data.train)
    config.data.valid = _absolute(config.data.valid)
    config.data.test = _absolute(config.data.test)
    device = choose_device(config.device)

    parts = read_parts(config.data, config.split, config.seed)
    config = resolve(config, parts)
    if progress:
        _say_concerns(parts, config)
    sources = data_sources(parts)
    potential_data = PotentialData(parts, config)
    model = _new_model(config, potential_data)
    _check_space(folder, model)
    if overwrite and not resume:
        _remove_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    save_split(parts, sources, folder / "split.json")

    epoch_end, module = _fit(
        folder, config, potential_data, model, device, resume, progress, callbacks
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
    result = RunResult(folder, model, config, history=epoch_end.history)
    model.header = header
    if epoch_end.interrupted:
        save_model(model, folder / "model.clebsch", header)
        result.interrupted = True
        return result

    predictions = _predict_parts(model, potential_data, config, device)
    metrics = _collect_metrics(predictions, parts, epoch_end, model)
    metrics["train_s"] = round(module.budget.elapsed(), 3)
    metrics["wall_s"] = round(module.budget.elapsed() + _outside(module, began), 3)
    header["metrics"] = {k: v for k, v in metrics.items() if not isinstance(v, dict)}
    save_model(model, folder / "model.clebsch", header)
    write_history(epoch_end.history, folder / "metrics.csv")
    result.metrics = metrics
    pictures = draw_figures(predictions, metrics, epoch_end.history, folder / "figures")
    result.sections = report_sections(result, parts, sources, pictures, _machine(device))
    with atomic_path(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    result.write_report()
    return result


def _fit(
    folder: Path,
    config: TrainConfig,
    data: PotentialData,
    model: Potential,
    device: torch.device,
    resume: bool,
    progress: bool,
    callbacks: Sequence[Callback],
) -> tuple[EpochEnd, PotentialModule]:
    """Train until epochs, time, patience or the user end it."""
    loss = PotentialLoss(**config.loss.model_dump())
    budget = Budget(config.epochs, config.max_time)
    module = PotentialModule(model, loss, config.optimiser, budget)
    epoch_end = EpochEnd(folder, list(data.batches("valid")), config.patience)
    checkpoint = None
    if resume and epoch_end.last.exists():
        state = load_checkpoint(epoch_end.last)
        kept = state["callbacks"][epoch_end.state_key]
        budget.spent = float(state["elapsed_s"])
        if _is_done(kept, config, budget):
            epoch_end.load_state_dict(kept)
            return epoch_end, module
        checkpoint = epoch_end.last
    watchers: list[Callback] = [epoch_end, StopOnInterrupt(epoch_end)]
    if progress:
        watchers.append(ShowProgress(epoch_end))
    with _quiet_lightning():
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=config.devices
            if device.index is None or config.devices > 1
            else [device.index],
            strategy="ddp_spawn" if config.devices > 1 else "auto",
            max_epochs=config.epochs or -1,
            min_epochs=0,
            gradient_clip_val=config.optimiser.clip,
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            callbacks=[*watchers, *callbacks],
            plugins=[SafeCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=1_000_000,
        )
        budget.start()
        try:
            with threads_for(data.edges_per_batch()):
                trainer.fit(module, data, ckpt_path=checkpoint)
        finally:
            budget.stop()
    if config.devices > 1:  # the processes that trained are gone; what they kept is not
        state = load_checkpoint(epoch_end.last)
        epoch_end.load_state_dict(state["callbacks"][epoch_end.state_key])
        budget.spent = float(state["elapsed_s"])
    return epoch_end, module


def _is_done(kept: dict[str, Any], config: TrainConfig, budget: Budget) -> bool:
    """Whether the run needs no more epochs, by its possibly changed limits."""
    epochs = len(kept["history"])
    patience = config.patience
    stale = patience is not None and epochs - 1 - kept["best_epoch"] >= patience
    return stale or budget.progress(epochs) >= 1.0


def _say_concerns(parts: Parts, config: TrainConfig) -> None:
    """What an inspection finds wrong with the data, on stderr; not for the largest sets."""
    dataset = parts.train.dataset
    if len(dataset) <= INSPECTED:
        for sentence in inspect_dataset(dataset, float(config.model["cutoff"])).warnings:
            print(f"warning: {dataset.path}: {sentence}", file=sys.stderr)


def _new_model(config: TrainConfig, data: PotentialData) -> Potential:
    """A potential whose initial weights depend on the seed and the first frames only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Potential(PotentialConfig(**config.model))
    model = model.to(getattr(torch, config.dtype))
    graphs = data.graphs["train"]
    set_unit_variance(model, collate([graphs[i] for i in range(min(16, len(graphs)))]))
    return model


def _predict_parts(
    model: Potential, data: PotentialData, config: TrainConfig, device: torch.device
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


def _prepare_folder(folder: Path, resume: bool, overwrite: bool) -> bool:
    """Refuse to overwrite by accident; say whether there is something to resume."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give another --out.")
    exists = (folder / "config.yaml").exists()
    if resume and overwrite:
        raise UserError(f"{folder}: --resume and --overwrite exclude each other; give one.")
    if resume and not exists:
        raise UserError(f"{folder}: there is no run to resume; train without --resume.")
    if exists and not (resume or overwrite):
        raise UserError(
            f"{folder}: holds a run already; go on with --resume, replace it with --overwrite, "
            "or give another --out."
        )
    return resume


def _resumed_config(folder: Path, asked: TrainConfig) -> TrainConfig:
    """The run's own configuration, with the limits that were asked for now."""
    config = load_config(folder / "config.yaml")
    for name in sorted(asked.model_fields_set):
        value = getattr(asked, name)
        if name in RESUMABLE:
            setattr(config, name, value / 60.0 if name == "max_time" and value else value)
        elif name == "data":
            for key in sorted(asked.data.model_fields_set):
                if _absolute(getattr(asked.data, key)) != getattr(config.data, key):
                    raise _other_run(folder, f"data.{key}")
        elif value != getattr(config, name):
            given = value if isinstance(value, dict) else value.model_dump(exclude_unset=True)
            kept = getattr(config, name)
            kept = kept if isinstance(kept, dict) else kept.model_dump()
            for key, item in given.items():
                if kept.get(key) != item:
                    raise _other_run(folder, f"{name}.{key}")
    return config


def _other_run(folder: Path, key: str) -> UserError:
    return UserError(
        f"{folder}: --resume cannot change '{key}' (only {', '.join(sorted(RESUMABLE))}); "
        "train with another --out."
    )


def _remove_run(folder: Path) -> None:
    """Delete what an earlier run wrote there, and nothing else."""
    for name in ("checkpoints", "tensorboard", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("config.yaml", "split.json", "metrics.csv", "metrics.json", "model.clebsch"):
        (folder / name).unlink(missing_ok=True)
    (folder / "report.html").unlink(missing_ok=True)


def _check_space(folder: Path, model: Potential) -> None:
    """Two checkpoints of weights, averages, best weights and moments, twice while replaced."""
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    needed = 14 * weights + 30_000_000
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{folder}: the run needs {needed / 1e6:.0f} MB but only {free / 1e6:.0f} MB are free "
            "there; free some space or give another --out."
        )


def _absolute(path: Any) -> Any:
    if isinstance(path, list):
        return [_absolute(p) for p in path]
    if path is None or str(path).startswith("embedded:"):
        return path
    return str(Path(path).resolve())


def _default_name(config: TrainConfig) -> str:
    train = config.data.train
    first = (train[0] if train else None) if isinstance(train, list) else train
    if first is None:
        raise UserError("no data given; name a file: clebsch train potential DATA.")
    return Path(first.removeprefix("embedded:")).name.split(".")[0]


def _names(config: TrainConfig) -> str:
    train = config.data.train
    files = train if isinstance(train, list) else [str(train)]
    return ", ".join(Path(f.removeprefix("embedded:")).name for f in files)


def _outside(module: PotentialModule, began: float) -> float:
    """Seconds of this call that were not spent in training."""
    return max(0.0, time.monotonic() - began - module.budget.this_call)


def _machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "clebsch": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"{device.type} ({name})",
        "threads": str(torch.get_num_threads()),
    }


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's advice and advertisements are kept away; its errors are not."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
