"""Training of a potential."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback

from clebsch.models import Potential, PotentialConfig, set_unit_variance
from clebsch.structures import collate
from clebsch.structures.inspection import inspect_dataset
from clebsch.train.config import TrainConfig
from clebsch.train.data import GraphData, Parts, read_parts
from clebsch.train.fit import RunResult
from clebsch.train.losses import PotentialLoss
from clebsch.train.metrics import error_metrics, metrics_by_config_type, metrics_by_element
from clebsch.train.potential_task import PotentialTask
from clebsch.train.report import Section
from clebsch.train.resolve import resolve
from clebsch.train.run import Prepared, Sources, judged, part_metrics, run_training
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
        resume, overwrite, progress, callbacks: see `clebsch.train.run.run_training`.

    Raises:
        UserError: wrong data or configuration, an existing run, no space.
    """
    config = (config or TrainConfig()).model_copy(deep=True)
    if data is not None:
        config.data.train = data if isinstance(data, str) else list(data)
    return run_training(
        PotentialJob(),
        config,
        out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        callbacks=callbacks,
    )


class PotentialJob:
    """Energies, forces and stresses."""

    kind = "Potential"
    verb = "potential"

    def prepare(self, config: TrainConfig, progress: bool) -> Prepared:
        parts = read_parts(config.data, config.split, config.seed)
        config = resolve(config, parts)
        if progress:
            _say_concerns(parts, config)
        graphs = GraphData(parts, config, float(config.model["cutoff"]))
        task = PotentialTask(PotentialLoss(**config.loss.model_dump()))
        return Prepared(config, parts, graphs, _new_model(config, graphs), task)

    def header(self, run: Prepared) -> dict[str, Any]:
        return {}

    def metrics(self, run: Prepared, predictions: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **part_metrics(predictions, error_metrics),
            "by_element": metrics_by_element(judged(predictions)),
            "by_config_type": metrics_by_config_type(judged(predictions)),
        }

    def sections(
        self,
        run: Prepared,
        result: RunResult,
        predictions: Mapping[str, Any],
        sources: Sources,
        machine: Mapping[str, str],
    ) -> list[Section]:
        folder = result.folder / "figures"
        pictures = draw_figures(predictions, result.metrics, result.history, folder)
        return report_sections(result, run.parts, sources, pictures, machine)


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
