"""Networks of several seeds joined: what a row says of ensembles."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from clebsch.models import PhononDosModel, save_model
from clebsch.train.dos_config import DosTrainConfig
from clebsch.train.dos_run import test_errors


def add_ensembles(
    content: dict[str, Any],
    size: int,
    models: list[PhononDosModel],
    config: DosTrainConfig,
    folder: Path,
) -> None:
    """Errors of ensembles of ``size`` networks each, mean and spread over the ensembles.

    Args:
        content: of the result file; each figure gets ``ensembles``.
        models: of all seeds in their order.
        config: of any of the runs; they share the test crystals.
        folder: the ensembles are written to ``ensemble-K.clebsch`` there.
    """
    errors = []
    for k in range(len(models) // size):
        joint = PhononDosModel.joined(models[k * size : (k + 1) * size])
        save_model(joint, folder / f"ensemble-{k}.clebsch")
        errors.append(test_errors(joint, config))
    for name, figure in content["figures"].items():
        values = [e[name] for e in errors]
        figure["ensembles"] = {
            "of": size,
            "mean": statistics.fmean(values),
            "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
            "each": values,
        }
