"""What a row of densities reports besides its metrics: errors by size, baselines, a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from matplotlib.ticker import FuncFormatter, NullFormatter

from clebsch.density.data import DensityDataset, read_density
from clebsch.density.electron_density import ElectronDensity
from clebsch.figures import COLOURS, figure
from clebsch.models.density import DensityModel, predict_density
from clebsch.models.density_baselines import density_baselines, model_errors
from clebsch.models.density_ridge import default_descriptor
from clebsch.train.density_data import read_density_parts
from clebsch.train.density_metrics import count_molecules
from clebsch.train.fit import RunResult

Sizes = dict[str, dict[str, float]]
_KEY = "density_error_percent"


def add_density_experiment(
    content: dict[str, Any],
    result: RunResult,
    variants: Mapping[str, RunResult],
    larger: str | None,
    path: Path,
) -> None:
    """Errors on the test part by the number of molecules: network, variants and baselines.

    Args:
        content: of the result file so far; gets ``by_molecules`` (of the last seed, of each
            variant), ``baselines`` and ``reference_seconds`` (median of the SCF), by molecules.
        result: of the last seed.
        variants: of the first seed.
        larger: file of densities of structures larger than any in training, or None.
        path: where the figure goes.
    """
    frames, parts = read_density_parts(result.config)
    data = DensityDataset(
        frames.path, frames.basis, frames.level, frames.records, frames.free_atoms
    )
    descriptor = default_descriptor(frames.basis)
    baselines = density_baselines(
        data, parts.train.indices, parts.valid.indices, {"linear, lambda-SOAP": descriptor}
    )
    found = _by_size(data, parts.test.indices.tolist(), baselines)
    networks = {"network": result, **variants}
    sizes = {name: dict(r.metrics["test_by_molecules"]) for name, r in networks.items()}
    records = list(frames.records)
    if larger is not None:
        beyond = read_density(larger, frames.basis)
        models = {name: _predicting(r.model) for name, r in networks.items()}
        added = _by_size(beyond, list(range(len(beyond))), {**baselines, **models})
        for name, errors in added.items():
            own = (sizes if name in networks else found)[name]
            own.update({n: _together(e, own.get(n)) for n, e in errors.items()})
        records += beyond.records
    seconds: dict[int, list[float]] = {}
    for record in records:
        seconds.setdefault(count_molecules(record), []).append(record.scf_seconds)
    content["by_molecules"] = sizes.pop("network")
    for name, errors in sizes.items():
        content["variants"][name]["by_molecules"] = errors
    content["baselines"] = found
    content["largest_train"] = max(count_molecules(frames.records[i]) for i in parts.train.indices)
    content["reference_seconds"] = {str(n): float(np.median(s)) for n, s in sorted(seconds.items())}
    plot_experiment(content, path)


def _together(a: dict[str, float], b: dict[str, float] | None) -> dict[str, float]:
    """Means over two lots of structures, of what both have.

    >>> _together({"n": 1.0, "error": 4.0}, {"n": 3.0, "error": 8.0, "other": 1.0})
    {'n': 4.0, 'error': 7.0}
    """
    if b is None:
        return a
    n = a["n"] + b["n"]
    means = {k: (a["n"] * a[k] + b["n"] * b[k]) / n for k in a if k in b and k != "n"}
    return {"n": n, **means}


def _predicting(model: DensityModel) -> Callable[[Atoms], ElectronDensity]:
    return lambda atoms: predict_density(model, atoms)


def _by_size(
    data: DensityDataset, chosen: list[int], models: Mapping[str, Any]
) -> dict[str, Sizes]:
    """Mean errors of each model on structures of each number of molecules."""
    rows: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for row in model_errors(data, chosen, models, radial=24, degree=13):
        size = count_molecules(data[row.molecule])
        values = (row.errors.against_fit, row.errors.dipole / size)
        rows.setdefault(row.name, {}).setdefault(size, []).append(values)
    return {
        name: {
            str(size): {
                "n": float(len(values)),
                _KEY: float(np.mean([v[0] for v in values])),
                "dipole_error_D_per_molecule": float(np.mean([v[1] for v in values])),
            }
            for size, values in sorted(sizes.items())
        }
        for name, sizes in rows.items()
    }


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
        for k, (name, sizes) in enumerate(
            [
                *((name, _errors(e)) for name, e in content["baselines"].items()),
                ("network", own),
            ]
        ):
            _line(left, sizes, name, k)
        left.set_yscale("log")
        left.set_title("Density error (%)")
        for k, (name, v) in enumerate(sorted(degrees.items())):
            _line(middle, _errors(v["by_molecules"]), name.replace("-", " "), k)
        _line(middle, own, "every degree", len(degrees))
        middle.set_yscale("log")
        middle.set_title("Density error (%), by highest degree")
        for axes in (left, middle):
            axes.set_xlabel("molecules in the cluster")
            if content.get("largest_train"):
                axes.axvline(content["largest_train"] + 0.5, color="#999999", lw=0.8, ls=":")
            axes.legend(fontsize=7, ncols=2, loc="center", bbox_to_anchor=(0.6, 0.4))
        if fewer:
            whole = content["figures"].get(f"test_{_KEY}")
            curve = [*fewer, (content["n_train"], whole["mean"])] if whole else fewer
            right.loglog([n for n, _ in curve], [e for _, e in curve], "o-", ms=4)
            right.set_xticks([n for n, _ in curve], [str(n) for n, _ in curve])
            right.xaxis.minorticks_off()
        for axes in (left, middle, right):
            plain = FuncFormatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(plain if axes is right else NullFormatter())
        right.set_title("Density error of the test set (%)")
        right.set_xlabel("clusters to train on")


def _errors(by_molecules: Sizes) -> dict[str, float]:
    return {size: e[_KEY] for size, e in by_molecules.items()}


def _line(axes: Any, sizes: Mapping[str, float], name: str, k: int) -> None:
    numbers = sorted(int(n) for n in sizes)
    values = [sizes[str(n)] for n in numbers]
    axes.plot(numbers, values, "o-", ms=3, lw=1, color=COLOURS[k % len(COLOURS)], label=name)
