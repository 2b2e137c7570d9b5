"""What happens at the end of an epoch: validation, checkpoints, early stop, logs, progress."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from clebsch.errors import UserError
from clebsch.files import atomic_path, write_text
from clebsch.structures import AtomGraph
from clebsch.train.config import format_time
from clebsch.train.module import TrainingModule

#: A checkpoint is written at the end of an epoch if that costs less than this share of the time.
CHECKPOINT_SHARE = 0.02


class EpochEnd(Callback):
    """Validate the averaged weights, keep the best, write checkpoints and logs, stop in time.

    The state here (history, best weights, patience) is part of ``last.ckpt``, so a resumed run
    goes on as if it had never stopped. An epoch cut short by an interruption is not counted; one
    cut short by the end of ``max_time`` is.

    Args:
        folder: the run directory; checkpoints go to ``checkpoints/last.ckpt`` and ``best.ckpt``.
        valid: batches of the validation set; without any, the last weights are the best.
        patience: epochs without a better validation loss before the run stops, or None.
    """

    def __init__(self, folder: Path, valid: Sequence[AtomGraph], patience: int | None) -> None:
        self.folder = folder
        self.valid = valid
        self.patience = patience
        self.history: list[dict[str, float]] = []
        self.best_loss = math.inf
        self.best_epoch = -1
        self.best_weights: dict[str, torch.Tensor] = {}
        self.finished = False
        self.interrupted = False
        self._saved_at = -math.inf
        self._save_cost = 0.0

    @property
    def last(self) -> Path:
        """The checkpoint from which a run resumes."""
        return self.folder / "checkpoints" / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """The part that belongs to a checkpoint."""
        return {
            "history": self.history,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "finished": self.finished,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the epoch."""
        assert isinstance(pl_module, TrainingModule)
        module = pl_module
        complete = module.batches_seen == trainer.num_training_batches
        if self.interrupted and not complete:
            if not self.history:  # nothing better exists yet
                self._keep_weights(module)
            return
        row = self._validate(trainer, module)
        self.history.append(row)
        if row.get("valid_loss", -math.inf) < self.best_loss or not self.valid:
            self.best_loss = row.get("valid_loss", math.inf)
            self.best_epoch = trainer.current_epoch
            self._keep_weights(module)
        if self.patience is not None and trainer.current_epoch - self.best_epoch >= self.patience:
            self.finished = True
        if module.progress(module.batches_seen) >= 1.0:
            self.finished = True
        if self.finished:
            trainer.should_stop = True
        self._write(trainer, row)

    def _validate(self, trainer: Trainer, module: TrainingModule) -> dict[str, float]:
        train_loss = float(module.loss_sum) / max(1, module.batches_seen)
        if not math.isfinite(train_loss):
            raise UserError(
                f"{self.folder}: the loss is {train_loss} in epoch {trainer.current_epoch + 1}; "
                "lower optimiser.lr, or look for wrong labels with `clebsch inspect`."
            )
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "elapsed_s": round(module.budget.elapsed(), 3),
            "lr": module.learning_rate,
            "train_loss": train_loss,
        }
        if not self.valid:
            return row
        share = self.valid[trainer.global_rank :: trainer.world_size]
        predictions = []
        if share:  # there may be fewer batches than processes
            with module.ema.applied():
                predictions = [module.task.predict(module.model, share, module.device)]
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, predictions)
            predictions = [part for parts in gathered for part in parts]
        errors = module.task.errors(module.task.merge(predictions))
        return row | {f"valid_{name}": value for name, value in errors.items()}

    def _keep_weights(self, module: TrainingModule) -> None:
        with module.ema.applied():
            self.best_weights = {
                name: value.detach().cpu().clone()
                for name, value in module.model.state_dict().items()
            }

    def _write(self, trainer: Trainer, row: dict[str, float]) -> None:
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {name: value for name, value in row.items() if name not in ("epoch", "step")},
                step=trainer.current_epoch + 1,
            )
        now = time.monotonic()
        worth = now - self._saved_at >= self._save_cost / CHECKPOINT_SHARE
        if trainer.world_size > 1:  # writing is a matter of all processes
            worth = bool(trainer.strategy.broadcast(worth))
        if not (worth or self.finished or trainer.should_stop):
            return
        if trainer.is_global_zero:
            write_history(self.history, self.folder / "metrics.csv")
            best = {"weights": self.best_weights, "epoch": self.best_epoch + 1}
            with atomic_path(self.last.with_name("best.ckpt")) as temporary:
                torch.save(best, temporary)
        trainer.save_checkpoint(self.last)
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - now


