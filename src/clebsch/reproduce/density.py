"""What a row of densities reports besides its metrics: errors by size, baselines, a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clebsch.density.data import DensityDataset
from clebsch.figures import COLOURS, figure
from clebsch.models.density_baselines import density_baselines, density_errors
from clebsch.models.density_ridge import default_descriptor
from clebsch.train.density_data import read_density_parts
from clebsch.train.density_metrics import count_molecules
from clebsch.train.fit import RunResult

Sizes = Mapping[str, float]

_KEY = "density_error_percent"


def density_experiment(result: RunResult, content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Errors on the test part by the number of molecules: the network's and the baselines'.

    Args:
        result: of the last seed, for its data and split.
        content: of the result file so far, with its variants.
        path: where the figure goes.

    Returns:
        ``by_molecules``, ``baselines`` and ``reference_seconds``, by the number of molecules.
    """
    frames, parts = read_density_parts(result.config)
    data = DensityDataset(
        frames.path, frames.basis, frames.level, frames.records, frames.free_atoms
    )
    descriptor = default_descriptor(frames.basis, 4.0)
    models = density_baselines(
        data, parts.train.indices, parts.valid.indices, {"linear, lambda-SOAP": descriptor}
    )
    found: dict[str, dict[int, list[float]]] = {}
    for row in density_errors(data, parts.test.indices, models, radial=24, degree=13):
        size = count_molecules(data[row.molecule])
        found.setdefault(row.name, {}).setdefault(size, []).append(row.error_percent)
    baselines = {
        name: {str(n): float(np.mean(values)) for n, values in sorted(sizes.items())}
        for name, sizes in found.items()
    }
    seconds: dict[int, list[float]] = {}
    for record in frames.records:
        seconds.setdefault(count_molecules(record), []).append(record.scf_seconds)
    added = {
        "by_molecules": result.metrics["test_by_molecules"],
        "baselines": baselines,
        "reference_seconds": {str(n): float(np.median(s)) for n, s in sorted(seconds.items())},
    }
    plot_experiment(content | added, path)
    return added


def plot_experiment(content: Mapping[str, Any], path: Path) -> None:
    """Error over size beside the baselines, for each highest degree, and the learning curve."""
    own = _errors(content["by_molecules"])
    variants = content.get("variants", {})
    degrees = {name: v for name, v in variants.items() if name.startswith("lmax")}
    fewer = sorted(
        (v["n_train"], v[f"test_{_KEY}"]) for name, v in variants.items() if name.startswith("n-")
    )
    with figure(path, 12.5, 3.8) as canvas:
        left, middle, right = canvas.subplots(1, 3)
        for k, (name, sizes) in enumerate([*content["baselines"].items(), ("network", own)]):
            _line(left, sizes, name, k)
        left.set_yscale("log")
        left.set_title("Density error (%)")
        for k, (name, v) in enumerate(sorted(degrees.items())):
            _line(middle, _errors(v["test_by_molecules"]), name.replace("-", " "), k)
        _line(middle, own, "network", len(degrees))
        middle.set_yscale("log")
        middle.set_title("Density error (%), by highest degree")
        for axes in (left, middle):
            axes.set_xlabel("molecules in the cluster")
            axes.legend(fontsize=7)
        if fewer:
            whole = content["figures"].get(f"test_{_KEY}")
            sizes = [*fewer, (content["n_train"], whole["mean"])] if whole else fewer
            right.loglog(*zip(*sizes, strict=True), "o-", ms=4)
            right.set_xticks([n for n, _ in sizes], [str(n) for n, _ in sizes])
            right.minorticks_off()
        right.set_title("Density error of the test set (%)")
        right.set_xlabel("clusters to train on")


def _errors(by_molecules: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {size: e[_KEY] for size, e in by_molecules.items()}


def _line(axes: Any, sizes: Sizes, name: str, k: int) -> None:
    numbers = sorted(int(n) for n in sizes)
    values = [sizes[str(n)] for n in numbers]
    axes.plot(numbers, values, "o-", ms=3, lw=1, color=COLOURS[k % len(COLOURS)], label=name)
