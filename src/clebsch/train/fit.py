"""The training loop and the run directory, whatever is learnt."""

from __future__ import annotations

import logging
import platform
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from clebsch import __version__
from clebsch.errors import UserError
from clebsch.ops.threads import threads_for
from clebsch.train.callbacks import EpochEnd, ShowProgress, StopOnInterrupt
from clebsch.train.checkpoint import SafeCheckpointIO, load_checkpoint
from clebsch.train.config import RunConfig, load_config
from clebsch.train.data import GraphData
from clebsch.train.module import TrainingModule
from clebsch.train.report import Section, write_report
from clebsch.train.schedule import Budget
from clebsch.train.task import Task

_FILES = {"train", "valid", "test"}  # of the section data; its other keys are names in them
#: What a resumed run may change; anything else would make it another run.
RESUMABLE = {"epochs", "max_time", "patience", "device", "devices"}

Config = TypeVar("Config", bound=RunConfig)


@dataclass
class RunResult:
    """What a training run leaves.

    Attributes:
        folder: the run directory.
        model: with its best averaged weights, in ``eval()`` mode.
        config: the resolved configuration.
        kind: what the model is of, for titles.
        metrics: the content of ``metrics.json`` (empty when interrupted).
        history: one row per epoch.
        sections: the report's parts; write it again with more of them by `write_report`.
        interrupted: whether Ctrl-C ended it; then there is no report yet.
    """

    folder: Path
    model: Any
    config: Any
    kind: str
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
        name = title or f"{self.kind} trained on {names_of(self.config)}"
        lead = f"clebsch {__version__}, {time.strftime('%Y-%m-%d %H:%M')}, {self.folder.resolve()}"
        write_report(path, name, [*self.sections, *extra], lead)
        return path


def fit(
    folder: Path,
    config: RunConfig,
    data: GraphData,
    model: nn.Module,
    task: Task,
    device: torch.device,
    *,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> tuple[EpochEnd, TrainingModule]:
    """Train until epochs, time, patience or the user end it.

    Returns:
        The callback that holds history and best weights, and the trained module.
    """
    budget = Budget(config.epochs, config.max_time)
    module = TrainingModule(model, task, config.optimiser, budget)
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
    with quiet_lightning():
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


def _is_done(kept: dict[str, Any], config: RunConfig, budget: Budget) -> bool:
    """Whether the run needs no more epochs, by its possibly changed limits."""
    epochs = len(kept["history"])
    patience = config.patience
    stale = patience is not None and epochs - 1 - kept["best_epoch"] >= patience
    return stale or budget.progress(epochs) >= 1.0


def prepare_folder(folder: Path, resume: bool, overwrite: bool) -> bool:
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


def resumed_config(folder: Path, asked: Config) -> Config:
    """The run's own configuration, with the limits that were asked for now."""
    config = load_config(folder / "config.yaml", kind=type(asked))
    for name in sorted(asked.model_fields_set):
        value = getattr(asked, name)
        if name in RESUMABLE:
            setattr(config, name, value / 60.0 if name == "max_time" and value else value)
        elif name != "data" and value != getattr(config, name):
            given = value if isinstance(value, dict) else value.model_dump(exclude_unset=True)
            kept = getattr(config, name)
            kept = kept if isinstance(kept, dict) else kept.model_dump()
            for key, item in given.items():
                if kept.get(key) != item:
                    raise _other_run(folder, f"{name}.{key}")
    # Not in the loop: a file named beside the configuration does not mark its section as given.
    for key in sorted(asked.data.model_fields_set):
        value = getattr(asked.data, key)
        if (absolute(value) if key in _FILES else value) != getattr(config.data, key):
            raise _other_run(folder, f"data.{key}")
    return config


def _other_run(folder: Path, key: str) -> UserError:
    return UserError(
        f"{folder}: --resume cannot change '{key}' (only {', '.join(sorted(RESUMABLE))}); "
        "train with another --out."
    )


def remove_run(folder: Path) -> None:
    """Delete what an earlier run wrote there, and nothing else."""
    for name in ("checkpoints", "tensorboard", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("config.yaml", "split.json", "metrics.csv", "metrics.json", "model.clebsch"):
        (folder / name).unlink(missing_ok=True)
    (folder / "report.html").unlink(missing_ok=True)


def check_space(folder: Path, model: nn.Module) -> None:
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


def absolute(path: Any) -> Any:
    """A path or paths that stay true from any folder; embedded sets keep their names."""
    if isinstance(path, list):
        return [absolute(p) for p in path]
    if path is None or str(path).startswith("embedded:"):
        return path
    return str(Path(path).resolve())


def machine(device: torch.device) -> dict[str, str]:
    """What the run ran on, for its report."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "clebsch": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"{device.type} ({name})",
        "threads": str(torch.get_num_threads()),
    }


@contextmanager
def quiet_lightning() -> Iterator[None]:
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


def names_of(config: RunConfig) -> str:
    """The files that a run trains on."""
    train = config.data.train
    files = train if isinstance(train, list) else [str(train)]
    return ", ".join(Path(f.removeprefix("embedded:")).name for f in files)