def write_history(history: Sequence[dict[str, float]], path: Path) -> None:
    """One line per epoch; the columns are those of the first epoch that has most."""
    fullest = max(history, key=len)
    names = list(fullest)
    lines = [",".join(names)]
    lines += [",".join(f"{row[n]:.10g}" if n in row else "" for n in names) for row in history]
    write_text(path, "\n".join(lines) + "\n")


class StopOnInterrupt(Callback):
    """The first Ctrl-C ends training after the present batch; the second one at once."""

    def __init__(self, epoch_end: EpochEnd) -> None:
        self.epoch_end = epoch_end
        self._previous: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over SIGINT (possible in the main thread only)."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupt)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give SIGINT back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass the wish to stop on to Lightning."""
        if trainer.world_size > 1:
            self.epoch_end.interrupted = trainer.strategy.reduce_boolean_decision(
                self.epoch_end.interrupted, all=False
            )
        if self.epoch_end.interrupted:
            trainer.should_stop = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.epoch_end.interrupted:
            raise KeyboardInterrupt
        self.epoch_end.interrupted = True


class ShowProgress(Callback):
    """A progress bar with the validation errors and the time left; plain lines without a terminal.

    Args:
        epoch_end: where the errors come from.
        interval: seconds between two plain lines.
    """

    def __init__(self, epoch_end: EpochEnd, interval: float = 20.0) -> None:
        self.epoch_end = epoch_end
        self.interval = interval
        self.console: Console | None = None  # made where it is used: it cannot be sent there
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._drawn = -math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the empty bar."""
        self._drawn = time.monotonic()
        self.console = Console(file=sys.stderr)
        if self.console.is_terminal and trainer.is_global_zero:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[errors]}"),
                TextColumn("left {task.fields[left]}"),
                console=self.console,
                auto_refresh=False,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=1.0, epoch=1, errors="", left="?")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw the bar, at most twice a second."""
        if self._bar is not None and time.monotonic() - self._drawn > 0.5:
            self._draw(trainer, pl_module, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the run is."""
        if self._bar is not None:
            if time.monotonic() - self._drawn > 0.1 or self.epoch_end.finished:
                self._draw(trainer, pl_module, 0)
        elif (
            self.console is not None
            and trainer.is_global_zero
            and (
                len(self.epoch_end.history) == 1
                or self.epoch_end.finished
                or time.monotonic() - self._drawn > self.interval
            )
        ):
            self._drawn = time.monotonic()
            epoch, done, errors, left = self._status(trainer, pl_module, 0)
            self.console.print(
                f"epoch {epoch}  {done:4.0%}  {errors}  left {left}",
                highlight=False,
                soft_wrap=True,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, trainer: Trainer, module: LightningModule, batches: int) -> None:
        assert self._bar is not None
        self._drawn = time.monotonic()
        epoch, done, errors, left = self._status(trainer, module, batches)
        self._bar.update(
            self._task, completed=done, epoch=epoch, errors=errors, left=left, refresh=True
        )

    def _status(
        self, trainer: Trainer, module: LightningModule, batches: int
    ) -> tuple[int, float, str, str]:
        assert isinstance(module, TrainingModule)
        closed = len(self.epoch_end.history) > trainer.current_epoch
        part = 1.0 if closed else batches / float(trainer.num_training_batches)
        done = module.budget.progress(trainer.current_epoch + part)
        seconds = module.budget.elapsed()
        left = "?" if done <= 0 else format_time(round(seconds * (1 - done) / done))
        row = self.epoch_end.history[-1] if self.epoch_end.history else {}
        errors = module.task.headline(row)
        return trainer.current_epoch + 1, done, errors, left
