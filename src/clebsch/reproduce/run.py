"""Running a row and writing its result file."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch

from clebsch import __version__, machine
from clebsch.errors import UserError
from clebsch.files import write_text
from clebsch.reproduce.density import add_density_experiment
from clebsch.reproduce.ensembles import add_ensembles
from clebsch.reproduce.row import Row, load_row
from clebsch.train.config import TrainConfig
from clebsch.train.density_config import DensityTrainConfig
from clebsch.train.density_run import train_density
from clebsch.train.dos_config import DosTrainConfig
from clebsch.train.dos_run import train_dos
from clebsch.train.fit import RunResult
from clebsch.train.potential_run import train_potential


def reproduce(
    name: str, runs: Path = Path("runs/reproduce"), results: Path = Path("results")
) -> dict[str, Any]:
    """Train every seed of a row and write ``results/NAME.json``.

    A seed whose run is finished is not trained again, an interrupted one goes on.

    Args:
        name: the row.
        runs: the run directories go to ``runs/NAME/seed-S`` and ``runs/NAME/VARIANT``, ensembles to
            ``runs/NAME/ensemble-K.clebsch``.
        results: folder of the result file.

    Returns:
        The content of the result file.

    Raises:
        UserError: no such row, its data are not here, or the training was interrupted.
    """
    row = load_row(name)
    metrics, models = [], []
    for seed in row.seeds:
        folder = runs / name / f"seed-{seed}"
        result = _train(row, seed, folder, resume=(folder / "config.yaml").exists())
        if result.interrupted:
            raise UserError(f"{folder}: interrupted; the same command goes on.")
        metrics.append(result.metrics)
        models.append(result.model)
    content = summarise(row, metrics)
    if row.ensembles_of is not None:
        add_ensembles(content, row.ensembles_of, models, result.config, runs / name)
    variants = _train_variants(row, runs / name)
    if variants:
        content["variants"] = {v: _of_variant(row, r) for v, r in variants.items()}
    if row.learns == "density":
        larger = None if row.larger is None else find_data(row.larger)
        add_density_experiment(content, result, variants, larger, results / f"{name}.png")
    write_text(results / f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def _train_variants(row: Row, runs: Path) -> dict[str, RunResult]:
    """Each variant, trained with the first seed."""
    found = {}
    for variant, changes in row.variants.items():
        folder = runs / variant
        changed = row.model_copy(update={"config": _merged(row.config, changes)})
        result = _train(changed, row.seeds[0], folder, (folder / "config.yaml").exists())
        if result.interrupted:
            raise UserError(f"{folder}: interrupted; the same command goes on.")
        found[variant] = result
    return found


def _of_variant(row: Row, result: RunResult) -> dict[str, Any]:
    """What is reported of a variant."""
    metrics = result.metrics
    return {
        **{name: metrics[name] for name in row.metrics if name in metrics},
        "n_train": metrics["n_train"],
        "train_s": metrics["train_s"],
    }


def _merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``config`` with ``changes`` on top, block by block.

    >>> _merged({"model": {"lmax": 2, "layers": 3}, "epochs": 5}, {"model": {"lmax": 0}})
    {'model': {'lmax': 0, 'layers': 3}, 'epochs': 5}
    """
    merged = dict(config)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _train(row: Row, seed: int, folder: Path, resume: bool) -> RunResult:
    train = find_data(row.train) if isinstance(row.train, str) else [*map(find_data, row.train)]
    test = None if row.test is None else find_data(row.test)
    data = {"train": train} if test is None else {"train": train, "test": test}
    content = {**row.config, "data": data, "seed": seed}
    if row.learns == "dos":
        split = None if row.split is None else find_data(row.split)
        config = DosTrainConfig.model_validate({**content, "split_file": split})
        return train_dos(None, config, folder, resume=resume)
    if row.learns == "density":
        settings = DensityTrainConfig.model_validate(content)
        return train_density(None, settings, folder, resume=resume)
    return train_potential(None, TrainConfig.model_validate(content), folder, resume=resume)


def summarise(row: Row, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and spreads over the seeds, with the published figures beside."""
    figures: dict[str, Any] = {}
    for name, definition in row.metrics.items():
        if any(name not in m for m in metrics):
            raise UserError(f"{row.title}: the runs have no metric {name!r}; mend the row.")
        values = [m[name] for m in metrics]
        figures[name] = {
            "mean": statistics.fmean(values),
            "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
            "seeds": dict(zip(map(str, row.seeds), values, strict=True)),
            "definition": definition,
            "published": [
                p.model_dump(exclude={"metric"}) for p in row.published if p.metric == name
            ],
        }
    return {
        "title": row.title,
        "figures": figures,
        "n_train": metrics[0]["n_train"],
        "train_s": [m["train_s"] for m in metrics],
        "steps": [m["steps"] for m in metrics],
        "row": row.model_dump(),
        "versions": {
            "clebsch": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "machine": {"processor": machine.processor(), "cores": os.cpu_count()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def find_data(name: str) -> str:
    """Path of a row's data set.

    Raises:
        UserError: it is not embedded and not below ``$CLEBSCH_DATA``.
    """
    if name.startswith("embedded:"):
        return name
    root = os.environ.get("CLEBSCH_DATA")
    if root is None:
        raise UserError(f"{name}: set CLEBSCH_DATA to the folder with the published data sets.")
    path = Path(root) / name
    if not path.exists():
        raise UserError(f"{path}: no such file; CLEBSCH_DATA must name the folder that has it.")
    return str(path)
