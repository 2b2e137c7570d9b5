"""A model in training, as Lightning sees it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from clebsch.structures import AtomGraph
from clebsch.train.config import OptimiserConfig
from clebsch.train.ema import Ema
from clebsch.train.schedule import Budget, learning_rate_factor
from clebsch.train.task import Task


class TrainingModule(LightningModule):
    """One optimiser step per batch; learning rate by the run's progress; average of the weights.

    Validation is not Lightning's loop but ``callbacks.EpochEnd``, which sees the averaged weights.

    Args:
        model: what is trained.
        task: its loss and errors.
        optimiser: its settings, resolved (no None where a number is needed).
        budget: epochs and time of the run.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimiser: OptimiserConfig,
        budget: Budget,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.settings = optimiser
        self.budget = budget
        self.ema = Ema(model, optimiser.ema or 0.0)
        self.learning_rate = 0.0
        self.loss_sum = torch.zeros((), dtype=torch.float64)
        self.batches_seen = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW (Loshchilov & Hutter, ICLR 2019), which is Adam without weight decay.

        Only matrices are decayed: scales, shifts and biases keep their size.
        """
        weights = [p for p in self.model.parameters() if p.requires_grad]
        matrices = [p for p in weights if p.ndim > 1]
        others = [p for p in weights if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        assert self.settings.lr is not None
        # Fused: one pass over all weights per step instead of a dozen small operations each.
        return torch.optim.AdamW(groups, lr=self.settings.lr, fused=True)

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's losses."""
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.batches_seen = 0

    def training_step(self, graph: AtomGraph, index: int) -> Tensor:
        """The loss of one batch, at the learning rate that belongs to the progress made."""
        self._set_learning_rate(index)
        loss = self.task.loss(self.model, graph)
        self.loss_sum += loss.detach()
        self.batches_seen += 1
        return loss

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Gradients of the weights alone.

        Force losses also reach the harmonics and radial bases of the edges, where second
        derivatives are of no use.
        """
        weights = [p for p in self.model.parameters() if p.requires_grad]
        loss.backward(inputs=weights, **kwargs)

    def progress(self, batch: int = 0) -> float:
        """Fraction of the run done after ``batch`` batches of this epoch; the same in all ranks."""
        per_epoch = float(self.trainer.num_training_batches)
        progress = self.budget.progress(self.current_epoch + batch / per_epoch)
        if self.trainer.world_size > 1:
            progress = float(self.trainer.strategy.broadcast(progress))
        return progress

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Drop the gradients instead of filling them with zeros."""
        optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(self, outputs: Any, batch: AtomGraph, batch_idx: int) -> None:
        """Average the weights; stop when the time is up."""
        self.ema.update()
        if self.budget.max_time is not None and self.progress(batch_idx + 1) >= 1.0:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the averaged weights and the time spent beside Lightning's state."""
        checkpoint["ema"] = self.ema.state_dict()
        checkpoint["elapsed_s"] = self.budget.elapsed()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` kept."""
        self.ema.load_state_dict(checkpoint["ema"])
        self.budget.spent = float(checkpoint["elapsed_s"])

    def transfer_batch_to_device(self, batch: AtomGraph, device: Any, dataloader_idx: int) -> Any:
        """A graph moves itself."""
        return batch if batch.positions.device == device else batch.to(device)

    def _set_learning_rate(self, batch: int) -> None:
        assert self.settings.lr is not None
        factor = learning_rate_factor(
            self.progress(batch), self.settings.schedule, self.settings.warmup
        )
        self.learning_rate = self.settings.lr * factor
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rate
