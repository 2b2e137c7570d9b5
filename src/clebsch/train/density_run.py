"""Training of a density model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from lightning.pytorch import Callback
from pydantic import ValidationError

from clebsch.density.electron_density import ElectronDensity
from clebsch.errors import UserError
from clebsch.models.density import DensityModel, directions
from clebsch.models.density_configuration import DensityConfig
from clebsch.train.config import check_model_keys, explain_model_key
from clebsch.train.data import GraphData, Part
from clebsch.train.density_config import DensityTrainConfig
from clebsch.train.density_data import DensityFrames, read_density_parts
from clebsch.train.density_metrics import (
    MOST,
    PartErrors,
    errors_by_size,
    mean_errors,
    part_errors,
)
from clebsch.train.density_pictures import picture_section
from clebsch.train.density_summary import density_sections, draw_density_figures
from clebsch.train.density_task import DensityPredictions, DensityTask
from clebsch.train.fit import RunResult
from clebsch.train.report import Section
from clebsch.train.run import Prepared, Sources, judged, part_metrics, run_training

MOLECULES = 4  # in a batch
TARGET_STEPS = 5_000
EDGES_PER_BATCH = 50_000
WEIGHT_DECAY = 0.01
DRAWN = 40  # atoms at most of the structure that the report shows
_SMALLEST = 0.01  # of the largest scale of a degree: what hardly varies is hardly learnt


def train_density(
    data: str | Sequence[str] | None = None,
    config: DensityTrainConfig | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train a model of electron densities.

    Args:
        data: files that `clebsch.density.read_density` reads, of one auxiliary basis; overrides
            ``config.data.train``.
        config: what to do; what it leaves open is chosen from the data.
        out: the run directory; ``runs/<name of the data>`` by default.
        resume, overwrite, progress, callbacks: see `clebsch.train.run.run_training`.

    Raises:
        UserError: wrong data or configuration, an existing run, no space, PySCF not installed.
    """
    config = (config or DensityTrainConfig()).model_copy(deep=True)
    if data is not None:
        config.data.train = data if isinstance(data, str) else list(data)
    return run_training(
        DensityJob(),
        config,
        out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        callbacks=callbacks,
    )


class DensityJob:
    """Electron densities of molecules."""

    kind = "Electron density"
    verb = "density"

    def __init__(self) -> None:
        self.errors: dict[str, PartErrors] = {}

    def prepare(self, config: DensityTrainConfig, progress: bool) -> Prepared:
        frames, parts = read_density_parts(config)
        config = _resolve(config, frames, parts.train)
        graphs = GraphData(parts, config, float(config.model["cutoff"]))
        if "mean_neighbours" not in config.model:
            atoms, edges = (np.asarray(n).sum() for n in graphs.graphs["train"].sizes())
            config.model |= {"mean_neighbours": max(1.0, float(edges / atoms))}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = DensityModel(DensityConfig(**config.model))
        model = model.to(getattr(torch, config.dtype))
        return Prepared(config, parts, graphs, model, DensityTask(frames, config.loss))

    def header(self, run: Prepared) -> dict[str, Any]:
        frames = run.parts.train.dataset
        assert isinstance(frames, DensityFrames)
        return {"level": dict(frames.level)}

    def metrics(self, run: Prepared, predictions: Mapping[str, Any]) -> dict[str, Any]:
        frames, task = run.parts.train.dataset, run.task
        assert isinstance(frames, DensityFrames)
        assert isinstance(task, DensityTask)
        self.errors = {
            part: part_errors(frames, task, predictions[part], MOST[part]) for part in predictions
        }
        return {
            **part_metrics(predictions, task.errors),
            **part_metrics(self.errors, mean_errors),
            **{f"{part}_by_molecules": errors_by_size(e) for part, e in self.errors.items()},
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
        pictures = draw_density_figures(self.errors, result.history, folder)
        sections = density_sections(result, run.parts, sources, pictures, machine)
        shown = self._shown(run, result, judged(predictions))
        return sections if shown is None else [sections[0], shown, *sections[1:]]

    @staticmethod
    def _shown(run: Prepared, result: RunResult, p: DensityPredictions) -> Section | None:
        """The largest structure of the test part that is quickly drawn."""
        frames = run.parts.train.dataset
        assert isinstance(frames, DensityFrames)
        sizes = frames.n_atoms[p.frame]
        if sizes.min() > DRAWN:
            return None
        k = int(np.argmax(np.where(sizes <= DRAWN, sizes, 0)))
        record = frames.records[p.frame[k]]
        predicted, reference = (
            ElectronDensity(
                frames.basis,
                torch.from_numpy(record.numbers),
                torch.from_numpy(record.positions),
                torch.from_numpy(c),
            )
            for c in (p.coefficients[k], record.coefficients)
        )
        name = record.source or record.atoms().get_chemical_formula()
        return picture_section(predicted, reference, name, result.folder / "figures")


def _resolve(config: DensityTrainConfig, frames: DensityFrames, train: Part) -> DensityTrainConfig:
    """The configuration with every choice made but the number of neighbours."""
    config = config.model_copy(deep=True)
    given = dict(config.model)
    check_model_keys(config, DensityConfig.model_fields)
    numbers = sorted({int(z) for i in train.indices for z in set(frames.records[i].numbers)})
    symbols = [chemical_symbols[z] for z in numbers]
    given.setdefault("species", symbols)
    if given["species"] != symbols:
        raise UserError(
            f"{config.where('model.species')}: 'model.species' is {given['species']}, but the "
            f"molecules to train on have {symbols}; leave it out."
        )
    given.setdefault("cutoff", DensityConfig.model_fields["cutoff"].default)
    basis = frames.basis
    # a degree that the network leaves out is lost; above 4 there is next to nothing
    highest = max(block.l for z in numbers for block in basis.blocks(z))
    given.setdefault("lmax", min(max(highest, 3), 4))
    given.setdefault("basis", basis.name)
    exponents = {
        s: [list(row) for row in basis.exponents[z]] for s, z in zip(symbols, numbers, strict=True)
    }
    given.setdefault("exponents", exponents)
    if "start" not in given or "scales" not in given:
        start, scales = starts_and_scales(frames, train, config.start)
        given.setdefault("start", start)
        given.setdefault("scales", scales)
    try:
        DensityConfig(**given)
    except ValidationError as error:
        raise explain_model_key(config, error) from error
    config.model = given
    batch = config.batch
    sizes = frames.n_atoms[train.indices]
    if batch.frames is None and batch.atoms is None:
        batch.frames = max(1, min(MOLECULES, len(sizes) // 4))
    if batch.atoms is None:
        assert batch.frames is not None
        batch.atoms = max(int(sizes.max()), math.ceil(batch.frames * float(sizes.mean())))
    batch.edges = batch.edges or EDGES_PER_BATCH
    optimiser = config.optimiser
    optimiser.lr = 0.005 if optimiser.lr is None else optimiser.lr
    optimiser.ema = 0.98 if optimiser.ema is None else optimiser.ema
    if "weight_decay" not in optimiser.model_fields_set:
        optimiser.weight_decay = WEIGHT_DECAY
    if "clip" not in optimiser.model_fields_set:
        optimiser.clip = 10.0
    if config.epochs is None and config.max_time is None:
        steps = max(1, math.ceil(int(sizes.sum()) / batch.atoms))
        config.epochs = max(10, min(2000, math.ceil(TARGET_STEPS / steps)))
    return config


def starts_and_scales(
    frames: DensityFrames, train: Part, start: str
) -> tuple[dict[str, list[float]], dict[str, list[list[float]]]]:
    """``start`` and ``scales`` of ``DensityConfig`` from the molecules to train on.

    Raises:
        UserError: free atoms are asked for and the file has none of an element.
    """
    basis = frames.basis
    rows: dict[int, list[np.ndarray]] = {}
    for i in train.indices:
        record = frames.records[int(i)]
        for z, (_, places) in basis.index(record.numbers).items():
            rows.setdefault(z, []).append(record.coefficients[places.numpy()])
    starts, scales = {}, {}
    for z, parts in sorted(rows.items()):
        symbol, c = chemical_symbols[z], np.concatenate(parts)
        s = basis.blocks(z)[0].inside
        if start == "free_atoms":
            if z not in frames.free_atoms:
                raise UserError(
                    f"{frames.path}: has no free atom of {symbol}; use start=mean or make the "
                    "data again."
                )
            first = frames.free_atoms[z].numpy()[s]
        else:
            first = c[:, s].mean(0)
        starts[symbol] = first.tolist()
        by_degree: dict[int, list[float]] = {}
        for block in basis.blocks(z):
            own = c[:, block.inside].reshape(len(c), 2 * block.l + 1, -1)
            if block.l == 0:
                own = own - first
            along = np.linalg.solve(directions(block), np.moveaxis(own, 2, 1))
            size = np.sqrt((along**2).mean((0, 2)))
            floor = _SMALLEST * max(float(size.max()), 1e-12)
            by_degree[block.l] = np.maximum(size, floor).tolist()
        scales[symbol] = [by_degree.get(l, []) for l in range(len(basis.exponents[z]))]
    return starts, scales
